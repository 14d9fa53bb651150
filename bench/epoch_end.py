"""How long does a training do nothing between the last step of an epoch and the next step?

    python bench/epoch_end.py [--images N] [--epochs N] [--threads N]

Two trainings of `cnn` in one process, one after the other: Keras' `fit` on arrays in memory, and ours, which copies its state after each epoch, as a
worker does for the checkpoint (its writing, and Ray Tune's answer, are not in it). Takes the time at which each step ends. A pause is from the last
training step to the first of the validation, or from its last to the first of the next epoch, less a usual step of that kind. Prints the median and
the longest pause of both; epochs from the third on, since the first ones trace. Exit code 1 where ours has one of 0.1 s. Fashion-MNIST (Debian's
package `dataset-fashion-mnist`), prepared under data/.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from data_prep import Dataset, prepare
from trainables import TrainConfig, get_trainable
from trainables.core.devices import claim

LIMIT_SECONDS = 0.1
TRACED = 2  # epochs
LEAST_IMAGES = 20_000  # below, a validation of ours has no two full batches
LEAST_EPOCHS = TRACED + 2
# (kind, s at its end) of each step.
Ends = list[tuple[str, float]]


def pauses(ends: Ends) -> dict[str, list[float]]:
    """Kind of the step that follows -> s of each pause before such a step."""
    passes = [(kind, [end for _, end in steps]) for kind, steps in groupby(ends, key=lambda step: step[0])][2 * TRACED :]
    # The last batch of a pass may be small, and no first one is.
    usual = {
        wanted: statistics.median_high(later - end for kind, steps in passes if kind == wanted for end, later in pairwise(steps))
        for wanted in ("train", "test")
    }
    found: dict[str, list[float]] = {"test": [], "train": []}
    for (_, before), (kind, after) in pairwise(passes):
        found[kind].append(after[0] - before[-1] - usual[kind])
    return found


def by_fit(config: TrainConfig, dataset: Dataset) -> Ends:
    """Keras' own loop."""
    import keras

    from trainables.core.config import split_of

    ends: Ends = []
    model = get_trainable("cnn").build(config, len(dataset.classes))
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = split_of(config, dataset)
    noted = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(("train", time.perf_counter())))
    noted.on_test_batch_end = lambda batch, logs: ends.append(("test", time.perf_counter()))
    train, validation = ((dataset.images[part], dataset.labels[part]) for part in (rows.train, rows.validation))
    model.fit(*train, batch_size=config.batch_size, epochs=config.epochs, validation_data=validation, callbacks=[noted], verbose=0)
    return ends


def by_us(config: TrainConfig, dataset: Dataset) -> Ends:
    """Ours, as a worker calls it."""
    from trainables.core.training import Training

    ends: Ends = []
    training = Training(get_trainable("cnn"), config, dataset)
    steps = training.graph.steps
    for kind in ("train", "test"):
        steps.programs[f"{kind}_step"] = _noted(steps._program(f"{kind}_step"), kind, ends)
    for _ in range(config.epochs):
        training.run_epoch()
        training.state()
    return ends


def _noted(program: Callable[[Any], Any], kind: str, ends: Ends) -> Callable[[Any], Any]:
    def step(batch: Any) -> Any:
        given = program(batch)
        ends.append((kind, time.perf_counter()))
        return given

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.images < LEAST_IMAGES or options.epochs < LEAST_EPOCHS:
        parser.error(
            f"pauses are seen from {LEAST_IMAGES} images and {LEAST_EPOCHS} epochs on, but got {options.images} and {options.epochs}"
        )
    claim(options.threads, 0)
    config = get_trainable("cnn").config(epochs=options.epochs, images=options.images)
    dataset = prepare("fashion-mnist", size=config.size, root=Path("data"))
    longest = 0.0
    for name, run in {"Keras' fit": by_fit, "ours": by_us}.items():
        found = pauses(run(config, dataset))
        for kind, what in {"test": "before the validation", "train": "before the next epoch"}.items():
            print(
                f"{name:11} {what:22} {statistics.median(found[kind]):6.3f} s, at most {max(found[kind]):6.3f} s ({len(found[kind])} times)"
            )
        longest = max(map(max, found.values()))
    if longest >= LIMIT_SECONDS:
        sys.exit(f"a pause of ours is to be less than {LIMIT_SECONDS} s, but one took {longest:.3f} s")


if __name__ == "__main__":
    main()
