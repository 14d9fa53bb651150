"""What a run would do, before it does anything: `sweeps plan`."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console

from data_prep import BadInput
from sweeps.core.bases import is_trained, names
from sweeps.core.decide import repeat_count
from sweeps.core.journal import read_state
from sweeps.core.launch import Resolved, RunOptions, notes
from sweeps.core.propose import Grid, trial_count
from sweeps.core.screen import duration
from sweeps.core.storage import RunStorage, run_names
from sweeps.core.sweep import Sweep


def show_plan(resolved: Resolved, options: RunOptions, console: Console) -> tuple[int, int]:
    """Print trials, epochs, what is shared and the expected time; gives (trials, epochs), at most."""
    sweep = resolved.sweep
    count = trial_count(sweep, resolved.samples)
    repeated = repeat_count(count, options.seeds)
    most, epochs = _epochs(resolved, count, repeated)
    lines = [
        f"{resolved.part or resolved.name}: {sweep.question}",
        f"trainable  {sweep.trainable} on {resolved.data} at {resolved.size} px",
        *_bases(resolved),
        f"trials     {count}, by {sweep.searcher}{_first(resolved, count)}",
        *_seeds(options, repeated),
        f"epochs     at most {most} a trial, {epochs} in all{_stopping(resolved)}",
        *_final_fit(resolved, options),
        *([f"at a time  {resolved.parallel}"] if resolved.parallel else []),
        *([f"budget     {duration(resolved.time_budget_seconds)}"] if resolved.time_budget_seconds else []),
        f"resources  {options.cpus} core{'s' * (options.cpus > 1)} and {resolved.gpus:g} GPUs a trial",
        "shared     the prepared images, by all trials of a node; the workers' processes, one trial after another",
        f"time       {_expected(resolved, options, count + repeated, epochs)}",
    ]
    for text in [*lines, *notes(resolved, options)]:
        console.print(text, soft_wrap=True, highlight=False)
    return count + repeated, epochs


def _epochs(resolved: Resolved, count: int, repeated: int) -> tuple[int, int]:
    """(of one trial, of all trials), at most."""
    sweep = resolved.sweep
    searched = sweep.space.get("epochs")
    most = int(max(searched.ends())) if searched else sweep.config({}, resolved.seed).epochs
    if searched and sweep.searcher == "grid":
        each = sorted((int(point["epochs"]) for point in Grid(sweep).points[:count]), reverse=True)
        per_seed = repeat_count(count, 2)
        return each[0], sum(each) + (sum(each[:per_seed]) * repeated // per_seed if repeated else 0)
    return most, most * (count + repeated)


def _bases(resolved: Resolved) -> list[str]:
    found = [f"{name} (the newest run that fits, or trained first)" if is_trained(name) else name for name in names(resolved)]
    return [f"base       {', '.join(found)}"] if found else []


def _first(resolved: Resolved, count: int) -> str:
    if not resolved.sweep.space:
        return ""
    points = Grid(resolved.sweep).points[:count] if resolved.sweep.searcher == "grid" else list(resolved.sweep.known_points)[:count]
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


def _expected(resolved: Resolved, options: RunOptions, trials: int, epochs: int) -> str:
    """From the newest earlier run here of the same trainable, data and size."""
    for name in reversed(run_names(options.storage)):
        storage = RunStorage(options.storage, name)
        try:
            spec, state = storage.spec(), read_state(storage)
        except BadInput:
            # A damaged run tells no speed; `sweeps status` names it.
            continue
        same = (spec.sweep.trainable, spec.dataset_source, spec.cpus_per_trial) == (resolved.sweep.trainable, resolved.data, options.cpus)
        if not same or not state.sessions or _amount(spec.sweep, spec.seed) != _amount(resolved.sweep, options.seed):
            continue
        seconds = [row["epoch_seconds"] for trial in state.trials.values() for row in trial.epochs.values()]
        if seconds:
            mean = sum(seconds) / len(seconds)
            workers = min(state.sessions[-1]["workers"], trials, resolved.parallel or trials)
            at_most = min(mean * epochs / workers, resolved.time_budget_seconds or math.inf)
            return f"at most about {duration(at_most)} of training on {workers} worker{'s' * (workers > 1)} ({mean:.2f} s an epoch, as measured in {name})"
    return f"not known: no run of {resolved.sweep.trainable} on as many images of {resolved.data} in {options.storage} yet"


def _amount(sweep: Sweep, seed: int) -> tuple[Any, ...]:
    """What the time of an epoch depends on, next to the network."""
    config = sweep.config({}, seed)
    return config.size, config.classes, config.images, config.train_fraction
