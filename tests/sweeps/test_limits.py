"""What limits trials: patience, how many at a time, the time budget's end. Functions of the journal, without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps import Sweep, choice, uniform
from sweeps.core.decide import Decisions
from sweeps.core.spec import RunSpec
from sweeps.core.state import Trial
from tests.sweeps import runs
from tests.sweeps.sessions import EPOCH_SECONDS, PAUSE_SECONDS, Place, epoch_result

EPOCHS = 8


def spec(patience: int | None = None, samples: int = 1, space: dict[str, Any] | None = None, **run: Any) -> RunSpec:
    scheduler = run.pop("scheduler", "none")
    sweep = Sweep(
        question="q",
        trainable="cnn",
        space=space or {"depth": choice(1, 2, 3)},
        searcher="random",
        scheduler=scheduler,
        fixed={"epochs": EPOCHS, "patience": patience},
    )
    return runs.spec("run", sweep=sweep, samples=samples, **run)


def curve(*accuracies: float) -> Any:
    return lambda trial, epoch: accuracies[epoch - 1]


def ended(decisions: Decisions, trial: int = 1) -> tuple[int, str, str]:
    """(epochs, status, reason)."""
    found = decisions.state.trials[trial]
    assert found.end
    return found.last_epoch, found.status, found.end["reason"]


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs", "reason"),
    [
        (None, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], 8, "epochs"),
        (1, [0.5, 0.4], 2, "patience"),
        (2, [0.5, 0.6, 0.4, 0.4], 4, "patience"),
        # An equal accuracy with an equal loss is no gain.
        (2, [0.5, 0.5, 0.5], 3, "patience"),
        # Found anew just in time, twice.
        (3, [0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.7, 0.1], 8, "epochs"),
        (7, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], 8, "epochs"),
        (6, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], 7, "patience"),
    ],
)
def test_without_a_gain_for_so_long_a_trial_is_complete(
    monkeypatch: pytest.MonkeyPatch, patience: int | None, accuracies: list[float], epochs: int, reason: str
) -> None:
    decisions = Place(monkeypatch, spec(patience), accuracy=curve(*accuracies)).work()
    assert ended(decisions) == (epochs, "completed", reason)


def test_a_lower_loss_is_a_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(monkeypatch, spec(patience=1))
    decisions = here.begin()
    trial = decisions.suggest()
    stops = [decisions.report(1, {**epoch_result(trial, 0.5), "val_loss": loss}) for loss in (1.0, 0.9, 0.8, 0.8)]
    assert stops == [False, False, False, True]


def test_patience_is_a_function_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its count goes on over any number of sessions, and is not restarted by one."""
    told = Place(monkeypatch, spec(patience=3), accuracy=curve(0.5, 0.6, 0.4, 0.4, 0.4))
    calm = told.work()
    assert ended(calm) == (5, "completed", "patience")
    for rows in range(len(told.rows)):
        here = Place(monkeypatch, told.spec, rows=told.rows[:rows], accuracy=told.accuracy)
        here.work()
        assert here.outcome() == told.outcome(), rows
    one_each = Place(monkeypatch, told.spec, accuracy=told.accuracy)
    for _ in range(5):
        one_each.work(steps=1)
    assert one_each.outcome() == told.outcome()


def test_patience_may_be_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(
        question="q", trainable="cnn", space={"patience": choice(1, 3)}, searcher="grid", scheduler="none", fixed={"epochs": EPOCHS}
    )
    here = Place(monkeypatch, runs.spec("run", sweep=sweep, samples=2), accuracy=curve(*[0.5] * EPOCHS))
    decisions = here.work()
    assert [ended(decisions, trial) for trial in (1, 2)] == [(2, "completed", "patience"), (4, "completed", "patience")]


