"""What does it bring that TensorFlow may run two operations at once, where a trial has more than one core?

    python bench/operations_at_once.py [--images N] [--epochs N] [--rounds N] [--threads N]

Alternates between fresh processes with one operation at a time and with two (a convolution's two gradients do not wait for each other), each with the
same threads within an operation: `cnn`, Fashion-MNIST (Debian's package `dataset-fashion-mnist`), prepared under data/. Prints seconds an epoch of
training steps, the median of the rounds' ratios, and whether all came to the same loss, to the last bit (if not, exit code 1).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from data_prep import prepare

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = """
import json, os, sys, time
from pathlib import Path
from data_prep import open_dataset
from trainables import get_trainable
from trainables.core.devices import claim

folder, images, epochs, threads, at_once = sys.argv[1], *map(int, sys.argv[2:])
claim(threads, 0)
os.environ["TF_NUM_INTEROP_THREADS"] = str(at_once)
from trainables.core.training import Training

trainable = get_trainable("cnn")
training = Training(trainable, trainable.config(size=32, images=images), open_dataset(Path(folder)))
training.train(1, training.rows[:128]).finish()
passes = [training.train(epoch, training.rows) for epoch in range(1, epochs + 1)]
losses = [each.finish()["loss"] for each in passes]
print(json.dumps([min(each.seconds for each in passes), losses]))
"""


def epoch(*given: object) -> tuple[float, list[float]]:
    """(s of the fastest epoch, losses)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    words = [sys.executable, "-c", EPOCHS, *map(str, given)]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds, losses = json.loads(done.stdout.splitlines()[-1])
    return seconds, losses


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder = prepare("fashion-mnist", size=32, root=Path("data")).path
    found: dict[int, list[tuple[float, list[float]]]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for at_once, results in found.items():
            results.append(epoch(folder, options.images, options.epochs, options.threads, at_once))
    for at_once, results in found.items():
        print(f"{at_once} at once  {statistics.median(seconds for seconds, _ in results):6.2f} s an epoch (median of {options.rounds})")
    ratios = [one / two for (one, _), (two, _) in zip(*found.values(), strict=True)]
    equal = len({tuple(losses) for results in found.values() for _, losses in results}) == 1
    print(f"ratio      {statistics.median(ratios):6.2f}   median of the rounds; losses {'equal to the last bit' if equal else 'DIFFER'}")
    sys.exit(not equal)


if __name__ == "__main__":
    main()
