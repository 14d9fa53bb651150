"""Runs of the base network, sweeps that want them, and makers that only note what they are asked for."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep import Dataset
from sweeps import Sweep
from sweeps.core.bases import Makers, prepare_bases, store_bases
from sweeps.core.journal import Journal
from sweeps.core.launch import Resolved, RunOptions
from sweeps.core.space import Distribution
from sweeps.core.spec import StoredBase
from sweeps.core.storage import RunStorage
from tests.sweeps import runs


def resolved(trainable: str = "fine_tune", space: dict[str, Distribution] | None = None, data: str = "digits", **fixed: Any) -> Resolved:
    """A sweep at 16 px with these settings."""
    sweep = Sweep(
        question="How far?", trainable=trainable, space=space or {}, fixed={"size": 16, **fixed}, searcher="random", scheduler="none"
    )
    sweep.check()
    return Resolved(name="mine", sweep=sweep, data=data, samples=1, size=fixed.get("size", 16), seed=0, gpus=0, time_budget_seconds=None)


# What `base=half` asks for with the fixture `options`, and what a run of it has.
WANTED = {"size": 16, "classes": 5, "train_fraction": 0.7, "validation_fraction": 0.1, "split_seed": 0, "epochs": 6}


def a_base_run(
    options: RunOptions, dataset: Dataset, name: str, *, ended: bool = True, trained: bool = True, source: str = "digits", **changes: Any
) -> RunStorage:
    """A run in the storage, each newer than the one before."""
    storage = RunStorage(options.storage, name)
    trainable = changes.pop("trainable", "base")
    fingerprint = changes.pop("fingerprint", dataset.fingerprint)
    status = changes.pop("status", "completed")
    sweep = Sweep(question="q?", trainable=trainable, space={}, fixed={**WANTED, **changes}, searcher="grid", scheduler="none", samples=1)
    spec = runs.spec(name, "base", sweep=sweep, samples=1, dataset_source=source, dataset_fingerprint=fingerprint)
    storage.create(spec)
    others = len(list(Path(options.storage).glob("*/run.json")))
    os.utime(f"{storage.folder}/run.json", (others, others))
    journal = Journal(storage)
    rows: list[dict[str, Any]] = [{"kind": "suggest", "trial": 1, "config": sweep.config({}, 0).model_dump()}]
    rows += [runs.start(1, 1), runs.result(1, 1, 2, 0.5)] if trained else [runs.start(1, 1)]
    rows += [runs.end(1, 3, status), *([runs.evaluation(1, 1, 4)] if trained else [])] if ended else []
    journal.append("session", workers=1)
    for row in rows:
        journal.append(**{key: value for key, value in row.items() if key != "time"})
    return storage


class Notes:
    """What was asked of makers whose networks have 24 layers."""

    def __init__(self, problem: str | None = None, error: str | None = None, trained: str = "new") -> None:
        self.asked: list[Any] = []
        facts = {"file": "0123456789ab.keras", "sha256": "0" * 64, "layers": 24, "parameters": 288_800}

        def store(task: dict[str, Any]) -> dict[str, Any]:
            self.asked.append(task)
            return {"error": error} if error else facts

        def note(given: Any, answer: Any) -> Any:
            self.asked.append(given)
            return answer

        self.makers = Makers(
            store=store,
            fetch=lambda names: note(names, problem),
            run=lambda options: note(options, trained),
            resume=lambda run: note(run, run if trained else ""),
        )
        self.out = io.StringIO()
        self.console = Console(file=self.out, width=80)

    @property
    def said(self) -> str:
        return self.out.getvalue()


REFUSED = "[Errno 111] Connection refused"


def stored(notes: Notes, asked: Resolved, options: RunOptions, dataset: Dataset) -> dict[str, StoredBase]:
    """The bases of the run `own`, made by these makers."""
    sources = prepare_bases(asked, options, dataset, notes.makers, notes.console)
    return store_bases(sources, RunStorage(options.storage, "own"), asked, notes.makers)
