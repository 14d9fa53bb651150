"""What a training step minimises, and by which optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from trainables.core.config import TrainConfig

CROSS_ENTROPY = "cross_entropy"


def compile_model(model: keras.Model, config: TrainConfig) -> None:
    """Compile it for training as the settings say; `plain_loss` reads what its steps give."""
    metrics: list[Any] = ["accuracy"]
    if config.label_smoothing:
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(name=CROSS_ENTROPY))
    loss = _smoothed(config.label_smoothing) if config.label_smoothing else "sparse_categorical_crossentropy"
    model.compile(optimizer=_optimizer(config, model.trainable_variables), loss=loss, metrics=metrics)
    # Slots are made now so that a stored state has variables to go into before the first step.
    model.optimizer.build(model.trainable_variables)


def vary(optimizer: keras.optimizers.Optimizer) -> None:
    """Make its weight decay a variable, as its learning rate is one: one program serves all values. (What is saved as a model has none of this.)"""
    if optimizer.weight_decay is not None:
        optimizer.weight_decay = keras.Variable(optimizer.weight_decay, trainable=False, name="weight_decay")


def begin(optimizer: keras.optimizers.Optimizer, config: TrainConfig) -> None:
    """Set it to the first step of the settings."""
    for variable in plain_variables(optimizer):
        variable.assign(keras.ops.zeros(variable.shape, dtype=variable.dtype))
    optimizer.learning_rate = config.learning_rate
    if optimizer.weight_decay is not None:
        optimizer.weight_decay.assign(config.weight_decay)


def plain_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Those that it had before `vary`."""
    return [variable for variable in optimizer.variables if variable is not optimizer.weight_decay]


def compile_plain(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile it with this optimizer, and with what any Keras loads: no loss of ours."""
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def plain_loss(metrics: dict[str, float]) -> float:
    """Mean cross-entropy in nats, without label smoothing: comparable between trials."""
    return metrics.get(CROSS_ENTROPY, metrics["loss"])


def _optimizer(config: TrainConfig, variables: list[keras.Variable]) -> keras.optimizers.Optimizer:
    sgd = config.optimizer == "sgd"
    if not config.weight_decay:
        return keras.optimizers.SGD(config.learning_rate) if sgd else keras.optimizers.Adam(config.learning_rate)
    decaying = keras.optimizers.SGD if sgd else keras.optimizers.AdamW
    optimizer = decaying(config.learning_rate, weight_decay=config.weight_decay)
    # Biases, and the scales and offsets of normalization, are vectors; what is decayed are kernels.
    optimizer.exclude_from_weight_decay([variable for variable in variables if len(variable.shape) < 2])
    return optimizer


def _smoothed(smoothing: float) -> Callable[[Any, Any], Any]:
    def smoothed_cross_entropy(labels: Any, probabilities: Any) -> Any:
        one_hot = keras.ops.one_hot(keras.ops.cast(labels, "int32"), probabilities.shape[-1])
        return keras.losses.categorical_crossentropy(one_hot, probabilities, label_smoothing=smoothing)

    return smoothed_cross_entropy
