"""What `resume` does around a session: what it refuses, writes down and tells. The sessions themselves are left out: they would train."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput, Dataset
from sweeps import Sweep, uniform
from sweeps.core import study
from sweeps.core.decide import Decisions
from sweeps.core.job import Job
from sweeps.core.journal import Journal, read_state
from sweeps.core.launch import local_gpus
from sweeps.core.lease import RunTaken
from sweeps.core.results import export
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.studies import a_study

BEYOND = [
    (["--cpus", "0"], "--cpus is a number of cores a trial, at least 1, but got 0: give another"),
    (["--cpus", "999"], f"a trial runs on one machine, but --cpus 999 is more than the {os.cpu_count()} cores of this one: lower --cpus"),
    (["--gpus", "1.5"], "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got 1.5: give another"),
    (["--gpus", "99"], f"a trial runs on one machine, but --gpus 99 is more than the {local_gpus()} GPUs of this one: lower --gpus"),
]


@pytest.mark.parametrize(("words", "text"), BEYOND)
def test_resources_that_cannot_be_had_change_nothing(sweeps: Sweeps, digits: Dataset, words: list[str], text: str) -> None:
    begun = a_run_on(digits)
    for more in ([], ["--samples", "+8"]):
        assert sweeps("resume", "run", *words, *more, "--data-root", str(digits.path.parent)) == (2, "", f"error: {text}\n")
        state = read_state(begun)
        assert (begun.spec().cpus_per_trial, state.resources, state.extensions) == (1, None, [])


def a_run_on(dataset: Dataset, **changes: Any) -> RunStorage:
    storage = RunStorage("runs", "run")
    sweep = Sweep(
        question="q",
        trainable="cnn",
        space={"dropout": uniform(0, 0.7)},
        searcher="random",
        scheduler="none",
        fixed={"epochs": 2},
    )
    storage.create(runs.spec("run", sweep=sweep, dataset_folder=str(dataset.path), dataset_fingerprint=dataset.fingerprint, **changes))
    return storage


@pytest.mark.parametrize("name", ["run", "one"])
def test_what_is_at_work_is_refused_before_ray_starts(sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A run, and a study."""

    def starts(*given: object) -> None:
        raise AssertionError("Ray starts")

    monkeypatch.setattr("sweeps.core.runner.cluster", starts)
    a_run_on(digits)
    study.create(RunStorage("runs", "one"), a_study())
    text = f"one process at a time runs a run, but {name} is running already: watch it with `sweeps status {name}`"
    with RunStorage("runs", name).lock():
        assert sweeps("resume", name) == (2, "", f"error: {text}\n")
    with pytest.raises(AssertionError, match="Ray starts"):
        sweeps("resume", name)


