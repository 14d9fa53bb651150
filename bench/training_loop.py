"""How much of the compiled step's speed does the training loop keep?

    python bench/training_loop.py [--images N] [--batch N] [--rounds N] [--threads N]

Alternates, in one process and on one model, between the epoch as trials run it (shuffled batches gathered from the memory map, metrics summed)
and as many calls of the same compiled training step on one batch that is already in memory. Prints images per second of both and the median of the
rounds' ratios. Fashion-MNIST (Debian's package `dataset-fashion-mnist`), prepared under data/.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from data_prep import prepare
from trainables import get_trainable
from trainables.core.devices import claim


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    claim(options.threads, 0)
    # After `claim`: TensorFlow reads its number of threads when it starts.
    from trainables.core.training import Training

    trainable = get_trainable("cnn")
    config = trainable.config(batch_size=options.batch)
    training = Training(trainable, config, prepare("fashion-mnist", size=config.size, root=Path("data")))
    rows = training.split.train[: options.images]
    program = training.graph.steps._program("train_step")
    batch = tuple(array.copy() for array in training.gather(rows[: options.batch]))

    def loop() -> None:
        training.train(1, rows).finish()

    def step() -> None:
        for _ in range(options.images // options.batch):
            outputs = program(batch)
        float(outputs["loss"])

    loop()
    step()
    times: dict[Callable[[], None], list[float]] = {loop: [], step: []}
    for _ in range(options.rounds):
        for work, seconds in times.items():
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
    ours, bare = (statistics.median(times[work]) for work in (loop, step))
    print(
        f"training loop  {options.images / ours:9.0f} images/s (median of {options.rounds}, {options.images} images, batch {options.batch})"
    )
    print(f"compiled step  {options.images / bare:9.0f} images/s, the same batch again and again from memory")
    ratios = [without / within for within, without in zip(times[loop], times[step], strict=True)]
    print(f"ratio          {statistics.median(ratios):9.3f} median of the rounds, on {options.threads} threads")


if __name__ == "__main__":
    main()
