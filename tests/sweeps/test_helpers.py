"""Workers that are free at the end of a search, as Ray Tune is told of them: they compute features that it takes to measure the best model."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps import Sweep, uniform
from sweeps.core.job import Job
from sweeps.core.tune import FREE_SECONDS, JournalCallback, JournalScheduler, JournalSearcher
from tests.sweeps.test_tune import LOST, a_job, a_result, an_error, given_back, kinds, tune_trial
from trainables.core.trainable import EVALUATE, HELP, TRAIN


def a_job_of_frozen_layers(folder: Path, **changes: Any) -> Job:
    """Two trials of one epoch that differ in their heads."""
    fixed = {"base": "half", "size": 16, "epochs": 1, **changes.pop("fixed", {})}
    sweep = Sweep(question="?", trainable="transfer", space={"dropout": uniform(0, 0.5)}, fixed=fixed)
    return a_job(folder, "run", sweep=sweep, **changes)


def begun(searcher: JournalSearcher, *trial_ids: str) -> None:
    """Trials that have a worker."""
    for trial_id in trial_ids:
        assert searcher.suggest(trial_id)["task"] == TRAIN
        searcher.on_trial_start(trial_id)


def through(searcher: JournalSearcher, job: Job, trial_id: str, index: int) -> None:
    """A trial's only epoch, and Tune's word that it is through."""
    assert JournalScheduler([job]).on_trial_result(None, tune_trial("run", index), a_result(1)) == TrialScheduler.STOP
    given_back(searcher, trial_id)


def a_helper(trial_id: str, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(config={"run": "run", "task": HELP, "trial": 1}, trial_id=trial_id, **more)


def helping(searcher: JournalSearcher, trial_id: str) -> int:
    task = searcher.suggest(trial_id)
    assert (task["run"], task["task"]) == ("run", HELP)
    assert task["dataset_folder"] == "/data/of-run"
    searcher.on_trial_start(trial_id)
    index: int = task["trial"]
    return index


def test_a_worker_that_is_free_helps_to_measure_the_best(tmp_path: Path) -> None:
    """A part at a time, until there is nothing left to help with, also beside the one that measures; no row tells of it."""
    job = a_job_of_frozen_layers(tmp_path)
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    begun(searcher, "a", "b")
    assert searcher.suggest("none is free") is None
    through(searcher, job, "a", 1)
    assert helping(searcher, "c") == 1
    assert searcher.suggest("none is free any more") is None
    JournalCallback([job], searcher=searcher).on_trial_start(1, [], a_helper("c"))
    assert scheduler.on_trial_result(None, a_helper("c"), {"helped": False}) == TrialScheduler.STOP
    searcher.on_trial_complete("c", {"helped": False})
    assert helping(searcher, "d") == 1, "the next part"
    through(searcher, job, "b", 2)
    assert searcher.suggest("e")["task"] == EVALUATE, "which is first"
    searcher.on_trial_start("e")
    searcher.on_trial_complete("d", {"helped": False})
    assert helping(searcher, "f") == 1
    searcher.on_trial_complete("f", {"helped": True})
    assert searcher.suggest("g") is None, "there is nothing left"
    given_back(searcher, "e")
    assert searcher.suggest("h") == Searcher.FINISHED
    assert kinds(job) == ["session", "suggest", "suggest", "result", "end", "result", "end"]


@pytest.mark.parametrize(("text", "again"), [(LOST, True), ("ValueError: no", False)])
def test_a_helper_that_fails_is_no_matter(tmp_path: Path, text: str, again: bool) -> None:
    """Nor where its machine is lost: the trial is not given out again. Another one helps there, when it is free."""
    job = a_job_of_frozen_layers(tmp_path, samples=3)
    searcher = JournalSearcher([job])
    callback = JournalCallback([job], searcher=searcher)
    begun(searcher, "a", "b", "c")
    through(searcher, job, "a", 1)
    assert helping(searcher, "d") == 1
    searcher.on_trial_complete("d", error=True)
    callback.on_trial_error(1, [], a_helper("d", error_file=an_error(tmp_path, text)))
    assert searcher.suggest("e") is None
    through(searcher, job, "b", 2)
    task = searcher.suggest("e")
    assert (task is not None and task["task"] == HELP) is again
    assert job.decisions.given == {1, 2, 3}, "as before"
    assert kinds(job) == ["session", *["suggest"] * 3, *["result", "end"] * 2]


def test_helpers_are_not_there_for_each_other(tmp_path: Path) -> None:
    """As where the one that measured failed for good."""
    job = a_job_of_frozen_layers(tmp_path, samples=3)
    searcher = JournalSearcher([job])
    begun(searcher, "a", "b", "c")
    through(searcher, job, "a", 1)
    assert helping(searcher, "d") == 1
    through(searcher, job, "b", 2)
    assert helping(searcher, "e") == 1
    through(searcher, job, "c", 3)
    assert searcher.suggest("f")["task"] == EVALUATE
    searcher.on_trial_start("f")
    searcher.on_trial_complete("f", error=True)
    searcher.on_trial_complete("d", {"helped": False})
    assert searcher.suggest("g") is None
    searcher.on_trial_complete("e", {"helped": False})
    assert searcher.suggest("g") == Searcher.FINISHED


def test_a_worker_is_not_free_while_work_waits_for_one(tmp_path: Path) -> None:
    """As what a lost machine has left: Tune would give the worker to the helper. Nor once that work has taken it."""
    job = a_job_of_frozen_layers(tmp_path, samples=3)
    searcher = JournalSearcher([job])
    begun(searcher, "a", "b")
    assert searcher.suggest("c")["trial"] == 3
    through(searcher, job, "a", 1)
    assert searcher.suggest("d") is None
    searcher.on_trial_start("c")
    assert searcher.suggest("d") is None
    through(searcher, job, "b", 2)
    assert helping(searcher, "d") == 1


def test_a_worker_that_was_free_for_long_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper would wait for another, and have an autoscaler buy a machine."""
    job = a_job_of_frozen_layers(tmp_path)
    searcher = JournalSearcher([job])
    begun(searcher, "a", "b")
    through(searcher, job, "a", 1)
    now = time.monotonic()
    monkeypatch.setattr("sweeps.core.tune.time.monotonic", lambda: now + FREE_SECONDS)
    assert searcher.suggest("c") is None
    monkeypatch.undo()
    assert helping(searcher, "c") == 1


@pytest.mark.parametrize(
    "changes",
    [{"fixed": {"features": "off"}}, {"parallel": 2}, {"samples": 3}, {"seeds": 2}],
    ids=["no features", "a limit of trials at a time", "more trials to come", "more seeds to come"],
)
def test_nobody_helps(tmp_path: Path, changes: dict[str, Any]) -> None:
    job = a_job_of_frozen_layers(tmp_path, **changes)
    searcher = JournalSearcher([job])
    begun(searcher, "a", "b")
    through(searcher, job, "a", 1)
    task = searcher.suggest("c")
    assert task is None or task["task"] == TRAIN
