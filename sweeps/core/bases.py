"""The trained networks that a run's trials start from: found, or trained first, and copied into the run before its first trial.

A base is named by the setting `base`: `vgg16` or `inception` (Keras' own), a data set (the base network trained on it), `half` (trained on the first
half of this data set's classes, on this run's own training images: what test holds is not seen), a run, or a .keras file."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep import BadInput, Dataset, check_source, source_names
from data_prep.core.source import look_up
from sweeps.core.journal import read_state
from sweeps.core.launch import Resolved, RunOptions, given_settings
from sweeps.core.spec import RunSpec, StoredBase
from sweeps.core.standing import finished
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage, run_names
from trainables import TrainConfig, get_trainable
from trainables.core.pretrained import APPLICATIONS, IMAGENET, IMAGENET_OR_RANDOM, LEAST_SIZE, RANDOM, PretrainedConfig

HALF = "half"
# The sweep that trains the base network.
SWEEP = "base"
# Of a base on this data set's own classes: equal to the run's, so that no image is trained on there and tested on here.
OWN_SPLIT = ("images", "train_fraction", "validation_fraction", "split_seed")


def names(resolved: Resolved) -> list[str]:
    """The bases that the trials of a sweep start from, in the order of its space; none for a trainable without one."""
    sweep = resolved.sweep
    if not issubclass(get_trainable(sweep.trainable).config, PretrainedConfig):
        return []
    searched = sweep.space.get("base")
    return [str(value) for value in searched.ends()] if searched else [_settings(resolved).base]


def check(resolved: Resolved, options: RunOptions) -> None:
    """BadInput when a base cannot be had, as far as that can be told without its data, a download or keras."""
    pretrained = LEAST_SIZE.keys() & set(names(resolved))
    # In a study it is set for all parts.
    if names(resolved) and not pretrained and "weights" in resolved.sweep.fixed and not resolved.part:
        raise BadInput(
            f"weights are those of {' and '.join(LEAST_SIZE)}, but base is {', '.join(names(resolved))}, which brings its own: leave weights out"
        )
    for name in names(resolved):
        if name in LEAST_SIZE:
            _check_weights(_settings(resolved).weights)
        elif name.endswith(".keras"):
            if not Path(name).is_file():
                raise BadInput(f"base is a .keras file that is there, but there is no {name!r}: check the path")
        elif _is_data_set(name):
            check_source(name, size=resolved.size, root=options.data_root)
        elif name != HALF:
            _best_of(name, options.storage)


def _check_weights(weights: str) -> None:
    if weights not in (IMAGENET, RANDOM, IMAGENET_OR_RANDOM) and not Path(weights).is_file():
        raise BadInput(
            f"weights are {IMAGENET}, {RANDOM}, {IMAGENET_OR_RANDOM} or a file that is there, but got {weights!r}: check the path"
        )


def is_trained(name: str) -> bool:
    """Whether it is the base network, trained by us on a data set or a half of one."""
    return name == HALF or _is_data_set(name)


def _is_data_set(name: str) -> bool:
    try:
        look_up(name)
    except BadInput:
        return False
    return True


def _best_of(run: str, storage_location: str) -> tuple[RunSpec, RunStorage, Trial]:
    try:
        storage = RunStorage(storage_location, run)
        spec, trial = storage.spec(), read_state(storage).best_trial
    except BadInput as error:
        near = difflib.get_close_matches(run.lower(), [*LEAST_SIZE, HALF, *(name for name, _ in source_names())], n=1)
        raise BadInput(
            f"base is {', '.join(LEAST_SIZE)}, a data set's name, {HALF}, a .keras file or a run, but got {run!r} ({error}): "
            f"{f'did you mean {near[0]}?' if near else 'give one of these'}"
        ) from None
    if trial is None:
        raise BadInput(f"a run that is a base has a best model, but {run!r} has no result yet: see `sweeps status {run}`")
    return spec, storage, trial


def check_split(resolved: Resolved, options: RunOptions, dataset: Dataset) -> None:
    """BadInput when a run that is a base was trained on images of this data set that are validated or tested on here."""
    ours = _settings(resolved) if names(resolved) else None
    for name in names(resolved):
        if name in LEAST_SIZE or name.endswith(".keras") or is_trained(name):
            continue
        spec, _, _ = _best_of(name, options.storage)
        its = spec.sweep.config({}, spec.seed)
        if spec.dataset_fingerprint != dataset.fingerprint:
            continue
        for key in ("split_seed", "train_fraction", "validation_fraction"):
            if getattr(its, key) != getattr(ours, key):
                raise BadInput(
                    f"a base has not seen what it is tested on, but {name} was trained on this data set with {key} {getattr(its, key)} instead of "
                    f"{getattr(ours, key)}: give --set {key}={getattr(its, key)}"
                )


def _settings(resolved: Resolved) -> PretrainedConfig:
    config = resolved.sweep.config({}, resolved.seed)
    assert isinstance(config, PretrainedConfig)
    return config


@dataclass(frozen=True)
class Makers:
    """How a base is made: `store` and `fetch` call `trainables.core.bases` in a process of its own, `run` and `resume` are the commands."""

    store: Callable[[dict[str, Any]], dict[str, Any]]
    fetch: Callable[[list[str]], str | None]
    run: Callable[[RunOptions], str]
    resume: Callable[[str], str]


def prepare_weights(resolved: Resolved, makers: Makers, console: Console) -> Resolved:
    """Have ImageNet's weights downloaded where they are asked for; the sweep with what `imagenet-or-random` came to. BadInput when they cannot be had."""
    pretrained = [name for name in names(resolved) if name in LEAST_SIZE]
    if not pretrained or _settings(resolved).weights not in (IMAGENET, IMAGENET_OR_RANDOM):
        return resolved
    problem = makers.fetch(pretrained)
    if problem is None:
        return resolved.with_settings({"weights": IMAGENET})
    if _settings(resolved).weights == IMAGENET:
        raise BadInput(
            f"the ImageNet weights of {' and '.join(pretrained)} are downloaded by Keras once, but that failed ({problem}): connect this machine, "
            f"or give --set weights=FILE or --set weights={RANDOM}"
        )
    console.print(
        f"{' and '.join(pretrained)}: random weights, since ImageNet's cannot be downloaded here: what comes of them says nothing about ImageNet's",
        soft_wrap=True,
    )
    return resolved.with_settings({"weights": RANDOM})


