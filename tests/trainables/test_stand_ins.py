"""What stands for Keras' own layers gives what they give. (Dropout, and whole trials: `test_graphs`.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trainables.trials import warm


def layer_and_maps(**settings: Any) -> tuple[Any, np.ndarray]:
    """A batch normalisation in the middle of training, and maps (5 x 4 x 6 x 3) that are far from normal."""
    warm()
    import keras

    layer = keras.layers.BatchNormalization(momentum=0.8, epsilon=0.01, **settings)
    layer.build((None, 4, 6, 3))
    draw = np.random.default_rng(3)
    for variable in layer.variables:
        variable.assign(draw.uniform(0.5, 2, variable.shape))
    return layer, (draw.normal(size=(5, 4, 6, 3)) * [0.1, 1, 10] + [5, 0, -20]).astype(np.float32)


def passes(layer: Any, call: Any, maps: np.ndarray) -> dict[str, np.ndarray]:
    """Of one pass in training: the outputs, the gradients of a loss that no channel is alike to, and what the layer remembers."""
    import tensorflow as tf

    images = tf.constant(maps)
    weights = tf.constant(np.random.default_rng(4).normal(size=maps.shape).astype(np.float32))
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = call(images, training=True)
        loss = tf.reduce_sum(weights * outputs**2)
    gradients = tape.gradient(loss, [images, *variables])
    remembered = [layer.moving_mean, layer.moving_variance]
    return {f"{n}": np.asarray(value) for n, value in enumerate([outputs, *gradients, *remembered])}


@pytest.mark.tensorflow
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"axis": 3}], ids=str)
def test_a_fused_normalisation_is_keras_own(settings: dict[str, Any]) -> None:
    """Outputs, gradients, moving averages: but for rounding."""
    (own, maps), (layer, _) = layer_and_maps(**settings), layer_and_maps(**settings)
    from trainables.core.stand_ins import FusedNormalization, can_be_fused

    assert can_be_fused(layer)
    fused = FusedNormalization(layer)
    expected, found = passes(own, own, maps), passes(layer, fused, maps)
    assert len(expected) == 6 - len(settings) + ("axis" in settings)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5 * np.abs(value).max(), err_msg=name)
    # In inference it is the layer itself.
    np.testing.assert_array_equal(fused(maps, training=False), layer(maps, training=False))
    assert [variable.path for variable in fused.variables] == [variable.path for variable in layer.variables]


@pytest.mark.tensorflow
def test_a_single_value_has_no_variance() -> None:
    """One map of one pixel: that of a sample would be divided by nothing."""
    (own, maps), (layer, _) = layer_and_maps(), layer_and_maps()
    from trainables.core.stand_ins import FusedNormalization

    one = maps[:1, :1, :1]
    for average, found in zip(
        (own(one, training=True), own.moving_mean, own.moving_variance),
        (FusedNormalization(layer)(one, training=True), layer.moving_mean, layer.moving_variance),
        strict=True,
    ):
        # Keras subtracts what are some 20 each.
        np.testing.assert_allclose(found, average, rtol=1e-4)


@pytest.mark.tensorflow
def test_what_cannot_be_fused_stays() -> None:
    warm()
    import keras

    from trainables.core.stand_ins import can_be_fused

    def built(shape: tuple[int | None, ...] = (None, 4, 6, 3), kind: Any = keras.layers.BatchNormalization, **settings: Any) -> Any:
        layer = kind(**settings)
        layer.build(shape)
        return layer

    class Own(keras.layers.BatchNormalization):  # type: ignore[misc]
        """A user's."""

    assert can_be_fused(built())
    for layer in (
        built(axis=1),
        built((None, 8)),
        built(dtype="mixed_float16"),
        built(renorm=True),
        built(trainable=False),
        built(kind=Own),
        keras.layers.LayerNormalization(),
    ):
        assert not can_be_fused(layer)
