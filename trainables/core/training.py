"""One model in training: epochs, validation and its exact state. Keras and numpy only, so it runs on every Keras backend and without Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from data_prep import Dataset
from trainables.core import normalization
from trainables.core.augmentation import augmented, network_of
from trainables.core.config import TrainConfig, split_of
from trainables.core.recipe import compile_model, plain_loss
from trainables.core.schedule import rate
from trainables.core.steps import Batch, test_steps, train_steps
from trainables.core.trainable import Trainable

Arrays = dict[str, np.ndarray]

EVALUATION_BATCH = 512


class OutOfTime(Exception):
    """The run's time budget ended in the middle of an epoch."""


class Training:
    """A trial's model, optimizer and place in its data. Equal settings, data and state give equal numbers, to the last bit on a CPU.

    `final`: it trains on the validation images, too, and so has no figures of them."""

    def __init__(
        self, trainable: Trainable, config: TrainConfig, dataset: Dataset, base: keras.Model | None = None, *, final: bool = False
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.split = split_of(config, dataset)
        self.final = final
        self.rows = np.concatenate([self.split.train, self.split.validation]) if final else self.split.train
        self.model = build_model(trainable, config, class_count(config, dataset), base)
        normalization.adapt(network_of(self.model, config.augmentation), dataset.images, self.rows)
        self.history: list[dict[str, Any]] = []
        self.deadline = math.inf

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    def run_epoch(self) -> dict[str, Any]:
        """One pass over the training images, then the validation images. Gives and remembers the epoch's metrics: losses in nats, accuracies as
        parts of 1 (training ones as seen during the epoch, with dropout and augmentation), the learning rate of the last step, times in s.

        OutOfTime at the first batch after `deadline` (Unix time, s): then the state is that of a part of an epoch, and of no further use."""
        epoch, started = self.epoch + 1, time.perf_counter()
        train = self.train(epoch, self.rows)
        trained = time.perf_counter()
        validation = None if self.final else self._validate()
        self.history.append(
            {
                "epoch": epoch,
                "train_loss": plain_loss(train),
                "train_accuracy": train["accuracy"],
                "val_loss": validation and plain_loss(validation),
                "val_accuracy": validation and validation["accuracy"],
                "learning_rate": _shortest(self.model.optimizer.learning_rate),
                "epoch_seconds": time.perf_counter() - started,
                "images_per_second": len(self.rows) / (trained - started),
                "finished_at": time.time(),
            }
        )
        return self.history[-1]

    def train(self, epoch: int, rows: np.ndarray) -> dict[str, float]:
        """Mean loss and accuracy of one pass over these rows, in the order that (seed, epoch) gives: equal after a resume."""
        order = np.random.default_rng((self.config.seed, epoch)).permutation(rows)
        parts = batches(order, self.config.batch_size)
        if self.config.schedule == "constant":
            return train_steps(self.model, map(self.gather, parts))
        return train_steps(self.model, self._scheduled(epoch, parts))

    def _scheduled(self, epoch: int, parts: list[np.ndarray]) -> Iterator[Batch]:
        """The batches, each after its learning rate was set."""
        before, steps = (epoch - 1) * len(parts), self.config.epochs * len(parts)
        for step, part in enumerate(parts, before):
            self.model.optimizer.learning_rate = rate(self.config, step, steps)
            yield self.gather(part)

    def _validate(self) -> dict[str, float]:
        return test_steps(self.model, map(self.gather, batches(self.split.validation, EVALUATION_BATCH)))

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (uint8, N x H x W x 3) and labels (int32, N) of these rows, in memory."""
        if time.time() >= self.deadline:
            raise OutOfTime
        return self.dataset.images[rows], self.dataset.labels[rows]

    def state(self) -> Arrays:
        """Everything that later numbers depend on: all variables, the generators of dropout and augmentation among them (a `.keras` file lacks
        those)."""
        variables = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        return {f"{part}/{n:04d}": keras.ops.convert_to_numpy(variable) for part in variables for n, variable in enumerate(variables[part])}

    def restore(self, state: Arrays, history: list[dict[str, Any]]) -> None:
        """Go back to a stored state; ValueError when it is of another network."""
        restore_variables(self.model.variables, state, "model")
        restore_variables(self.model.optimizer.variables, state, "optimizer")
        normalization.finalize(self.model)
        self.history = list(history)


def build_model(trainable: Trainable, config: TrainConfig, classes: int, base: keras.Model | None = None) -> keras.Model:
    """The trial's network behind its augmentation, compiled; its weights and generators are drawn from the trial's seed, those of a `base` kept."""
    keras.utils.set_random_seed(config.seed)
    network = trainable.build(config, classes, base) if base is not None else trainable.build(config, classes)
    model = augmented(network, config.augmentation)
    compile_model(model, config)
    return model


def restore_variables(variables: list[keras.Variable], state: Arrays, part: str) -> None:
    """Assign `part/0000`, `part/0001`, ... in order; ValueError when count or shapes differ."""
    stored = [state[key] for key in sorted(state) if key.startswith(f"{part}/")]
    if [value.shape for value in stored] != [tuple(variable.shape) for variable in variables]:
        raise ValueError(
            f"a checkpoint holds the variables of its own network, but its {part} variables differ in count or shape from the trial's"
        )
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)


def _shortest(variable: keras.Variable) -> float:
    """The shortest decimal that is the same float32: 0.001 and not 0.0010000000474974513."""
    return float(str(np.float32(keras.ops.convert_to_numpy(variable))))


def class_count(config: TrainConfig, dataset: Dataset) -> int:
    """Outputs of the network."""
    return config.classes or len(dataset.classes)


def batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows in order, `size` at a time; the last may be fewer."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
