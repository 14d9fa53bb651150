"""The least that a list of trials can cost: its training steps, each done once, back to back in one process with all cores.

    python -m comparing.bound TASK.json OUT.json

The task is that of `comparing.plain`. Imports, building, tracing and evaluation are outside the clock. Of trials that differ in `epochs` alone the
longest is trained. What is frozen runs once over the training and validation images (of several depths of freezing only the deepest counts: it
passes the others), and the epochs train the rest on what came out; that part is written in Keras alone, not with our own code for it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from comparing.lists import unique
from comparing.plain import compiled
from data_prep import Dataset, open_dataset
from trainables import TrainConfig, get_trainable
from trainables.core.config import split_of
from trainables.core.pretrained import PretrainedConfig
from trainables.core.training import Training

FORWARD_BATCH = 256


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def training_seconds(trainable: str, config: TrainConfig, dataset: Dataset) -> float:
    """The training steps of one trial, as ours takes them."""
    training = Training(get_trainable(trainable), config, dataset)
    # A step for each shape of batch that there is.
    training.train(1, training.rows[: config.batch_size + len(training.rows) % config.batch_size]).finish()
    return sum(seconds(training.train(epoch, training.rows).finish) for epoch in range(1, config.epochs + 1))


class Frozen:
    """A network cut in two where its training begins: `front` gives what does not change, `tail` is trained on that."""

    def __init__(self, model: keras.Model) -> None:
        first = next(n for n, layer in enumerate(model.layers) if layer.trainable_weights or isinstance(layer, keras.layers.Dropout))
        self.layers, cut, found = first, model.layers[first], []

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if layer is cut:
                found.append(args[0])
            return layer(*args, **kwargs)

        images = keras.Input(model.inputs[0].shape[1:])
        keras.models.clone_model(model, input_tensors=images, clone_function=lambda layer: layer, call_function=call)
        self.front = keras.Model(images, found[0])
        self.tail = keras.Sequential([keras.Input(found[0].shape[1:]), *model.layers[first:]])

    def forward(self, images: np.ndarray) -> np.ndarray:
        """The features of these images."""
        return np.concatenate(
            [self.front.predict_on_batch(images[start : start + FORWARD_BATCH]) for start in range(0, len(images), FORWARD_BATCH)]
        )


def frozen_seconds(trainable: str, config: TrainConfig, dataset: Dataset, forward: dict[int, float]) -> float:
    """The training steps of one trial that starts from a frozen network; in `forward`, by the number of layers, the passes through what is frozen."""
    model = compiled(trainable, config, len(dataset.classes))
    optimizer = model.optimizer
    frozen, split = Frozen(model), split_of(config, dataset)
    rows = np.concatenate([split.train, split.validation])
    images, labels = dataset.images[rows], dataset.labels[split.train]
    frozen.forward(images[: FORWARD_BATCH + len(images) % FORWARD_BATCH])
    features: list[np.ndarray] = []
    taken = seconds(lambda: features.append(frozen.forward(images)))
    forward.setdefault(frozen.layers, taken)
    inputs, batch = features[0], config.batch_size
    frozen.tail.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    frozen.tail.make_train_function()

    def epoch(number: int, count: int) -> None:
        order = np.random.default_rng(number).permutation(count)
        for start in range(0, count, batch):
            part = order[start : start + batch]
            outputs = frozen.tail.train_function(iter([(inputs[part], labels[part])]))
        float(outputs["loss"])

    epoch(0, min(len(labels), batch + len(labels) % batch))
    return sum(seconds(partial(epoch, number, len(labels))) for number in range(1, config.epochs + 1))


def main() -> None:
    """Write the seconds: `steps` and `forward`."""
    task = json.loads(Path(sys.argv[1]).read_text())
    dataset, steps = open_dataset(Path(task["dataset"])), 0.0
    forward: dict[int, float] = {}
    for trial in unique(task["trials"]):
        config = get_trainable(task["trainable"]).config(**trial)
        if isinstance(config, PretrainedConfig):
            steps += frozen_seconds(task["trainable"], config, dataset, forward)
        else:
            steps += training_seconds(task["trainable"], config, dataset)
        keras.utils.clear_session()
    Path(sys.argv[2]).write_text(json.dumps({"steps": steps, "forward": max(forward.values(), default=0.0)}))


if __name__ == "__main__":
    main()
