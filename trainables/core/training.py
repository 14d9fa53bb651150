"""One model in training: epochs, validation and its exact state. Keras and numpy only, so it runs on every Keras backend and without Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from data_prep import Dataset
from trainables.core import normalization
from trainables.core.augmentation import augmented
from trainables.core.bases import KeptBase
from trainables.core.config import TrainConfig, split_of
from trainables.core.cut import cut
from trainables.core.graphs import Graphs
from trainables.core.inputs import FeatureCache, StoredInputs, stored_inputs, usable_cut, views_of
from trainables.core.recipe import plain_loss, plain_variables
from trainables.core.schedule import rate
from trainables.core.steps import Batch, Pass
from trainables.core.trainable import Trainable

Arrays = dict[str, np.ndarray]

EVALUATION_BATCH = 512


class OutOfTime(Exception):
    """The run's time budget ended in the middle of an epoch."""


class Training:
    """A trial's model, optimizer and place in its data. Equal settings, data and state give equal numbers, to the last bit on a CPU.

    `network`: its own, as `bases.build_network` makes it (None: made here, where it has a base that has random weights). `final`: it trains on the
    validation images, too, and so has no figures of them. `graphs`: compiled networks of earlier trials of this process; `cache`: where features of
    frozen layers are kept (None: these layers run in every epoch)."""

    def __init__(  # noqa: PLR0913 - what it is, and what it may share
        self,
        trainable: Trainable,
        config: TrainConfig,
        dataset: Dataset,
        network: keras.Model | None = None,
        *,
        final: bool = False,
        graphs: Graphs | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.split = split_of(config, dataset)
        self.final = final
        self.rows = np.concatenate([self.split.train, self.split.validation]) if final else self.split.train
        self.network = network or KeptBase().network(trainable, config, class_count(config, dataset), {})
        normalization.adapt(self.network, dataset.images, self.rows)
        found = usable_cut(self.network, config, cache)
        self.stored = stored_inputs(found, config, dataset, cache)
        if self.stored:
            try:
                self._want(self.stored)
            except OSError:
                # More than may be kept, or nowhere to keep it: the frozen part runs in every epoch.
                self.stored = None
        found = found if self.stored else None
        # Of augmented images the features are stored as views.
        trained = found.tail if found else augmented(self.network, config.augmentation)
        own = set(map(id, self.network.variables))
        state = [*changing_variables(self.network, trainable), *(variable for variable in trained.variables if id(variable) not in own)]
        self.graph = (graphs or Graphs()).take(trained, state, config)
        self.model = self.graph.model
        self.history: list[dict[str, Any]] = []
        self.deadline = math.inf
        self._begun: Pass | None = None
        self._failed: Exception | None = None

    def _want(self, stored: StoredInputs) -> None:
        self.parts = ("train", "validation") if self.final else ("train",)
        for part in self.parts:
            for view in range(1, views_of(self.config) + 1) or (0,):
                stored.want(part, view)
        if not self.final:
            stored.want("validation")

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    def run_epoch(self) -> dict[str, Any]:
        """One pass over the training images, then the validation images. Gives and remembers the epoch's metrics: losses in nats, accuracies as
        parts of 1 (training ones as seen during the epoch, with dropout and augmentation), the learning rate of the last step, times in s.

        OutOfTime at the first batch after `deadline` (Unix time, s): then the state is that of a part of an epoch, and of no further use."""
        while self.stored and self.stored.missing:
            self.stored.prepare()
        if self._failed:
            raise self._failed
        begun, self._begun = self._begun or self.train(self.epoch + 1, self.rows), None
        train, started = begun.finish(), time.perf_counter()
        validation = None if self.final else self._validate()
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "train_loss": plain_loss(train),
                "train_accuracy": train["accuracy"],
                "val_loss": validation and plain_loss(validation),
                "val_accuracy": validation and validation["accuracy"],
                "learning_rate": _shortest(self.model.optimizer.learning_rate),
                "epoch_seconds": begun.seconds + time.perf_counter() - started,
                "images_per_second": len(self.rows) / begun.seconds,
                "finished_at": time.time(),
            }
        )
        return self.history[-1]

    def run_ahead(self, until: Callable[[], bool]) -> None:
        """Take steps of the next epoch, if there is one, until then; `run_epoch` goes on from there. What fails is raised by that: the epochs before
        are whole. From here on `state` is that of a part of an epoch."""
        if self.epoch >= self.config.epochs:
            return
        self._begun = self.train(self.epoch + 1, self.rows)
        try:
            self._begun.go_on(until)
        except Exception as error:  # whatever it is
            self._failed = error

    def train(self, epoch: int, rows: np.ndarray) -> Pass:
        """Steps of one pass over these rows, in the order that (seed, epoch) gives: equal after a resume. Its means: `loss`, `accuracy`."""
        order = np.random.default_rng((self.config.seed, epoch)).permutation(rows)
        parts = batches(order, self.config.batch_size)
        return self.graph.steps.train(self._scheduled(epoch, parts))

    def _scheduled(self, epoch: int, parts: list[np.ndarray]) -> Iterator[Batch]:
        """The batches, each after its learning rate was set."""
        before, steps = (epoch - 1) * len(parts), self.config.epochs * len(parts)
        for step, part in enumerate(parts, before):
            if self.config.schedule != "constant":
                self.model.optimizer.learning_rate = rate(self.config, step, steps)
            yield self.gather(part, epoch)

    def _validate(self) -> dict[str, float]:
        return self.graph.steps.test(map(self.gather, batches(self.split.validation, EVALUATION_BATCH))).finish()

    def gather(self, rows: np.ndarray, epoch: int | None = None) -> Batch:
        """What the model reads for these rows, in memory (images: uint8, N x H x W x 3; or features), and their labels (int32, N); of rows for training
        in that epoch."""
        if time.time() >= self.deadline:
            raise OutOfTime
        if not self.stored:
            return self.dataset.images[rows], self.dataset.labels[rows]
        views = views_of(self.config)
        view = 1 + (epoch - 1) % views if epoch and views else 0
        return self.stored.gather(rows, self.parts if epoch else ("validation",), view), self.dataset.labels[rows]

    def state(self) -> Arrays:
        """Everything that later numbers depend on and training changes: variables, the generators of dropout and augmentation among them (a `.keras`
        file lacks those). Copies: no later step changes them."""
        variables = {"model": self.graph.state, "optimizer": plain_variables(self.model.optimizer)}
        return {f"{part}/{n:04d}": _copied(variable) for part in variables for n, variable in enumerate(variables[part])}

    def restore(self, state: Arrays, history: list[dict[str, Any]]) -> None:
        """Go back to a stored state; ValueError when it is of another network."""
        restore_variables(self.graph.state, state, "model")
        restore_variables(plain_variables(self.model.optimizer), state, "optimizer")
        normalization.finalize(self.model)
        self.history = list(history)
        self._begun = self._failed = None


