"""One side in one round: a fresh process each, and what it left behind as a row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from comparing.journal import first_step, later_trials, parse
from comparing.lists import DATA, TrialList
from comparing.table import AGAIN, BOUND, OURS, PLAIN
from data_prep import Dataset
from trainables import get_trainable
from trainables.core.config import split_of

BENCH = Path(__file__).resolve().parents[1]
BASE_EPOCHS = 5
Row = dict[str, Any]


class Failed(Exception):
    """A side that did not come to its end; the text ends in what it printed."""


def run(words: list[str], folder: Path) -> float:
    """Wall time (s) of a Python command in `folder`, with byte code cached and no GPU; what it prints goes into a file there."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": os.pathsep.join([str(BENCH), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    printed = folder / "printed.txt"
    started = time.perf_counter()
    with printed.open("w") as file:
        code = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    taken = time.perf_counter() - started
    if code:
        raise Failed(f"{' '.join(words)} ended with {code}:\n{printed.read_text()[-3000:]}")
    return taken


@dataclass(frozen=True)
class Compared:
    """A list of trials on prepared data, in a folder of its own."""

    trials: TrialList
    dataset: Dataset
    images: int
    base_file: str
    folder: Path

    def measure(self, side: str, number: int) -> Row:
        """A row, without the machine."""
        here = self.folder / f"{self.trials.name}-{number}-{side.replace(' ', '-')}"
        here.mkdir()
        work = {PLAIN: self._plain, OURS: self._ours, AGAIN: self._ours, BOUND: self._bound}[side]
        row = work(here)
        # A round's checkpoints of the larger networks are gigabytes.
        shutil.rmtree(here)
        same = {"list": self.trials.name, "side": side, "round": number, "trials": len(self.trials.values), "images": self._count}
        return {**same, "val_images": len(self._split.validation), **row}

    @property
    def _count(self) -> int:
        return self.trials.limited(self.images)

    @property
    def _split(self) -> Any:
        first = self.trials.trials(self.base_file, self.images)[0]
        return split_of(get_trainable(self.trials.trainable).config(**first), self.dataset)

    def fresh_data(self) -> None:
        """A data root with these images and nothing that an earlier run derived from them."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self.dataset.path, self._root / self.dataset.path.name, copy_function=os.link)

    @property
    def _root(self) -> Path:
        return self.folder / "root"

    def _task(self, here: Path) -> list[str]:
        trials = self.trials.trials(self.base_file, self.images)
        task = {"trainable": self.trials.trainable, "trials": trials, "key": self.trials.key}
        task |= {"dataset": str(self.dataset.path.absolute()), "storage": str(here / "ray")}
        (here / "task.json").write_text(json.dumps(task))
        return [str(here / "task.json"), str(here / "out.json")]

    def _plain(self, here: Path) -> Row:
        taken = run(["-m", "comparing.plain", *self._task(here)], here)
        curves = json.loads((here / "out.json").read_text())["curves"]
        trained = sum(map(len, curves)) * len(self._split.train)
        return {"seconds": taken, "images_trained": trained, "val_accuracy": max(map(max, curves))}

    def _bound(self, here: Path) -> Row:
        run(["-m", "comparing.bound", *self._task(here)], here)
        out = json.loads((here / "out.json").read_text())
        return {"seconds": out["steps"] + out["forward"]}

    def _ours(self, here: Path) -> Row:
        (here / f"{self.trials.name}.py").write_text(self.trials.sweep_file(self.base_file))
        started = time.time()
        words = ["run", f"{self.trials.name}.py", "--data", DATA, "--data-root", str(self._root), "--set", f"images={self._count}"]
        taken = run(["-m", "sweeps", *words, "--cpus", str(self.trials.cpus), "--gpus", "0", "--run-name", "compared"], here)
        trials = pd.read_parquet(here / "results" / "trials")
        if list(trials["status"]) != ["completed"] * len(self.trials.values):
            raise Failed(f"{len(self.trials.values)} trials are to be completed, but: {trials['status'].value_counts().to_dict()}")
        epochs = pd.read_parquet(here / "results" / "epochs")
        rows = parse((here / "runs" / "compared" / "journal.jsonl").read_text())
        later = later_trials(rows)
        return {
            "seconds": taken,
            "images_trained": int(epochs["shared_with"].isna().sum()) * len(self._split.train),
            "val_accuracy": float(trials["val_accuracy"].max()),
            "trials_seconds": (trials["finished_at"].max() - trials["started_at"].min()).total_seconds(),
            "first_step_seconds": first_step(rows) - started,
            "outside_seconds": _median(trial.outside for trial in later),
            "tracing_seconds": _median(trial.tracing for trial in later if trial.tracing is not None),
        }


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


def make_base(dataset: Dataset, images: int, folder: Path) -> str:
    """A .keras file with a network that was trained on half of the classes, by our own commands."""
    here = folder / "base"
    here.mkdir()
    words = [
        "run",
        "base",
        "--data",
        DATA,
        "--data-root",
        str(dataset.path.parent.absolute()),
        "--set",
        "classes=5",
        "--set",
        f"images={images}",
    ]
    run(["-m", "sweeps", *words, "--epochs", str(BASE_EPOCHS), "--gpus", "0", "--run-name", "base"], here)
    run(["-m", "sweeps", "best", "base", "--save", "base.keras"], here)
    return str(here / "base.keras")
