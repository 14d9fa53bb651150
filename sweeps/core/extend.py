"""A run that goes on beyond its first limits, `sweeps resume RUN --samples +8 --epochs 40`, or with other resources a trial, `--cpus 2 --gpus 0`.

The new limits or resources are a row of the journal, which is the truth of a run; run.json is brought up to it, so that whoever reads it sees them. The
search goes on with all that it learned, and a trial that ended by its limit of epochs goes on from its last checkpoint."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from data_prep import BadInput
from sweeps.core.decide import Decisions
from sweeps.core.journal import Journal
from sweeps.core.launch import NO_BUDGET, parse_duration
from sweeps.core.propose import trial_count
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage

MORE = re.compile(r"(\+?)(\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a user of `sweeps resume` asks for: `samples` (`+8`: eight more trials; `24`: 24 in all), `epochs` of a trial, `time_budget` (`5h` in all, or
    `none`); `cpus` and `gpus` a trial, from this session on."""

    samples: str | None = None
    epochs: int | None = None
    time_budget: str | None = None
    cpus: int | None = None
    gpus: float | None = None

    @property
    def asked(self) -> bool:
        """Whether for higher limits."""
        return any(limit is not None for limit in (self.samples, self.epochs, self.time_budget))

    def resources(self, cpus: int, gpus: float) -> tuple[int, float]:
        """Cores and GPUs a trial, of which these are had so far."""
        return cpus if self.cpus is None else self.cpus, gpus if self.gpus is None else self.gpus


def check(asked: Extension, spec: RunSpec) -> dict[str, Any]:
    """The run's new limits: `samples` and `epochs`, `more_time` and `time_budget_seconds`; BadInput where the run cannot have them."""
    more_time = asked.time_budget is not None
    return {
        "samples": _samples(asked.samples, spec),
        "epochs": _epochs(asked.epochs, spec),
        "more_time": more_time,
        "time_budget_seconds": _seconds(str(asked.time_budget), spec) if more_time else spec.time_budget_seconds,
    }


def _samples(text: str | None, spec: RunSpec) -> int | None:
    if text is None:
        return None
    match, now = MORE.fullmatch(text), trial_count(spec.sweep, spec.samples)
    if not match:
        raise BadInput(f"--samples of a resume is +N, so many trials more, or N in all, but got {text!r}: write for example +8")
    wanted = int(match[2]) + (now if match[1] else 0)
    if not spec.sweep.searches:
        raise BadInput(f"more trials need a setting that is searched, but {spec.run} has all of them fixed: leave --samples out")
    if wanted <= now:
        raise BadInput(f"a resume adds to the {now} trials of {spec.run}, but --samples {text} does not: give more")
    if trial_count(spec.sweep, wanted) < wanted:
        points = trial_count(spec.sweep, wanted)
        raise BadInput(
            f"a grid ends with its {points} points, but --samples {text} makes {wanted} trials: leave it out, or give --samples {points}"
        )
    return wanted


def _epochs(wanted: int | None, spec: RunSpec) -> int | None:
    if wanted is None:
        return None
    config = spec.sweep.with_settings({"epochs": wanted}).config({}, spec.seed)
    now = spec.sweep.config({}, spec.seed).epochs
    if "epochs" in spec.sweep.space:
        raise BadInput(f"--epochs is a limit of all trials, but {spec.run} searches over epochs: leave it out, or start a new run")
    if "schedule" in spec.sweep.space or config.schedule != "constant":
        name = "is searched" if "schedule" in spec.sweep.space else f"is {config.schedule}"
        raise BadInput(
            f"a trial goes on where its schedule does not go by the count of epochs, but that of {spec.run} {name}: start a new run"
        )
    if wanted <= now:
        raise BadInput(f"a resume adds to the {now} epochs of a trial of {spec.run}, but --epochs {wanted} does not: give more")
    return wanted


def _seconds(text: str, spec: RunSpec) -> float | None:
    now = spec.time_budget_seconds
    if now is None:
        raise BadInput(f"--time-budget of a resume raises the run's own, but {spec.run} has none: leave it out")
    wanted = None if text == NO_BUDGET else parse_duration(text)
    if wanted is not None and wanted <= now:
        raise BadInput(f"a resume adds to the {now:g} s of {spec.run}, but --time-budget {text} does not: give more")
    return wanted


def extend(asked: Extension, storage: RunStorage) -> None:
    """Give the run its new limits; BadInput where it cannot have them, or could not go on with them. For who holds its lock."""
    journal = Journal(storage)
    spec = with_limits(storage.spec(), journal.state)
    limits = check(asked, spec)
    # Before the limits are written: else the same command, once that is mended, would add to them twice.
    Decisions(_raised(spec, limits), journal)
    journal.append("extend", **limits)
    settle(storage, journal.state)


def with_resources(spec: RunSpec, resources: tuple[int, float]) -> RunSpec:
    """The run with so many cores and GPUs a trial."""
    return spec.model_copy(update={"cpus_per_trial": resources[0], "gpus_per_trial": resources[1]})


def rearrange(storage: RunStorage, journal: Journal, spec: RunSpec) -> None:
    """Write down which cores and GPUs its trials have from here on, where that is new. For who holds the run's lock."""
    before, now = with_limits(storage.spec(), journal.state), (spec.cpus_per_trial, spec.gpus_per_trial)
    if (before.cpus_per_trial, before.gpus_per_trial) != now:
        journal.append("resources", cpus=now[0], gpus=now[1])
    settle(storage, journal.state)


def settle(storage: RunStorage, state: RunState) -> None:
    """Bring run.json up to the journal, which a kill may have come between."""
    spec = storage.spec()
    if (extended := with_limits(spec, state)) != spec:
        storage.replace(extended)


def with_limits(spec: RunSpec, state: RunState) -> RunSpec:
    """The run with the limits of its extensions, and its newest resources."""
    if last := state.resources:
        spec = with_resources(spec, (last["cpus"], last["gpus"]))
    for row in state.extensions:
        spec = _raised(spec, row)
    return spec


def _raised(spec: RunSpec, limits: dict[str, Any]) -> RunSpec:
    if limits["samples"] is not None:
        spec = spec.model_copy(update={"samples": limits["samples"]})
    if limits["epochs"] is not None:
        spec = spec.model_copy(update={"sweep": spec.sweep.with_settings({"epochs": limits["epochs"]})})
    return spec.model_copy(update={"time_budget_seconds": limits["time_budget_seconds"]})
