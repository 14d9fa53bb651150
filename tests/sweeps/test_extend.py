"""A run that goes on beyond its first limits is what it would have been with them from the start. Functions of the journal, without Ray."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput
from sweeps import Sweep, choice, uniform
from sweeps.core.decide import Decisions
from sweeps.core.extend import Extension, check, extend, rearrange, settle, with_limits, with_resources
from sweeps.core.journal import Journal, read_state
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished
from sweeps.core.state import Trial
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.sessions import EPOCH_SECONDS, Place


def spec(searcher: str = "random", scheduler: str = "none", samples: int = 3, epochs: int = 2, **more: Any) -> RunSpec:
    fixed = {"epochs": epochs, **more.pop("fixed", {})}
    space = more.pop("space", {"dropout": uniform(0, 0.7), "depth": choice(1, 2, 3)})
    sweep = Sweep(
        question="q",
        trainable="cnn",
        space=space,
        searcher=searcher,
        scheduler=scheduler,
        fixed=fixed,
        startup=2,
        grace_epochs=1,
        reduction_factor=2,
    )
    return runs.spec("run", sweep=sweep, samples=samples, **more)


def accuracy(trial: Trial, epoch: int) -> float:
    """Any curve that the settings and the epoch give."""
    return random.Random(f"{trial.config['dropout']} {trial.config['depth']} {trial.config['seed']} {epoch}").random()


def go_on(place: Place, **asked: Any) -> None:
    """Give the run there new limits."""
    limits = check(Extension(**asked), place.spec)
    place.append([{"kind": "extend", "time": place.now + 1, **limits}])
    place.spec = with_limits(place.spec, Journal(RunStorage("nowhere", "run")).state)


LIMITS = [
    pytest.param("random", "none", {}, {"samples": 6}, id="more trials of a random search"),
    pytest.param("random", "none", {}, {"epochs": 5}, id="more epochs"),
    pytest.param("random", "none", {}, {"samples": 5, "epochs": 4}, id="more of both"),
    pytest.param("tpe", "none", {"samples": 5}, {"samples": 9}, id="more trials of tpe"),
    pytest.param("tpe", "none", {"samples": 5, "deterministic": True}, {"samples": 9}, id="more trials of tpe in trial order"),
    pytest.param(
        "random", "asha", {"samples": 4, "epochs": 4, "deterministic": True}, {"samples": 9}, id="more trials under asha in trial order"
    ),
    pytest.param("random", "none", {"fixed": {"patience": 2}}, {"epochs": 9}, id="more epochs where patience is up at the old limit"),
    pytest.param("random", "none", {"deterministic": True, "samples": 9}, {"epochs": 5}, id="more epochs in trial order"),
]


@pytest.mark.parametrize(("searcher", "scheduler", "first", "then"), LIMITS)
@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_the_run_with_these_limits(
    monkeypatch: pytest.MonkeyPatch, searcher: str, scheduler: str, first: dict[str, Any], then: dict[str, Any], workers: int
) -> None:
    if searcher == "tpe" and not first.get("deterministic"):
        # On two the order of arrival decides.
        workers = 1
    place = Place(monkeypatch, spec(searcher, scheduler, **first), accuracy=accuracy)
    place.work(workers)
    go_on(place, **{key: str(value) if key == "samples" else value for key, value in then.items()})
    place.work(workers)
    found = place.outcome()
    whole = Place(monkeypatch, spec(searcher, scheduler, **{**first, **then}), accuracy=accuracy)
    whole.work()
    assert found == whole.outcome()


@pytest.mark.parametrize(
    ("searcher", "then"), [("random", {"samples": "+2", "epochs": 4}), ("tpe", {"samples": "+3"}), ("tpe", {"epochs": 3})]
)
def test_interrupted_after_each_row_it_is_the_same(monkeypatch: pytest.MonkeyPatch, searcher: str, then: dict[str, Any]) -> None:
    place = Place(monkeypatch, spec(searcher, samples=4, seeds=2), accuracy=accuracy)
    place.work()
    go_on(place, **then)
    begun = len(place.rows)
    place.work()
    expected, rows, limits = place.outcome(), place.rows, place.spec
    assert len(rows) > begun + 6
    for kept in range(begun, len(rows) + 1):
        again = Place(monkeypatch, limits, rows[:kept], accuracy=accuracy)
        assert again.work().searched
        assert again.outcome() == expected


def test_the_search_keeps_what_it_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trial that goes on, what it was told when it ended first; and nothing twice."""
    place = Place(monkeypatch, spec("tpe", samples=4), accuracy=accuracy)
    place.work()
    go_on(place, samples="+4", epochs=6)
    decisions = place.begin()
    told: list[tuple[int, float | None]] = []
    tell = decisions.proposer.tell

    def note(trial: int, value: float | None) -> None:
        told.append((trial, value))
        tell(trial, value)

    monkeypatch.setattr(decisions.proposer, "tell", note)
    while trial := decisions.give() or decisions.give_new():
        while not place.epoch(decisions, trial):
            pass
    assert [number for number, _ in told] == [4, 5, 6, 7], "the first three were told when the fourth was asked for"
    assert len(decisions.state.trials) == 8
    place.begin()


