"""From what a user typed to a run: everything that can be refused is refused here, before any work."""

from __future__ import annotations

import itertools
import math
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from data_prep import BadInput, Dataset, check_source, prepare
from sweeps.core.propose import trial_count
from sweeps.core.spec import CACHE_SIZE, RunSpec, StoredBase
from sweeps.core.storage import RunStorage
from sweeps.core.sweep import Sweep
from trainables.core import files
from trainables.core.config import split_of

VERSIONS_OF = ("ray", "tensorflow", "keras", "autokeras", "keras-tuner", "hyperopt", "numpy", "pandas", "pyarrow", "pillow", "scikit-learn")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
# As many as `seed` of a trainable's settings allows.
SEEDS = 2**32
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)")
UNIT_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
# For a sweep that has a time budget of its own.
NO_BUDGET = "none"
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What `sweeps plan` and `sweeps run` are given."""

    sweep: str
    data: str | None = None
    data_root: Path = Path("data")
    samples: int | None = None
    epochs: int | None = None
    settings: tuple[str, ...] = field(default=())
    seed: int = 0
    seeds: int = 1
    deterministic: bool = False
    cpus: int = 1
    gpus: float | None = None
    storage: str = "runs"
    results: Path = Path("results")
    address: str | None = None
    time_budget: str | None = None
    parallel: int | None = None
    cache_size: str | None = None
    run_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A sweep with the options worked in, checked as far as that goes without its data."""

    name: str
    sweep: Sweep
    data: str
    samples: int
    size: int
    seed: int
    gpus: float
    time_budget_seconds: float | None
    parallel: int | None = None
    study: str | None = None
    part: str | None = None
    part_number: int | None = None

    def with_settings(self, settings: dict[str, Any]) -> Resolved:
        """The same with these settings fixed."""
        return replace(self, sweep=self.sweep.with_settings(settings))


def resolve(name: str, sweep: Sweep, options: RunOptions) -> Resolved:
    """The sweep as the options ask for it; BadInput when any trial of it would be impossible, or its data cannot be had."""
    sweep = sweep.with_settings(given_settings(options))
    sweep.check(options.seed)
    check_options(options)
    data = options.data or sweep.data
    size = sweep.config({}, options.seed).size
    check_source(data, size=size, root=options.data_root)
    budget = sweep.time_budget if options.time_budget is None else None if options.time_budget == NO_BUDGET else options.time_budget
    return Resolved(
        name=name,
        sweep=sweep,
        data=data,
        samples=options.samples or sweep.samples,
        size=size,
        seed=options.seed,
        gpus=options.gpus if options.gpus is not None else float(min(local_gpus(), 1)),
        time_budget_seconds=parse_duration(budget) if budget is not None else None,
        parallel=options.parallel or sweep.parallel,
    )


def given_settings(options: RunOptions) -> dict[str, Any]:
    """Those of `--set` and `--epochs`."""
    settings = parse_settings(options.settings)
    if options.epochs is not None:
        settings["epochs"] = options.epochs
    if "seed" in settings:
        raise BadInput("the seed is not a setting but an option: give --seed N")
    return settings


def check_options(options: RunOptions) -> None:
    """BadInput for an option that no run can have."""
    for option, given in (
        ("--data", options.data),
        ("--storage", options.storage),
        ("--run-name", options.run_name),
        ("--address", options.address),
        ("--cache-size", options.cache_size),
    ):
        if given == "":
            raise BadInput(f"{option} is given a value or left out, but got '': do one of these")
    if options.samples is not None and options.samples < 1:
        raise BadInput(f"--samples is a number of trials, at least 1, but got {options.samples}: give another")
    if options.parallel is not None and options.parallel < 1:
        raise BadInput(f"--parallel is a number of trials at a time, at least 1, but got {options.parallel}: give another")
    parse_size(options.cache_size or CACHE_SIZE)
    # A seed for each repeat.
    if options.seeds < 1:
        raise BadInput(f"--seeds is a number of seeds, at least 1, but got {options.seeds}: give another")
    if options.seed + options.seeds > SEEDS:
        raise BadInput(
            f"seeds are below {SEEDS}, but --seed {options.seed} --seeds {options.seeds} ends at {options.seed + options.seeds - 1}: lower one of them"
        )


def places(options: RunOptions) -> str:
    """Where a run is and goes to, as a further command on it has to be told again: a run does not remember it. Empty where that is where all are."""
    usual = RunOptions(sweep=options.sweep)
    given = {"storage": files.shown(options.storage), "results": str(options.results), "address": options.address or ""}
    return "".join(f" --{name} {shlex.quote(text)}" for name, text in given.items() if getattr(options, name) != getattr(usual, name))


class _Plain(yaml.SafeLoader):
    """Without aliases: a few dozen bytes of them stand for a list of billions, which a refusal would write out."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """YAMLError for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def parse_settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`("depth=3", "dropout=0.1")` as a dictionary of values typed as YAML types them."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise BadInput(f"--set takes key=value, but got {pair!r}: write for example --set depth=3")
        try:
            settings[key] = yaml.load(value, _Plain)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError, RecursionError):
            settings[key] = value
    return settings


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `20m`, `3h` or `1.5d`."""
    match = DURATION.fullmatch(text)
    if not match or float(match[1]) == 0 or not math.isfinite(float(match[1]) * UNIT_SECONDS[match[2]]):
        raise BadInput(f"a time budget is a number above 0 and a unit (s, m, h or d), but got {text!r}: write for example 3h")
    return float(match[1]) * UNIT_SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `20GB` or `1.5TB`; 0: `0GB`."""
    match = SIZE.fullmatch(text)
    if not match or not math.isfinite(float(match[1]) * UNIT_BYTES[match[2]]):
        raise BadInput(f"--cache-size is a number and a unit (MB, GB or TB), but got {text!r}: write for example 20GB")
    return int(float(match[1]) * UNIT_BYTES[match[2]])


