"""A run as its journal tells it: every row is applied in order, and everything else (search, stopping, screen, export) reads the outcome."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from statistics import fmean
from typing import Any, ClassVar, Literal

from trainables.core.selection import best_epoch, rank

Row = dict[str, Any]
Status = Literal["completed", "stopped", "failed", "running"]

# Why a worker gives a trial up between two epochs, as its exception is called: its machine is being taken away; its memory is full.
LEAVING, RETIRED = "NodeLeaving", "Retires"

# Of an epoch, in the journal and in the `epochs` table. Accuracies are parts of 1, losses are cross-entropy in nats.
EPOCH_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


# Of a result, what seldom changes from one epoch of a trial to the next.
STEADY = frozenset(("kind", "trial", "learning_rate", "node", "device", "pid", "parameters", "trainable_parameters", "setup_seconds", "of"))


class _Shape:
    """What results of the same names have in common: where each value stands; `steady` are the places of STEADY."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        self.steady = [place for name, place in self.places.items() if name in STEADY]
        self.checkpoint = self.places.get("checkpoint")
        self.pickers: dict[tuple[str, ...], Callable[[tuple[Any, ...]], tuple[Any, ...]]] = {}

    def picker(self, names: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
        """Of a result's values and a None behind them, those of these names, two or more."""
        if names not in self.pickers:
            self.pickers[names] = itemgetter(*(self.places.get(name, -1) for name in names))
        return self.pickers[names]


class Result(Mapping[str, Any]):
    """A journal row that stays, in a fourth of a dictionary's memory: a long run has a million. `before`: another one, whose equal values it shares."""

    __slots__ = ("_shape", "_values")
    SHAPES: ClassVar[dict[tuple[str, ...], _Shape]] = {}

    def __init__(self, row: Mapping[str, Any], before: Result | None = None) -> None:
        names = tuple(row)
        self._values: tuple[Any, ...]
        self._shape = self.SHAPES.get(names) or self.SHAPES.setdefault(names, _Shape(names))
        values = list(row.values())
        if before is not None and before._shape is self._shape:
            for place in self._shape.steady:
                now, then = values[place], before._values[place]
                if now == then and type(now) is type(then):
                    values[place] = then
        name = self._shape.checkpoint
        if name is not None and type(values[name]) is str:
            # Every trial has files of the same names: 65 of the 600 bytes of an epoch.
            values[name] = sys.intern(values[name])
        self._values = tuple(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[self._shape.places[name]]

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping; theirs raises and catches, which takes three times as long."""
        place = self._shape.places.get(name)
        return default if place is None else self._values[place]

    def pick(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        """The values of these names, two or more; None of one that is not there."""
        return self._shape.picker(names)((*self._values, None))

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.places)

    def __len__(self) -> int:
        return len(self._shape.places)


@dataclass
class Trial:
    """One configuration; `repeat_of` is the trial of the search that has the same settings and another seed, `final_of` the trial whose settings this one
    has on train and validation (its final fit); both None for the search's own. `mate_of` is the first trial that is one training with this one (see
    `TrainConfig.trajectory`), None for that one itself; `number` is its place among the search's own, from 1; `suggested_at` is in Unix time (s).

    `epochs` maps an epoch (from 1) to its result row: EPOCH_METRICS, learning_rate, epoch_seconds, images_per_second,
    finished_at (Unix time, s), node, device, parameters, trainable_parameters, checkpoint, setup_seconds, stop (why the trial ends after this epoch, or None),
    of (the mate whose training gave it; not there: its own)."""

    index: int
    config: Row
    repeat_of: int | None = None
    final_of: int | None = None
    mate_of: int | None = None
    number: int | None = None
    suggested_at: float | None = None
    epochs: dict[int, Result] = field(default_factory=dict)
    starts: list[Row] = field(default_factory=list)
    stages: list[Row] = field(default_factory=list)
    end: Row | None = None
    # How often it had ended and a resume with higher limits went on with it.
    reopened: int = 0
    # Whether it was started again in the middle of an epoch, and that one is not reported yet.
    again: bool = False
    # Whether its worker gave it up between two epochs.
    given_up: bool = False
    # Epochs that were begun before, too, by a worker that was lost.
    repeated: frozenset[int] = frozenset()
    # Of `epochs`: None until it is asked for.
    _best_epoch: int | None = field(default=None, init=False, repr=False, compare=False)
    _before: Result | None = field(default=None, init=False, repr=False, compare=False)

    def take(self, row: Mapping[str, Any]) -> None:
        """An epoch's result, in place of an earlier one of that epoch."""
        self.epochs[row["epoch"]] = Result(row, self._before)
        self._before = self.epochs[row["epoch"]]
        self._best_epoch = None

    @property
    def of_search(self) -> bool:
        """Neither a repeat nor a final fit."""
        return self.repeat_of is None and self.final_of is None

    @property
    def trial_id(self) -> str:
        """Equal after every resume, unlike Ray's own."""
        return f"{self.index:05d}"

    @property
    def status(self) -> Status:
        """How it ended; `running` until it has, also while it waits for a resume."""
        return self.end["status"] if self.end else "running"

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.end.get("error") if self.end else None

    @property
    def last_epoch(self) -> int:
        """Of the reported ones; 0 before the first."""
        return max(self.epochs, default=0)

    @property
    def best_epoch(self) -> int | None:
        """Highest validation accuracy, then lowest validation loss, then earliest; of a final fit the last."""
        if self._best_epoch is None and self.epochs:
            self._best_epoch = best_epoch(self.epochs.values())
        return self._best_epoch

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The result row of the best epoch."""
        return self.epochs[self.best_epoch] if self.best_epoch else None

    @property
    def trajectory(self) -> int:
        """The first trial of its training, perhaps itself."""
        return self.mate_of or self.index

    @property
    def folder_id(self) -> str:
        """The trial that its checkpoints have the folder of: those of one training have one."""
        return f"{self.trajectory:05d}"

    @property
    def own_epochs(self) -> list[Mapping[str, Any]]:
        """The results that its own training gave."""
        return [row for row in self.epochs.values() if not row.get("of")]

    @property
    def shared_with(self) -> int | None:
        """The mate whose training gave most of its epochs that are not its own; None: all are its own."""
        shared = Counter(row["of"] for row in self.epochs.values() if row.get("of"))
        return shared.most_common(1)[0][0] if shared else None

    @property
    def restarts(self) -> int:
        """How often it was started again after a failure, a lost worker or an interruption."""
        return max(0, len(self.starts) - 1 - self.reopened)

    def go_on(self, epochs: int | None) -> None:
        """Have up to so many epochs (None: as many as before), also where it had ended."""
        if epochs is not None:
            self.config = {**self.config, "epochs": epochs}
        if self.end is None:
            return
        self.end = None
        self.reopened += 1
        if self.epochs:
            # Its verdict is not that of the new limits.
            self.take({**self.epochs[self.last_epoch], "stop": None, "reopened": True})


def _order(trial: Trial) -> tuple[float, float, int]:
    return *rank(trial.best or {}), trial.index


def _mean_rank(trials: list[Trial]) -> tuple[float, float]:
    ranks = [rank(trial.best or {}) for trial in trials]
    return fmean(accuracy for accuracy, _ in ranks), fmean(loss for _, loss in ranks)


def _complete(row: Row, keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in row]
    if missing:
        raise ValueError(f"a row lacks {missing[0]}")


@dataclass
class RunState:
    """All trials of a run by index (from 1), its sessions (a start or resume each) and the evaluations of its best trials by (trial, epoch).
    `open`: those that have not ended; `selecting`: how many the best is chosen from, all but final fits. `shared_epochs`: those that trials have by another
    one's training, and `shared_seconds` that these took there (s). `searched`: trials of the search itself; `ended`: trials in the order in which they
    ended, one that went on since as often as it ended; `extensions`: rows of a resume with higher limits; `resources`: the
    newest row of one with other resources a trial.

    The account of interruptions: `interruptions` of the run by what left trials open; `kept`: (trials, epochs) that it had at the last of them;
    `moved`: how often a trial went on elsewhere because its machine was lost or taken away;
    `repeated_epochs`, `repeated_seconds`: epochs that a worker may have been in the middle of when it was lost, and what they took (s): at most that was
    trained twice."""

    trials: dict[int, Trial] = field(default_factory=dict)
    sessions: list[Row] = field(default_factory=list)
    evaluations: dict[tuple[int, int], Row] = field(default_factory=dict)
    open: dict[int, Trial] = field(default_factory=dict)
    selecting: int = 0
    all_epochs: int = 0
    shared_epochs: int = 0
    shared_seconds: float = 0.0
    searched: int = 0
    ended: list[int] = field(default_factory=list)
    extensions: list[Row] = field(default_factory=list)
    resources: Row | None = None
    interruptions: int = 0
    kept: tuple[int, int] = (0, 0)
    moved: int = 0
    repeated_epochs: int = 0
    repeated_seconds: float = 0.0
    paused: bool = False
    last_time: float | None = None
    earlier_seconds: float = 0.0
    # None until it is asked for.
    _selected: list[Trial] | None = None
    _trainings: dict[int, list[Trial]] = field(default_factory=dict)

    def apply(self, row: Row) -> None:
        """Take one journal row in. Rows of an unknown kind are an error: a newer version wrote them."""
        kind = row["kind"]
        self._selected = None
        if kind == "session":
            self._begin(row)
        elif kind == "suggest":
            self._suggest(row)
        elif kind == "start":
            self._start(self.trials[row["trial"]], row)
        elif kind == "stage":
            self.trials[row["trial"]].stages.append(row)
        elif kind == "result":
            _complete(row, (*EPOCH_METRICS, "stop"))
            self._result(self.trials[row["trial"]], row)
        elif kind == "end":
            self.trials[row["trial"]].end = row
            self.open.pop(row["trial"], None)
            self.ended.append(row["trial"])
        elif kind in ("beat", "pause", "moved"):
            # Of a beat only the time counts.
            self.paused = kind == "pause"
            self._move(row)
        elif kind == "evaluation":
            self.evaluations[row["trial"], row["epoch"]] = row
        elif kind in ("extend", "resources"):
            self._change(row)
            # The time between two sessions is not the run's.
            return
        else:
            raise ValueError(f"journal rows are of a known kind, but got {kind!r}")
        self.last_time = row["time"]

    def _move(self, row: Row) -> None:
        if row["kind"] == "moved":
            self.moved += row.get("reason") != RETIRED
            self.trials[row["trial"]].given_up = row.get("reason") in (LEAVING, RETIRED)

    def _begin(self, row: Row) -> None:
        self.earlier_seconds = self.elapsed_seconds
        if self.sessions and self.open and not self._just_extended:
            self.interruptions += 1
            self.kept = len(self.trials), self.trained_epochs
        self.sessions.append({**row, "after_pause": self.paused})
        self.paused = False

    @property
    def _just_extended(self) -> bool:
        return bool(self.extensions) and self.extensions[-1]["time"] > (self.last_time or 0)

    def _start(self, trial: Trial, row: Row) -> None:
        last = trial.starts[-1]["time"] if trial.starts else math.inf
        # In this session: its worker was lost. In an earlier one: that was cut off, if it did not end in order.
        cut_off = last >= self.sessions[-1]["time"] or not self.sessions[-1]["after_pause"] if self.sessions else False
        trial.again = bool(trial.starts) and cut_off and len(trial.starts) > trial.reopened and not trial.given_up
        trial.given_up = False
        trial.starts.append(row)

    def _result(self, trial: Trial, row: Row) -> None:
        before = len(trial.epochs)
        trial.take(row)
        self.all_epochs += len(trial.epochs) - before
        if row.get("of") is not None:
            self.shared_epochs += 1
            self.shared_seconds += row["epoch_seconds"]
        # One that was trained before the interruption and not reported is not trained again.
        if trial.again and row["finished_at"] >= trial.starts[-1]["time"]:
            trial.repeated |= {row["epoch"]}
            self.repeated_epochs += 1
            self.repeated_seconds += row["epoch_seconds"]
        trial.again = False

    def _suggest(self, row: Row) -> None:
        _complete(row["config"], ("epochs",))
        repeat_of, final_of, mate_of = row.get("repeat_of"), row.get("final_of"), row.get("mate_of")
        for first in (repeat_of, final_of, mate_of):
            if first is not None and first not in self.trials:
                raise ValueError(f"there is no trial {first!r} to repeat")
        of_search = repeat_of is None and final_of is None
        self.searched += of_search
        number = self.searched if of_search else None
        trial = Trial(row["trial"], row["config"], repeat_of, final_of, mate_of, number, row["time"])
        self.trials[trial.index] = self.open[trial.index] = trial
        self._trainings.setdefault(trial.trajectory, []).append(trial)
        self.selecting += final_of is None

    def _change(self, row: Row) -> None:
        if row["kind"] == "resources":
            _complete(row, ("cpus", "gpus"))
            self.resources = row
            return
        self.extensions.append(row)
        for trial in self.trials.values():
            reason = trial.end and trial.end["reason"]
            longer = row["epochs"] is not None and reason in (None, "epochs")
            if not trial.final_of and (longer or (row["more_time"] and reason == "time budget")):
                trial.go_on(row["epochs"])
                self.open[trial.index] = trial

    @property
    def elapsed_seconds(self) -> float:
        """Wall time of all sessions up to the last row; the time between sessions does not count."""
        return self.elapsed_at(self.last_time) if self.last_time else 0.0

    def elapsed_at(self, now: float) -> float:
        """The same up to `now` (Unix time, s), while a session works."""
        started: float = self.sessions[-1]["time"] if self.sessions else now
        return self.earlier_seconds + now - started

    @property
    def ranked(self) -> list[Trial]:
        """The search's own trials that have a result and did not fail, the best first: by validation alone. Ties go to the earlier trial."""
        able = [trial for trial in self.trials.values() if trial.of_search and trial.best and trial.status != "failed"]
        return sorted(able, key=_order)

    @property
    def best_runs(self) -> list[Trial]:
        """The final fits of the runs of the best configuration, in their order, once they have had all their epochs; before, those runs."""
        fits = {trial.final_of: trial for trial in self.trials.values() if trial.final_of and trial.status == "completed"}
        return [fits[trial.index] for trial in self.selected_runs if trial.index in fits] or self.selected_runs

    @property
    def selected_runs(self) -> list[Trial]:
        """The runs of the best configuration, the best of them first, by validation; empty before the first result.

        A repeat counts once it has had all its epochs, and the trial that it repeats where it had them, too: only equal training is averaged. Of the
        repeated configurations the one with the highest mean validation accuracy, then the lowest mean validation loss, then the earliest;
        while none is repeated, the best of the search."""
        if self._selected is None:
            self._selected = self._select()
        return self._selected

    def _select(self) -> list[Trial]:
        groups: dict[int, list[Trial]] = {}
        for trial in self.trials.values():
            if trial.status == "completed" and trial.best and not trial.final_of:
                groups.setdefault(trial.repeat_of or trial.index, []).append(trial)
        repeated = {first: trials for first, trials in groups.items() if any(trial.repeat_of for trial in trials)}
        if not repeated:
            return self.ranked[:1]
        best = min(repeated, key=lambda first: (*_mean_rank(repeated[first]), first))
        return sorted(repeated[best], key=_order)

    @property
    def leader(self) -> Trial | None:
        """The best by validation, which its final fit has no figures of."""
        return next(iter(self.selected_runs), None)

    @property
    def best_trial(self) -> Trial | None:
        """The best run of the best configuration: the model to keep."""
        return next(iter(self.best_runs), None)

    def evaluation_of(self, trial: Trial) -> Row | None:
        """Of a trial at its best epoch. One that went on may have a better one by now: then none, until it is evaluated again."""
        return self.evaluations.get((trial.index, trial.best_epoch or 0))

    @property
    def current_evaluation(self) -> Row | None:
        """Of the best trial."""
        return self.evaluation_of(self.best_trial) if self.best_trial else None

    @property
    def unmeasured(self) -> list[Trial]:
        """The runs of the best configuration that are not evaluated yet."""
        return [trial for trial in self.best_runs if not self.evaluation_of(trial)]

    def mates(self, trajectory: int) -> list[Trial]:
        """The trials that are this training, in their order; `trajectory` is the first of them."""
        return self._trainings.get(trajectory, [])

    @property
    def open_trials(self) -> list[Trial]:
        """Suggested, not ended, in their order: what a resume goes on with."""
        return [self.open[index] for index in sorted(self.open)]

    @property
    def trained_epochs(self) -> int:
        """Epochs that were trained, each once for all trials that share it."""
        return self.all_epochs - self.shared_epochs

    def count(self, status: Status) -> int:
        """Trials of that status."""
        return sum(trial.status == status for trial in self.trials.values())
