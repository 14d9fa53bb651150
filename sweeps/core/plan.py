"""What a run would do, before it does anything: `sweeps plan`."""

from __future__ import annotations

import json
import math
import os
from typing import Any, NamedTuple

from rich.console import Console

from data_prep import BadInput, find_prepared
from sweeps.core.bases import names
from sweeps.core.fit import say
from sweeps.core.forecast import base_texts, data_text, feature_lines, feature_row
from sweeps.core.journal import read_state
from sweeps.core.launch import Resolved, RunOptions, notes
from sweeps.core.propose import Grid, trial_count
from sweeps.core.screen import duration
from sweeps.core.standing import repeat_count
from sweeps.core.storage import RunStorage, run_names
from sweeps.core.sweep import Sweep
from trainables import TrainConfig
from trainables.core import files

# Where what is said of a thing begins.
INDENT = 11


def show_plan(resolved: Resolved, options: RunOptions, console: Console) -> tuple[int, int]:
    """Print trials, epochs, what is shared and the expected time; gives (trials, epochs), at most."""
    sweep = resolved.sweep
    count = trial_count(sweep, resolved.samples)
    repeated = repeat_count(count, options.seeds)
    epochs = _epochs(resolved, count, repeated)
    from_bases = base_texts(resolved, options)
    lines = [
        f"{resolved.part or resolved.name}: {sweep.question}",
        f"trainable  {sweep.trainable} on {resolved.data} at {resolved.size} px",
        f"data       {data_text(resolved, options)}",
        *([f"base       {', '.join(from_bases)}"] if from_bases else []),
        *feature_lines(resolved, options),
        f"trials     {count}, by {sweep.searcher}{_first(resolved, count)}",
        *_seeds(options, repeated),
        f"epochs     at most {epochs.of_a_trial} a trial, {epochs.of_all} in all{_stopping(resolved)}",
        *_training(resolved, epochs),
        *_final_fit(resolved, options),
        *([f"at a time  {resolved.parallel}"] if resolved.parallel else []),
        *([f"budget     {duration(resolved.time_budget_seconds)}"] if resolved.time_budget_seconds else []),
        f"resources  {options.cpus} core{'s' * (options.cpus > 1)} and {resolved.gpus:g} GPUs a trial{_idle(resolved, options, epochs)}",
        f"shared     the prepared images, by all trials of a node; the workers' processes, one trial after another{_sharing(epochs)}",
        f"time       {_expected(resolved, options, epochs)}",
    ]
    for text in [*lines, *notes(resolved, options)]:
        say(console, text, indent=INDENT if text[:INDENT].endswith(" ") else 2)
    return count + repeated, epochs.of_all


def plan_row(resolved: Resolved, options: RunOptions) -> dict[str, Any]:
    """The same for scripts: what `show_plan` says in figures, at most; `expected_seconds` is None where no earlier run tells it."""
    sweep = resolved.sweep
    count = trial_count(sweep, resolved.samples)
    repeated = repeat_count(count, options.seeds)
    epochs = _epochs(resolved, count, repeated)
    found = _expectation(resolved, options, epochs)
    return {
        "sweep": resolved.name,
        "part": resolved.part,
        "question": sweep.question,
        "trainable": sweep.trainable,
        "data": resolved.data,
        "size": resolved.size,
        "data_prepared": find_prepared(resolved.data, size=resolved.size, root=options.data_root) is not None,
        "searcher": sweep.searcher,
        "scheduler": sweep.scheduler,
        "bases": names(resolved),
        "bases_from": base_texts(resolved, options),
        "features": feature_row(resolved, options),
        "trials": count + repeated,
        "repeats": repeated,
        "final_fit": sweep.config({}, options.seed).final_fit,
        "epochs_of_a_trial": epochs.of_a_trial,
        "epochs": epochs.of_all,
        "epochs_trained": epochs.trained,
        "parallel": resolved.parallel,
        "time_budget_seconds": resolved.time_budget_seconds,
        "cpus": options.cpus,
        "gpus": resolved.gpus,
        "expected_seconds": found and found.seconds,
        "expected_workers": found and found.workers,
        "epoch_seconds": found and found.epoch_seconds,
        "measured_in": found and found.run,
        "notes": notes(resolved, options),
    }


class Epochs(NamedTuple):
    """At most: epochs of one trial, of all, those of them that are trained, and how many trainings these are."""

    of_a_trial: int
    of_all: int
    trained: int
    trainings: int


def _epochs(resolved: Resolved, count: int, repeated: int) -> Epochs:
    sweep, seed = resolved.sweep, resolved.seed
    a_seed = repeat_count(count, 2)
    seeds = repeated // a_seed
    if sweep.searcher == "grid":
        grid = Grid(sweep)
        configs = [sweep.config(grid.ask(trial), seed) for trial in range(1, count + 1)]
        each, trained = sorted((config.epochs for config in configs), reverse=True), _trained(configs)
    else:
        searched = sweep.space.get("epochs")
        each = [int(max(searched.ends())) if searched else sweep.config({}, seed).epochs] * count
        trained = each[: _most_trainings(sweep, seed)]
    trainings = len(trained) + seeds * len(trained[:a_seed])
    return Epochs(each[0], sum(each) + seeds * sum(each[:a_seed]), sum(trained) + seeds * sum(trained[:a_seed]), trainings)


def _trained(configs: list[TrainConfig]) -> list[int]:
    """The epochs of each training, the longest first."""
    longest: dict[str, int] = {}
    for config in configs:
        key = json.dumps(config.trajectory(), sort_keys=True)
        longest[key] = max(longest.get(key, 0), config.epochs)
    return sorted(longest.values(), reverse=True)


