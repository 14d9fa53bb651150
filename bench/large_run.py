"""How long do the export and the report of a large run take, and how much memory?

    python bench/large_run.py [--trials 10000] [--epochs 100]

Writes the journal of such a run (figures drawn at random), then measures `sweeps export` of it, `sweeps status` and `sweeps report`, each a command in a process of its
own: wall time and the most memory that was resident."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sweeps.core.spec import RunSpec
from sweeps.core.storage import RunStorage
from sweeps.core.sweep import Sweep, load_sweep

RUN = "large"
NOW = 1_795_000_000.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-run-") as folder:
        write_run(Path(folder), given.trials, given.epochs)
        size = (Path(folder) / "runs" / RUN / "journal.jsonl").stat().st_size
        print(f"{given.trials:,} trials of {given.epochs} epochs, a journal of {size / 1e6:,.0f} MB", flush=True)
        for verb in (["export", RUN], ["status", RUN], ["report"]):
            seconds, most = measured([sys.executable, "-m", "sweeps", *verb], Path(folder))
            print(f"sweeps {verb[0]}: {seconds:.1f} s, at most {most / 1e6:,.0f} MB of memory", flush=True)
        print(f"report.html: {(Path(folder) / 'results' / 'report.html').stat().st_size / 1e6:.1f} MB")


def measured(command: list[str], folder: Path) -> tuple[float, int]:
    """(seconds of the command, bytes that were resident at most)."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command[2:])} ended with {done.returncode}: {done.stderr}")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def a_run(trials: int) -> RunSpec:
    """A random search over dropout rates."""
    _, sweep = load_sweep("dropout")
    assert isinstance(sweep, Sweep)
    return RunSpec(
        run=RUN,
        sweep_name="dropout",
        sweep=sweep,
        samples=trials,
        seed=0,
        deterministic=False,
        time_budget_seconds=None,
        cpus_per_trial=1,
        gpus_per_trial=0.0,
        dataset="digits",
        dataset_source=None,
        dataset_folder="data/digits-32px-0123456789ab",
        dataset_fingerprint="0123456789ab",
        class_count=10,
        created_at="2026-11-25T00:00:00+00:00",
        git_commit=None,
        versions={},
        machine={},
    )


def write_run(folder: Path, trials: int, epochs: int) -> None:
    """A finished random search over dropout rates."""
    spec = a_run(trials)
    storage = RunStorage(str(folder / "runs"), RUN)
    storage.create(spec)
    draw = np.random.default_rng(0)
    with Path(f"{storage.folder}/journal.jsonl").open("w") as file:

        def write(kind: str, after: float, **values: object) -> None:
            file.write(json.dumps({"kind": kind, "time": NOW + after, **values}, separators=(",", ":")) + "\n")

        write("session", 0, host="here", pid=1, workers=8)
        for trial in range(1, trials + 1):
            dropout = float(draw.uniform(0, 0.6))
            config = spec.sweep.config({"dropout": dropout}, 0).model_dump()
            write("suggest", trial, trial=trial, config={**config, "epochs": epochs})
            write("start", trial, trial=trial)
            for epoch, of_epoch in enumerate(curves(draw, dropout, epochs), 1):
                write("result", trial + epoch, trial=trial, epoch=epoch, **of_epoch, **rest(trial, epoch, draw.uniform(1, 2)))
            write("end", trial + epochs, trial=trial, status="completed", reason="epochs", error=None)


def curves(draw: np.random.Generator, dropout: float, epochs: int) -> list[dict[str, float]]:
    """Figures of each epoch, with all their digits: they rise and level off, and little dropout overfits."""
    passed = np.arange(1, epochs + 1)
    learned = 1 - np.exp(-passed / draw.uniform(5, 25))
    train = ((0.97 - 0.4 * dropout**2) * learned + draw.normal(0, 0.01, epochs)).clip(0, 1)
    gap = (0.25 - 0.3 * dropout) * learned * passed / epochs
    val = (train - gap + draw.normal(-0.02, 0.02) + draw.normal(0, 0.015, epochs)).clip(0, 1)
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    figures = np.column_stack([2.3 * (1 - train) ** 1.3, train, 2.3 * (1 - val) ** 1.3 + gap, val]).tolist()
    return [dict(zip(names, row, strict=True)) for row in figures]


def rest(trial: int, epoch: int, seconds: float) -> dict[str, object]:
    """What else a worker reports of an epoch."""
    return {
        "learning_rate": 0.001,
        "epoch_seconds": seconds,
        "images_per_second": 1131 / seconds,
        "finished_at": NOW + trial + epoch - 0.1,
        "node": f"machine-{trial % 8}",
        "device": "CPU",
        "parameters": 110_810,
        "trainable_parameters": 110_234,
        "checkpoint": f"epoch-{epoch:06d}.npz",
        "setup_seconds": 0.4,
        "stop": "epochs" if epoch == 100 else None,
    }


if __name__ == "__main__":
    main()
