"""What interruptions left and what they cost, as the journal tells it."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.core.screen import account
from sweeps.core.state import RunState
from tests.sweeps import runs

Row = dict[str, Any]


def session(time: float) -> Row:
    return {"kind": "session", "time": runs.T0 + time, "workers": 2}


def told(*rows: Row) -> tuple[int, tuple[int, int], int, float]:
    state: RunState = runs.state(rows=list(rows))
    return state.interruptions, state.kept, state.repeated_epochs, state.repeated_seconds


PAUSE: Row = {"kind": "pause", "time": runs.T0 + 29}
CALM = [session(0), runs.suggest(1, 1), runs.start(1, 2), runs.result(1, 1, 10, 0.4), runs.result(1, 2, 20, 0.5)]
# An epoch takes 4 s, and `finished_at` is half a second before its row.
CASES = {
    "nothing happened": (CALM, (0, (0, 0), 0, 0.0), None),
    "its worker was lost": (
        [*CALM, runs.start(1, 30), runs.result(1, 3, 40, 0.6), runs.result(1, 4, 50, 0.6)],
        (0, (0, 0), 1, 4.0),
        "1 epoch begun again, 4 s of training at most",
    ),
    "all was killed": (
        [*CALM, session(1000), runs.start(1, 1002), runs.result(1, 3, 1010, 0.6)],
        (1, (1, 2), 1, 4.0),
        "interrupted 1 time: 1 trial and 2 epochs kept; 1 epoch begun again, 4 s of training at most",
    ),
    "killed between a checkpoint and its report": (
        [*CALM, session(1000), runs.start(1, 1002), runs.result(1, 3, 1003, 0.6, finished_at=runs.T0 + 25)],
        (1, (1, 2), 0, 0.0),
        "interrupted 1 time: 1 trial and 2 epochs kept",
    ),
    "ended in order": (
        [*CALM, PAUSE, session(1000), runs.start(1, 1002), runs.result(1, 3, 1010, 0.6)],
        (1, (1, 2), 0, 0.0),
        "interrupted 1 time: 1 trial and 2 epochs kept",
    ),
    "ended in order, then a lost worker": (
        [*CALM, PAUSE, session(1000), runs.start(1, 1002), runs.start(1, 1020), runs.result(1, 3, 1030, 0.6)],
        (1, (1, 2), 1, 4.0),
        "interrupted 1 time: 1 trial and 2 epochs kept; 1 epoch begun again, 4 s of training at most",
    ),
    "killed twice": (
        [
            *CALM,
            session(1000),
            runs.start(1, 1002),
            session(2000),
            runs.start(1, 2002),
            runs.result(1, 3, 2010, 0.6),
            runs.suggest(2, 2011),
            session(3000),
            runs.start(1, 3001),
            runs.start(2, 3002),
            runs.result(1, 4, 3010, 0.6),
            runs.result(2, 1, 3011, 0.6),
        ],
        (3, (2, 3), 2, 8.0),
        "interrupted 3 times: 2 trials and 3 epochs kept; 2 epochs begun again, 8 s of training at most",
    ),
    "only its measuring was left": ([*CALM, runs.end(1, 21), session(1000)], (0, (0, 0), 0, 0.0), None),
    "given more epochs": (
        [
            *CALM,
            runs.end(1, 21),
            {"kind": "extend", "time": runs.T0 + 900, "samples": None, "epochs": 30, "more_time": False, "time_budget_seconds": None},
            session(1000),
            runs.start(1, 1002),
            runs.result(1, 3, 1010, 0.6),
        ],
        (0, (0, 0), 0, 0.0),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_account(case: str) -> None:
    rows, figures, line = CASES[case]
    assert told(*rows) == figures
    assert account(runs.state(rows=rows)) == line