def _most_trainings(sweep: Sweep, seed: int) -> int | None:
    """Of trials that are drawn from a space of choices; None where there are as many as trials."""
    config = sweep.config({}, seed)
    # Where schedules are searched, some of them go by the epochs.
    counting = {*config.trajectory(), *(["epochs"] if "schedule" in sweep.space else [])}
    values = [getattr(distribution, "values", None) for key, distribution in sweep.space.items() if key in counting]
    if sweep.searcher == "autokeras" or None in values:
        return None
    return math.prod(len(found) for found in values if found)


def _training(resolved: Resolved, epochs: Epochs) -> list[str]:
    """What of it is trained."""
    sweep = resolved.sweep
    lines = []
    if epochs.trained < epochs.of_all:
        at_most = "" if sweep.searcher == "grid" and sweep.scheduler == "none" else "at most "
        lines.append(
            f"training   {at_most}{epochs.trained} of these epochs: trials that differ in no more than their epochs are one training"
        )
    searched = sweep.space.get("schedule")
    schedules = searched.ends() if searched else [sweep.config({}, resolved.seed).schedule]
    if "epochs" in sweep.space and (going_by_it := [str(name) for name in schedules if name != "constant"]):
        lines.append(
            f"apart      trials with schedule {' or '.join(going_by_it)}: it goes by the final count of epochs, so each is a training of its own"
        )
    return lines


def _sharing(epochs: Epochs) -> str:
    return "; a training, by the trials that are its first epochs" if epochs.trained < epochs.of_all else ""


def _first(resolved: Resolved, count: int) -> str:
    if not resolved.sweep.space:
        return ""
    sweep = resolved.sweep
    points = list(map(Grid(sweep).ask, range(1, count + 1))) if sweep.searcher == "grid" else list(sweep.known_points)[:count]
    return f", first {'; '.join(' '.join(f'{key}={value}' for key, value in point.items()) for point in points)}" if points else ""


def _seeds(options: RunOptions, repeated: int) -> list[str]:
    if not repeated:
        return []
    best = repeated // (options.seeds - 1)
    which = "best configuration" if best == 1 else f"{best} best configurations"
    first, last = options.seed + 1, options.seed + options.seeds - 1
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return [f"repeats    {repeated} more trial{'s' * (repeated > 1)}: the {which} again with {seeds}, in full; the best mean is chosen"]


def _final_fit(resolved: Resolved, options: RunOptions) -> list[str]:
    if not resolved.sweep.config({}, options.seed).final_fit:
        return []
    return ["final fit  of the best, on train and validation, for as many epochs as its best; after the budget where there is one"]


def _stopping(resolved: Resolved) -> str:
    sweep = resolved.sweep
    patience = sweep.config({}, resolved.seed).patience
    early = f"; a trial ends after {patience} epochs without a better one" if patience else ""
    if sweep.scheduler == "none":
        return early
    return f"{early}; asha stops all but the best 1 in {sweep.reduction_factor} after {sweep.grace_epochs} epochs and each time {sweep.reduction_factor} times later"


def _idle(resolved: Resolved, options: RunOptions, epochs: Epochs) -> str:
    """Cores of this machine that the run leaves idle. They are not taken unasked: a training on more cores has other last bits."""
    cores, at_once = os.cpu_count() or 1, min(epochs.trainings, resolved.parallel or epochs.trainings)
    more = cores // at_once
    if options.address is not None or more <= options.cpus:
        return ""
    return f"; {at_once} training{'s' * (at_once > 1)} at a time on {cores} cores: --cpus {more} uses them"


def _expected(resolved: Resolved, options: RunOptions, epochs: Epochs) -> str:
    found = _expectation(resolved, options, epochs)
    if found is None:
        return f"not known: no run of {resolved.sweep.trainable} on as many images of {resolved.data} in {files.shown(options.storage)} yet"
    workers = f"{found.workers} worker{'s' * (found.workers > 1)}"
    return f"at most about {duration(found.seconds)} of training on {workers} ({found.epoch_seconds:.2f} s an epoch, as measured in {found.run})"


class Expectation(NamedTuple):
    """Seconds of training, at most, on so many workers, by the mean of an epoch in an earlier run."""

    seconds: float
    workers: int
    epoch_seconds: float
    run: str


def _expectation(resolved: Resolved, options: RunOptions, epochs: Epochs) -> Expectation | None:
    """From the newest earlier run here of the same trainable, data and size."""
    for name in reversed(run_names(options.storage)):
        storage = RunStorage(options.storage, name)
        try:
            spec, state = storage.spec(), read_state(storage)
        except BadInput:
            # A damaged run tells no speed; `sweeps status` names it.
            continue
        its = (spec.sweep.trainable, spec.dataset_source, spec.cpus_per_trial, spec.gpus_per_trial)
        same = its == (resolved.sweep.trainable, resolved.data, options.cpus, resolved.gpus)
        if not same or not state.sessions or _amount(spec.sweep, spec.seed) != _amount(resolved.sweep, options.seed):
            continue
        seconds = [row["epoch_seconds"] for trial in state.trials.values() for row in trial.own_epochs]
        if seconds:
            mean = sum(seconds) / len(seconds)
            workers = min(state.sessions[-1]["workers"], epochs.trainings, resolved.parallel or epochs.trainings)
            at_most = min(mean * epochs.trained / workers, resolved.time_budget_seconds or math.inf)
            return Expectation(at_most, workers, mean, name)
    return None


def _amount(sweep: Sweep, seed: int) -> tuple[Any, ...]:
    """What the time of an epoch depends on, next to the network."""
    config = sweep.config({}, seed)
    return config.size, config.classes, config.images, config.train_fraction, sweep.space.get("data_fraction", config.data_fraction)
