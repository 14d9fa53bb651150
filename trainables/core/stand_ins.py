"""Layers that stand for Keras' own where a network is trained: with the same variables, so the network that is stored and measured has Keras' own."""

from __future__ import annotations

from typing import Any

import keras


class VariableDropout(keras.layers.Layer):  # type: ignore[misc]
    """Keras' Dropout or SpatialDropout2D with its rate as a variable, and the generator of the layer it stands for. On TensorFlow it drops the very same
    values (JAX's own dropout keeps where the random number is small, not large)."""

    def __init__(self, layer: Any) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.noise_shape: tuple[int | None, ...] | None = getattr(layer, "noise_shape", None)
        if isinstance(layer, keras.layers.SpatialDropout2D):
            self.noise_shape = (None, 1, 1, None) if layer.data_format == "channels_last" else (None, None, 1, 1)
        self.generator = getattr(layer, "seed_generator", None) or keras.random.SeedGenerator(0)
        self.rate = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(layer.rate), trainable=False, dtype="float32", name="rate"
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop and scale in training; otherwise the inputs."""
        if not training:
            return inputs
        sizes = keras.ops.shape(inputs)
        shape = self._noise_shape(sizes)
        rate = keras.ops.cast(self.rate, inputs.dtype)
        kept = keras.random.uniform(shape, dtype=inputs.dtype, seed=self.generator) >= rate
        return keras.ops.where(kept, inputs * (1 / (1 - rate)), keras.ops.zeros_like(inputs))

    def _noise_shape(self, sizes: tuple[Any, ...]) -> tuple[Any, ...]:
        own = self.noise_shape or [None] * len(sizes)
        return tuple(size if wanted is None else wanted for wanted, size in zip(own, sizes, strict=True))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of its inputs."""
        return input_shape


def is_dropout(layer: Any) -> bool:
    """Whether VariableDropout can stand for it."""
    return type(layer) in (keras.layers.Dropout, keras.layers.SpatialDropout2D)


class FusedNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Keras' BatchNormalization of maps (N x H x W x C) whose pass in training is one operation of TensorFlow, forth and back, where Keras' has twenty. The
    numbers are the same but for rounding. (JAX fuses by itself.)"""

    def __init__(self, layer: Any) -> None:
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer
        self.supports_masking = True

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """Normalise by the batch in training, and remember its mean and variance; otherwise, and where values are masked, as the layer does."""
        layer = self.layer
        if not training or mask is not None:
            return layer(inputs, training=training, mask=mask)
        import tensorflow as tf  # Keras has no call for it

        ones, nothing = tf.ones_like(layer.moving_mean), tf.zeros(0)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, "float32"),
            scale=tf.convert_to_tensor(layer.gamma) if layer.scale else ones,
            offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(ones),
            mean=nothing,
            variance=nothing,
            epsilon=layer.epsilon,
            is_training=True,
        )
        # TensorFlow gives the variance of a sample, which a single value has none of; Keras keeps that of the batch.
        count = tf.cast(tf.size(inputs) // tf.size(ones), "float32")
        variance = tf.where(count > 1, variance * (count - 1) / count, tf.zeros_like(variance))
        for average, found in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            average.assign(average * layer.momentum + found * (1 - layer.momentum))
        return outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of its inputs."""
        return input_shape


def can_be_fused(layer: Any) -> bool:
    """Whether FusedNormalization can stand for it, and helps."""
    return (
        keras.backend.backend() == "tensorflow"
        and type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.trainable
        and not (layer.renorm or layer.synchronized or layer.activity_regularizer)
        and layer.compute_dtype == "float32"
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
    )