def test_asha_has_the_last_word_on_those_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, spec("random", "asha", samples=6, epochs=4), accuracy=accuracy)
    place.work()
    before = {index: trial for index, (*_, trial) in place.outcome().items()}
    stopped = [index for index, end in before.items() if end == ("stopped", "asha")]
    assert 0 < len(stopped) < 6
    go_on(place, epochs=8)
    state = place.work().state
    for index, trial in state.trials.items():
        assert (trial.reopened, trial.config["epochs"]) == ((0, 4) if index in stopped else (1, 8))


def test_repeats_and_final_fits_follow_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new best are repeated and fitted where they were not yet; what was done is not done again."""
    given: dict[str, Any] = {"fixed": {"final_fit": True}, "seeds": 2}
    place = Place(monkeypatch, spec("random", samples=3, **given), accuracy=accuracy)
    place.work()
    before = place.outcome()
    assert len(before) == 3 + 3 + 2
    go_on(place, samples="+9")
    decisions = place.work()
    after = place.outcome()
    assert {index: after[index] for index in before} == before
    state = decisions.state
    repeated = [(trial.repeat_of, trial.config["seed"]) for trial in state.trials.values() if trial.repeat_of]
    assert len(repeated) == len(set(repeated))
    best = [trial.index for trial in state.ranked[:3]]
    assert set(best) <= {of for of, _ in repeated}
    assert [trial.number for trial in state.trials.values() if trial.of_search] == list(range(1, 13))
    fitted = [trial.final_of for trial in state.trials.values() if trial.final_of]
    assert len(fitted) == len(set(fitted))
    assert {trial.index for trial in state.selected_runs} <= set(fitted)


def test_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time between the sessions does not count, and trials that the budget stopped go on."""
    limited = spec("random", samples=3, epochs=4, time_budget_seconds=6 * EPOCH_SECONDS)
    place = Place(monkeypatch, limited, accuracy=accuracy)
    place.work()
    ends = [end for *_, end in place.outcome().values()]
    assert ends[-1] == ("stopped", "time budget")
    go_on(place, time_budget="1h")
    decisions = place.work()
    assert [end for *_, end in place.outcome().values()] == [("completed", "epochs")] * 3
    assert decisions.state.elapsed_seconds == 12 * EPOCH_SECONDS


def test_a_restart_is_another_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, spec("random", samples=1), accuracy=accuracy)
    place.append([{"kind": "session", "workers": 1, "time": place.now}])
    decisions = place.begin()
    trial = decisions.suggest()
    decisions.journal.append("start", trial=1)
    while not place.epoch(decisions, trial):
        pass
    go_on(place, epochs=4)
    decisions = place.begin()
    decisions.journal.append("start", trial=1)
    assert decisions.state.trials[1].restarts == 0
    decisions.journal.append("start", trial=1)
    assert decisions.state.trials[1].restarts == 1


