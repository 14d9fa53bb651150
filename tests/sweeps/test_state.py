"""Which configuration, and which of its runs, is the best."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps.core.state import Result, RunState
from tests.sweeps.runs import end, evaluation, result, state, suggest

Row = dict[str, Any]


def repeat(trial: int, of: int, seed: int) -> Row:
    row = suggest(trial, 100 + trial, dropout=of / 10)
    return {**row, "config": {**row["config"], "seed": seed}, "repeat_of": of}


def run(trial: int, val_accuracy: float, status: str = "completed", **more: Any) -> list[Row]:
    """An epoch and the end."""
    return [result(trial, 1, 200 + trial, val_accuracy, **more), end(trial, 200 + trial, status)]


def told(*parts: Row | list[Row]) -> RunState:
    """A search of three trials, 0.9, 0.8 and 0.7, and what follows."""
    searched = [row for n, accuracy in ((1, 0.9), (2, 0.8), (3, 0.7)) for row in (suggest(n, n, dropout=n / 10), *run(n, accuracy))]
    rows = [row for part in parts for row in (part if isinstance(part, list) else [part])]
    return state(rows=[{"kind": "session", "time": 0.0}, *searched, *rows])


def best(made: RunState) -> list[int]:
    return [trial.index for trial in made.best_runs]


def test_before_any_repeat_has_ended_the_best_of_the_search() -> None:
    assert best(told()) == [1]
    assert best(told(repeat(4, 2, 8), result(4, 1, 300, 0.99))) == [1]


def test_the_best_mean_then_its_best_run() -> None:
    """Trial 1 was lucky: 0.9, then 0.7. Trial 2 gives 0.8 and 0.85."""
    made = told(repeat(4, 1, 8), repeat(5, 2, 8), repeat(6, 3, 8), *run(4, 0.7), *run(5, 0.85), *run(6, 0.7))
    assert best(made) == [5, 2]
    assert made.best_trial is made.trials[5]


def test_equal_means_go_to_the_lower_loss_then_to_the_earlier() -> None:
    repeats = [repeat(4, 1, 8), repeat(5, 2, 8)]
    assert best(told(*repeats, *run(4, 0.5), *run(5, 0.6))) == [1, 4]
    assert best(told(*repeats, *run(4, 0.5), *run(5, 0.6, val_loss=0.5))) == [2, 5]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_a_repeat_that_failed_or_was_cut_off_does_not_count(status: str) -> None:
    made = told(repeat(4, 1, 8), repeat(5, 2, 8), repeat(6, 1, 9), *run(4, 0.99, status), *run(5, 0.75), *run(6, 0.8))
    assert best(made) == [1, 6]
    assert best(told(repeat(4, 1, 8), *run(4, 0.99, status))) == [1]


def test_a_configuration_whose_repeats_all_failed_is_no_more_the_best() -> None:
    assert best(told(repeat(4, 1, 8), repeat(5, 2, 8), *run(4, 0.1, "failed"), *run(5, 0.7))) == [2, 5]


def test_what_asha_stopped_is_not_averaged_with_full_training() -> None:
    rows = [
        {"kind": "session", "time": 0.0},
        suggest(1, 1),
        *run(1, 0.5, "stopped"),
        {**repeat(2, 1, 8)},
        *run(2, 0.9),
        repeat(3, 1, 9),
        *run(3, 0.8),
    ]
    assert best(state(rows=rows)) == [2, 3]


def test_all_runs_of_the_best_are_to_be_measured() -> None:
    made = told(repeat(4, 1, 8), *run(4, 0.95))
    assert [trial.index for trial in made.unmeasured] == [4, 1]
    made.apply(evaluation(1, 1, 400))
    assert ([trial.index for trial in made.unmeasured], made.current_evaluation) == ([4], None)
    made.apply(evaluation(4, 1, 401))
    assert made.unmeasured == []
    assert made.current_evaluation == evaluation(4, 1, 401)


def test_a_repeat_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no trial 7 to repeat"):
        told(repeat(4, 7, 8))


def test_a_result_is_its_row_and_shares_what_is_steady() -> None:
    names = ("kind", "epoch", "node", "pid", "val_loss")
    first = Result(dict(zip(names, ("result", 1, "a machine", 70_000, 0.5), strict=True)))
    row = json.loads('{"kind": "result", "epoch": 2, "node": "a machine", "pid": 70000, "val_loss": 0.25}')
    second = Result(row, first)
    assert dict(second) == row
    assert (second["node"] is first["node"], second["pid"] is first["pid"]) == (True, True)
    assert (second.get("val_loss"), second.get("device"), second.get("device", "CPU")) == (0.25, None, "CPU")
    assert second.pick(("val_loss", "device", "epoch")) == (0.25, None, 2)
    of_one, of_another = (Result(json.loads('{"checkpoint": "epoch-000001.npz"}')) for _ in range(2))
    assert of_one["checkpoint"] is of_another["checkpoint"]
    # Equal, and another type: a later one of whole numbers is not taken for a text or a float.
    assert type(Result({**row, "pid": 70_000.0}, second)["pid"]) is float


def test_the_selected_runs_follow_each_row() -> None:
    """They are kept from one row to the next."""
    made = RunState()
    for row in ({"kind": "session", "time": 0.0}, suggest(1, 1), result(1, 1, 2, 0.5), suggest(2, 3), result(2, 1, 4, 0.75)):
        made.apply(row)
        # Asked for before it changes.
        best(made)
    assert best(made) == [2]
    made.apply(end(2, 5, "failed"))
    assert best(made) == [1]
