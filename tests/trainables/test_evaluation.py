"""The best epoch, measured: against scikit-learn and Keras, on random numbers and on a trained network."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix, log_loss, top_k_accuracy_score

from data_prep import Dataset, split
from tests.trainables.trials import assert_same_arrays, in_new_process, metrics, training
from trainables.core.checkpoint import CheckpointStore
from trainables.core.evaluation import MOST_MISTAKES, THUMBNAIL, evaluate, load_model, measure, mistakes, predict
from trainables.core.steps import Steps
from trainables.core.training import Training

SETTINGS: dict[str, Any] = {
    "size": 16,
    "classes": None,
    "train_fraction": 0.7,
    "validation_fraction": 0.1,
    "depth": 1,
    "filters": 4,
    "dropout": 0.1,
    "learning_rate": 0.01,
    "split_seed": 4,
}
EPOCHS = 5


def random_probabilities(classes: int, count: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    return random.dirichlet(np.full(classes, 0.3), count).clip(1e-6).astype(np.float32), random.integers(0, classes, count).astype(np.int32)


@pytest.mark.parametrize("classes", [2, 5, 6, 10, 200])
def test_measure_is_scikit_learns_and_keras(classes: int) -> None:
    import keras

    probabilities, labels = random_probabilities(classes)
    measured = measure(probabilities, labels)
    indices, exact = list(range(classes)), probabilities.astype(np.float64)
    assert measured["loss"] == pytest.approx(log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=indices), abs=1e-3)
    assert measured["loss"] == pytest.approx(float(keras.losses.SparseCategoricalCrossentropy()(labels, probabilities)), abs=1e-3)
    assert measured["accuracy"] == accuracy_score(labels, probabilities.argmax(axis=1))
    top5 = keras.metrics.SparseTopKCategoricalAccuracy(k=5)
    top5.update_state(labels, probabilities)
    assert measured["top5_accuracy"] == pytest.approx(float(top5.result()), abs=1e-6)
    if classes > 5:
        assert measured["top5_accuracy"] == top_k_accuracy_score(labels, probabilities, k=5, labels=indices)
        assert measured["accuracy"] < measured["top5_accuracy"] < 1
    else:
        assert measured["top5_accuracy"] == 1
    assert measured["images"] == 500
    assert {name: type(value) for name, value in measured.items()} == {
        "loss": float,
        "accuracy": float,
        "top5_accuracy": float,
        "images": int,
    }


@pytest.mark.parametrize(("better", "ties", "in_top5"), [(4, 0, 1.0), (5, 0, 0.0), (4, 3, 1.0), (0, 9, 1.0), (5, 2, 0.0)])
def test_ties_count_as_in_keras(better: int, ties: int, in_top5: float) -> None:
    """An image is among the first five unless five classes are strictly better."""
    import keras

    row = np.array([0.2, *[0.4] * better, *[0.2] * ties, *[0.1] * (10 - better - ties)], np.float32)
    probabilities = (row / row.sum())[None]
    top5 = keras.metrics.SparseTopKCategoricalAccuracy(k=5)
    top5.update_state([0], probabilities)
    assert measure(probabilities, np.array([0]))["top5_accuracy"] == float(top5.result()) == in_top5


def test_a_sure_mistake_costs_what_it_costs() -> None:
    """Not Keras' 16.1 = -ln 1e-7 at most; and a probability that is 0 in float32 is a finite loss."""
    sure = np.array([[1, 1e-20], [1, 0]], np.float32)
    assert measure(sure[:1], np.array([1]))["loss"] == pytest.approx(-np.log(1e-20))
    assert measure(sure[1:], np.array([1]))["loss"] == pytest.approx(87.3, abs=0.1)
    assert measure(sure[1:], np.array([0]))["loss"] == 0


