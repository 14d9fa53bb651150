"""What does a trial cost the driver?

    python bench/many_trials.py [--trials 2000] [--searcher random] [--scheduler asha]

A real session of Ray Tune, with its journal on the disk, over so many trials of three epochs whose workers report at once. Prints the wall time, the part
of it that the driver spends in what is ours (searcher, scheduler, callback, journal; the terminal's lines apart), and its memory as the trials go by.
Linux."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from large_run import a_run, rest
from sweeps.core import tune
from sweeps.core.decide import Decisions
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.runner import cluster, run_session
from sweeps.core.screen import Screen
from sweeps.core.storage import RunStorage
from trainables.core import worker
from trainables.core.trainable import EVALUATE

EPOCHS = 3
LOOKS = 8
OURS = {
    tune.JournalSearcher: ("suggest", "on_trial_complete"),
    tune.JournalScheduler: ("on_trial_result",),
    tune.JournalCallback: ("on_trial_start", "on_step_end", "on_trial_error"),
}


class Idle(worker.Worker):
    """Reports at once what a worker would after an epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing to claim, nothing to import."""
        self._take(config)

    def step(self) -> dict[str, Any]:
        """An epoch without work."""
        if self.task["task"] == EVALUATE:
            return {"evaluation": json.dumps({"splits": {}, "test_averages": {}, "classes": []})}
        self.sent += 1
        accuracy = (self.task["trial"] * 7919 % 1000 + self.sent) / 2000
        figures = {"train_loss": 1.0, "train_accuracy": accuracy, "val_loss": 1.0, "val_accuracy": accuracy}
        return {"epoch": self.sent, **figures, **rest(self.task["trial"], self.sent, 1.0), "pid": os.getpid()}


def timed(spent: dict[str, float]) -> None:
    """Count the seconds of every call that Tune makes of ours."""

    def around(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return plain(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    for kind, names in OURS.items():
        for name in names:
            setattr(kind, name, around(f"{kind.__name__}.{name}", getattr(kind, name)))


def resident_mb() -> float:
    """Memory of this process that is its own."""
    return (worker.resident_bytes() or 0) / 1e6


def main() -> None:
    """Run the trials and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--searcher", default="random", choices=("random", "tpe"))
    parser.add_argument("--scheduler", default="none", choices=("none", "asha"))
    given = parser.parse_args()
    spec = a_run(given.trials)
    how = {"searcher": given.searcher, "scheduler": given.scheduler, "fixed": {**spec.sweep.fixed, "epochs": EPOCHS}}
    spec = spec.model_copy(update={"sweep": spec.sweep.model_copy(update=how)})
    worker.Worker = Idle  # type: ignore[misc]
    spent: dict[str, float] = defaultdict(float)
    timed(spent)
    memory: dict[int, float] = {}
    plain = tune.JournalSearcher.on_trial_complete

    def looked(self: tune.JournalSearcher, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        ended = len(self.jobs[0].state.ended)
        if ended % max(1, given.trials // LOOKS) == 0 and ended not in memory:
            memory[ended] = resident_mb()
            print(
                f"{ended:5} trials after {time.perf_counter() - started:5.1f} s: ours {sum(spent.values()):5.1f} s, {memory[ended]:,.0f} MB",
                flush=True,
            )

    tune.JournalSearcher.on_trial_complete = looked  # type: ignore[method-assign]
    with (
        tempfile.TemporaryDirectory(prefix="many-trials-") as folder,
        cluster(None, 1, 0) as workers,
        Path(os.devnull).open("w") as nowhere,
    ):
        storage = RunStorage(str(Path(folder) / "runs"), spec.run)
        storage.create(spec)
        job = Job(storage, Decisions(spec, Journal(storage)), folder)
        from rich.console import Console

        started = time.perf_counter()
        with Screen([job], Console(file=nowhere)):
            done = run_session([job], workers, print, lambda: sys.exit("Ray is silent"))
        wall = time.perf_counter() - started
        assert done
        assert len(job.state.ended) == given.trials
    for name, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        print(f"{name:35} {seconds:6.2f} s")
    print(f"{given.trials:,} trials in {wall:.1f} s on {workers} workers, {sum(spent.values()) / wall:.1%} of it in ours")
    looks = sorted(memory)
    if len(looks) > 2:
        growth = (memory[looks[-1]] - memory[looks[1]]) / (looks[-1] - looks[1])
        print(f"growth of the driver's memory from trial {looks[1]} on: {growth * 1000:.1f} kB a trial")


if __name__ == "__main__":
    main()
