"""What Ray Tune is given for a session: a searcher, a scheduler, a callback, which work on one run or on several side by side. Nothing of Tune's own
state is used."""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.core.decide import Decisions, last_line, picked
from sweeps.core.job import Job
from sweeps.core.lease import RunTaken
from sweeps.core.state import LEAVING, RETIRED
from trainables.core.features import OFF
from trainables.core.files import StorageLost
from trainables.core.trainable import EVALUATE, HELP, TRAIN

BEAT_SECONDS = 10
# Of a trial whose worker raised or was killed, in a session.
RETRIES = 3
# What Ray says when a machine went with its workers, and our own worker when it gives its trial up.
GIVEN_BACK = re.compile(rf"node has died|node was preempted|the node it was running on is dead|\b(?:{LEAVING}|{RETIRED})\b")
# Tune keeps a worker that is free for a while, and an autoscaler its machine: later a helper might need another.
FREE_SECONDS = 10.0
# Between two looks at whether there is a node left.
LOOK_SECONDS = 5.0


class ClusterLost(Exception):
    """No node of Ray is alive, and none will come: what was reported is kept, and a resume goes on. One line."""


@contextmanager
def memory_kills_as_losses() -> Iterator[None]:
    """Ray ends the worker that takes the most when a machine's memory runs out. Tune (2.60) knows only errors of actors and ends the whole session by
    this one; here it is a lost worker, with a reason."""
    plain = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            used = re.search(r"was (.+?) / (.+?) limit", str(exception))
            when = f" when {used[1].removesuffix(' used')} of the machine's {used[2]} were used" if used else ""
            reason = f"out of memory: Ray ended its worker{when}; a smaller batch_size, or fewer trials at a time, may help"
            exception = RayActorError(error_msg=reason)
        plain(self, tracked_actor_task, exception)

    setattr(RayActorManager, plain.__name__, failed)
    try:
        yield
    finally:
        setattr(RayActorManager, plain.__name__, plain)


class NothingAtWork(Exception):
    """The session is to end, and what is left of it waits for a worker."""


class Ending:
    """Whether the session ends before its runs do. `reason`: a storage is lost; nothing that comes after it is taken: a resume has it again; `taken`: to
    another process.
    `no_node`: why Ray cannot go on, once it has lost its last node.
    `interrupted`: it was asked to; each worker ends the epoch that it is in the middle of."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.taken = False
        self.no_node: str | None = None
        self.interrupted = False

    @property
    def near(self) -> bool:
        """Whether nothing new is begun."""
        return self.interrupted or self.reason is not None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A lost storage ends the session."""
        try:
            yield
        except StorageLost as error:
            self.reason = self.reason or str(error)
            self.taken |= isinstance(error, RunTaken)


