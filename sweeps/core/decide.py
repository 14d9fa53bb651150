"""What a run decides: what to suggest next and when a trial stops. Functions of the journal alone, so a resumed run decides what an
uninterrupted one would have.

In order of arrival (the default) a decision uses everything in the journal. In trial order (`--deterministic`) a suggestion or verdict for trial i
uses trials of the search up to the WINDOW-th before it only, and waits until those have ended: then it depends on neither the number of workers nor on interruptions.

Trials that are one training (`TrainConfig.trajectory`) are trained by one worker at a time. Each epoch that comes of it is a result of all of them,
with a verdict of its own; who of them has the worker is told apart by `of` in the copies, and decides nothing else.

What follows the search, repeats with further seeds and final fits, is told by `standing`: no rule but the time budget stops a repeat, nothing a final fit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from data_prep import BadInput
from sweeps.core.journal import Journal
from sweeps.core.propose import proposer, trial_count
from sweeps.core.spec import RunSpec
from sweeps.core.standing import (
    exhausted,
    final_fits,
    finished,
    repeats_left,
    searching,
    selected,
    total_selecting,
)
from sweeps.core.state import Row, RunState, Trial
from trainables import get_trainable
from trainables.core.selection import without_gain

WINDOW = 4
# Searchers whose suggestions depend on results.
LEARNING = ("tpe", "autokeras")
# Whose versions suggestions depend on.
DRAWN_BY = {"tpe": ("hyperopt",), "random": ("numpy",), "grid": ("numpy",), "autokeras": ("autokeras", "keras-tuner")}


class Decisions:
    """The searcher and the stopping rule of a run, rebuilt from its journal."""

    def __init__(self, spec: RunSpec, journal: Journal) -> None:
        self.spec, self.journal, self.state = spec, journal, journal.state
        self.count = trial_count(spec.sweep, spec.samples)
        self.proposer = proposer(spec.sweep, spec.seed)
        # Numbers of the search's trials whose ends the proposer knows, and of those that it is still to be told of, with their indices.
        self.told: set[int] = set()
        self.untold: dict[int, int] = {}
        self.heard = 0
        # Who was given to a worker in this session.
        self.given: set[int] = set()
        # Epoch -> index -> trial, of the rungs that were asked for.
        self.reached: dict[int, dict[int, Trial]] = {}
        self.defaults = {name: field.default for name, field in get_trainable(spec.sweep.trainable).config.model_fields.items()}
        # Of a finished run nothing will be asked.
        if not finished(spec, self.state):
            self._replay()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles whatever its searcher holds, for a restore that is never done here: the journal is the state.
        return {}

    def _replay(self) -> None:
        """Ask for every suggestion of the journal again, each as it was known then."""
        past = RunState()
        for row in self.journal.rows():
            if row["kind"] == "suggest" and not row.get("final_of"):
                repeated = row.get("repeat_of")
                now, repeat_of = next(iter(repeats_left(self.spec, past)), ({}, None)) if repeated else (self._ask(past), None)
                self._compare(row["trial"], {**now, "repeat_of": repeat_of}, {**row["config"], "repeat_of": repeated})
            past.apply(row)

    def _compare(self, index: int, now: Row, then: Row) -> None:
        # A setting that came later than the run has its default there.
        then = {**{key: default for key, default in self.defaults.items() if key in now}, **then}
        if "epochs" not in self.spec.sweep.space:
            # A resume may have raised their limit since.
            then["epochs"] = now.get("epochs")
        differing = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if differing:
            key = differing[0]
            versions = ", ".join(f"{name} {self.spec.versions.get(name)}" for name in DRAWN_BY[self.spec.sweep.searcher])
            raise BadInput(
                f"a resumed search repeats its suggestions, but {key} of trial {index} of {self.spec.run} came out as {now.get(key)!r} instead "
                f"of {then.get(key)!r}: install the versions that its run.json names ({versions})"
            )

    def settle(self) -> None:
        """Carry out what was decided before an interruption. To be called when the session has begun."""
        for trial in self.state.open_trials:
            if trial.epochs and trial.epochs[trial.last_epoch].get("reopened") and (stop := self._verdict_anew(trial)):
                self._end(trial.index, stop)
        for trajectory in dict.fromkeys(trial.trajectory for trial in self.state.open_trials):
            self._carry_out(trajectory)

    def _verdict_anew(self, trial: Trial) -> str | None:
        """Of its last epoch, under higher limits than it was reported with: it may have been at its end for another reason, too."""
        *before, last = trial.epochs.values()
        return self._verdict(replace(trial, epochs={row["epoch"]: row for row in before}), last)

    def _carry_out(self, trajectory: int) -> None:
        """What follows from the rows of a training, in one order wherever an interruption came between: its trials have every epoch that one of them
        has, up to their own ends. Those that nobody trains end with the run's time."""
        mates = self.state.mates(trajectory)
        # One of the mates has trained it, and the others have copies.
        trained = {epoch: row for mate in mates for epoch, row in mate.epochs.items() if not row.get("of")}
        begun = min((mate.last_epoch for mate in mates if not mate.end), default=math.inf)
        for epoch in sorted({epoch for mate in mates for epoch in mate.epochs if epoch >= begun}):
            for mate in mates:
                if not mate.end and epoch == mate.last_epoch + 1 and epoch in trained:
                    self._copy(mate, trained[epoch])
            for mate in mates:
                if not mate.end and epoch == mate.last_epoch and (stop := mate.epochs[epoch]["stop"]):
                    self._end(mate.index, stop)
        if self.out_of_time():
            for mate in mates:
                if not mate.end and not mate.final_of and mate.index not in self.given:
                    self._end(mate.index, "time budget")

    def _copy(self, trial: Trial, row: Mapping[str, Any]) -> None:
        """Another trial's epoch is this one's, too; whether it stops is its own affair."""
        result = {key: value for key, value in row.items() if key not in ("kind", "time", "trial", "stop")}
        self._record(trial, result, [], stop=self._verdict(trial, result, trained=False), of=row["trial"])

    def _record(self, trial: Trial, result: Row, then: list[Row], **more: Any) -> None:
        self.journal.append_together([{"kind": "result", "trial": trial.index, **result, **more}, *then])
        if result["epoch"] in self.reached:
            self.reached[result["epoch"]][trial.index] = trial

    def _that_reached(self, epoch: int) -> Iterable[Trial]:
        if epoch not in self.reached:
            self.reached[epoch] = {trial.index: trial for trial in self.state.trials.values() if epoch in trial.epochs}
        return self.reached[epoch].values()

    def _ask(self, state: RunState) -> Row:
        """The settings of the search's next trial, by what that state knows."""
        number = state.searched + 1
        for trial in map(state.trials.__getitem__, state.ended[self.heard :]):
            if trial.number is not None and trial.number not in self.told:
                self.untold[trial.number] = trial.index
        self.heard = len(state.ended)
        # In trial order the trials that count are always among the ended ones: see `waiting`.
        for n in sorted(n for n in self.untold if n <= number - WINDOW) if self.spec.deterministic else list(self.untold):
            trial = state.trials[self.untold.pop(n)]
            self.told.add(n)
            failed = trial.status == "failed" or trial.best is None
            self.proposer.tell(n, None if failed else trial.best["val_accuracy"])  # type: ignore[index]
        return self.spec.sweep.config(self.proposer.ask(number), self.spec.seed).model_dump()

    @property
    def exhausted(self) -> bool:
        """No trial will be suggested any more."""
        return exhausted(self.spec, self.state, self.out_of_time())

    def waiting(self) -> bool:
        """Whether the next suggestion has to wait for trials that still run."""
        running = self.state.open_trials
        # Of mates one is trained at a time.
        if self.spec.parallel is not None and len({trial.trajectory for trial in running}) >= self.spec.parallel:
            return True
        if selected(self.spec, self.state, self.out_of_time()):
            return False
        if self.out_of_time() or self.state.selecting >= total_selecting(self.spec, self.state):
            # The best is not known yet.
            return True
        if self.state.searched >= self.count:
            # The best of the search, to be repeated, are not.
            return searching(self.spec, self.state)
        return self._too_early(self.state.searched + 1)

    def _too_early(self, number: int) -> bool:
        """Whether, in trial order, that trial of the search has to wait for an earlier one."""
        before = number - WINDOW
        return self.spec.deterministic and any(trial.number is not None and trial.number <= before for trial in self.state.open_trials)

    def suggest(self) -> Trial:
        """The next trial, in the journal before anyone knows of it; with the epochs that a mate has had, and perhaps at its end by that."""
        index = len(self.state.trials) + 1
        if selected(self.spec, self.state, self.out_of_time()):
            config, final_of = final_fits(self.spec, self.state)[0]
            what: dict[str, Any] = {"final_of": final_of}
        else:
            left = self.state.searched < self.count
            config, repeat_of = (self._ask(self.state), None) if left else repeats_left(self.spec, self.state)[0]
            what = {"repeat_of": repeat_of}
        training = "final_of" in what, self._training(config)
        mate_of = self._first_of_each.get(training)
        self.journal.append("suggest", trial=index, config=config, **what, mate_of=mate_of)
        self._first_of_each.setdefault(training, index)
        trial = self.state.trials[index]
        self._carry_out(trial.trajectory)
        return trial

    @cached_property
    def _first_of_each(self) -> dict[tuple[bool, str], int]:
        """Whether it is a final fit (that trains on other images), and what it trains -> the first trial of this training."""
        firsts = [trial for trial in self.state.trials.values() if trial.mate_of is None]
        return {(trial.final_of is not None, self._training(trial.config)): trial.index for trial in reversed(firsts)}

    def _training(self, config: Row) -> str:
        return json.dumps(get_trainable(self.spec.sweep.trainable).config(**config).trajectory(), sort_keys=True)

    def give(self) -> Trial | None:
        """An open trial for a free worker. One worker at a time trains what is one training: the longest of its trials, ties to the first. None: there
        is none, or they wait for a mate that is being trained."""
        for trajectory in dict.fromkeys(trial.trajectory for trial in self.state.open_trials):
            mates = [trial for trial in self.state.mates(trajectory) if not trial.end]
            if any(mate.index in self.given for mate in mates):
                continue
            self._carry_out(trajectory)
            if left := [mate for mate in mates if not mate.end]:
                chosen = max(left, key=lambda mate: (mate.config["epochs"], -mate.index))
                if chosen.number is not None and self._too_early(chosen.number):
                    # Trials that a resume with higher limits goes on with.
                    continue
                self.given.add(chosen.index)
                return chosen
        return None

    def give_new(self) -> Trial | None:
        """The same of trials that are suggested for it: those that share a training which goes on are left to wait."""
        while not (self.exhausted or self.waiting() or self._crowded()):
            self.suggest()
            if trial := self.give():
                return trial
        return None

    @property
    def all_given(self) -> bool:
        """No worker will be asked for again: nothing is to be suggested, and what is open is being trained."""
        return self.exhausted and all(trial.index in self.given for trial in self.state.open_trials)

    def _crowded(self) -> bool:
        """Whether a search that learns has a trial open for every worker, some of them waiting for a mate: another one would be a guess."""
        still_open = self.state.open_trials
        if self.spec.sweep.searcher not in LEARNING or all(trial.index in self.given for trial in still_open):
            return False
        workers: int = self.state.sessions[-1]["workers"]
        return len(still_open) >= workers

    def report(self, index: int, result: Row) -> bool:
        """Take an epoch's result; whether the trial stops. A result that the journal has, reported again after an interruption, changes nothing."""
        trial = self.state.trials[index]
        if result["epoch"] not in trial.epochs:
            stop = self._verdict(trial, result)
            # The end of one that shares with nobody is synced with what it follows from.
            then = [_end_row(index, stop)] if stop and self.state.mates(trial.trajectory) == [trial] else []
            self._record(trial, result, then, stop=stop)
        self._carry_out(trial.trajectory)
        return trial.end is not None

    def _verdict(self, trial: Trial, result: Mapping[str, Any], trained: bool = True) -> str | None:
        if result["epoch"] >= trial.config["epochs"]:
            return "epochs"
        if trial.final_of:
            return None
        # A copy takes no time.
        if trained and self.out_of_time():
            return "time budget"
        patience = trial.config.get("patience")
        if patience is not None and without_gain([*trial.epochs.values(), result]) >= patience:
            return "patience"
        sweep = self.spec.sweep
        if trial.of_search and sweep.scheduler == "asha" and is_rung(result["epoch"], sweep.grace_epochs, sweep.reduction_factor):
            last = (trial.number or 0) - WINDOW if self.spec.deterministic else self.count
            # A failed trial may have shone before it diverged: nobody is measured against it.
            reached = [t for t in self._that_reached(result["epoch"]) if (t.number or math.inf) <= last and t.index != trial.index]
            peers = [t.epochs[result["epoch"]]["val_accuracy"] for t in reached if t.status != "failed"]
            if not promoted(result["val_accuracy"], peers, sweep.reduction_factor):
                return "asha"
        return None

    def end(self, index: int, reason: str) -> None:
        """Record that a trial is done: it had all its epochs, or came no further (`patience`), or it was stopped before."""
        self._end(index, reason)
        self._carry_out(self.state.trials[index].trajectory)

    def _end(self, index: int, reason: str) -> None:
        self.journal.append_together([_end_row(index, reason)])

    def fail(self, index: int, error: str) -> None:
        """Record that a trial failed for good."""
        if not self.state.trials[index].end:
            self.journal.append("end", trial=index, status="failed", reason="error", error=error)
            self._carry_out(self.state.trials[index].trajectory)

    def stage(self, index: int, progress: Row) -> None:
        """Record how far a trial is with what comes before its first epoch."""
        self.journal.append("stage", trial=index, **progress)

    def deadline(self, trial: Trial) -> float | None:
        """When the trial has to stop, within an epoch (Unix time, s); None: never."""
        budget = self.spec.time_budget_seconds
        if budget is None or trial.final_of:
            return None
        now = time.time()
        return now + budget - self.state.elapsed_at(now)

    def out_of_time(self) -> bool:
        """Whether the run has used its time budget; the time between its sessions does not count."""
        budget = self.spec.time_budget_seconds
        return budget is not None and self.state.elapsed_at(time.time()) >= budget

    @property
    def searched(self) -> bool:
        """All trials have been suggested and have ended."""
        return self.exhausted and not self.state.open_trials


