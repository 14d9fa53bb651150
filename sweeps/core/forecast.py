"""What `sweeps plan` tells of what comes before the first trial: the data set, bases, the features of frozen layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from data_prep import Dataset, find_prepared
from data_prep.core.source import find_source
from sweeps.core.bases import HALF, SWEEP, base_run, is_trained, names, shape_source
from sweeps.core.launch import Resolved, RunOptions, parse_size, resolve, split_sizes
from sweeps.core.screen import amount
from sweeps.core.spec import CACHE_SIZE
from sweeps.core.sweep import Sweep, load_sweep
from trainables.core.aside import ASIDE, AsideError
from trainables.core.forecast import forecast
from trainables.core.pretrained import LEAST_SIZE, PretrainedConfig


def data_text(resolved: Resolved, options: RunOptions) -> str:
    """What is there of the data set, or what has to be done first."""
    dataset = find_prepared(resolved.data, size=resolved.size, root=options.data_root)
    if dataset:
        return f"{len(dataset.labels):,} images of {len(dataset.classes):,} classes, prepared"
    where = find_source(resolved.data, None, options.data_root)[1].where
    return f"{'downloaded and ' if where.startswith(('http://', 'https://')) else ''}prepared first, from {where}"


def base_texts(resolved: Resolved, options: RunOptions) -> list[str]:
    """Of each base its name, and the run that it comes from or what is to be trained; none for a trainable without a base. BadInput when it cannot be
    had of these data."""
    return [_base(name, resolved, options) for name in names(resolved)]


def _base(name: str, resolved: Resolved, options: RunOptions) -> str:
    if not is_trained(name):
        return name
    dataset = find_prepared(resolved.data, size=resolved.size, root=options.data_root)
    if dataset is None and name in (HALF, resolved.data):
        return f"{name} (the newest run that fits, or trained first)"
    wanted = base_run(name, resolved, options, dataset)
    if wanted.run:
        return f"{name} ({'the best model of' if wanted.finished else 'after the rest of'} {wanted.run})"
    sweep = load_sweep(SWEEP)[1]
    assert isinstance(sweep, Sweep)
    base = resolve(SWEEP, sweep, wanted.options)
    its_data = "" if base.data == resolved.data else f"; its data: {data_text(base, options)}"
    return f"{name} (trained first, {base.sweep.config({}, base.seed).epochs} epochs{its_data})"


def feature_lines(resolved: Resolved, options: RunOptions) -> list[str]:
    """Lines of the plan; none for a trainable without a base."""
    found = _features(resolved, options)
    if found is None:
        return []
    if isinstance(found, str):
        return [f"features   {found}"]
    lines = [_sizes(found, resolved, options)] if found.shared else []
    if found.apart:
        lines.append(f"           trained whole: {'; '.join(found.apart)} (nothing frozen, or too little for what its features would take)")
    return lines


def feature_row(resolved: Resolved, options: RunOptions) -> dict[str, int | bool | None] | None:
    """The same for scripts: `cuts`; `images` and `bytes` to compute before the trials, over all cuts, and whether these `fit` into --cache-size, or else they are
    not stored (None: the data are not prepared); `bytes_an_image`. None where there are no shared features."""
    found = _features(resolved, options)
    if not isinstance(found, Features) or not found.shared:
        return None
    images, sizes = _images(resolved, options), found.shared.values()
    return {
        "cuts": len(sizes),
        "images": images and images * len(sizes),
        "bytes": images and images * sum(sizes),
        "bytes_an_image": sum(sizes),
        "fit": None if images is None else _fit(images, found, options),
    }


class Features(NamedTuple):
    """Of the cuts that trials can have: bytes of an image's features by cut, and the names of those that are trained whole."""

    shared: dict[str, int]
    apart: list[str]


