"""Steps over batches that are already in memory, without Keras' `fit`: no tf.data between us and the step.

`fit` and `evaluate` wrap arrays in tf.data, whose autotuning makes each call wait up to seconds for a sleeping thread (TensorFlow 2.21), and whose
iterators start anew every epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

import keras
import numpy as np

Batch = tuple[np.ndarray, np.ndarray]
Means = dict[str, float]
# Yields what a step gives, or None, and returns the means over all images.
Stepwise = Generator[Any, None, Means]


class Pass:
    """A pass over batches that can be left between two steps and gone on with. `seconds`: what its steps took, the time between two calls not counted;
    `means`: of loss and metrics over all images, None before the last step."""

    def __init__(self, steps: Stepwise) -> None:
        self.steps = steps
        self.means: Means | None = None
        self.seconds = 0.0

    def go_on(self, until: Callable[[], bool] | None = None) -> None:
        """Take steps until then, each to its end; or all that are left."""
        started = time.perf_counter()
        try:
            while self.means is None and not (until and until()):
                given = next(self.steps)
                if until and given:
                    # A GPU would be many steps behind when `until` is asked.
                    float(next(iter(given.values())))
        except StopIteration as end:
            self.means = end.value
        self.seconds += time.perf_counter() - started

    def finish(self) -> Means:
        """Take all that are left."""
        self.go_on()
        assert self.means is not None
        return self.means


class Steps:
    """The steps of a model, which is compiled before and not again. On TensorFlow each is one program for batches of any number of images, where
    Keras' own is traced for the first batch and again for a smaller one, the last of an epoch: 1 s for the report's CNN on two cores."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.programs: dict[str, Callable[[Any], Any]] = {}

    def train(self, batches: Iterable[Batch]) -> Pass:
        """A training step a batch (images, labels), none of them taken yet."""
        if keras.backend.backend() == "tensorflow":
            return Pass(self._stepwise("train_step", batches))
        return Pass(on_batch(self.model.train_on_batch, batches))

    def test(self, batches: Iterable[Batch]) -> Pass:
        """The same without training."""
        if keras.backend.backend() == "tensorflow":
            return Pass(self._stepwise("test_step", batches))
        return Pass(on_batch(self.model.test_on_batch, batches))

    def predict(self, batches: Iterable[np.ndarray]) -> np.ndarray:
        """What the model gives for all images of the batches: N x its outputs, float32."""
        one = self._program("predict_step") if keras.backend.backend() == "tensorflow" else self.model.predict_on_batch
        return np.concatenate([keras.ops.convert_to_numpy(one(images)) for images in batches])

    def _stepwise(self, step: str, batches: Iterable[Batch]) -> Stepwise:
        """As Keras' `train_on_batch`, but without fetching the metrics of every step: +3 % images/s on two CPU threads, and on a GPU no wait between
        steps."""
        program = self._program(step)
        self.model.reset_metrics()
        for batch in batches:
            yield program(batch)
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


def on_batch(function: Callable[..., dict[str, Any]], batches: Iterable[Batch]) -> Stepwise:
    """Keras' public call of every backend; it gives the means of one batch, as numbers."""
    sums: dict[str, float] = {}
    count = 0
    for images, labels in batches:
        for name, mean in function(images, labels, return_dict=True).items():
            sums[name] = sums.get(name, 0.0) + float(mean) * len(labels)
        count += len(labels)
        yield None
    return {name: total / count for name, total in sums.items()}
