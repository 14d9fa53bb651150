"""What do the two things bring that make TensorFlow's training steps of ours faster than Keras' own on the same cores?

    python bench/training_steps.py [--images N] [--epochs N] [--rounds N] [--threads N]

Fused normalisations (`trainables/core/stand_ins.py`), and two operations at once where a trial has more than one core (`trainables/core/devices.py`).
Alternates between fresh processes with neither, the second, and both: `cnn`, Fashion-MNIST (Debian's package `dataset-fashion-mnist`), prepared under
data/. Prints seconds an epoch of training steps (the fastest of a process, the median of the processes), the medians of the rounds' ratios to neither, and
the loss after the last epoch: two operations at once must give that of one to the last bit (if not, exit code 1), fused normalisations round otherwise.
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
import json, os, sys
from pathlib import Path
from data_prep import open_dataset
from trainables import get_trainable
from trainables.core.devices import claim

folder, images, epochs, threads, at_once, fused = sys.argv[1], *map(int, sys.argv[2:])
claim(threads, 0)
os.environ["TF_NUM_INTEROP_THREADS"] = str(at_once)
from trainables.core import graphs
from trainables.core.training import Training

if not fused:
    graphs.can_be_fused = lambda layer: False
trainable = get_trainable("cnn")
training = Training(trainable, trainable.config(size=32, images=images), open_dataset(Path(folder)))
training.train(1, training.rows[:128]).finish()
passes = [training.train(epoch, training.rows) for epoch in range(1, epochs + 1)]
losses = [each.finish()["loss"] for each in passes]
print(json.dumps([min(each.seconds for each in passes), losses]))
"""
# Name -> operations at once, fused.
VARIANTS = {"neither": (1, 0), "two operations at once": (2, 0), "and fused normalisations": (2, 1)}


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
    found: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, variant in VARIANTS.items():
            found[name].append(epoch(folder, options.images, options.epochs, options.threads, *variant))
    neither = found["neither"]
    for name, results in found.items():
        seconds = statistics.median(seconds for seconds, _ in results)
        ratio = statistics.median(one / this for (one, _), (this, _) in zip(neither, results, strict=True))
        print(f"{name:25} {seconds:6.2f} s an epoch, {ratio:.2f} times as fast, loss {results[0][1][-1]:.6f}")
    equal = all(losses == neither[0][1] for name in ("neither", "two operations at once") for _, losses in found[name])
    print(
        f"median of {options.rounds} rounds, {options.threads} threads; losses of the first two {'equal to the last bit' if equal else 'DIFFER'}"
    )
    sys.exit(not equal)


if __name__ == "__main__":
    main()
