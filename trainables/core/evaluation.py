"""The stored best epoch on all three splits: the only place that reads the test split."""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import open_dataset
from trainables.core.architecture import layers
from trainables.core.bases import KeptBase
from trainables.core.checkpoint import CheckpointStore
from trainables.core.config import TrainConfig, split_of
from trainables.core.devices import claim
from trainables.core.trainable import get_trainable

if TYPE_CHECKING:
    import keras

    from data_prep import Dataset
    from trainables.core.inputs import FeatureCache, StoredInputs
    from trainables.core.steps import Steps

AVERAGES = ("micro", "macro", "weighted")
TOP = 5
PARTS = ("train", "validation", "test")
# They are kept in the journal and the results: 24 x 12 kB at most, were they noise.
MOST_MISTAKES = 24
THUMBNAIL = 64  # px


def load_model(stored: dict[str, Any], base: KeptBase | None = None) -> keras.Model:
    """The network of a trial, its optimizer's state too: without augmentation and label smoothing, so that any Keras loads what it saves.

    `stored` says where it is: `trainable`, `config`, `class_count`, `bases` (of its run: see `bases.opened`), `checkpoints` (the trial's folder),
    `epoch`; `base`: of the trial before in this process. OSError or ValueError when its checkpoint is missing or damaged."""
    from trainables.core import normalization
    from trainables.core.recipe import compile_model, compile_plain
    from trainables.core.training import changing_variables, restore_variables

    trainable = get_trainable(stored["trainable"])
    trainable = replace(trainable, build=trainable.bare or trainable.build)
    config = trainable.config(**stored["config"])
    network = (base or KeptBase()).network(trainable, config, stored["class_count"], stored["bases"])
    arrays, _ = CheckpointStore(stored["checkpoints"]).load(stored["epoch"])
    restore_variables(changing_variables(network, trainable), arrays, "model")
    compile_model(network, config)
    restore_variables(network.optimizer.variables, arrays, "optimizer")
    normalization.finalize(network)
    compile_plain(network, network.optimizer)
    return network


def evaluate(task: dict[str, Any], cache: FeatureCache | None = None, base: KeptBase | None = None) -> dict[str, Any]:
    """Measure a stored model. `task`: what `load_model` takes, and `dataset_folder`, `cpus`, `gpus`, `shared` (other trials had a part in its training, which may
    not have known that this epoch was to be kept: then it is trained up to there again). `cache`: the stored features of frozen layers;
    `base`: see `load_model`.

    Gives `splits` (train, validation, test: loss in nats, accuracy, top5_accuracy, images), `test_averages` (micro, macro, weighted: precision,
    recall, f1), `classes` (of the test split: class, name, precision, recall, f1, support), `confusion` (of the test split: class, predicted class,
    images, for each pair that occurs), `mistakes` (see `mistakes`) and `layers` (see `architecture.layers`). The training
    images are those that were trained on (`data_fraction`), measured as validation ones are: without dropout and augmentation."""
    claim(task["cpus"], task["gpus"])
    with ThreadPoolExecutor(1) as beside:
        # For the report: a second or two, in which the network is at work.
        beside.submit(importlib.import_module, "sklearn.metrics")
        return _evaluate(task, cache, base)


def _evaluate(task: dict[str, Any], cache: FeatureCache | None, base: KeptBase | None) -> dict[str, Any]:
    config = get_trainable(task["trainable"]).config(**task["config"])
    dataset = open_dataset(Path(task["dataset_folder"]))
    if task.get("shared"):
        _train_again(task, config, dataset, cache)
    model = load_model(task, base)
    rows = split_of(config, dataset)
    read = _reader(model, config, dataset, cache)
    splits, probabilities = {}, np.empty((0, task["class_count"]))
    for name in PARTS:
        part = getattr(rows, name)
        probabilities = read(name, part)
        splits[name] = measure(probabilities, dataset.labels[part])
    return {
        "splits": splits,
        **_class_report(probabilities, dataset, rows.test, task["class_count"]),
        "mistakes": mistakes(probabilities, dataset, rows.test),
        "layers": layers(model),
    }


def inputs_of(task: dict[str, Any], cache: FeatureCache | None, base: KeptBase) -> StoredInputs | None:
    """The features that `evaluate` of this task reads, for a worker that helps to compute them; None where it reads images. OSError where they cannot be
    kept."""
    from trainables.core.inputs import stored_inputs, usable_cut

    trainable = get_trainable(task["trainable"])
    config = trainable.config(**task["config"])
    dataset = open_dataset(Path(task["dataset_folder"]))
    # As it is before it learns: what is frozen is the same.
    network = base.network(trainable, config, task["class_count"], task["bases"])
    stored = stored_inputs(usable_cut(network, config, cache), config, dataset, cache)
    if stored:
        for part in PARTS:
            stored.want(part)
    return stored


