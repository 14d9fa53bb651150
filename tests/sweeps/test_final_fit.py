"""The best is fitted once more on train and validation: when, for how long, and what is the best then. Without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps import Sweep, choice
from sweeps.core.decide import Decisions
from sweeps.core.spec import RunSpec
from sweeps.core.standing import final_fits
from sweeps.core.state import Trial
from tests.sweeps import runs
from tests.sweeps.sessions import EPOCH_SECONDS, Place, left, standing

# By depth: the second is the best, after its third epoch.
CURVES = {1: [0.5, 0.6, 0.55, 0.5], 2: [0.5, 0.7, 0.9, 0.8], 3: [0.4, 0.4, 0.4, 0.4]}
EPOCHS = 4


def accuracy(trial: Trial, epoch: int) -> float:
    """A further seed is a little worse each."""
    depth, seed = int(trial.config["depth"]), int(trial.config["seed"])
    return CURVES[depth][epoch - 1] - (seed - 7) / 100


def spec(seeds: int = 1, budget: float | None = None, parallel: int | None = None, **sweep: Any) -> RunSpec:
    values: dict[str, Any] = {"searcher": "grid", "scheduler": "none", "fixed": {"epochs": EPOCHS, "final_fit": True}, **sweep}
    made = Sweep(question="q", trainable="cnn", space={"depth": choice(1, 2, 3)}, **values)
    return runs.spec("run", sweep=made, samples=3, seeds=seeds, time_budget_seconds=budget, parallel=parallel)


def place(patch: pytest.MonkeyPatch, made: RunSpec, **more: Any) -> Place:
    return Place(patch, made, **{"accuracy": accuracy, **more})


def fits_of(decisions: Decisions) -> list[Trial]:
    return [trial for trial in decisions.state.trials.values() if trial.final_of]


def measure(decisions: Decisions, *trials: int) -> None:
    for index in trials:
        row = runs.evaluation(index, decisions.state.trials[index].best_epoch or 0, 0.0)
        decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})


def indices(trials: list[Trial]) -> list[int]:
    return [trial.index for trial in trials]


def test_the_best_is_fitted_once_for_as_many_epochs_as_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = place(monkeypatch, spec()).work()
    state = decisions.state
    assert list(state.trials) == [1, 2, 3, 4]
    best, fit = state.trials[2], state.trials[4]
    assert (fit.final_of, fit.repeat_of, fit.of_search) == (2, None, False)
    assert fit.config == {**best.config, "epochs": 3}
    assert (fit.last_epoch, fit.status, fit.end and fit.end["reason"]) == (3, "completed", "epochs")
    assert fit.best_epoch == 3, "without validation: the last"
    assert (indices(state.best_runs), indices(state.selected_runs)) == ([4], [2])
    assert (state.best_trial, state.leader) == (fit, best)
    assert indices(state.ranked) == [2, 1, 3], "it has no figure to be ranked by"


def test_where_a_run_stands_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec())
    decisions = here.begin()
    # (exhausted, waiting, searched, finished, total, left)
    assert standing(decisions) == (False, False, False, False, 4, 4)
    for index in (1, 2, 3):
        trial = decisions.suggest()
        assert trial.final_of is None
        assert standing(decisions) == (False, index == 3, False, False, 4, 5 - index), "its best is not known before the third has ended"
        while not here.epoch(decisions, trial):
            pass
        assert standing(decisions) == (False, False, False, False, 4, 4 - index)
    fit = decisions.suggest()
    assert fit.final_of == 2
    assert standing(decisions) == (True, True, False, False, 4, 1)
    while not here.epoch(decisions, fit):
        assert standing(decisions) == (True, True, False, False, 4, 1)
    assert standing(decisions) == (True, True, True, False, 4, 0), "not measured"
    measure(decisions, 2)
    assert not standing(decisions)[3], "the trial that it is of is not what is kept"
    measure(decisions, 4)
    assert standing(decisions)[3]


def test_it_waits_for_all_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec())
    decisions = here.begin(workers=3)
    first, second, third = (decisions.suggest() for _ in range(3))
    assert (decisions.waiting(), decisions.exhausted) == (True, False), "also before there is a best"
    for trial in (second, third):
        while not here.epoch(decisions, trial):
            pass
        assert (decisions.waiting(), decisions.exhausted, final_fits(decisions.spec, decisions.state) != []) == (True, False, True)
    while not here.epoch(decisions, first):
        pass
    assert not decisions.waiting()


def test_no_sweep_that_does_not_ask_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec(fixed={"epochs": EPOCHS}))
    decisions = here.work()
    assert (fits_of(decisions), len(decisions.state.trials)) == ([], 3)
    assert standing(decisions) == (True, True, True, False, 3, 0)
    measure(decisions, 2)
    assert standing(decisions)[3]


def test_no_rule_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budget, patience and asha would all end it after its first epoch."""
    rules: dict[str, Any] = {
        "scheduler": "asha",
        "grace_epochs": 1,
        "reduction_factor": 2,
        "fixed": {"epochs": EPOCHS, "final_fit": True, "patience": 1},
    }
    here = place(monkeypatch, spec(budget=EPOCH_SECONDS * 8, **rules))
    decisions = here.work()
    (fit,) = fits_of(decisions)
    assert decisions.state.trials[1].end
    assert decisions.state.trials[1].end["reason"] == "patience"
    assert (fit.final_of, fit.last_epoch, fit.status) == (2, 3, "completed")
    assert decisions.out_of_time()
    assert decisions.deadline(fit) is None


