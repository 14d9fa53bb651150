"""Bases as files of a run: made from whatever there is, and opened as what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import in_new_process, trial_of, warm
from trainables import get_trainable
from trainables.core.bases import fetch_imagenet, opened, store
from trainables.core.checkpoint import CheckpointStore
from trainables.core.pretrained import APPLICATIONS, features, start_from
from trainables.fine_tune import FineTuneConfig
from trainables.transfer import TransferConfig

if TYPE_CHECKING:
    import keras

    from trainables.core.training import Training


def raw(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)


def config(base: str, size: int = 16) -> TransferConfig:
    return TransferConfig(base=base, size=size)


def open_stored(facts: dict[str, Any], folder: Path, base: str, size: int = 16) -> keras.Model:
    """The base of that fact in this folder; its name and digest fit its content."""
    path = folder / facts["file"]
    assert [file.name for file in folder.iterdir()] == [facts["file"]]
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["file"] == f"{facts['sha256'][:12]}.keras"
    found = opened(config(base, size), {"another": "nowhere", base: str(path)})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def trained(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, dict[str, Any]]:
    """A trial of `base`, and where it is stored."""
    folder = str(tmp_path_factory.mktemp("trial"))
    settings = {"images": 200, "batch_size": 16, "augmentation": "shift"}
    one = trial_of("base", digits16, **settings)
    one.run_epoch()
    CheckpointStore(folder).save(one.state(), one.history, 1)
    stored = {"trainable": "base", "config": {"size": 16, **settings}, "class_count": 10, "bases": {}, "checkpoints": folder, "epoch": 1}
    return one, stored


@pytest.fixture(scope="module")
def keras_file(trained: tuple[Training, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("file") / "mine.keras"
    trained[0].network.save(path)
    return str(path)


@pytest.mark.parametrize("source", ["model", "file"])
def test_from_a_trial_or_a_file(trained: tuple[Training, dict[str, Any]], keras_file: str, tmp_path: Path, source: str) -> None:
    """Cut, and with what was learnt, without a head and augmentation."""
    given = trained[1] if source == "model" else keras_file
    facts = store({"base": "cifar10", "size": 16, "folder": str(tmp_path / "bases"), source: given})
    assert {key: facts[key] for key in ("layers", "parameters")} == {"layers": 24, "parameters": 288_800}
    assert set(facts) == {"file", "sha256", "layers", "parameters"}
    base = open_stored(facts, tmp_path / "bases", "cifar10")
    expected = features(trained[0].network).predict_on_batch(raw(16))
    np.testing.assert_array_equal(base.predict_on_batch(raw(16)), expected)
    assert not base.compiled
    # It starts a trial.
    np.testing.assert_allclose(start_from(base, 16).predict_on_batch(raw(16)), expected, atol=1e-6)


def test_from_a_trial_on_a_base(digits16: Dataset, trained: tuple[Training, dict[str, Any]], tmp_path: Path) -> None:
    """A run that fine-tuned is a base in its turn; its own base is opened from its run."""
    first = store({"base": "cifar10", "size": 16, "folder": str(tmp_path / "first"), "model": trained[1]})
    bases = {"cifar10": str(tmp_path / "first" / first["file"])}
    settings = {"size": 16, "classes": 2, "images": 300, "unfrozen_layers": 24, "dense_units": 8}
    one = trial_of("fine_tune", digits16, opened(config("cifar10"), bases), **{key: settings[key] for key in settings if key != "size"})
    CheckpointStore(str(tmp_path / "trial")).save(one.state(), [{"epoch": 1}], 1)
    given = {
        "trainable": "fine_tune",
        "config": settings,
        "class_count": 2,
        "bases": bases,
        "checkpoints": str(tmp_path / "trial"),
        "epoch": 1,
    }
    facts = store({"base": "a-run", "size": 16, "folder": str(tmp_path / "second"), "model": given})
    base = open_stored(facts, tmp_path / "second", "a-run")
    assert facts["parameters"] == 288_800
    expected = features(trained[0].network).predict_on_batch(raw(16))
    np.testing.assert_allclose(base.predict_on_batch(raw(16)), expected, atol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_what_is_known_of_keras_own_networks(name: str) -> None:
    warm()
    known = APPLICATIONS[name]
    found = store({"base": name, "size": known.least_size, "folder": None})
    assert found == {"file": None, "sha256": None, "layers": known.layers, "parameters": known.parameters}


@pytest.mark.parametrize(("base", "size", "layers", "parameters"), [("cifar10", 16, 24, 288_800), ("vgg16", 32, 18, 14_714_688)])
def test_random_weights_are_not_stored(tmp_path: Path, base: str, size: int, layers: int, parameters: int) -> None:
    """Every trial draws its own."""
    warm()
    facts = store({"base": base, "size": size, "folder": str(tmp_path / "bases")})
    assert facts == {"file": None, "sha256": None, "layers": layers, "parameters": parameters}
    assert not (tmp_path / "bases").exists()
    drawn = [opened(config(base, size).model_copy(update={"seed": seed}), {}) for seed in (0, 0, 1)]
    assert [model and model.count_params() for model in drawn] == [parameters] * 3
    first, same, other = ([value for value in model.get_weights() if value.ndim == 4] for model in drawn if model)
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_only_what_starts_from_a_base_opens_one() -> None:
    assert opened(get_trainable("cnn").config(), {"cifar10": "nowhere"}) is None
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(config("cifar10"), {"cifar10": "nowhere"})


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, str]:
    """Keras' own network with weights that are in a file."""
    import keras

    warm()
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    path = str(tmp_path_factory.mktemp("weights") / "vgg16.weights.h5")
    model.save_weights(path)
    return model, path


