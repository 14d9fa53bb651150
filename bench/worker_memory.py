"""Does a worker's memory stay flat over many trials?

    python bench/worker_memory.py [--trials 100] [--images 300]

Drives the class that Ray runs, without Ray, through so many trials of one epoch of `cnn` on digits in this process: `setup` for the first, then
`step` and `reset_config` as Tune calls them. Dropout rate, learning rate and seed are others in each trial. Prints resident memory after some of
them, and the growth a trial after the tenth, when what is made once has been made. Linux. Some 5 s a trial on a busy 2-core machine where each traces its network anew.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import Dataset, prepare
from trainables.core.trainable import TRAIN
from trainables.core.worker import Worker

SHOWN = (1, 10, 50, 100)
SETTLED = 10


def task(trial: int, images: int, dataset: Dataset, folder: str) -> dict[str, Any]:
    """What the driver sends for a trial."""
    random = np.random.default_rng(trial)
    varied = {"dropout": float(random.uniform(0, 0.7)), "learning_rate": float(10 ** random.uniform(-4, -2)), "seed": trial}
    return {
        "task": TRAIN,
        "trial": trial,
        "config": {"size": 32, "images": images, "epochs": 1, **varied},
        "reported": 0,
        "trainable": "cnn",
        "dataset_folder": str(dataset.path.absolute()),
        "cache_bytes": 0,
        "bases": {},
        "prefixes": [],
        "checkpoints": f"{folder}/{trial:05d}",
        "final": False,
        "deadline": None,
        "cpus": 1,
        "gpus": 0,
    }


def resident_mb() -> float:
    """Of this process, shared pages included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(trials: int, images: int, folder: str) -> list[float]:
    """Resident memory (MB) after each trial."""
    dataset = prepare("digits", size=32, root=Path("data"))
    worker = Worker(config=task(1, images, dataset, folder))
    after = []
    for trial in range(1, trials + 1):
        if trial > 1:
            worker.reset_config(task(trial, images, dataset, folder))
        while (result := worker.step())["epoch"] < worker.task["config"]["epochs"]:
            pass
        after.append(resident_mb())
        if trial in (*SHOWN, trials):
            print(f"after trial {trial:3}: {after[-1]:7,.0f} MB, its set-up took {result['setup_seconds']:.2f} s", flush=True)
    return after


def main() -> None:
    """Run the trials and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=300)
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        after = measured(options.trials, options.images, folder)
    if len(after) > SETTLED:
        growth = (after[-1] - after[SETTLED - 1]) / (len(after) - SETTLED)
        print(f"growth after trial {SETTLED}: {growth:.2f} MB a trial")
    print(f"{options.trials} trials in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
