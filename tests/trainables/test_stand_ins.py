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
        # Keras subtracts what are some 400 each.
        np.testing.assert_allclose(found, average, rtol=1e-4, atol=2e-4)


@pytest.mark.tensorflow
def test_masked_values_are_left_to_keras() -> None:
    (own, maps), (layer, _) = layer_and_maps(), layer_and_maps()
    from trainables.core.stand_ins import FusedNormalization

    mask = np.random.default_rng(5).random((5, 4, 6)) > 0.5
    expected, found = own(maps, training=True, mask=mask), FusedNormalization(layer)(maps, training=True, mask=mask)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(layer.moving_mean, own.moving_mean)
    assert np.abs(np.asarray(expected) - np.asarray(own(maps, training=True))).max() > 0.1, "the mask does something"


@pytest.mark.tensorflow
def test_it_reads_images() -> None:
    """As Keras' own: of whole numbers it takes the mean of numbers."""
    (own, _), (layer, _) = layer_and_maps(), layer_and_maps()
    from trainables.core.stand_ins import FusedNormalization

    images = np.random.default_rng(6).integers(0, 255, (5, 4, 6, 3)).astype(np.uint8)
    np.testing.assert_allclose(FusedNormalization(layer)(images, training=True), own(images, training=True), atol=1e-4)


@pytest.mark.tensorflow
def test_one_that_is_used_twice_and_one_inside() -> None:
    """In a network, and in a network in it: variables in the same order, and one pass moves them as in Keras' own."""
    warm()
    import keras
    from keras import layers

    from trainables.core.graphs import _with_stand_ins

    def network() -> keras.Model:
        keras.utils.set_random_seed(2)
        inner_images = keras.Input((8, 8, 4))
        inner = keras.Model(inner_images, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inner_images)))
        images, twice = keras.Input((8, 8, 3)), layers.BatchNormalization()
        x = twice(layers.Conv2D(4, 3, padding="same")(images))
        x = twice(inner(x))
        return keras.Model(images, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(x)))

    plain, copied = network(), network()
    fused, _ = _with_stand_ins(copied)
    assert [type(layer).__name__ for layer in fused.layers].count("FusedNormalization") >= 2
    assert [id(variable) for variable in fused.trainable_variables] == [id(variable) for variable in copied.trainable_variables]
    images = np.random.default_rng(7).normal(size=(6, 8, 8, 3)).astype(np.float32)
    labels = np.arange(6) % 2
    for model in (plain, fused):
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", jit_compile=False)
        model.train_on_batch(images, labels)
    for one, other in zip(copied.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=other.path)


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
        built(synchronized=True),
        built(activity_regularizer="l2"),
        keras.layers.BatchNormalization(),
        built(renorm=True),
        built(trainable=False),
        built(kind=Own),
        keras.layers.LayerNormalization(),
    ):
        assert not can_be_fused(layer)
