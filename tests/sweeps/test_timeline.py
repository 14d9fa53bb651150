"""The report's timeline: lanes, pieces of work, what was begun again, pauses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sweeps.core.parquet import as_table
from sweeps.core.rows import rows
from sweeps.core.tables import EPOCHS
from sweeps.core.timeline import timeline
from tests.sweeps.runs import T0, end, result, spec, start, state, suggest

Row = dict[str, Any]


def epoch(trial: str, number: int, finished: float, seconds: float = 10.0, **more: Any) -> Row:
    """On process 1 of `here`; times in s."""
    moment = datetime.fromtimestamp(T0 + finished, UTC)
    return {
        "trial_id": trial,
        "epoch": number,
        "finished_at": moment,
        "epoch_seconds": seconds,
        "node": "here",
        "pid": 1,
        "repeated": False,
        **more,
    }


def drawn(*found: Row) -> dict[str, Any]:
    return timeline(as_table(EPOCHS, found), sorted({row["trial_id"] for row in found}))


def test_a_piece_is_a_trials_work_on_a_worker() -> None:
    made = drawn(epoch("a", 1, 10), epoch("a", 2, 21), epoch("b", 1, 12, pid=2), epoch("c", 1, 31))
    assert made["lanes"] == ["here", "here"]
    assert made["segments"] == [(0, 0, 1, 2, 0.0, 21.0, False, 1), (1, 1, 1, 1, 2.0, 12.0, False, 2), (0, 2, 1, 1, 21.0, 31.0, False, 1)]
    assert (made["began"], made["repeated"], made["pauses"]) == (T0, [], [])


def test_a_worker_follows_another_in_its_lane_and_machines_have_their_own() -> None:
    made = drawn(epoch("a", 1, 10), epoch("b", 1, 10, node="away"), epoch("c", 1, 40, pid=7), epoch("d", 1, 41, node="away", pid=1))
    assert made["lanes"] == ["away", "here"]
    assert [segment[0] for segment in made["segments"]] == [1, 0, 1, 0]


def test_what_was_begun_again() -> None:
    """By another process; its epoch 2 had been begun before."""
    made = drawn(epoch("a", 1, 10), epoch("a", 2, 40, pid=2, repeated=True), epoch("a", 3, 50, pid=2))
    assert made["segments"] == [(0, 0, 1, 1, 0.0, 10.0, False, 1), (0, 0, 2, 3, 30.0, 50.0, True, 2)]
    assert made["repeated"] == [(0, 0, 2, 30.0, 40.0)]


def test_an_epoch_of_another_trials_training_is_in_no_lane() -> None:
    made = drawn(epoch("a", 1, 10), epoch("b", 1, 10, shared_with="a"))
    assert [segment[1] for segment in made["segments"]] == [0]


def test_a_week_between_two_sessions_is_left_out() -> None:
    week = 7 * 86_400.0
    made = drawn(
        epoch("a", 1, 100, 100.0), epoch("b", 1, 200, 100.0), epoch("c", 1, week, 200.0, pid=2), epoch("d", 1, week + 5, 5.0, pid=2)
    )
    # 405 s of work, and 2 % of them for the pause.
    gap = 0.02 * 405
    (at, seconds), *more = made["pauses"]
    assert (round(at, 2), seconds, more) == (round(200 + gap / 2, 2), week - 200 - 200, [])
    ends = [segment[5] for segment in made["segments"]]
    assert [round(one, 2) for one in ends] == [100, 200, round(400 + gap, 2), round(405 + gap, 2)]


def test_epochs_of_a_version_that_knew_no_process() -> None:
    """Then trials that do not overlap are in one lane."""
    made = drawn(*(epoch(trial, 1, finished, pid=None) for trial, finished in (("a", 10), ("b", 12), ("c", 30))))
    assert [(segment[0], segment[7]) for segment in made["segments"]] == [(0, None), (1, None), (0, None)]


def test_a_run_that_was_interrupted() -> None:
    """From its journal: the second session begins trial 1's second epoch anew."""
    journal = [
        {"kind": "session", "time": T0},
        suggest(1, 0),
        start(1, 1),
        result(1, 1, 10, 0.4, pid=11),
        {"kind": "session", "time": T0 + 100},
        start(1, 102),
        result(1, 2, 112, 0.6, pid=12),
        end(1, 113),
    ]
    found = list(rows(spec(), state(rows=journal))[EPOCHS])
    assert [(row["node"], row["pid"], row["repeated"]) for row in found] == [("here", 11, False), ("here", 12, True)]
    made = drawn(*found)
    assert [(segment[2], segment[6]) for segment in made["segments"]] == [(1, False), (2, True)]


def test_nothing_yet() -> None:
    made = timeline(as_table(EPOCHS, []), ["a"])
    assert made == {"lanes": [], "segments": [], "repeated": [], "pauses": [], "began": None}