def _train_again(task: dict[str, Any], config: TrainConfig, dataset: Dataset, cache: FeatureCache | None) -> None:
    """Have the checkpoint of the epoch in the store, as it was: equal state gives equal numbers."""
    from trainables.core.training import Training

    store = CheckpointStore(task["checkpoints"])
    stored = store.epochs()
    if task["epoch"] in stored:
        return
    trainable = get_trainable(task["trainable"])
    network = KeptBase().network(trainable, config, task["class_count"], task["bases"])
    training = Training(trainable, config, dataset, network, cache=cache, final=task.get("final", False))
    if newest := store.load_newest(before=task["epoch"]):
        training.restore(*newest)
    while training.epoch < task["epoch"]:
        training.run_epoch()
    store.save(training.state(), training.history, *stored)


def _reader(
    model: keras.Model, config: TrainConfig, dataset: Dataset, cache: FeatureCache | None
) -> Callable[[str, np.ndarray], np.ndarray]:
    """What gives the class probabilities of rows of a part of the split: of stored features where the trial was trained on these."""
    from trainables.core.inputs import stored_inputs, usable_cut
    from trainables.core.steps import Steps

    found = usable_cut(model, config, cache)
    stored = stored_inputs(found, config, dataset, cache)
    whole, tail = Steps(model), Steps(found.tail if found else model)

    def read(part: str, rows: np.ndarray) -> np.ndarray:
        if found is None or stored is None:
            return predict(whole, dataset.images.__getitem__, rows)
        try:
            stored.want(part)
            while stored.missing:
                stored.prepare()
        except OSError:
            # No room for them: the whole network needs none.
            return predict(whole, dataset.images.__getitem__, rows)
        return predict(tail, lambda some: stored.gather(some, (part,)), rows)

    return read


def predict(steps: Steps, gather: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Class probabilities (N x classes, float32) of what `gather` gives for these rows."""
    from trainables.core.training import EVALUATION_BATCH, batches

    return steps.predict(map(gather, batches(rows, EVALUATION_BATCH)))


def measure(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """Loss (mean cross-entropy, nats), accuracy and top-5 accuracy (parts of 1).

    A probability counts as at least 1.2e-38, float32's smallest: Keras' floor of 1e-7 is not there where it trains from a softmax's logits (as on
    TensorFlow), and an overfitted network passes it. Top-5 is 1 where there are no more than five classes."""
    own = probabilities[np.arange(len(labels)), labels]
    better = (probabilities > own[:, None]).sum(axis=1)
    return {
        "loss": float(-np.log(np.clip(own, np.finfo(np.float32).tiny, 1.0), dtype=np.float64).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "top5_accuracy": float((better < TOP).mean()),
        "images": len(labels),
    }


def _class_report(probabilities: np.ndarray, dataset: Dataset, rows: np.ndarray, classes: int) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, predicted, indices = dataset.labels[rows], probabilities.argmax(axis=1), list(range(classes))
    # A class that is never predicted has precision 0, as in scikit-learn's own report.
    averages = {
        average: precision_recall_fscore_support(truth, predicted, labels=indices, average=average, zero_division=0)[:3]
        for average in AVERAGES
    }
    confusion = confusion_matrix(truth, predicted, labels=indices)
    each = zip(*precision_recall_fscore_support(truth, predicted, labels=indices, zero_division=0), strict=True)
    return {
        "test_averages": {
            name: dict(zip(("precision", "recall", "f1"), map(float, values), strict=True)) for name, values in averages.items()
        },
        "classes": [
            {"class": n, "name": dataset.classes[n], "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for n, (p, r, f, s) in enumerate(each)
        ],
        "confusion": [[int(n), int(m), int(confusion[n, m])] for n, m in np.argwhere(confusion)],
    }


def mistakes(probabilities: np.ndarray, dataset: Dataset, rows: np.ndarray) -> list[dict[str, Any]]:
    """The images of these rows that a wrong class was the surest of, the surest first, MOST_MISTAKES at most: `image` (its row of the data set), `class`,
    `predicted`, their probabilities `own` and `probability`, and `png`: the image as base64, its sides at most THUMBNAIL px."""
    labels, predicted = dataset.labels[rows], probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    # Equally sure ones in the order of the data set: again is the same.
    surest = wrong[np.lexsort((rows[wrong], -probabilities[wrong, predicted[wrong]]))][:MOST_MISTAKES]
    return [
        {
            "image": int(rows[n]),
            "class": int(labels[n]),
            "predicted": int(predicted[n]),
            "own": float(probabilities[n, labels[n]]),
            "probability": float(probabilities[n, predicted[n]]),
            "png": _thumbnail(dataset.images[rows[n]]),
        }
        for n in surest
    ]


def _thumbnail(image: np.ndarray) -> str:
    from PIL import Image

    picture, file = Image.fromarray(np.asarray(image)), io.BytesIO()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