@pytest.fixture(scope="module")
def trial(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Checkpoints and history of a trial whose stored best epoch is its second of five."""
    folder = str(tmp_path_factory.mktemp("trial"))
    one, store = training(digits16, **SETTINGS), CheckpointStore(folder)
    for epoch in range(1, EPOCHS + 1):
        one.run_epoch()
        store.save(one.state(), one.history, min(epoch, 2))
    assert store.epochs() == [2, 4, 5]
    return folder, one.history


def task(dataset: Dataset, folder: str, epoch: int, **settings: Any) -> dict[str, Any]:
    return {
        "trainable": "cnn",
        "config": {**SETTINGS, **settings},
        "class_count": settings.get("classes") or 10,
        "bases": {},
        "dataset_folder": str(dataset.path),
        "checkpoints": folder,
        "epoch": epoch,
        "cpus": 1,
        "gpus": 0,
    }


def test_evaluate(digits16: Dataset, trial: tuple[str, list[dict[str, Any]]]) -> None:
    folder, history = trial
    found = evaluate({**task(digits16, folder, epoch=2), "cpus": 3})
    assert (os.environ["TF_NUM_INTRAOP_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("3", "-1")
    assert list(found) == ["splits", "test_averages", "classes", "confusion", "mistakes", "layers"]

    # 1,797 images: 30 % are test, and 10 % of the others validation.
    assert {name: measured["images"] for name, measured in found["splits"].items()} == {"train": 1132, "validation": 126, "test": 539}
    rows = split(digits16.labels, seed=4)
    model = load_model(task(digits16, folder, epoch=2))
    for name, part in (("train", rows.train), ("validation", rows.validation), ("test", rows.test)):
        probabilities = model.predict(digits16.images[part], verbose=0).astype(np.float64)
        measured, labels = found["splits"][name], digits16.labels[part]
        assert measured["accuracy"] == accuracy_score(labels, probabilities.argmax(axis=1))
        assert measured["top5_accuracy"] == top_k_accuracy_score(labels, probabilities, k=5)
        assert measured["loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-5)

    # The second epoch it is: what training saw after it, and not after the last.
    second, last = history[1], history[-1]
    assert found["splits"]["validation"]["accuracy"] == pytest.approx(second["val_accuracy"], abs=1e-6)
    assert found["splits"]["validation"]["loss"] == pytest.approx(second["val_loss"], rel=1e-5)
    assert abs(second["val_loss"] - last["val_loss"]) > 0.01

    predicted = model.predict(digits16.images[rows.test], verbose=0).argmax(axis=1)
    report = classification_report(digits16.labels[rows.test], predicted, output_dict=True, zero_division=0)
    scores = ("precision", "recall", "f1-score")
    for average in ("macro", "weighted"):
        assert list(found["test_averages"][average].values()) == pytest.approx([report[f"{average} avg"][score] for score in scores])
    assert found["test_averages"]["micro"] == pytest.approx(dict.fromkeys(("precision", "recall", "f1"), report["accuracy"]))
    assert list(found["test_averages"]) == ["micro", "macro", "weighted"]

    assert [(row["class"], row["name"]) for row in found["classes"]] == [(n, str(n)) for n in range(10)]
    for row in found["classes"]:
        own = report[row["name"]]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([own[score] for score in scores])
        assert row["support"] == own["support"]
    assert sum(row["support"] for row in found["classes"]) == 539

    matrix = np.zeros((10, 10), int)
    for own, taken_for, images in found["confusion"]:
        matrix[own, taken_for] = images
    assert (matrix == confusion_matrix(digits16.labels[rows.test], predicted)).all()
    assert all(images > 0 for *_, images in found["confusion"])
    assert json.loads(json.dumps(found)) == found, "it goes into the journal"

    assert [row["kind"] for row in found["layers"]] == [type(layer).__name__ for layer in model.layers]
    assert sum(row["parameters"] for row in found["layers"]) == model.count_params()


def test_mistakes(digits16: Dataset) -> None:
    """The surest first, and only of these rows; equally sure ones in the order of the data set."""
    rows = np.flatnonzero(digits16.labels < 2)[::-1]
    probabilities = np.zeros((len(rows), 10), np.float32)
    probabilities[np.arange(len(rows)), digits16.labels[rows]] = 1
    assert mistakes(probabilities, digits16, rows) == []
    # Taken for a 7: all of the first 30 rows, the fifth by 0.9, the others by 0.75.
    probabilities[:30] = 0
    probabilities[:30, 7] = 0.75
    probabilities[4, 7] = 0.9
    probabilities[np.arange(30), digits16.labels[rows[:30]]] = 0.1
    found = mistakes(probabilities, digits16, rows)
    assert [row["image"] for row in found] == [rows[4], *sorted(set(rows[:30].tolist()) - {rows[4]})][:MOST_MISTAKES]
    first = found[0]
    assert (first["class"], first["predicted"]) == (int(digits16.labels[rows[4]]), 7)
    assert (first["own"], first["probability"]) == (pytest.approx(0.1), pytest.approx(0.9))
    picture = Image.open(io.BytesIO(base64.b64decode(first["png"])))
    assert (np.asarray(picture) == digits16.images[rows[4]]).all()


def test_a_mistake_takes_little_room() -> None:
    """Noise, the worst for PNG, of 150 px."""

    class Noise:
        labels = np.zeros(1, np.int32)
        images = np.random.default_rng(0).integers(0, 256, (1, 150, 150, 3), np.uint8)

    (found,) = mistakes(np.array([[0.2, 0.8]], np.float32), cast(Dataset, Noise), np.array([0]))
    content = base64.b64decode(found["png"])
    assert Image.open(io.BytesIO(content)).size == (THUMBNAIL, THUMBNAIL)
    assert len(content) < 13_000


def test_evaluate_some_classes(digits16: Dataset, tmp_path: Path) -> None:
    """Before any training: a class that is never predicted scores 0, without a warning."""
    one = training(digits16, **{**SETTINGS, "classes": 3})
    one.history.append({"epoch": 1})
    CheckpointStore(str(tmp_path)).save(one.state(), one.history, 1)
    found = evaluate(task(digits16, str(tmp_path), epoch=1, classes=3))
    rows = split(digits16.labels, seed=4, classes=3)
    assert {name: measured["images"] for name, measured in found["splits"].items()} == {
        "train": len(rows.train),
        "validation": len(rows.validation),
        "test": len(rows.test),
    }
    assert [row["name"] for row in found["classes"]] == ["0", "1", "2"]
    assert {measured["top5_accuracy"] for measured in found["splits"].values()} == {1.0}
    predicted = set(predict(one.graph.steps, digits16.images.__getitem__, rows.test).argmax(axis=1).tolist())
    assert 0 < len(predicted) < 3
    for row in found["classes"]:
        assert (row["precision"] > 0) == (row["recall"] > 0) == (row["f1"] > 0) == (row["class"] in predicted)


@pytest.mark.tensorflow  # elsewhere Keras' floor of 1e-7 is in the losses of training and validation
def test_overfitted_loss_is_the_one_of_training(digits16: Dataset, tmp_path: Path) -> None:
    """Confident mistakes: probabilities below 1e-7, where Keras' floor would hide the cost that training and validation saw."""
    one = training(digits16, **SETTINGS)
    one.run_epoch()
    kernel = one.model.trainable_variables[-2]
    kernel.assign(kernel * 30)
    CheckpointStore(str(tmp_path)).save(one.state(), one.history, 1)
    rows = one.split.validation
    own = predict(one.graph.steps, digits16.images.__getitem__, rows)[np.arange(len(rows)), digits16.labels[rows]]
    assert np.finfo(np.float32).tiny < own.min() < 1e-7
    found = evaluate(task(digits16, str(tmp_path), epoch=1))
    assert found["splits"]["validation"]["loss"] == pytest.approx(one._validate()["loss"], rel=1e-4)


RECIPE: dict[str, Any] = {
    **SETTINGS,
    "data_fraction": 0.5,
    "schedule": "cosine",
    "label_smoothing": 0.2,
    "weight_decay": 0.01,
    "augmentation": "flip_shift_erase",
}


@pytest.fixture(scope="module")
def with_recipe(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, str]:
    """A trial with every setting of the recipe, and its checkpoints, after an epoch."""
    folder = str(tmp_path_factory.mktemp("recipe"))
    one = training(digits16, **RECIPE)
    one.run_epoch()
    CheckpointStore(folder).save(one.state(), one.history, 1)
    return one, folder


def test_evaluate_after_a_recipe(digits16: Dataset, with_recipe: tuple[Training, str]) -> None:
    """Plain cross-entropy of images as they are; the training images are those that were trained on."""
    one, folder = with_recipe
    found = evaluate(task(digits16, folder, epoch=1, **RECIPE))["splits"]
    assert {name: measured["images"] for name, measured in found.items()} == {"train": 566, "validation": 126, "test": 539}
    assert found["validation"]["loss"] == pytest.approx(one.history[0]["val_loss"], rel=1e-5)
    assert found["validation"]["accuracy"] == pytest.approx(one.history[0]["val_accuracy"], abs=1e-6)
    rows = one.split.train
    probabilities = one.model.predict_on_batch(digits16.images[rows])
    assert found["train"] == pytest.approx(measure(probabilities, digits16.labels[rows]), rel=1e-5)


# What the project is to those who only use a model: not there.
BY_ANY_KERAS = """
import json, sys
import keras
import numpy as np

model = keras.models.load_model(sys.argv[1])
images = np.load(sys.argv[2])
names = sorted({type(layer).__name__ for layer in model.layers})
found = [model.predict(images.astype(kind), verbose=0).tolist() for kind in ("uint8", "float32")]
direct = np.asarray(keras.ops.convert_to_numpy(model(images[:3]))).tolist()
before = model.evaluate(images, np.zeros(len(images), np.int32), verbose=0)
model.fit(images, np.zeros(len(images), np.int32), verbose=0)
print(json.dumps([names, model.count_params(), found, direct, before, [n for n in sys.modules if n.split(".")[0] == "trainables"]]))
"""


def test_any_keras_loads_what_is_saved(digits16: Dataset, with_recipe: tuple[Training, str], tmp_path: Path) -> None:
    """Raw images in, no object of ours in it, nothing random at inference, and compiled with plain cross-entropy: it can be trained further."""
    one, folder = with_recipe
    load_model(task(digits16, folder, epoch=1, **RECIPE)).save(tmp_path / "model.keras")
    images = digits16.images[:8]
    np.save(tmp_path / "images.npy", images)
    names, count, found, direct, before, ours = in_new_process(BY_ANY_KERAS, str(tmp_path / "model.keras"), str(tmp_path / "images.npy"))
    assert not any(name.startswith("Random") for name in names)
    assert count == one.network.count_params()
    expected = one.model.predict_on_batch(images)
    for probabilities in found:
        np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(direct, expected[:3], atol=1e-6)
    assert before[0] == pytest.approx(-np.log(expected[:, 0]).mean(), rel=1e-4)
    assert ours == []


def test_the_epoch_must_be_there(digits16: Dataset, trial: tuple[str, list[dict[str, Any]]]) -> None:
    with pytest.raises(FileNotFoundError, match=r"epoch-000003\.npz"):
        evaluate(task(digits16, trial[0], epoch=3))


@pytest.mark.parametrize("kept", [[2, 4, 5], [4, 5], []])
def test_of_a_shared_training_it_is_trained_again(
    digits16: Dataset, trial: tuple[str, list[dict[str, Any]]], tmp_path: Path, kept: list[int]
) -> None:
    """From the newest before it, or from the start; what is there stays."""
    folder = tmp_path / "trial"
    shutil.copytree(trial[0], folder)
    store = CheckpointStore(str(folder))
    for epoch in set(store.epochs()) - set(kept):
        (folder / store.name(epoch)).unlink()
    found = evaluate({**task(digits16, str(folder), epoch=3), "shared": True})
    assert store.epochs() == sorted([*kept, 3])
    one = training(digits16, **SETTINGS)
    for _ in range(3):
        one.run_epoch()
    arrays, history = store.load(3)
    assert_same_arrays(arrays, one.state())
    assert [metrics(result) for result in history] == [metrics(result) for result in trial[1][:3]]
    assert found["splits"]["validation"]["loss"] == pytest.approx(trial[1][2]["val_loss"], rel=1e-5)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = evaluate({**task(digits16, str(folder), epoch=3), "shared": True})
    assert again["splits"] == found["splits"]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before, "once"


def test_predict_in_parts(digits16: Dataset, trial: tuple[str, list[dict[str, Any]]]) -> None:
    """More rows than a batch of evaluation, in the order asked for."""
    model = load_model(task(digits16, trial[0], epoch=5))
    rows = np.random.default_rng(0).permutation(len(digits16.labels))[:600]
    np.testing.assert_allclose(
        predict(Steps(model), digits16.images.__getitem__, rows), model.predict(digits16.images[rows], verbose=0), atol=1e-6
    )
