"""Where networks are cut: behind all that stays the same for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.trainables.trials import warm
from trainables import get_trainable

if TYPE_CHECKING:
    import keras

    from trainables.core.cut import Cut


def built(name: str, **settings: Any) -> keras.Model:
    warm()
    import keras

    keras.utils.set_random_seed(0)
    trainable = get_trainable(name)
    return trainable.build(trainable.config(**settings), 10)


def cut_of(model: keras.Model) -> Cut | None:
    from trainables.core.cut import cut

    return cut(model)


@pytest.mark.parametrize(
    ("unfrozen", "shape", "pays"),
    [
        # All of the base, up to the vector that the head reads.
        (0, (512,), True),
        # Half a block, a block, ...: the maps before them.
        (5, (6, 6, 128), True),
        (8, (6, 6, 64), True),
        (13, (15, 15, 64), True),
        (16, (15, 15, 32), True),
        # One convolution from 3 to 32 channels saves less than reading 64 KB an image costs.
        (21, (32, 32, 32), False),
    ],
)
def test_depths_of_the_base(unfrozen: int, shape: tuple[int, ...], pays: bool) -> None:
    network = built("fine_tune", unfrozen_layers=unfrozen)
    found = cut_of(network)
    assert found
    assert (found.shape, found.pays("float16")) == (shape, pays)
    assert not found.frozen.trainable_weights
    assert [id(variable) for variable in found.tail.trainable_variables] == [id(variable) for variable in network.trainable_variables]


@pytest.mark.parametrize(("name", "settings"), [("cnn", {}), ("alexnet", {}), ("base", {}), ("fine_tune", {"unfrozen_layers": 24})])
def test_nothing_frozen_is_no_cut(name: str, settings: dict[str, Any]) -> None:
    """A network that learns from its first layer on; its scaling alone is not worth a cut."""
    assert cut_of(built(name, **settings)) is None


def test_both_parts_are_the_network() -> None:
    network = built("transfer", size=16, dense_units=8)
    found = cut_of(network)
    assert found
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    features = found.frozen.predict_on_batch(images)
    np.testing.assert_allclose(found.tail.predict_on_batch(features), network.predict_on_batch(images), atol=1e-6)


def test_two_operations_for_each_use_of_a_weight() -> None:
    """Of the base: 32 x 32 px x 9 x 3 x 32 weights, 30 x 30 x 9 x 32 x 32, ... twice each."""
    found = cut_of(built("fine_tune", unfrozen_layers=16))
    assert found
    assert found.saved == 2 * (32 * 32 * 9 * 3 * 32 + 30 * 30 * 9 * 32 * 32)


def test_a_way_around_the_frozen_part() -> None:
    """A cut is where everything passes: not where a layer that learns reads the images, too."""
    warm()
    import keras

    images = keras.Input((8, 8, 3))
    frozen = keras.layers.Conv2D(4, 3, padding="same", trainable=False)
    x = keras.layers.Concatenate()([frozen(images), images])
    end = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    # What joins both does not learn either, so it is cut behind that.
    found = cut_of(keras.Model(images, end))
    assert found
    assert found.shape == (8 * 8 * 7,)
    learning = keras.layers.Conv2D(3, 1)(images)
    x = keras.layers.Concatenate()([frozen(images), learning])
    assert cut_of(keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(x)))) is None


@pytest.mark.parametrize("noise", ["Dropout", "SpatialDropout2D", "GaussianNoise", "RandomFlip"])
def test_what_is_random_is_not_frozen(noise: str) -> None:
    """A frozen Dropout goes on dropping, so what comes behind it differs in every epoch."""
    warm()
    import keras

    layer = keras.layers.RandomFlip() if noise == "RandomFlip" else getattr(keras.layers, noise)(0.5)
    images = keras.Input((8, 8, 3))
    first, second = (keras.layers.Conv2D(4, 3, trainable=False) for _ in range(2))
    x = second(layer(first(images)))
    found = cut_of(keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    assert found
    assert found.shape == (6, 6, 4)
    assert found.frozen.layers[-1] is first


def test_batch_normalization_that_learns_is_not_frozen() -> None:
    """Its statistics change in training, also where it has neither scale nor offset to learn."""
    warm()
    import keras

    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, trainable=False)(images)
    x = keras.layers.BatchNormalization(scale=False, center=False)(x)
    found = cut_of(keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    assert found
    assert found.shape == (6, 6, 4)


def test_a_model_without_a_graph_is_not_cut() -> None:
    warm()
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def call(self, images: Any) -> Any:
            return images

    assert cut_of(Own()) is None