def prepare_bases(resolved: Resolved, options: RunOptions, dataset: Dataset, makers: Makers, console: Console) -> dict[str, dict[str, Any]]:
    """What makes each base (see `trainables.core.bases.store`), trained first where there is none yet."""
    found: dict[str, dict[str, Any]] = {}
    for name in names(resolved):
        run = _trained(base_run(name, resolved, options, dataset), makers, console) if is_trained(name) else name
        found[name] = _source(name, resolved, options, run)
    return found


def _source(name: str, resolved: Resolved, options: RunOptions, run: str) -> dict[str, Any]:
    """What makes a base: see `trainables.core.bases.store`."""
    source: dict[str, Any] = {"base": name, "size": resolved.size}
    if name in LEAST_SIZE:
        weights = _settings(resolved).weights
        if weights == RANDOM:
            return source
        return {**source, "weights": weights if weights == IMAGENET else str(Path(weights).absolute())}
    if name.endswith(".keras"):
        return {**source, "file": str(Path(name).absolute())}
    return {**source, "run": run, "model": stored_model(*_best_of(run, options.storage))}


def store_bases(sources: dict[str, dict[str, Any]], storage: RunStorage, resolved: Resolved, makers: Makers) -> dict[str, StoredBase]:
    """Copy the bases into the run; BadInput when one does not fit its sweep."""
    stored = {}
    for name, source in sources.items():
        facts = _fitting(name, resolved, _stored(source, storage.bases_folder, makers))
        made_from = source.get("run") or source.get("file") or source.get("weights") or RANDOM
        stored[name] = StoredBase(source=str(made_from), **facts)
    return stored


def _stored(source: dict[str, Any], folder: str | None, makers: Makers) -> dict[str, Any]:
    """See `trainables.core.bases.store`. Of random weights nothing is, and Keras' own networks are known: keras need not be asked."""
    known = APPLICATIONS.get(source["base"]) if source.keys() == {"base", "size"} else None
    if known:
        return {"file": None, "sha256": None, "layers": known.layers, "parameters": known.parameters}
    return makers.store({**source, "folder": folder})


def asks_keras(resolved: Resolved) -> bool:
    """Whether it takes keras to know the bases."""
    return any(name not in APPLICATIONS or _settings(resolved).weights != RANDOM for name in names(resolved))


def check_classes(resolved: Resolved, dataset: Dataset) -> None:
    """BadInput when a base is to be trained on half of the classes and these are too few."""
    if HALF in names(resolved):
        _half(_settings(resolved), dataset)


def _half(ours: PretrainedConfig, dataset: Dataset) -> int:
    count = ours.classes or len(dataset.classes)
    if count < 4:
        raise BadInput(f"base={HALF} is trained on half of at least 4 classes, but there are {count}: give another base")
    return count // 2


def check_fit(resolved: Resolved, options: RunOptions, makers: Makers) -> None:
    """BadInput when a base does not fit its sweep, before another is trained for hours. (Where none is to be trained that is told when they are stored.)"""
    if not any(map(is_trained, names(resolved))):
        return
    for name in names(resolved):
        _fitting(name, resolved, _stored(shape_source(name, resolved, options), None, makers))


def shape_source(name: str, resolved: Resolved, options: RunOptions) -> dict[str, Any]:
    """What makes a base of the same layers: one that is still to be trained is asked with random weights."""
    return {"base": name, "size": resolved.size} if is_trained(name) else _source(name, resolved, options, name)


def _fitting(name: str, resolved: Resolved, facts: dict[str, Any]) -> dict[str, Any]:
    if "error" in facts:
        raise BadInput(
            f"base {name!r} must give features of images of {resolved.size} px, but: {facts['error']}: give another base or size"
        )
    _check_depth(resolved, name, facts["layers"])
    return facts


