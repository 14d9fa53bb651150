"""Sessions without Ray, a disk or waiting: the journal is a list, time passes by the epoch, and an epoch's result is a function of its trial's settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps.core.decide import Decisions
from sweeps.core.journal import Journal
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished, total_trials
from sweeps.core.state import Trial
from sweeps.core.storage import RunStorage
from tests.sweeps import runs

Row = dict[str, Any]
EPOCH_SECONDS = 10.0
# Between two sessions; it must not count.
PAUSE_SECONDS = 5000.0


def epoch_result(trial: Trial, val_accuracy: float) -> Row:
    """The trial's next epoch; a final fit has no validation figures."""
    row = runs.result(trial.index, trial.last_epoch + 1, 0.0, val_accuracy)
    if trial.final_of:
        row |= {"val_accuracy": None, "val_loss": None}
    return {key: value for key, value in row.items() if key not in ("kind", "trial", "time", "stop")}


class Place:
    """A run's journal and the time there. `accuracy(trial, epoch)` is what its epochs come to; the trials in `failing` fail instead of the first."""

    def __init__(self, patch: pytest.MonkeyPatch, spec: RunSpec, rows: list[Row] | None = None, **more: Any) -> None:
        self.spec, self.rows = spec, list(rows or [])
        self.accuracy = more.get("accuracy", lambda trial, epoch: 0.5)
        self.failing: set[int] = more.get("failing", set())
        self.now = self.rows[-1]["time"] if self.rows else runs.T0
        patch.setattr("sweeps.core.journal._log", lambda storage: self)
        for module in ("journal", "decide"):
            patch.setattr(f"sweeps.core.{module}.time", self)

    def time(self) -> float:
        """Now (Unix time, s)."""
        return self.now

    def read(self) -> list[Row]:
        """The journal, as from a file."""
        return [json.loads(json.dumps(row)) for row in self.rows]

    def append(self, rows: list[Row], synced: bool = True) -> None:
        """As into a file."""
        self.rows.extend(rows)

    def begin(self, workers: int = 1) -> Decisions:
        """A session: of a new run, or a resume."""
        self.now += PAUSE_SECONDS
        journal = Journal(RunStorage("nowhere", self.spec.run))
        journal.append("session", workers=workers)
        decisions = Decisions(self.spec, journal)
        decisions.settle()
        return decisions

    def epoch(self, decisions: Decisions, trial: Trial) -> bool:
        """One epoch of the trial, or its failure; whether it stops."""
        self.now += EPOCH_SECONDS
        if trial.index in self.failing:
            decisions.fail(trial.index, "no")
            return True
        return decisions.report(trial.index, epoch_result(trial, self.accuracy(trial, trial.last_epoch + 1)))

    def work(self, workers: int = 1, steps: int | None = None, turn: int = 0) -> Decisions:
        """A session of so many epochs (None: to the end) on so many workers; `turn` rotates which of them is next."""
        decisions = self.begin(workers)
        running, done = decisions.state.open_trials, 0
        while not decisions.searched and done != steps:
            while len(running) < workers and not decisions.exhausted and not decisions.waiting():
                running.append(decisions.suggest())
            trial = running[(done * 7 + turn) % len(running)]
            done += 1
            if self.epoch(decisions, trial):
                running.remove(trial)
        return decisions

    def outcome(self) -> dict[int, Any]:
        """Of each trial: what it is, its settings, its curve and its end."""
        trials = Journal(RunStorage("nowhere", self.spec.run)).state.trials.values()
        return {
            trial.index: (
                trial.repeat_of,
                trial.final_of,
                trial.config,
                [row["val_accuracy"] for row in trial.epochs.values()],
                trial.end and (trial.end["status"], trial.end["reason"]),
            )
            for trial in trials
        }


def left(decisions: Decisions) -> int:
    """Trials that are open or still to be suggested, as the screen's total tells them."""
    state = decisions.state
    return len(state.open) + total_trials(decisions.spec, state) - len(state.trials)


def standing(decisions: Decisions) -> tuple[bool, bool, bool, bool, int, int]:
    """(exhausted, waiting, searched, finished, total trials, left)."""
    spec, state = decisions.spec, decisions.state
    return (
        decisions.exhausted,
        decisions.waiting(),
        decisions.searched,
        finished(spec, state),
        total_trials(spec, state),
        left(decisions),
    )