GRID = {"searcher": "grid", "space": {"depth": choice(1, 2, 3)}}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"samples": "8 more"}, "--samples of a resume is +N, so many trials more, or N in all, but got '8 more': write for example +8"),
    ({}, {"samples": "+0"}, "a resume adds to the 3 trials of run, but --samples +0 does not: give more"),
    ({}, {"samples": "3"}, "a resume adds to the 3 trials of run, but --samples 3 does not: give more"),
    (
        {**GRID, "samples": 2},
        {"samples": "+2"},
        "a grid ends with its 3 points, but --samples +2 makes 4 trials: leave it out, or give --samples 3",
    ),
    (
        {"space": {}},
        {"samples": "+1"},
        "more trials need a setting that is searched, but run has all of them fixed: leave --samples out",
    ),
    ({}, {"epochs": 2}, "a resume adds to the 2 epochs of a trial of run, but --epochs 2 does not: give more"),
    (
        {"fixed": {"schedule": "cosine"}},
        {"epochs": 4},
        "a trial goes on where its schedule does not go by the count of epochs, but that of run is cosine: start a new run",
    ),
    (
        {"space": {"schedule": choice("constant", "cosine")}},
        {"epochs": 4},
        "a trial goes on where its schedule does not go by the count of epochs, but that of run is searched: start a new run",
    ),
    ({}, {"time_budget": "2h"}, "--time-budget of a resume raises the run's own, but run has none: leave it out"),
    (
        {"time_budget_seconds": 7200.0},
        {"time_budget": "2h"},
        "a resume adds to the 7200 s of run, but --time-budget 2h does not: give more",
    ),
    (
        {"time_budget_seconds": 7200.0},
        {"time_budget": "3"},
        "a time budget is a number above 0 and a unit (s, m, h or d), but got '3': write for example 3h",
    ),
]


@pytest.mark.parametrize(("run", "asked", "line"), REFUSED)
def test_what_a_run_cannot_have_is_refused(run: dict[str, Any], asked: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as caught:
        check(Extension(**asked), spec(**run))
    assert str(caught.value) == line


def test_epochs_that_are_searched_have_no_other_limit() -> None:
    searching = spec(space={"epochs": choice(1, 2)})
    searching = searching.model_copy(update={"sweep": searching.sweep.model_copy(update={"fixed": {}})})
    with pytest.raises(
        BadInput, match=r"^--epochs is a limit of all trials, but run searches over epochs: leave it out, or start a new run$"
    ):
        check(Extension(epochs=40), searching)


@pytest.mark.parametrize(("asked", "limits"), [({"samples": "+8"}, (11, 2)), ({"samples": "5"}, (5, 2)), ({"epochs": 40}, (3, 40))])
def test_run_json_is_brought_up_to_the_journal(tmp_path: Path, asked: dict[str, Any], limits: tuple[int, int]) -> None:
    storage = RunStorage(str(tmp_path), "run")
    storage.create(spec())
    Journal(storage).append("session", workers=1)
    extend(Extension(**asked), storage)
    extended = storage.spec()
    assert (extended.samples, extended.sweep.config({}, 7).epochs) == limits
    # A kill came between the two.
    storage.replace(spec())
    settle(storage, read_state(storage))
    assert storage.spec() == extended
    assert not finished(extended, read_state(storage))


def test_other_resources_are_no_higher_limits() -> None:
    assert not Extension(cpus=2, gpus=0.0).asked
    assert Extension(cpus=2, samples="+1").asked
    assert Extension().resources(3, 0.5) == (3, 0.5)
    assert Extension(cpus=2).resources(3, 0.5) == (2, 0.5)
    assert Extension(gpus=0.0).resources(3, 0.5) == (3, 0.0)


def test_the_journal_and_run_json_say_which_resources_a_trial_has(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "run")
    storage.create(spec())
    journal = Journal(storage)
    journal.append("session", workers=1)
    Decisions(spec(), journal).suggest()
    took = journal.state.elapsed_seconds
    rearrange(storage, journal, with_resources(spec(), (1, 0.0)))
    assert journal.state.resources is None, "as before"
    rearrange(storage, journal, with_resources(spec(), (2, 0.5)))
    assert storage.spec() == spec(cpus_per_trial=2, gpus_per_trial=0.5)
    rearrange(storage, journal, with_resources(spec(), (1, 0.5)))
    # A kill came between the two.
    storage.replace(spec())
    settle(storage, read_state(storage))
    assert storage.spec() == spec(cpus_per_trial=1, gpus_per_trial=0.5)
    assert journal.state.elapsed_seconds == took, "the time between two sessions is not the run's"
    journal.append("session", workers=1)
    assert journal.state.interruptions == 1, "it was interrupted all the same"
    extend(Extension(samples="+1"), storage)
    assert storage.spec() == spec(samples=4, cpus_per_trial=1, gpus_per_trial=0.5)