def notes(resolved: Resolved, options: RunOptions) -> list[str]:
    """What a user may not expect of the search."""
    count = trial_count(resolved.sweep, resolved.samples)
    if not resolved.sweep.searches:
        return ["every searched setting is fixed: one trial"]
    if options.samples and count < options.samples:
        return [f"the grid has {count} points: {count} trials, not {options.samples}"]
    return []


def check_resources(cpus: int, gpus: float | None, address: str | None) -> None:
    """BadInput when a trial can never be placed on this machine. On a cluster its nodes are asked when the run starts."""
    if cpus < 1:
        raise BadInput(f"--cpus is a number of cores a trial, at least 1, but got {cpus}: give another")
    gpus = gpus or 0
    if not math.isfinite(gpus) or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise BadInput(f"--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got {gpus:g}: give another")
    cores = os.cpu_count() or 1
    if address is None and cpus > cores:
        raise BadInput(f"a trial runs on one machine, but --cpus {cpus} is more than the {cores} cores of this one: lower --cpus")
    if address is None and gpus > local_gpus():
        raise BadInput(f"a trial runs on one machine, but --gpus {gpus:g} is more than the {local_gpus()} GPUs of this one: lower --gpus")


def check_storage(options: RunOptions) -> None:
    """BadInput when the new run's name is taken or impossible, or the storage cannot be written."""
    storage = RunStorage(options.storage, options.run_name or "new-run")
    if options.run_name:
        storage.check_new()
    storage.check_writable()


def prepare_data(resolved: Resolved, options: RunOptions, console: Console | None) -> Dataset:
    """The data set, prepared if it was not yet; BadInput when it cannot be split as the sweep's settings say."""
    dataset = prepare(resolved.data, size=resolved.size, root=options.data_root, console=console)
    searched = resolved.sweep.space.get("data_fraction")
    points = [{"data_fraction": value} for value in searched.ends()] if searched else [{}]
    # The smallest: where its images are of every class, those of a larger one are, too.
    split_of(min((resolved.sweep.config(point, options.seed) for point in points), key=lambda config: config.data_fraction), dataset)
    return dataset


def split_sizes(resolved: Resolved, dataset: Dataset) -> tuple[int, int, int]:
    """Images in train, validation and test of a trial with the run's settings."""
    parts = split_of(resolved.sweep.config({}, resolved.seed), dataset)
    return len(parts.train), len(parts.validation), len(parts.test)


def new_name(storage: str, sweep: str, dataset: str) -> str:
    """Of a run or a study that is given none."""
    name = f"{sweep}-{dataset}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    places = (RunStorage(storage, name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(place.run for place in places if not (place.exists() or place.is_study()))


def new_run(
    resolved: Resolved, options: RunOptions, dataset: Dataset, store: Callable[[RunStorage], dict[str, StoredBase]]
) -> tuple[RunSpec, RunStorage]:
    """A run that has not started: its bases and its run.json are on the storage."""
    now = datetime.now(UTC)
    storage = RunStorage(options.storage, options.run_name or new_name(options.storage, resolved.name, dataset.name))
    config = resolved.sweep.config({}, options.seed)
    spec = RunSpec(
        run=storage.run,
        sweep_name=resolved.name,
        sweep=resolved.sweep,
        samples=resolved.samples,
        seed=options.seed,
        seeds=options.seeds,
        deterministic=options.deterministic,
        time_budget_seconds=resolved.time_budget_seconds,
        parallel=resolved.parallel,
        cpus_per_trial=options.cpus,
        cache_size=options.cache_size or CACHE_SIZE,
        gpus_per_trial=resolved.gpus,
        dataset=dataset.name,
        dataset_source=resolved.data,
        dataset_folder=str(dataset.path.absolute()),
        dataset_fingerprint=dataset.fingerprint,
        class_count=config.classes or len(dataset.classes),
        bases=store(storage),
        study=resolved.study,
        part=resolved.part,
        part_number=resolved.part_number,
        created_at=now.isoformat(timespec="seconds"),
        git_commit=git_commit(),
        versions=versions(),
        machine=machine(),
    )
    storage.create(spec)
    return spec, storage


def local_gpus() -> int:
    """GPUs of this machine that this process may see. (A cluster is told by --gpus: its nodes may not have started.)"""
    there, shown = len(list(Path("/dev").glob("nvidia[0-9]*"))), os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if shown is None else min(there, len([one for one in shown.split(",") if one.strip() not in ("", "-1")]))


def git_commit() -> str | None:
    """The commit of this code, with `+changes` when files differ from it; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes.strip() else "")


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    installed = {name: metadata.version(name) for name in VERSIONS_OF if _installed(name)}
    return {"python": platform.python_version(), **installed}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def machine() -> dict[str, Any]:
    """Of the driver."""
    return {"host": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