class JournalSearcher(Searcher):
    """Hands out the trials that are open (a resume's, and those that waited for a mate), then new suggestions, of the first run that has any: those with
    a time budget first. When a run's search has ended, its best models are measured, by the workers that trained: these have keras and the features of
    frozen layers at hand. A worker that there is nothing else for helps with that beforehand: it computes the features that it takes to measure the best
    so far."""

    def __init__(self, jobs: list[Job], ending: Ending | None = None) -> None:
        # No metric: Tune would end the session at a result without it, as that of a trial that failed is.
        super().__init__()
        # A budget of its own runs from the session's start, also while another run has all the workers.
        self.jobs = sorted(jobs, key=lambda job: job.spec.time_budget_seconds is None)
        self.measuring: set[tuple[str, int, int | None]] = set()
        self.at_work: set[str] = set()
        # Of these, as Tune names them, those that have a worker; the others wait for one.
        self.started: set[str] = set()
        # When a worker had done what it was given (monotonic clock, s), if nothing was given out or started since.
        self.freed = -math.inf
        # (run, trial) that a helper, as Tune names it, helps to measure; and those that there is nothing left to help with.
        self.helping: dict[str, tuple[str, int]] = {}
        self.ready: set[tuple[str, int]] = set()
        self.ending = ending or Ending()

    def suggest(self, trial_id: str) -> Any:
        """A worker's task; None for "ask again later", FINISHED for "no more"."""
        task = None
        with self.ending.watched():
            task = None if self.ending.near else self._next() or self._help()
        if self.ending.near:
            return Searcher.FINISHED
        if task:
            self.at_work.add(trial_id)
            self.freed = -math.inf
            if task["task"] == HELP:
                self.helping[trial_id] = task["run"], task["trial"]
            return task
        # What is at work may still be followed by something.
        return None if self.at_work or not all(job.decisions.all_given for job in self.jobs) else Searcher.FINISHED

    def _next(self) -> dict[str, Any] | None:
        for job in self.jobs:
            if trial := job.decisions.give():
                return job.training(trial)
        for job in self.jobs:
            if trial := job.decisions.give_new():
                return job.training(trial)
        for job in self.jobs:
            for trial in job.state.unmeasured if job.decisions.searched else ():
                key = job.run, trial.index, trial.best_epoch
                if key not in self.measuring:
                    self.measuring.add(key)
                    return job.evaluation(trial)
        return None

    def _help(self) -> dict[str, Any] | None:
        """For a worker that is free while the last trials are at work."""
        free = time.monotonic() - self.freed < FREE_SECONDS and self.at_work <= self.started
        # Helpers are not there for each other.
        for job in self.jobs if free and self.at_work - self.helping.keys() else ():
            trial, decisions = job.state.best_trial, job.decisions
            # Who limits the trials at a time wants no other work beside them.
            if trial is None or not decisions.exhausted or job.spec.parallel is not None:
                continue
            if trial.config.get("features", OFF) != OFF and (job.run, trial.index) not in self.ready and not job.state.evaluation_of(trial):
                return job.help(trial)
        return None

    def give_back(self, task: dict[str, Any]) -> None:
        """What a worker that is no more had to do is to be given out again."""
        for job in self.jobs:
            if job.run == task["run"]:
                job.decisions.given.discard(task["trial"])
                self.measuring.discard((job.run, task["trial"], task.get("epoch")))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler and the callback have written the end already."""
        self.at_work.discard(trial_id)
        self.started.discard(trial_id)
        leader = self.helping.pop(trial_id, None)
        if not error:
            self.freed = time.monotonic()
            if leader and (result or {}).get("helped", False):
                self.ready.add(leader)

    def on_trial_start(self, trial_id: str) -> None:
        """It has a worker now, perhaps the one that was free."""
        self.started.add(trial_id)
        self.freed = -math.inf

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


def _by_run(jobs: list[Job]) -> dict[str, Decisions]:
    return {job.run: job.decisions for job in jobs}


class JournalScheduler(FIFOScheduler):
    """Writes each result, then stops or goes on as the journal says."""

    def __init__(self, jobs: list[Job], ending: Ending | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.decisions = _by_run(jobs)
        self.ending = ending or Ending()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune keeps every trial to the end, 90 kB each, and looks at all of them after every event: here those that have ended are forgotten."""
        super().on_trial_add(tune_controller, trial)
        kept = tune_controller._tune_controller
        ended = (kept._stopped_trials | kept._failed_trials) - kept._live_trials
        for one in ended:
            kept._trials.remove(one)
            kept._trial_metadata.pop(one.trial_id, None)
        for those in (kept._stopped_trials, kept._failed_trials, kept._trials_to_cache):
            those.difference_update(ended)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """An epoch of a trial, a part of what comes before, or why it cannot go on."""
        stop = True
        with self.ending.watched():
            stop = self._take(trial, result)
        verdict: str = TrialScheduler.STOP if stop or self.ending.near else TrialScheduler.CONTINUE
        return verdict

    def _take(self, trial: Any, result: dict[str, Any]) -> bool:
        """Whether the trial stops, or its worker has done what it was asked."""
        if "lost" in result:
            raise StorageLost(result["lost"])
        if self.ending.reason:
            return True
        decisions, index = self.decisions[trial.config["run"]], trial.config["trial"]
        stop = True
        if "evaluation" in result:
            decisions.journal.append("evaluation", trial=index, epoch=trial.config["epoch"], **json.loads(result["evaluation"]))
            return True
        if "helped" in result:
            # A part of it: if there is no other work, it is given the next.
            return True
        if "stage" in result:
            if result["computed"] or result["images_done"] == result["images_total"]:
                decisions.stage(
                    index, {key: result[key] for key in ("stage", "images_done", "images_total", "computed", "bytes", "seconds")}
                )
            stop = False
        elif "failed" in result:
            decisions.fail(index, result["failed"])
        elif "out_of_time" in result:
            decisions.end(index, "time budget")
        else:
            stop = decisions.report(index, picked(result))
        return stop