def _end_row(index: int, reason: str) -> Row:
    status = "completed" if reason in ("epochs", "patience") else "stopped"
    return {"kind": "end", "trial": index, "status": status, "reason": reason, "error": None}


def is_rung(epoch: int, grace: int, factor: int) -> bool:
    """Whether `epoch` is grace * factor**k for a whole k >= 0."""
    while epoch > grace and epoch % factor == 0:
        epoch //= factor
    return epoch == grace


def promoted(accuracy: float, peers: list[float], factor: int) -> bool:
    """Asynchronous successive halving (Li et al. 2020): go on when among the best 1/factor of all that reached this rung; at first everyone does."""
    reached = sorted([*peers, accuracy], reverse=True)
    return len(reached) < factor or accuracy >= reached[max(1, math.floor(len(reached) / factor)) - 1]


def last_line(text: str) -> str:
    """What a traceback ends with: `ValueError: ...`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "unknown error"


def picked(result: dict[str, Any]) -> Row:
    """What the journal keeps of a worker's result."""
    return {key: result[key] for key in RESULT_KEYS}


RESULT_KEYS = (
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "epoch_seconds", "images_per_second", "finished_at",
    "parameters", "trainable_parameters", "setup_seconds", "node", "device", "pid", "checkpoint",
)  # fmt: skip