@pytest.mark.usefixtures("ray")
def test_a_session_has_the_resources_that_it_is_given_and_so_has_the_next(
    sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that asked for a GPU goes on without; the sessions themselves are left out: they would train."""
    begun = a_run_on(digits, gpus_per_trial=64.0)
    given: list[tuple[int, float, int]] = []

    def session(jobs: list[Job], workers: int, *more: object) -> bool:
        given.append((jobs[0].spec.cpus_per_trial, jobs[0].spec.gpus_per_trial, workers))
        return False

    monkeypatch.setattr("sweeps.core.runner.run_session", session)
    code, _, err = sweeps("resume", "run")
    assert (code, err) == (
        2, f"error: a trial runs on one machine, but --gpus 64 is more than the {local_gpus()} GPUs of this one: lower --gpus\n"
    )  # fmt: skip
    assert sweeps("resume", "run", "--cpus", "2", "--gpus", "0")[0] == 130
    assert sweeps("resume", "run")[0] == 130
    assert given == [(2, 0.0, 1), (2, 0.0, 1)]
    assert (begun.spec().cpus_per_trial, begun.spec().gpus_per_trial) == (2, 0.0)
    code, out, _ = sweeps("resume", "run", "--cpus", "1")
    assert (code, out.splitlines()[0]) == (130, "run: 0 trials so far, 3 to come")
    assert given[2:] == [(1, 0.0, 2)]


def a_node_refuses(begun: RunStorage, patch: pytest.MonkeyPatch) -> str:
    def refuse(*given: object) -> None:
        raise BadInput("a node cannot do its share")

    patch.setattr("sweeps.core.work.Work.check_nodes", refuse)
    return "a node cannot do its share"


def the_data_are_others(begun: RunStorage, patch: pytest.MonkeyPatch) -> str:
    begun.replace(begun.spec().model_copy(update={"dataset_fingerprint": "f" * 12}))
    return "a run is resumed on the data it began with, but "


def the_search_does_not_repeat_itself(begun: RunStorage, patch: pytest.MonkeyPatch) -> str:
    Journal(begun).append("suggest", trial=1, config=begun.spec().sweep.config({"dropout": 0.123}, 0).model_dump())
    return "a resumed search repeats its suggestions, but dropout of trial 1 of run came out as "


def another_is_at_work(begun: RunStorage, patch: pytest.MonkeyPatch) -> str:
    patch.setattr("tests.sweeps.test_work.HELD", begun.lock())
    return "one process at a time runs a run, but run is running already"


def the_results_have_another(begun: RunStorage, patch: pytest.MonkeyPatch) -> str:
    export(begun.spec().model_copy(update={"created_at": "2020-01-01T00:00:00+00:00"}), read_state(begun), Path("results"))
    return "a run's results stay its own, but 'results' has another run 'run', begun 2020-01-01"


HELD: object = None


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    "spoilt", [a_node_refuses, the_data_are_others, the_search_does_not_repeat_itself, another_is_at_work, the_results_have_another]
)
def test_a_refused_resume_changes_nothing(
    sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch, spoilt: Callable[[RunStorage, pytest.MonkeyPatch], str]
) -> None:
    """Else the same command, once that is mended, would add to the run twice."""
    begun = a_run_on(digits)
    why = spoilt(begun, monkeypatch)
    before, rows = begun.spec(), list(Journal(begun).rows())
    for _ in range(2):
        code, _, err = sweeps("resume", "run", "--samples", "+8", "--cpus", "2")
        assert (code, err.startswith(f"error: {why}"), err.count("\n")) == (2, True, 1), err
    assert (begun.spec(), list(Journal(begun).rows())) == (before, rows)


def test_a_finished_run_keeps_its_resources(sweeps: Sweeps, digits: Dataset) -> None:
    storage = a_run_on(digits, samples=1)
    journal = Journal(storage)
    rows: list[runs.Row] = [{"kind": "session", "workers": 1}, runs.suggest(1, 1), runs.start(1, 1)]
    rows += [runs.result(1, 1, 2, 0.5), runs.end(1, 3, "failed", "no")]
    for row in rows:
        journal.append(**{key: value for key, value in row.items() if key != "time"})
    code, out, _ = sweeps("resume", "run", "--cpus", "999")
    assert (code, out) == (1, "run is finished: nothing to do. `sweeps status run` shows why it has no model.\n")
    assert (storage.spec().cpus_per_trial, read_state(storage).resources) == (1, None)


@pytest.mark.usefixtures("ray")
def test_a_resume_says_what_is_left(sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that are open, those to come, or the last thing of all. (The session itself is left out.)"""
    storage = a_run_on(digits, samples=1)
    journal = Journal(storage)

    def write(*rows: runs.Row) -> None:
        for row in rows:
            journal.append(**{key: value for key, value in row.items() if key != "time"})

    def said(*words: str) -> str:
        code, out, _ = sweeps("resume", "run", *words)
        assert code == 130
        return out.splitlines()[0]

    monkeypatch.setattr("sweeps.core.runner.run_session", lambda *given: False)
    write({"kind": "session", "workers": 1})
    Decisions(storage.spec(), journal).suggest()
    write(runs.start(1, 1))
    assert said() == "run: 1 trials so far, going on with: 00001"
    write(runs.result(1, 1, 2, 0.5), runs.end(1, 3))
    assert said() == "run: 1 trials so far, all ended; the best is still to be measured"
    assert said("--samples", "8") == "run: 1 trials so far, all ended; 7 to come"


@pytest.mark.usefixtures("ray")
def test_scripts_are_told_of_a_run_whose_best_cannot_be_measured(sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run_on(digits)

    def session(*given: object) -> bool:
        raise BadInput("the best model is measured from a checkpoint, but that failed")

    monkeypatch.setattr("sweeps.core.runner.run_session", session)
    code, out, err = sweeps("resume", "run", "--json")
    assert (code, err) == (2, "error: the best model is measured from a checkpoint, but that failed\n")
    assert [(row["event"], row["run"]) for row in map(json.loads, out.splitlines())] == [("end", "run")]
    assert list(Path("results/trials").rglob("*.parquet")), "what was reported is not kept from anyone"


@pytest.mark.usefixtures("ray")
def test_a_run_that_another_process_has_taken_is_left_to_it(sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run_on(digits)

    def session(*given: object) -> bool:
        raise RunTaken("another process has taken the run")

    monkeypatch.setattr("sweeps.core.runner.run_session", session)
    code, _, err = sweeps("resume", "run")
    assert (code, err) == (
        2,
        "error: one process at a time runs a run, but another one has taken run while this one was away: watch it with `sweeps status run`\n",
    )
    assert not list(Path("results").rglob("*.parquet")), "they are the other one's to write"


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(("done", "code"), [(False, 130), (True, 2)])
def test_results_that_cannot_be_written_at_the_end(
    sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch, done: bool, code: int
) -> None:
    a_run_on(digits)

    def write(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sweeps.core.results.write_table", write)
    monkeypatch.setattr("sweeps.core.runner.run_session", lambda *given: done)
    found, out, err = sweeps("resume", "run")
    assert found == code
    told = "results go to a folder that can be written, but 'results' cannot (No space left on device): make room or give another --results folder"
    if done:
        assert err.startswith(f"error: {told}")
    else:
        assert f"not exported: {told}" in out
        assert out.endswith("go on with `sweeps resume run`\n")