def test_a_repeat_that_comes_no_further_is_complete_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so counts for the mean."""
    decisions = Place(monkeypatch, spec(patience=2, seeds=2), accuracy=curve(*[0.5] * EPOCHS)).work()
    assert [ended(decisions, trial) for trial in (1, 2)] == [(3, "completed", "patience")] * 2
    assert [trial.index for trial in decisions.state.selected_runs] == [1, 2]


def wide(parallel: int | None, **run: Any) -> RunSpec:
    return spec(samples=6, space={"dropout": uniform(0, 0.5)}, scheduler="asha", parallel=parallel, **run)


def by_dropout(trial: Trial, epoch: int) -> float:
    return float(1 - trial.config["dropout"] - 0.1 / epoch)


def suggest_all(decisions: Decisions) -> list[int]:
    found = []
    while not decisions.exhausted and not decisions.waiting():
        found.append(decisions.suggest().index)
    return found


@pytest.mark.parametrize(("parallel", "first"), [(1, [1]), (2, [1, 2]), (None, [1, 2, 3, 4, 5, 6])])
def test_no_more_trials_at_a_time(monkeypatch: pytest.MonkeyPatch, parallel: int | None, first: list[int]) -> None:
    assert suggest_all(Place(monkeypatch, wide(parallel)).begin(workers=8)) == first


def test_one_that_ends_makes_room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(monkeypatch, wide(2), failing={2})
    decisions = here.begin(workers=8)
    suggest_all(decisions)
    here.epoch(decisions, decisions.state.trials[1])
    assert suggest_all(decisions) == []
    here.epoch(decisions, decisions.state.trials[2])
    assert suggest_all(decisions) == [3]


def test_what_a_resume_finds_open_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(monkeypatch, wide(2))
    suggest_all(here.begin(workers=8))
    again = here.begin(workers=8)
    assert [trial.index for trial in again.state.open_trials] == [1, 2]
    assert suggest_all(again) == []


@pytest.mark.parametrize(("seeds", "deterministic"), [(1, False), (2, False), (2, True)])
def test_one_at_a_time_is_the_same_on_any_number_of_workers(monkeypatch: pytest.MonkeyPatch, seeds: int, deterministic: bool) -> None:
    made = wide(1, seeds=seeds, deterministic=deterministic)
    calm = Place(monkeypatch, made, accuracy=by_dropout)
    calm.work(workers=1)
    assert len(calm.outcome()) == 6 + 3 * (seeds - 1)
    for workers, turn in ((2, 1), (4, 3)):
        here = Place(monkeypatch, made, accuracy=by_dropout)
        for steps in (1, 7, 4):
            here.work(workers, steps, turn)
        here.work(workers, None, turn)
        assert here.outcome() == calm.outcome()
    unlimited = Place(monkeypatch, wide(None, seeds=seeds), accuracy=by_dropout)
    unlimited.work(workers=4, turn=3)
    order = [[row["trial"] for row in place.rows if row["kind"] == "result"] for place in (calm, unlimited)]
    assert (order[0] == sorted(order[0]), order[1] == sorted(order[1])) == (True, False), "or nothing is limited here"


def test_never_more_open_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(monkeypatch, wide(3, seeds=2), accuracy=by_dropout)
    for steps in (5, 9, 14, None):
        here.work(workers=8, steps=steps, turn=2)
    open_trials: set[int] = set()
    most = 0
    for row in here.rows:
        if row["kind"] == "suggest":
            open_trials.add(row["trial"])
        elif row["kind"] == "end":
            open_trials.remove(row["trial"])
        most = max(most, len(open_trials))
    assert most == 3


def test_no_budget_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = Place(monkeypatch, spec()).begin()
    assert decisions.deadline(decisions.suggest()) is None


def test_the_deadline_is_what_the_sessions_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = 100.0
    here = Place(monkeypatch, spec(time_budget_seconds=budget))
    decisions = here.begin()
    begun = here.now
    trial = decisions.suggest()
    assert decisions.deadline(trial) == begun + budget
    for _ in range(3):
        here.epoch(decisions, trial)
        assert decisions.deadline(trial) == begun + budget, "a moment, not a duration"
    # Lost: nothing was written after the third epoch.
    here.now += 7.0
    again = here.begin()
    assert here.now == begun + 3 * EPOCH_SECONDS + 7.0 + PAUSE_SECONDS
    assert again.deadline(trial) == here.now + budget - 3 * EPOCH_SECONDS
    here.epoch(again, again.state.trials[1])
    third = here.begin()
    assert third.deadline(trial) == here.now + budget - 4 * EPOCH_SECONDS


def test_a_deadline_that_has_passed_stays_in_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(monkeypatch, spec(time_budget_seconds=15.0))
    decisions = here.begin()
    begun, trial = here.now, decisions.suggest()
    here.now += 20.0
    assert decisions.out_of_time()
    assert decisions.deadline(trial) == begun + 15.0
