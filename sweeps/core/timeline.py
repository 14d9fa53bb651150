"""When and where each trial of a run trained, from its rows of `epochs`: what the report's timeline draws."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

# Time in which nobody trained is left out where it is so much of the time in which somebody did, and so long (s).
LONG_PART: Final = 0.1
LONG: Final = 60.0
# What stands for it, as a part of the time in which somebody trained.
GAP: Final = 0.02


def timeline(epochs: Any, trial_ids: list[str]) -> dict[str, Any]:
    """`lanes`: the machine of each lane; `segments`: a row a piece of work, (lane, place of the trial in `trial_ids`, first epoch, last epoch, start, end,
    begun again, pid), where start and end are s of work since the run's first epoch began; `repeated`: (lane, trial, epoch, start, end) of epochs that were
    begun before; `pauses`: (when, s) of the time that is left out; `began`: the first moment (Unix time, s). Empty where no epoch is.

    A lane is a place on a machine: its worker processes follow one another. An epoch that is another trial's training is in no lane. `epochs`: an Arrow
    table of that table."""
    place = {trial_id: n for n, trial_id in enumerate(trial_ids)}
    own = [n for n, shared_with in enumerate(epochs["shared_with"].to_pylist()) if shared_with is None]
    if not own:
        return {"lanes": [], "segments": [], "repeated": [], "pauses": [], "began": None}
    some = epochs.take(own)
    trial = np.array([place[trial_id] for trial_id in some["trial_id"].to_pylist()])
    epoch = some["epoch"].to_numpy()
    end = some["finished_at"].cast("int64").to_numpy() / 1e6
    start = end - some["epoch_seconds"].to_numpy()
    began = float(start.min())
    start, end, pauses = _without_pauses(start - began, end - began)
    # A version that knew no process: then a trial is one.
    workers = [
        (node or "", "" if pid is None else pid, int(one) if pid is None else -1)
        for node, pid, one in zip(some["node"].to_pylist(), some["pid"].to_pylist(), trial, strict=True)
    ]
    names = {worker: n for n, worker in enumerate(dict.fromkeys(workers))}
    worker = np.array([names[one] for one in workers])
    known = list(names)
    lane_of, lanes = _lanes(known, worker, start, end)
    order = np.lexsort((epoch, trial))
    trial, epoch, start, end, worker = (column[order] for column in (trial, epoch, start, end, worker))
    again = np.array([bool(value) for value in some["repeated"].to_pylist()])[order]
    first = np.flatnonzero(np.r_[True, (trial[1:] != trial[:-1]) | (worker[1:] != worker[:-1])])
    last = np.r_[first[1:], len(trial)] - 1
    segments = [
        (
            lane_of[worker[a]],
            int(trial[a]),
            int(epoch[a]),
            int(epoch[b]),
            *_seconds(start[a], end[b]),
            bool(a and trial[a - 1] == trial[a]) or bool(again[a]),
            known[worker[a]][1] or None,
        )
        for a, b in zip(first.tolist(), last.tolist(), strict=True)
    ]
    repeated = [(lane_of[worker[n]], int(trial[n]), int(epoch[n]), *_seconds(start[n], end[n])) for n in np.flatnonzero(again).tolist()]
    return {"lanes": lanes, "segments": segments, "repeated": repeated, "pauses": pauses, "began": began}


def _seconds(*moments: float) -> tuple[float, ...]:
    return tuple(round(float(moment), 3) for moment in moments)


def _without_pauses(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[float, float]]]:
    """Both without the long pauses, and these as (when, s): a run that was resumed after a week is no week long."""
    order = np.argsort(start)
    latest = np.maximum.accumulate(end[order])
    idle = start[order][1:] - latest[:-1]
    work = float(latest[-1] - idle[idle > 0].sum())
    long = np.flatnonzero((idle > LONG) & (idle > LONG_PART * work))
    moved_start, moved_end, pauses = start.copy(), end.copy(), []
    cut = 0.0
    for n in long.tolist():
        less = float(idle[n]) - GAP * work
        after = start >= latest[n]
        moved_start[after] -= less
        moved_end[after] -= less
        pauses.append((round(float(latest[n]) - cut + GAP * work / 2, 3), float(idle[n])))
        cut += less
    return moved_start, moved_end, pauses


def _lanes(workers: list[tuple[str, Any, int]], worker: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[list[int], list[str]]:
    """(the lane of each worker, the machine of each lane): the first lane of its machine that is free when it begins, machines by name."""
    begins, ends = np.full(len(workers), np.inf), np.full(len(workers), -np.inf)
    np.minimum.at(begins, worker, start)
    np.maximum.at(ends, worker, end)
    free: dict[str, list[float]] = {}
    found: list[tuple[str, int]] = [("", 0)] * len(workers)
    for n in np.argsort(begins, kind="stable").tolist():
        node = workers[n][0]
        lanes = free.setdefault(node, [])
        lane = next((at for at, until in enumerate(lanes) if until <= begins[n] + 1e-6), len(lanes))
        lanes[lane : lane + 1] = [ends[n]]
        found[n] = node, lane
    numbers = {key: n for n, key in enumerate(sorted(set(found)))}
    return [numbers[key] for key in found], [node for node, _ in numbers]