def _check_depth(resolved: Resolved, name: str, layers: int) -> None:
    searched = resolved.sweep.space.get("unfrozen_layers")
    default = getattr(_settings(resolved), "unfrozen_layers", 0)
    most = max(searched.ends()) if searched else default
    if most > layers:
        raise BadInput(f"unfrozen_layers is at most the {layers} layers of base {name!r}, but got {most}: lower it")


def _trained(wanted: BaseRun, makers: Makers, console: Console) -> str:
    """The run of the base network on that data set: one that has ended, one to go on with, or a new one."""
    run = wanted.run
    if run is None:
        console.print(f"base {wanted.base}: not trained yet, so that is done first (`sweeps run {SWEEP}`)", soft_wrap=True)
        run = makers.run(wanted.options)
    elif not wanted.finished:
        console.print(f"base {wanted.base}: {run} is not finished, so that is done first", soft_wrap=True)
        run = makers.resume(run)
    else:
        console.print(f"base {wanted.base}: the best model of {run}", soft_wrap=True)
    if not run:
        raise KeyboardInterrupt
    best = read_state(RunStorage(wanted.options.storage, run)).best_trial
    if best is None or best.status != "completed":
        raise BadInput(
            f"a base is trained in full, but {run} was not (its time budget, or a failure): `sweeps status {run}`, then start it anew"
        )
    return run


@dataclass(frozen=True)
class BaseRun:
    """A run of the base network that trials want to start from: `run` is its name and None where there is none yet, `options` are how to start it."""

    base: str
    options: RunOptions
    run: str | None
    finished: bool


def base_run(name: str, resolved: Resolved, options: RunOptions, dataset: Dataset | None) -> BaseRun:
    """The newest run that fits `base` in these settings: of the base network, the same data and split, and at least as many epochs as a new one would
    have. `dataset` is the run's own, and not looked at for a base on another one. BadInput when it cannot be halved."""
    ours = _settings(resolved)
    settings: dict[str, Any] = {"size": resolved.size}
    fingerprint = None
    if name in (HALF, resolved.data):
        assert dataset
        fingerprint = dataset.fingerprint
        settings |= {key: getattr(ours, key) for key in OWN_SPLIT if getattr(ours, key) is not None}
        if name == HALF:
            settings["classes"] = _half(ours, dataset)
    # A run's limit of epochs is that of its base, too; its samples and seeds are not.
    if "epochs" in (given := given_settings(options)):
        settings["epochs"] = given["epochs"]
    written = tuple(f"{key}={value}" for key, value in settings.items())
    data = resolved.data if name == HALF else name
    new = replace(options, sweep=SWEEP, data=data, samples=None, epochs=None, seeds=1, run_name=None, settings=written)
    run, done = _newest(new, get_trainable(SWEEP).config(**settings), fingerprint)
    return BaseRun(name, new, run, done)


def _newest(new: RunOptions, config: TrainConfig, fingerprint: str | None) -> tuple[str | None, bool]:
    """`fingerprint`: of a data set that is the run's own, which the same name may have had other images under."""
    for name in reversed(run_names(new.storage)):
        storage = RunStorage(new.storage, name)
        try:
            spec, state = storage.spec(), read_state(storage)
        except BadInput:
            continue  # a damaged run is no base; `sweeps status` names it
        its = spec.sweep.config({}, spec.seed) if spec.sweep.trainable == SWEEP else None
        if its is None or spec.dataset_source != new.data or fingerprint not in (None, spec.dataset_fingerprint):
            continue
        same = all(getattr(its, key) == getattr(config, key) for key in ("size", "classes", "data_fraction", *OWN_SPLIT))
        if same and its.epochs >= config.epochs and (done := _usable(spec, state, storage)) is not None:
            return name, done
    return None, False


def _usable(spec: RunSpec, state: RunState, storage: RunStorage) -> bool | None:
    """True: trained in full. False: to be gone on with, by nobody else at work. None: neither."""
    if finished(spec, state):
        return True if state.best_trial and state.best_trial.status == "completed" else None
    # Where it cannot be told whether somebody works on it, somebody may.
    return False if storage.in_use() is False else None


def stored_model(spec: RunSpec, storage: RunStorage, trial: Trial) -> dict[str, Any]:
    """Where a trial's best epoch is, for `trainables.core.evaluation.load_model`."""
    return {
        "trainable": spec.sweep.trainable,
        "config": trial.config,
        "class_count": spec.class_count,
        "bases": base_files(spec, storage),
        "checkpoints": storage.trial_checkpoints(trial.folder_id),
        "epoch": trial.best_epoch,
        "shared": trial.mate_of is not None or trial.shared_with is not None,
        "final": trial.final_of is not None,
    }


def base_files(spec: RunSpec, storage: RunStorage) -> dict[str, str]:
    """`base` in the settings -> path or URI of its file; those with random weights have none."""
    return {name: storage.base_file(base.file) for name, base in spec.bases.items() if base.file}
