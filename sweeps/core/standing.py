"""What of a run is done, and what is still to come.

When the search has ended, its best configurations are trained again with further seeds (`--seeds`): more trials of the run. Then the best is fitted once
more on train and validation where the sweep asks for that (`final_fit`): it has the epochs that its best had. At the end the best is measured.
"""

from __future__ import annotations

from sweeps.core.propose import trial_count
from sweeps.core.spec import RunSpec
from sweeps.core.state import Row, RunState, Trial

# Configurations that are trained again where a run has several seeds.
REPEATED = 3


def searching(spec: RunSpec, state: RunState) -> bool:
    """Whether the search itself, its repeats not counted, has trials that run or are still to come."""
    return state.searched < trial_count(spec.sweep, spec.samples) or any(trial.of_search for trial in state.open.values())


def repeats(spec: RunSpec, state: RunState) -> list[tuple[Row, int]]:
    """What follows the search once it has ended: settings, and the trial that has them with the run's own seed. One seed after the other, so that
    a time budget cuts the last seeds and not the last configurations."""
    best: list[Trial] = []
    for trial in state.ranked:
        if len(best) < REPEATED and all(trial.config != other.config for other in best):
            best.append(trial)
    return [({**trial.config, "seed": spec.seed + n}, trial.index) for n in range(1, spec.seeds) for trial in best]


def repeats_left(spec: RunSpec, state: RunState) -> list[tuple[Row, int]]:
    """Those of them that have not begun."""
    begun = {(trial.repeat_of, trial.config["seed"]) for trial in state.trials.values() if trial.repeat_of}
    return [(config, of) for config, of in repeats(spec, state) if (of, config["seed"]) not in begun]


def final_fits(spec: RunSpec, state: RunState) -> list[tuple[Row, int]]:
    """What is still to be fitted on train and validation once the best is known: settings, and the trial that has them. As many epochs as the best
    of that trial was after: without validation nothing tells when to stop."""
    if not final_fit(spec):
        return []
    fitted = {(trial.final_of, trial.config["epochs"]) for trial in state.trials.values()}
    runs = [trial for trial in state.selected_runs if (trial.index, trial.best_epoch) not in fitted]
    return [({**trial.config, "epochs": trial.best_epoch}, trial.index) for trial in runs]


def final_fit(spec: RunSpec) -> bool:
    """Whether the best is fitted once more on train and validation."""
    return spec.sweep.config({}, spec.seed).final_fit


def selected(spec: RunSpec, state: RunState, out_of_time: bool) -> bool:
    """Whether the best is known and a final fit of it is still to be begun."""
    through = out_of_time or state.selecting >= total_selecting(spec, state)
    return through and not selecting_open(state) and bool(final_fits(spec, state))


def exhausted(spec: RunSpec, state: RunState, out_of_time: bool) -> bool:
    """Whether no trial will be suggested any more."""
    through = out_of_time or state.selecting >= total_selecting(spec, state)
    return through and not (final_fit(spec) and (selecting_open(state) or final_fits(spec, state)))


def selecting_open(state: RunState) -> int:
    """How many of those that the best is chosen from, all but final fits, have not ended."""
    return sum(not trial.final_of for trial in state.open.values())


def total_selecting(spec: RunSpec, state: RunState) -> int:
    """How many these will be: of the search and its repeats; at most, while it searches."""
    count, repeated = trial_count(spec.sweep, spec.samples), state.selecting - state.searched
    return count + repeated + (repeat_count(count, spec.seeds) if searching(spec, state) else len(repeats_left(spec, state)))


def total_trials(spec: RunSpec, state: RunState) -> int:
    """Trials of the whole run, repeats and final fits too: at most, while it searches."""
    selecting = total_selecting(spec, state)
    ended = state.selecting - selecting_open(state)
    fitted = len(state.trials) - state.selecting
    # Before, `selected_runs` may still grow.
    fits = len(final_fits(spec, state)) if ended >= selecting else spec.seeds
    return selecting + fitted + (fits if final_fit(spec) else 0)


def repeat_count(trials: int, seeds: int) -> int:
    """Repeats that a search of so many trials is followed by, at most."""
    return min(REPEATED, trials) * (seeds - 1)


def finished(spec: RunSpec, state: RunState) -> bool:
    """Whether nothing is left to do for a run that no process is working on: its trials have ended and its best is measured."""
    budget = spec.time_budget_seconds
    all_suggested = exhausted(spec, state, budget is not None and state.elapsed_seconds >= budget)
    return all_suggested and not state.open and measured(state)


def measured(state: RunState) -> bool:
    """Whether all runs of the best configuration have been measured on the test split, or there are none."""
    return not state.unmeasured