def changing_variables(network: keras.Model, trainable: Trainable) -> list[keras.Variable]:
    """What training changes of a network, in a fixed order: all but its frozen part. Where a network is built `bare` to be measured, its frozen weights
    have no other source than the checkpoint: then all."""
    found = cut(network) if trainable.bare is None else None
    frozen = set(map(id, found.frozen.variables)) if found else set()
    return [variable for variable in network.variables if id(variable) not in frozen]


def restore_variables(variables: list[keras.Variable], state: Arrays, part: str) -> None:
    """Assign `part/0000`, `part/0001`, ... in order; ValueError when count or shapes differ. Those of augmentation come last and may be left out."""
    stored = [state[key] for key in sorted(state) if key.startswith(f"{part}/")][: len(variables)]
    if [value.shape for value in stored] != [tuple(variable.shape) for variable in variables]:
        raise ValueError(
            f"a checkpoint holds the variables of its own network, but its {part} variables differ in count or shape from the trial's"
        )
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)


def _copied(variable: keras.Variable) -> np.ndarray:
    value: np.ndarray = keras.ops.convert_to_numpy(variable)
    # TensorFlow's and JAX's is a copy; PyTorch's, on a CPU, the memory that the next step writes to.
    return value if value.flags.owndata else value.copy()


def _shortest(variable: keras.Variable) -> float:
    """The shortest decimal that is the same float32: 0.001 and not 0.0010000000474974513."""
    return float(str(np.float32(keras.ops.convert_to_numpy(variable))))


def class_count(config: TrainConfig, dataset: Dataset) -> int:
    """Outputs of the network."""
    return config.classes or len(dataset.classes)


def batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """The rows in order, `size` at a time; the last may be fewer."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
