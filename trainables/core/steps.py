"""Steps over batches that are already in memory, without Keras' `fit`: no tf.data between us and the step.

`fit` and `evaluate` wrap arrays in tf.data, whose autotuning makes each call wait up to seconds for a sleeping thread (TensorFlow 2.21), and whose
iterators start anew every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

Batch = tuple[np.ndarray, np.ndarray]


class Steps:
    """The steps of a model, which is compiled before and not again. On TensorFlow each is one program for batches of any number of images, where
    Keras' own is traced for the first batch and again for a smaller one, the last of an epoch: 1 s for the report's CNN on two cores."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.programs: dict[str, Callable[[Any], Any]] = {}

    def train(self, batches: Iterable[Batch]) -> dict[str, float]:
        """A training step a batch (images, labels); means of loss and metrics over all images."""
        if keras.backend.backend() == "tensorflow":
            return self._means("train_step", batches)
        return on_batch(self.model.train_on_batch, batches)

    def test(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The same without training."""
        if keras.backend.backend() == "tensorflow":
            return self._means("test_step", batches)
        return on_batch(self.model.test_on_batch, batches)

    def predict(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        """What the model gives for all images of the batches: N x its outputs, float32."""
        one = self._program("predict_step") if keras.backend.backend() == "tensorflow" else self.model.predict_on_batch
        return np.concatenate([keras.ops.convert_to_numpy(one(images)) for images in batches])

    def _means(self, step: str, batches: Iterable[Batch]) -> dict[str, float]:
        """As Keras' `train_on_batch`, but without fetching the metrics of every step: +3 % images/s on two CPU threads, and on a GPU no wait between
        steps."""
        program = self._program(step)
        self.model.reset_metrics()
        for batch in batches:
            program(batch)
        return {name: float(value) for name, value in self.model.get_metrics_result().items()}

    def _program(self, step: str) -> Callable[[Any], Any]:
        if step not in self.programs:
            import tensorflow as tf  # Keras has no call that says what a step takes

            images = self.model.inputs[0]
            takes = tf.TensorSpec((None, *images.shape[1:]), images.dtype)
            if step != "predict_step":
                takes = (takes, tf.TensorSpec((None,), "int32"))
                # Makes the metrics' variables: a program that makes variables is traced twice.
                self.model.compute_metrics(None, np.zeros(1, "int32"), np.ones((1, *self.model.outputs[0].shape[1:]), "float32"))
            self.programs[step] = tf.function(
                getattr(self.model, step), input_signature=[takes], autograph=False, jit_compile=self.model.jit_compile
            )
        return self.programs[step]


def on_batch(function: Callable[..., dict[str, Any]], batches: Iterable[Batch]) -> dict[str, float]:
    """Keras' public call of every backend; it gives the means of one batch."""
    sums: dict[str, float] = {}
    count = 0
    for images, labels in batches:
        for name, mean in function(images, labels, return_dict=True).items():
            sums[name] = sums.get(name, 0.0) + float(mean) * len(labels)
        count += len(labels)
    return {name: total / count for name, total in sums.items()}
