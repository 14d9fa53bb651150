"""Augmentation: what it does to images of 0..255, in training steps only; the network inside stays the trial's network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import assert_same_arrays, metrics, training
from trainables import TrainConfig
from trainables.cnn import CnnConfig, build

if TYPE_CHECKING:
    import keras

NAMES = get_args(TrainConfig.model_fields["augmentation"].annotation)
COUNT = 600


def test_all_have_layers() -> None:
    from trainables.core.augmentation import LAYERS

    assert set(LAYERS) == set(NAMES)
    assert [name for name, layers in LAYERS.items() if not layers] == ["none"]


def changed(name: str, images: np.ndarray, training: bool = True) -> np.ndarray:
    """What the network gets to see of the images."""
    import keras

    from trainables.core.augmentation import augmented

    keras.utils.set_random_seed(1)
    inputs = keras.Input(images.shape[1:])
    seen = augmented(keras.Model(inputs, keras.layers.Identity()(inputs)), name)
    return np.asarray(keras.ops.convert_to_numpy(seen(images, training=training)))


def noise(size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, size, size, 3), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_only_in_training(name: str) -> None:
    images = noise()
    np.testing.assert_array_equal(changed(name, images, training=False), images)
    assert (changed(name, images) == images).all() == (name == "none")


@pytest.mark.parametrize("name", NAMES)
def test_values_and_shapes_stay(name: str) -> None:
    """Of the darkest and the lightest, too; and an image is its own, whatever the others of the batch are."""
    for images in (noise(), noise(9), np.zeros((8, 16, 16, 3), np.uint8), np.full((8, 16, 16, 3), 255, np.uint8)):
        found = changed(name, images)
        assert found.shape == images.shape
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 255
        assert found.mean() == pytest.approx(images.mean(), abs=40)


def test_flip() -> None:
    """Half of the images, left and right."""
    images = noise()
    found = changed("flip", images)
    flipped = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((found == images).all(axis=(1, 2, 3)) == ~flipped).all()
    assert 0.35 < flipped.mean() < 0.65


def test_shift() -> None:
    """By whole pixels, up to an eighth of the side: the middle of an image is somewhere in the result."""
    images = noise()
    found = changed("shift", images)
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    moved = [
        [(new[4 + d : 12 + d, 4 + r : 12 + r] == old[4:12, 4:12]).all() for d, r in moves] for new, old in zip(found, images, strict=True)
    ]
    assert (np.sum(moved, axis=1) == 1).all()
    # All of them occur, and what came in from outside is of the image, mirrored.
    assert (np.sum(moved, axis=0) > 0).all()
    assert (found[:, 0].std(axis=(1, 2)) > 0).all()


def test_erase() -> None:
    """Half of the images lose a rectangle to grey, 2 % to 33 % of them."""
    images = np.full((COUNT, 32, 32, 3), 255, np.uint8)
    lost = (changed("flip_shift_erase", images) == 127.5).all(axis=3)
    areas = lost.mean(axis=(1, 2))
    some = areas > 0
    assert 0.35 < some.mean() < 0.65
    assert 0.01 < areas[some].min() < areas.max() < 0.36
    for mask in lost[some]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_light() -> None:
    """Each image lighter or darker, with more or less contrast, by up to a fifth."""
    images = np.zeros((COUNT, 16, 16, 3), np.uint8)
    images[:, :, :8] = 100
    images[:, :, 8:] = 150
    found = changed("flip_shift_light", images)
    lightness = found.mean(axis=(1, 2, 3)) - 125
    # A flip and a shift by a pixel leave the lightest and the darkest.
    contrast = (found.max(axis=(1, 2, 3)) - found.min(axis=(1, 2, 3))) / 50
    assert -60 < lightness.min() < -30
    assert 30 < lightness.max() < 60
    assert 0.79 < contrast.min() < 0.9
    assert 1.1 < contrast.max() < 1.21


def network(name: str, seed: int = 0) -> tuple[keras.Model, keras.Model]:
    import keras

    from trainables.core.augmentation import augmented, network_of

    keras.utils.set_random_seed(seed)
    model = augmented(build(CnnConfig(depth=1, filters=4), 10), name)
    return model, network_of(model, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_the_same(name: str) -> None:
    """Its parameters, its first weights, and what it says of images."""
    import keras

    plain, _ = network("none")
    model, inside = network(name)
    assert model.count_params() == inside.count_params() == plain.count_params()
    assert len(model.trainable_variables) == len(plain.trainable_variables)
    for mine, theirs in zip(inside.variables, plain.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(theirs))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    for kind in (np.uint8, np.float32):
        for each in (model, inside):
            np.testing.assert_array_equal(each.predict_on_batch(images.astype(kind)), plain.predict_on_batch(images))
    assert not any("Random" in type(layer).__name__ for layer in inside.layers)


def test_equal_seeds_give_equal_numbers(digits16: Dataset) -> None:
    trials = [
        training(digits16, augmentation=name, seed=seed) for name, seed in (("flip_shift_erase", 3), ("flip_shift_erase", 3), ("none", 3))
    ]
    # Three layers, a generator each, and they move.
    start = trials[0].state()
    assert len(start) == len(trials[2].state()) + 3
    results: list[list[dict[str, Any]]] = [[metrics(one.run_epoch()) for _ in range(2)] for one in trials]
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert_same_arrays(trials[0].state(), trials[1].state())
    generators = [key for key, value in start.items() if key.startswith("model") and value.dtype.kind in "iu"]
    assert len(generators) == 3 + 3
    assert all((trials[0].state()[key] != start[key]).any() for key in generators)


def test_validation_moves_nothing(digits16: Dataset) -> None:
    for name in ("flip_shift_erase", "flip_shift_light"):
        one = training(digits16, augmentation=name)
        before = one.state()
        assert one._validate() == one._validate() == training(digits16)._validate()
        assert_same_arrays(one.state(), before)
