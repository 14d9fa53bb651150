"""Training on stored features: the numbers of the whole network with its frozen part in inference mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_prep import BadInput, Dataset, prepare
from tests.trainables.trials import assert_same_arrays, metrics, warm
from trainables import Trainable, get_trainable
from trainables.core.config import TrainConfig, checked
from trainables.transfer import TransferConfig

if TYPE_CHECKING:
    from trainables.core.inputs import FeatureCache
    from trainables.core.training import Training

SMALL: dict[str, Any] = {"classes": 2, "images": 300, "dense_units": 8, "batch_size": 32, "learning_rate": 1e-2}


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    warm()
    from trainables.core.inputs import FeatureCache

    return FeatureCache(tmp_path / "features")


@pytest.fixture(scope="module")
def digits75(data_root: Path) -> Dataset:
    return prepare("digits", size=75, root=data_root)


def trial(dataset: Dataset, cache: FeatureCache | None, name: str = "transfer", **settings: Any) -> Training:
    from trainables.core.training import Training

    trainable = get_trainable(name)
    final = settings.pop("final", False)
    return Training(trainable, trainable.config(**{**SMALL, "size": dataset.size, **settings}), dataset, final=final, cache=cache)


def keys(cache: FeatureCache) -> set[str]:
    return {folder.name for folder in cache.root.iterdir() if folder.is_dir()}


def assert_close(one: Training, other: Training, tolerance: float, epochs: int = 2) -> None:
    for _ in range(epochs):
        found, expected = one.run_epoch(), other.run_epoch()
        for name in ("train_loss", "val_loss"):
            assert found[name] == pytest.approx(expected[name], rel=tolerance), name
        for name in ("train_accuracy", "val_accuracy"):
            # One image may be on the edge.
            assert found[name] == pytest.approx(expected[name], abs=1.5 / 27), name
    for state, expected_state in zip(one.state().values(), other.state().values(), strict=True):
        assert state.shape == expected_state.shape


@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 2e-2), ("float32", 1e-3)])
@pytest.mark.parametrize("unfrozen", [0, 5])
def test_the_base(digits16: Dataset, cache: FeatureCache, kind: str, tolerance: float, unfrozen: int) -> None:
    settings: dict[str, Any] = {"name": "fine_tune", "unfrozen_layers": unfrozen, "learning_rate": 1e-3}
    stored = trial(digits16, cache, features=kind, **settings)
    assert stored.stored
    assert stored.stored.dtype == kind
    assert_close(stored, trial(digits16, None, **settings), tolerance)
    assert len(keys(cache)) == 2


@pytest.mark.tensorflow
@pytest.mark.parametrize(("name", "base", "size"), [("transfer", "vgg16", 32), ("inception", "inception", 75)])
def test_keras_networks(digits: Dataset, digits75: Dataset, cache: FeatureCache, name: str, base: str, size: int) -> None:
    settings: dict[str, Any] = {"name": name, "base": base, "images": 120, "learning_rate": 1e-3, "weights": "random"}
    dataset = {32: digits, 75: digits75}[size]
    stored = trial(dataset, cache, **settings)
    assert stored.stored
    # VGG16 gives values of hundreds here: a float16 has 11 bits.
    assert_close(stored, trial(dataset, None, **settings), 3e-2)


def test_what_is_stored_is_of_the_tail(digits16: Dataset, cache: FeatureCache) -> None:
    """The frozen part is the base's, whose file the run has: a checkpoint of VGG16's head is 1 MB, not 60."""
    for one in (trial(digits16, cache), trial(digits16, None), trial(digits16, None, augmentation="flip")):
        sizes = [value.size for key, value in one.state().items() if key.startswith("model/")]
        # Two dense layers and the generator of a dropout; with augmentation that of a flip.
        assert sizes[:5] == [128 * 8, 8, 2, 8 * 2, 2]
        assert len(sizes) == (6 if one.config.augmentation == "flip" else 5)


def test_what_is_trained_is_measured(digits16: Dataset, cache: FeatureCache, tmp_path: Path) -> None:
    """The stored best model, as a whole network, predicts what the tail did in training."""
    from trainables.core.checkpoint import CheckpointStore
    from trainables.core.evaluation import evaluate, load_model

    one = trial(digits16, cache)
    result = one.run_epoch()
    CheckpointStore(str(tmp_path / "trial")).save(one.state(), one.history)
    stored = {"trainable": "transfer", "config": one.config.model_dump(), "class_count": 2, "bases": {}, "epoch": 1}
    task = {**stored, "checkpoints": str(tmp_path / "trial"), "dataset_folder": str(digits16.path), "cpus": 1, "gpus": 0}
    whole = evaluate(task)["splits"]
    by_features = evaluate(task, cache)["splits"]
    for split in ("train", "validation", "test"):
        assert by_features[split]["loss"] == pytest.approx(whole[split]["loss"], rel=1e-2)
        assert by_features[split]["images"] == whole[split]["images"]
    assert by_features["validation"]["loss"] == pytest.approx(result["val_loss"], rel=1e-5)
    model = load_model(task)
    rows = one.split.validation
    probabilities = model.predict_on_batch(digits16.images[rows])
    assert (probabilities.argmax(axis=1) == digits16.labels[rows]).mean() == pytest.approx(result["val_accuracy"], abs=1.5 / 27)


def test_a_second_trial_computes_nothing(digits16: Dataset, cache: FeatureCache) -> None:
    """Nor does one of another process, with another head, on less of the data."""
    from trainables.core.inputs import FeatureCache

    trial(digits16, cache).run_epoch()
    found = keys(cache)
    for settings in ({"dropout": 0.1}, {"dense_units": 16}, {"data_fraction": 0.5}, {"learning_rate": 0.1}):
        again = trial(digits16, FeatureCache(cache.root), **settings)
        assert again.stored
        assert again.stored.missing == 0
        again.run_epoch()
        assert again.stored.computed == 0
    assert keys(cache) == found


@pytest.mark.parametrize(
    "settings",
    [{"seed": 1}, {"features": "float32"}, {"images": 200}, {"split_seed": 1}, {"name": "fine_tune", "unfrozen_layers": 5}],
    ids=str,
)
def test_other_features_are_others(digits16: Dataset, cache: FeatureCache, settings: dict[str, Any]) -> None:
    """Of other weights (those of a base without a file come from the seed), of another kind, images or cut."""
    trial(digits16, cache)
    found = keys(cache)
    trial(digits16, cache, **settings)
    assert len(keys(cache)) == 2 * len(found)


def test_final_fit(digits16: Dataset, cache: FeatureCache) -> None:
    """On the features of both parts."""
    assert_close_to = trial(digits16, None, final=True, features="off")
    stored = trial(digits16, cache, final=True, features="float32")
    found, expected = stored.run_epoch(), assert_close_to.run_epoch()
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
    assert found["val_loss"] is None


@pytest.mark.parametrize("settings", [{"augmentation": "flip"}, {"features": "off"}], ids=str)
def test_not_shared(digits16: Dataset, cache: FeatureCache, settings: dict[str, Any]) -> None:
    """Augmented images differ in every epoch: never are features of the plain ones taken for them."""
    one, other = trial(digits16, cache, **settings), trial(digits16, None, **settings)
    assert one.stored is None
    assert metrics(one.run_epoch()) == metrics(other.run_epoch())
    assert not cache.root.exists()


def test_views(digits16: Dataset, cache: FeatureCache) -> None:
    """Two views of each training image, which epochs take in turn; validation is of the images as they are."""
    settings: dict[str, Any] = {"augmentation": "shift", "views": 2, "features": "float32"}
    one = trial(digits16, cache, **settings)
    assert one.stored
    assert set(one.stored.parts) == {("train", 1), ("train", 2), ("validation", 0)}
    one.run_epoch()
    rows = one.split.train[:32]
    views = [one.gather(rows, epoch)[0] for epoch in (1, 2, 3)]
    np.testing.assert_array_equal(views[0], views[2])
    # One in 25 is shifted alike.
    assert (views[0] != views[1]).any(axis=1).mean() > 0.8
    plain = one.stored.cut.frozen.predict_on_batch(digits16.images[rows])
    assert all((view != plain).any(axis=1).mean() > 0.8 for view in views)
    np.testing.assert_allclose(
        one.gather(one.split.validation)[0],
        one.stored.cut.frozen.predict_on_batch(digits16.images[one.split.validation]),
        rtol=1e-4,
        atol=1e-4,
    )
    # Whoever computes them, whenever: their own random numbers.
    from trainables.core.inputs import FeatureCache

    other = trial(digits16, FeatureCache(cache.root.with_name("elsewhere")), **settings)
    other.run_epoch()
    np.testing.assert_array_equal(other.gather(rows, 2)[0], views[1])
    assert_same_arrays(one.state(), other.state())


def test_a_resumed_trial_needs_no_features_of_its_own(digits16: Dataset, cache: FeatureCache) -> None:
    """Its state is that of the tail, with or without them."""
    one = trial(digits16, cache)
    one.run_epoch()
    again = trial(digits16, cache)
    again.restore(one.state(), list(one.history))
    assert metrics(again.run_epoch()) == metrics(one.run_epoch())
    without = trial(digits16, None)
    without.restore(one.state(), list(one.history))


def test_float32_where_float16_is_too_small(digits16: Dataset, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.core import features

    monkeypatch.setattr(features, "FLOAT16_MOST", 1e-6)
    one = trial(digits16, cache)
    assert one.stored
    one.run_epoch()
    assert (one.stored.dtype, one.stored.missing) == ("float32", 0)
    again = trial(digits16, cache)
    assert again.stored
    assert (again.stored.dtype, again.stored.missing) == ("float32", 0)


@pytest.mark.parametrize("trouble", ["limit", "folder"])
def test_without_a_place_for_them_the_network_is_trained_whole(digits16: Dataset, tmp_path: Path, trouble: str) -> None:
    """A limit that is too low, or a data root that cannot be written."""
    warm()
    from trainables.core.inputs import FeatureCache

    root = tmp_path / "features"
    if trouble == "folder":
        root.write_text("a file")
    one = trial(digits16, FeatureCache(root, 1000 if trouble == "limit" else 10**9))
    assert one.stored is None
    assert metrics(one.run_epoch()) == metrics(trial(digits16, None).run_epoch())


def test_views_are_of_stored_features() -> None:
    with pytest.raises(BadInput) as caught:
        checked(TransferConfig, {"views": 2, "features": "off", "augmentation": "flip"}, "trainable 'transfer'")
    assert (
        str(caught.value) == "trainable 'transfer': views are of stored features, but features is off and views is 2: leave one of them out"
    )


def test_what_a_bare_network_lacks_is_in_the_checkpoint(digits16: Dataset, tmp_path: Path) -> None:
    """Frozen weights that are fetched when a network is built to be trained, and not when it is built to be measured."""
    warm()
    import keras

    from trainables.core.bases import build_network
    from trainables.core.training import Training, changing_variables

    def network(config: TrainConfig, classes: int, weights: float) -> keras.Model:
        images = keras.Input((config.size, config.size, 3))
        x = keras.layers.Conv2D(2, 3, trainable=False, kernel_initializer=keras.initializers.Constant(weights))(images)
        return keras.Model(images, keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(x)))

    fetching = Trainable(
        summary="", config=TrainConfig, build=lambda config, n: network(config, n, 0.01), bare=lambda config, n: network(config, n, 0.0)
    )
    one = Training(fetching, TrainConfig(size=16), digits16)
    sizes = [value.size for key, value in one.state().items() if key.startswith("model/")]
    assert sizes == [3 * 3 * 3 * 2, 2, 14 * 14 * 2 * 10, 10]
    plain = replace(fetching, bare=None)
    assert len(changing_variables(build_network(plain, TrainConfig(size=16), 10), plain)) == 2