def test_a_budget_that_ends_in_it_does_not_end_it_on_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec(budget=EPOCH_SECONDS * 13)
    here = place(monkeypatch, made)
    decisions = here.work(steps=14)
    (fit,) = fits_of(decisions)
    assert (fit.last_epoch, decisions.out_of_time()) == (2, True)
    again = here.begin()
    assert indices(again.state.open_trials) == [4]
    assert left(again) == 1
    assert here.epoch(again, again.state.trials[4])
    assert again.state.trials[4].status == "completed"
    assert again.searched


@pytest.mark.parametrize("workers", [1, 2])
def test_a_budget_that_ends_in_the_search_leaves_the_best_so_far_to_be_fitted(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Its number is that of a trial which the search never came to, and a resume does not take it for that."""
    here = place(monkeypatch, spec(budget=EPOCH_SECONDS * 5.5))
    decisions = here.begin(workers)
    running = [decisions.suggest() for _ in range(workers)]
    for turn in range(6):
        trial = running[turn % workers]
        assert not decisions.exhausted
        if here.epoch(decisions, trial):
            if turn == 5:
                break
            running[turn % workers] = decisions.suggest()
    for trial in decisions.state.open_trials:
        assert decisions.waiting(), "the best is not known while one runs"
        here.epoch(decisions, trial)
    assert decisions.out_of_time()
    assert {trial.end and trial.end["reason"] for trial in decisions.state.trials.values()} >= {"time budget"}
    assert (decisions.waiting(), decisions.exhausted) == (False, False)
    fit = decisions.suggest()
    assert (fit.index, fit.final_of, fit.config["depth"]) == (3, 2, 2)
    assert fit.config["epochs"] == {1: 2, 2: 3}[workers], "those that its best had come to"
    assert standing(decisions)[:4] == (True, True, False, False)
    again = here.begin()
    assert indices(again.state.open_trials) == [3]
    while not here.epoch(again, again.state.trials[3]):
        pass
    assert (again.state.trials[3].status, again.searched) == ("completed", True)
    measure(again, 3)
    assert standing(again)[3]


def test_a_search_that_had_no_time_for_an_epoch_has_nothing_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec(budget=1.0))
    decisions = here.begin()
    trial = decisions.suggest()
    here.now += 2.0
    decisions.end(trial.index, "time budget")
    assert standing(decisions)[:4] == (True, True, True, True)


def test_a_final_fit_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three configurations with two further seeds each, then the three runs of the best; the best of them first."""
    decisions = place(monkeypatch, spec(seeds=3)).work()
    fits = fits_of(decisions)
    assert [(fit.index, fit.final_of, fit.config["seed"], fit.config["epochs"]) for fit in fits] == [
        (10, 2, 7, 3),
        (11, 4, 8, 3),
        (12, 7, 9, 3),
    ]
    assert indices(decisions.state.selected_runs) == [2, 4, 7]
    assert indices(decisions.state.best_runs) == [10, 11, 12]
    assert indices(decisions.state.unmeasured) == [10, 11, 12]
    assert standing(decisions) == (True, True, True, False, 12, 0)
    measure(decisions, 10, 11)
    assert not standing(decisions)[3]
    measure(decisions, 12)
    assert standing(decisions)[3]


def test_with_seeds_the_total_is_known_wherever_a_session_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec(seeds=3)
    calm = place(monkeypatch, made)
    calm.work()
    for rows in range(len(calm.rows)):
        here = place(monkeypatch, made, rows=calm.rows[:rows])
        decisions = here.begin()
        to_come, still_open, begun = left(decisions), len(decisions.state.open_trials), len(decisions.state.trials)
        assert len(here.work().state.trials) == 12
        assert to_come == still_open + 12 - begun, rows


@pytest.mark.parametrize("more", [{}, {"seeds": 2}, {"budget": EPOCH_SECONDS * 6.5}, {"seeds": 3, "budget": EPOCH_SECONDS * 19.5}])
def test_a_kill_after_any_row_changes_nothing(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    made = spec(**more)
    calm = place(monkeypatch, made)
    calm.work()
    assert any(row.get("final_of") for row in calm.rows)
    told = calm.outcome()
    for rows in range(len(calm.rows)):
        here = place(monkeypatch, made, rows=calm.rows[:rows])
        here.work()
        assert here.outcome() == told, rows


def test_a_replay_decides_what_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each point at which a trial is suggested: the same one, by a new process."""
    made = spec(seeds=2)
    calm = place(monkeypatch, made)
    calm.work()
    points = [n for n, row in enumerate(calm.rows) if row["kind"] == "suggest"]
    assert len(points) == 3 + 3 + 2
    for n in points:
        decisions = place(monkeypatch, made, rows=calm.rows[:n]).begin()
        assert not decisions.waiting()
        trial = decisions.suggest()
        then = calm.rows[n]
        assert (trial.index, trial.config, trial.final_of, trial.repeat_of) == (
            then["trial"],
            then["config"],
            then.get("final_of"),
            then.get("repeat_of"),
        )


def test_where_the_final_fit_fails_the_searchs_own_best_is_kept_and_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec(), failing={4})
    decisions = here.work()
    assert decisions.state.trials[4].status == "failed"
    assert len(decisions.state.trials) == 4, "it is not tried again"
    assert (indices(decisions.state.best_runs), indices(decisions.state.unmeasured)) == ([2], [2])
    assert standing(decisions) == (True, True, True, False, 4, 0)
    assert here.begin().searched, "nor by a resume"
    measure(decisions, 2)
    assert standing(decisions)[3]


def test_of_several_final_fits_one_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = place(monkeypatch, spec(seeds=3), failing={10}).work()
    assert indices(decisions.state.best_runs) == [11, 12]
    assert indices(decisions.state.unmeasured) == [11, 12]


def test_while_it_runs_the_searchs_own_best_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(monkeypatch, spec())
    decisions = here.work(steps=3 * EPOCHS + 2)
    assert (indices(decisions.state.open_trials), decisions.state.trials[4].last_epoch) == ([4], 2)
    assert (indices(decisions.state.best_runs), decisions.state.leader) == ([2], decisions.state.trials[2])


def test_where_all_failed_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = place(monkeypatch, spec(), failing={1, 2, 3}).work()
    assert (fits_of(decisions), decisions.state.best_runs) == ([], [])
    assert standing(decisions) == (True, True, True, True, 3, 0)


def test_a_final_fit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no trial 7 to repeat"):
        runs.state({**runs.suggest(5, 200), "final_of": 7})
