"""What a run's journal says about where its time went: pure functions of its rows."""

from __future__ import annotations

import json
from itertools import pairwise
from math import fsum
from statistics import median
from typing import Any, NamedTuple

Row = dict[str, Any]


def parse(content: str) -> list[Row]:
    """The rows of a finished run's journal.jsonl."""
    return [json.loads(line) for line in content.splitlines()]


def first_step(rows: list[Row]) -> float:
    """When the first training step began (Unix time, s)."""
    return float(min(row["finished_at"] - row["epoch_seconds"] for row in rows if row["kind"] == "result"))


class Later(NamedTuple):
    """A trial that is not its worker's first. `outside`: time since the worker's last trial ended, less its own steps and evaluations; `tracing`: by how
    much its first epoch took longer than its others (median), None where it has no others. All in s."""

    outside: float
    tracing: float | None


def later_trials(rows: list[Row]) -> list[Later]:
    """Of all workers. An epoch that another trial's training gave (`of`) took no worker's time.

    Trials end at 100 and 130 on one worker, the second with epochs of 14 and 10 s: 6 s outside, 4 s of tracing."""
    ends = {row["trial"]: row["time"] for row in rows if row["kind"] == "end"}
    epochs: dict[int, list[Row]] = {}
    for row in rows:
        if row["kind"] == "result" and not row.get("of"):
            epochs.setdefault(row["trial"], []).append(row)
    workers: dict[int, list[tuple[float, list[float]]]] = {}
    for trial, results in epochs.items():
        workers.setdefault(results[-1]["pid"], []).append((ends[trial], [result["epoch_seconds"] for result in results]))
    return [
        Later(end - before - fsum(seconds), seconds[0] - median(seconds[1:]) if len(seconds) > 1 else None)
        for trials in workers.values()
        for (before, _), (end, seconds) in pairwise(sorted(trials))
    ]