class JournalCallback(Callback):
    """Writes starts, moves and failures. Tune itself tries nothing again: it cannot tell a trial's failure from the loss of a machine."""

    def __init__(self, jobs: list[Job], ending: Ending | None = None, searcher: JournalSearcher | None = None) -> None:
        self.decisions = _by_run(jobs)
        self.ending = ending or Ending()
        self.searcher = searcher or JournalSearcher(jobs, self.ending)
        # Of a run's trial: how often its worker failed.
        self.failures: Counter[tuple[str, str, int]] = Counter()
        self.looked = time.monotonic()
        # Why best models could not be measured.
        self.problems: list[str] = []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also after a failure or a move: a trial's starts less one are its restarts."""
        self.searcher.on_trial_start(trial.trial_id)
        if trial.config["task"] != TRAIN:
            return
        with self.ending.watched():
            self.decisions[trial.config["run"]].journal.append("start", synced=False, trial=trial.config["trial"])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """What a kill takes of a time budget's account is no more than BEAT_SECONDS, however long epochs are. ClusterLost where no node is left: Tune
        itself would wait for one. NothingAtWork where the session is to end."""
        if time.monotonic() - self.looked >= LOOK_SECONDS:
            self._look()
        if (
            self.ending.near
            and not any(trial.status == Trial.RUNNING for trial in trials)
            and any(not trial.is_finished() for trial in trials)
        ):
            # Perhaps for a machine that nobody has bought yet: Tune would wait for it, and train an epoch on it.
            raise NothingAtWork
        now = time.time()
        for decisions in self.decisions.values():
            if decisions.spec.time_budget_seconds is not None and now - (decisions.state.last_time or now) >= BEAT_SECONDS:
                with self.ending.watched():
                    decisions.journal.append("beat")

    def _look(self) -> None:
        self.looked = time.monotonic()
        # Not asked where there is none: it would start one.
        if ray.is_initialized() and not any(node["Alive"] for node in ray.nodes()):
            self.ending.no_node = "Ray has no node left: one of its own processes was ended"
            raise ClusterLost(self.ending.no_node)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial is given to another worker: after the loss of its machine, or where its worker gave it up, always, else RETRIES times.
        ClusterLost where no node is left: that is no
        trial's fault."""
        self._look()
        told, task = _error_text(trial), trial.config
        moved = GIVEN_BACK.search(told)
        if task["task"] == HELP:
            if not moved:
                # What it would have done is done by whom it was to help.
                self.searcher.ready.add((task["run"], task["trial"]))
            return
        if moved:
            if task["task"] == TRAIN:
                with self.ending.watched():
                    self.decisions[task["run"]].journal.append("moved", trial=task["trial"], reason=moved[0])
            self.searcher.give_back(task)
            return
        failed = task["run"], task["task"], task["trial"]
        self.failures[failed] += 1
        if self.failures[failed] <= RETRIES:
            self.searcher.give_back(task)
            return
        if task["task"] == EVALUATE:
            # The others are measured all the same, and kept.
            epoch, number = trial.config["epoch"], f"{trial.config['trial']:05d}"
            self.problems.append(
                f"the best model is measured from the checkpoint of epoch {epoch} of trial {number}, but that failed "
                f"({last_line(told)}): mend it, then `sweeps resume {trial.config['run']}`"
            )
            return
        with self.ending.watched():
            self.decisions[task["run"]].fail(task["trial"], last_line(told))


class NoProgress(TrialProgressCallback):
    """Tune's own would print nothing here, but keep every trial with its last result."""

    def on_trial_result(self, *event: Any, **info: Any) -> None:
        """Nothing."""

    on_trial_error = on_trial_complete = on_trial_result


def _error_text(trial: Any) -> str:
    # Not `trial.get_error()`: it looks on the storage, where Tune copies the file to later.
    file = Path(trial.error_file) if trial.error_file else None
    return file.read_text() if file and file.exists() else "the worker gave no reason"