def test_from_a_file_of_weights(vgg16: tuple[keras.Model, str], tmp_path: Path) -> None:
    """As Keras' `weights=` takes it; with the network's scaling."""
    import keras

    model, path = vgg16
    facts = store({"base": "vgg16", "size": 40, "folder": str(tmp_path / "bases"), "weights": path})
    assert (facts["layers"], facts["parameters"]) == (18, 14_714_688)
    base = open_stored(facts, tmp_path / "bases", "vgg16", 40)
    assert base.input_shape == (None, 40, 40, 3)
    scaled = keras.applications.vgg16.preprocess_input(raw(32).astype(np.float32))
    expected = model.predict_on_batch(scaled)
    np.testing.assert_allclose(start_from(base, 32).predict_on_batch(raw(32)), expected, atol=1e-5 * expected.max())


def test_imagenets_weights_are_kerass(vgg16: tuple[keras.Model, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Keras has them: the download of its own is replaced, which checks a digest that only the real file has."""
    import keras
    from keras.src.applications import vgg16 as application

    asked = []

    def get_file(name: str, origin: str, **others: Any) -> str:
        asked.append((name, origin.rpartition("/")[0], others["cache_subdir"]))
        return vgg16[1]

    monkeypatch.setattr(application.file_utils, "get_file", get_file)
    assert fetch_imagenet(["vgg16"]) is None
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert asked == [(name, "https://storage.googleapis.com/tensorflow/keras-applications/vgg16", "models")]
    facts = store({"base": "vgg16", "size": 32, "folder": str(tmp_path / "bases"), "weights": "imagenet"})
    base = open_stored(facts, tmp_path / "bases", "vgg16", 32)
    for weight, other in zip(base.get_weights(), vgg16[0].get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    assert isinstance(base, keras.Model)


def test_imagenets_weights_cannot_be_had(tmp_path: Path) -> None:
    """One line, whether this machine has a network or not: its proxy is closed and Keras' cache empty."""
    code = """
import json, sys
from trainables.core.bases import fetch_imagenet, store

problem = fetch_imagenet(["vgg16"])
print(json.dumps([problem, store({"base": "vgg16", "size": 32, "folder": sys.argv[1], "weights": "imagenet"})]))
"""
    closed = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    problem, facts = in_new_process(code, str(tmp_path / "bases"), KERAS_HOME=str(tmp_path / "keras"), no_proxy="", NO_PROXY="", **closed)
    assert problem.startswith("URL fetch failure on https://storage.googleapis.com/tensorflow/keras-applications/vgg16/vgg16_weights")
    assert len(problem.splitlines()) == 1
    assert facts == {"error": problem}
    assert not (tmp_path / "bases").exists()


def plain_file(folder: Path) -> str:
    """Of a network without feature maps."""
    import keras
    from keras import layers

    inputs = keras.Input((16, 16, 3))
    path = folder / "plain.keras"
    keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs))).save(path)
    return str(path)


def test_one_line_says_why_there_is_none(trained: tuple[Training, dict[str, Any]], keras_file: str, tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("not a network")
    sources: dict[str, dict[str, Any]] = {
        "no such epoch": {"model": {**trained[1], "epoch": 7}},
        "no such file": {"file": str(tmp_path / "none.keras")},
        "not of Keras": {"file": str(tmp_path / "text.keras")},
        "no maps": {"file": plain_file(tmp_path)},
        "too small": {"file": keras_file, "size": 8},
        "no weights": {"base": "vgg16", "size": 32, "weights": str(tmp_path / "none.h5")},
        "other weights": {"base": "vgg16", "size": 32, "weights": str(tmp_path / "text.keras")},
    }
    folder = tmp_path / "bases"
    answers = {name: store({"base": "mine", "size": 16, "folder": str(folder), **source}) for name, source in sources.items()}
    assert [list(answer) for answer in answers.values()] == [["error"]] * len(sources)
    errors = {name: answer["error"] for name, answer in answers.items()}
    for error in errors.values():
        assert len(error.splitlines()) == 1
        assert error.isprintable()
    assert "epoch-000007.npz" in errors["no such epoch"]
    assert "none.keras" in errors["no such file"]
    assert "text.keras" in errors["not of Keras"]
    assert errors["no maps"] == "a base is a network with feature maps (N x H x W x C), but this one has none"
    assert "Computed output size would be zero or negative" in errors["too small"]
    assert not folder.exists()


def test_a_base_and_a_head_have_no_name_in_common(tmp_path: Path) -> None:
    """Keras numbers names by process: a head that is built where nothing was built before has those that the base had when it was."""
    import keras

    base = get_trainable("base")
    settings = FineTuneConfig(base="mine", size=16, unfrozen_layers=24)
    keras.utils.clear_session()
    features(base.build(base.config(size=16), 10)).save(tmp_path / "base.keras")
    keras.utils.clear_session()
    # Without names of its own for the base: "The name "activation" is used 2 times in the model."
    model = get_trainable("fine_tune").build(settings, 10, opened(settings, {"mine": str(tmp_path / "base.keras")}))
    names = [operation.name for operation in model.operations]
    assert {"base_activation", "activation", "base_dropout", "dropout"} <= set(names)
