"""Statistics of the training images, in the layers that wait for them, and there after any resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import assert_same_arrays, training, trial_of
from trainables.autokeras_search import AutoKerasConfig, bare, build
from trainables.core import normalization
from trainables.core.checkpoint import CheckpointStore
from trainables.core.evaluation import load_model
from trainables.core.normalization import CHUNK, adapt, statistics
from trainables.core.spaces import first_networks

STOCK: dict[str, Any] = {"space": "stock", "classes": 2}


def images_of(count: int, size: int = 8) -> np.ndarray:
    """Random ones whose channels are not alike, and brighter the later they come."""
    random = np.random.default_rng(0)
    images = random.integers(0, [100, 200, 256], (count, size, size, 3)) * np.linspace(0.3, 1, count)[:, None, None, None]
    return images.astype(np.uint8)


def layer_of(model: keras.Model) -> Any:
    (layer,) = normalization._layers(model)
    return layer


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 77])
def test_statistics_are_numpys(count: int) -> None:
    images = images_of(3 * CHUNK)
    rows = np.random.default_rng(1).permutation(len(images))[:count]
    mean, variance = statistics(images, rows)
    assert mean.dtype == variance.dtype == np.float64
    np.testing.assert_allclose(mean, images[rows].mean(axis=(0, 1, 2), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, images[rows].var(axis=(0, 1, 2), dtype=np.float64), rtol=1e-9)


def test_what_comes_out_has_mean_0_and_variance_1() -> None:
    """On the rows that it was adapted to, and on no others."""
    images, rows = images_of(300), np.arange(100)
    model = build(AutoKerasConfig(space="stock", size=8), 2)
    normalized = keras.Model(model.inputs[0], layer_of(model).output)
    adapt(model, images, rows)
    found = np.asarray(keras.ops.convert_to_numpy(normalized(images[rows])))
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(axis=(0, 1, 2)), 1, atol=1e-4)
    others = np.asarray(keras.ops.convert_to_numpy(normalized(images[200:])))
    assert (others.mean(axis=(0, 1, 2)) > 0.5).all()


def test_it_is_what_the_layers_own_adapt_finds() -> None:
    images = images_of(50)
    model = build(AutoKerasConfig(space="stock", size=8), 2)
    adapt(model, images, np.arange(50))
    own = keras.layers.Normalization()
    own.adapt(images.astype(np.float32))
    for name in ("mean", "variance"):
        found, expected = (keras.ops.convert_to_numpy(getattr(layer, name)) for layer in (layer_of(model), own))
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected), rtol=1e-4)


@pytest.mark.parametrize(("settings", "final"), [({}, False), ({"augmentation": "flip"}, False), ({}, True)])
def test_a_trial_adapts_to_what_it_trains_on(digits8: Dataset, settings: dict[str, Any], final: bool) -> None:
    """Behind an augmentation, too."""
    one = trial_of("autokeras_search", digits8, final=final, **STOCK, **settings)
    rows = np.concatenate([one.split.train, one.split.validation]) if final else one.split.train
    mean, variance = statistics(digits8.images, rows)
    np.testing.assert_allclose(np.ravel(keras.ops.convert_to_numpy(layer_of(one.model).mean)), mean, rtol=1e-6)
    np.testing.assert_allclose(np.ravel(keras.ops.convert_to_numpy(layer_of(one.model).variance)), variance, rtol=1e-6)


def test_a_restored_trial_has_its_own(digits8: Dataset) -> None:
    """To the last bit, and in what its layer computes: that reads a copy of the variables."""
    one, other = (trial_of("autokeras_search", digits8, **STOCK) for _ in range(2))
    for training_ in (one, other):
        adapt(training_.model, digits8.images, training_.split.train[:20] if training_ is one else training_.split.test)
    images = digits8.images[:16]
    # Called and not compiled: a graph keeps the statistics that were there when it was made, which in a trial are always the same.
    expected, before = (keras.ops.convert_to_numpy(each.model(images)) for each in (one, other))
    assert (before != expected).any()
    other.restore(one.state(), [])
    assert_same_arrays(other.state(), one.state())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(other.model(images)), expected)


def test_a_stored_model_has_its_own(digits8: Dataset, tmp_path: Path) -> None:
    one = trial_of("autokeras_search", digits8, **STOCK)
    one.run_epoch()
    CheckpointStore(str(tmp_path)).save(one.state(), one.history, 1)
    stored = {"trainable": "autokeras_search", "config": one.config.model_dump(), "class_count": 2, "bases": {}}
    loaded = load_model({**stored, "checkpoints": str(tmp_path), "epoch": 1})
    images = digits8.images[:16]
    np.testing.assert_array_equal(loaded.predict_on_batch(images), one.model.predict_on_batch(images))
    # Not those that a layer begins with.
    assert (np.ravel(keras.ops.convert_to_numpy(layer_of(loaded).mean)) > 1).all()


def test_other_models_are_left_alone(digits8: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without such layers, whose images are not even read, and layers with statistics of their own."""

    def never(*arguments: Any) -> Any:
        raise AssertionError(arguments)

    cnn = training(digits8, size=8)
    before = cnn.state()
    given = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])])
    monkeypatch.setattr(normalization, "statistics", never)
    for model in (cnn.model, given):
        adapt(model, digits8.images, cnn.split.train)
    assert_same_arrays(cnn.state(), before)
    found = given(np.full((1, 8, 8, 3), 9, np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found)[0, 0, 0], (9 - np.array([1, 2, 3])) / np.sqrt([4, 5, 6]), rtol=1e-6)


def test_a_network_inside_keeps_its_own() -> None:
    """EfficientNet's layer reads images that it has scaled to 0..1 itself."""
    values = {**first_networks("stock")[2], "image_block_1/efficient_net_block_1/version": "b0"}
    values |= {"image_block_1/efficient_net_block_1/imagenet_size": False, "image_block_1/augment": False}
    model = bare(AutoKerasConfig(space="stock", hyperparameters=values), 2)
    outer, inner = normalization._layers(model)
    adapt(model, images_of(50, 32), np.arange(50))
    assert float(keras.ops.convert_to_numpy(outer.adapt_mean).min()) > 10
    assert keras.ops.convert_to_numpy(inner.adapt_mean).tolist() == [0, 0, 0]
    assert keras.ops.convert_to_numpy(inner.adapt_variance).tolist() == [1, 1, 1]