def _features(resolved: Resolved, options: RunOptions) -> Features | str | None:
    """None for a trainable without a base; why there are none."""
    config = resolved.sweep.config({}, options.seed)
    if not isinstance(config, PretrainedConfig):
        return None
    augmented = [value for value in _augmentations(resolved, options) if value != "none"]
    if config.features == "off":
        return "off: frozen layers run in every epoch of every trial"
    if augmented and not config.views:
        return (
            f"not shared with augmentation ({', '.join(augmented)}): frozen layers run in every epoch, on images that differ in each; "
            "--set views=K keeps K augmented views of each image"
        )
    points = _points(resolved, options)
    try:
        found = ASIDE.call(forecast, {"trainable": resolved.sweep.trainable, "points": [point for _, point in points]})
    except AsideError:
        # What is wrong is told when the run starts.
        return "not known before the run: the base cannot be had yet"
    cuts = [(name, cut["bytes"]) for (name, _), cut in zip(points, found, strict=True)]
    return Features({name: size for name, size in cuts if size}, [name for name, size in cuts if not size])


def _points(resolved: Resolved, options: RunOptions) -> list[tuple[str, dict[str, Any]]]:
    """(name, what is asked) of each cut that trials can have."""
    sweep = resolved.sweep
    searched = {key: sweep.space[key].ends() for key in ("base", "unfrozen_layers") if key in sweep.space}
    points = []
    for values in itertools.product(*searched.values()):
        point = dict(zip(searched, values, strict=True))
        config = sweep.config(point, options.seed)
        assert isinstance(config, PretrainedConfig)
        source = shape_source(config.base, resolved, options)
        if config.base in LEAST_SIZE:
            # Its weights are not asked for, or a plan would download them.
            source.pop("weights", None)
        name = " ".join(f"{key}={value}" for key, value in point.items()) or config.base
        points.append((name, {"config": config.model_dump(), "source": source}))
    return points


def _images(resolved: Resolved, options: RunOptions) -> int | None:
    """Images of one cut before the trials: those to train on, in all their views, and those to validate with; None where the data are not prepared."""
    dataset = find_prepared(resolved.data, size=resolved.size, root=options.data_root)
    if dataset is None:
        return None
    train, validation, _ = _splits(resolved, dataset)
    views = getattr(resolved.sweep.config({}, options.seed), "views", None) or 1
    return validation + train * sum(1 if value == "none" else views for value in _augmentations(resolved, options))


def _augmentations(resolved: Resolved, options: RunOptions) -> Sequence[Any]:
    """Those that trials can have; each has views of its own."""
    searched = resolved.sweep.space.get("augmentation")
    return searched.ends() if searched else [resolved.sweep.config({}, options.seed).augmentation]


def _fit(images: int, found: Features, options: RunOptions) -> bool:
    return max(images * size for size in found.shared.values()) <= parse_size(options.cache_size or CACHE_SIZE)


def _splits(resolved: Resolved, dataset: Dataset) -> tuple[int, int, int]:
    # Trials on a part of the images share the features of all.
    return split_sizes(resolved.with_settings({"data_fraction": 1.0}), dataset)


def _sizes(found: Features, resolved: Resolved, options: RunOptions) -> str:
    shared = found.shared
    dataset, images = find_prepared(resolved.data, size=resolved.size, root=options.data_root), _images(resolved, options)
    cuts = f"{len(shared)} cut{'s' * (len(shared) > 1)}"
    if dataset is None or images is None:
        each = ", ".join(f"{size / 1000:.1f}" for size in shared.values())
        return f"features   of frozen layers, once for all trials: {cuts}, {each} KB an image ({resolved.data} is not prepared yet)"
    total = images * sum(shared.values())
    text = (
        f"features   of frozen layers, once for all trials: {images * len(shared):,} images ({cuts}), {amount(total)} beside the data set"
    )
    over = "" if _fit(images, found, options) else f"; more than --cache-size {options.cache_size or CACHE_SIZE}: they run in every epoch"
    return f"{text}; then {_splits(resolved, dataset)[2]:,} for the test of the best{over}"
