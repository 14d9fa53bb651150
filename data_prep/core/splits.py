"""Splits: sorted index arrays, a pure function of their arguments, never copies of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data_prep.core.errors import BadInput


@dataclass(frozen=True)
class Split:
    """Row numbers of a data set: sorted int64 arrays without overlap. Selection sees `validation`; `test` is read once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(  # noqa: PLR0913 - the whole protocol, each part of it a setting of its own
    labels: np.ndarray,
    *,
    seed: int,
    train_fraction: float = 0.7,
    validation_fraction: float = 0.1,
    classes: int | None = None,
    images: int | None = None,
    data_fraction: float = 1.0,
) -> Split:
    """Cut the rows of `labels` (N integers from 0) into train, validation and test, each with the classes' proportions.

    `train_fraction` in (0, 1) of the rows is for training, the rest is test; `validation_fraction` in (0, 1) of the training rows
    becomes validation: 100,000 rows give 63,000, 7,000 and 30,000. `images` keeps so many of all rows, and `classes` the classes 0 to
    classes - 1 of these; the others are in no split. `data_fraction` in (0, 1] of the rows that are left for training is what `train` holds, those of a
    smaller one a subset of those of a larger one; validation and test stay whole. BadInput: a value out of its range, or a class with too few
    images to be in all three.

    With equal seed and fractions no row is in `train` here and in `test` there, whatever the other three say: a network that was trained on half of
    the classes has seen nothing that another is tested on.
    """
    labels = np.asarray(labels)
    _check_fraction("train_fraction", train_fraction, "0.7 for 70 %")
    _check_fraction("validation_fraction", validation_fraction, "0.1 for 10 %")
    if not 0 < data_fraction <= 1:
        raise BadInput(f"data_fraction must be greater than 0 and at most 1, but got {data_fraction}: use 1 for all, 0.5 for half")
    count = _class_count(labels, classes)
    smallest_part = min(train_fraction * validation_fraction, train_fraction * (1 - validation_fraction), 1 - train_fraction)
    rows = _usable_rows(labels, count, smallest_part)
    train, test = _cut(labels, rows, train_fraction, seed)
    train, validation = _cut(labels, train, 1 - validation_fraction, seed)
    parts = {"train": train, "validation": validation, "test": test}
    _check_every_class(labels, rows[labels[rows] < count], parts, train_fraction, validation_fraction)
    if images is not None:
        parts = _some(labels, parts, images, count, seed)
    parts = {name: part[labels[part] < count] for name, part in parts.items()}
    if data_fraction < 1:
        parts["train"] = _part_of_training(labels, parts["train"], data_fraction, seed)
    return Split(**parts)


def _check_fraction(name: str, value: float, example: str) -> None:
    if not 0 < value < 1:
        raise BadInput(f"{name} must be between 0 and 1, both excluded, but got {value}: use {example}")


def _class_count(labels: np.ndarray, classes: int | None) -> int:
    if labels.ndim != 1 or labels.size == 0:
        raise BadInput(f"labels must be a list of at least one class number, but got the shape {labels.shape}: give a data set's labels")
    available = int(labels.max()) + 1
    if classes is None:
        classes = available
    if not 2 <= classes <= available:
        raise BadInput(
            f"classes must be between 2 and the {available} of the data set, but got {classes}: "
            f"{'use 2 or more' if classes < 2 else f'use {available} or fewer'}"
        )
    return classes


def _usable_rows(labels: np.ndarray, classes: int, smallest_part: float) -> np.ndarray:
    """Rows of the first `classes`, and of those others that are large enough for a part of that size. BadInput when one of the first has too few."""
    counts = np.bincount(labels, minlength=classes)
    smallest = int(counts[:classes].argmin())
    if counts[smallest] < 3:
        raise BadInput(
            f"a class must have at least 3 images, one each for train, validation and test, but class {smallest} has "
            f"{counts[smallest]}: add images or leave the class out"
        )
    return np.flatnonzero((labels < classes) | (counts[labels] * smallest_part >= 1))


def _in_proportion(labels: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """The rows in a random order of which any first n have the classes' proportions, to within an image a class."""
    random = np.random.default_rng(seed)
    rows = random.permutation(rows)
    place = np.empty(len(rows))
    for class_number in np.unique(labels[rows]):
        own = np.flatnonzero(labels[rows] == class_number)
        # Of four images: at 1/8, 3/8, 5/8 and 7/8 of the order. The stable sort leaves ties, those of classes of one size, at random.
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return rows[np.argsort(place, kind="stable")]


def _some(labels: np.ndarray, parts: dict[str, np.ndarray], images: int, classes: int, seed: int) -> dict[str, np.ndarray]:
    """So many of all, each part in its proportion. BadInput when one of the first `classes` is not in each."""
    available = sum(map(len, parts.values()))
    if images > available:
        raise BadInput(f"images must be at most the {available} that there are, but got {images}: use {available} or fewer")
    ends = np.cumsum([len(parts[name]) for name in ("test", "validation", "train")])
    # Rounded sums, not rounded parts: together they are exactly `images`.
    test, validation, train = np.diff(np.round(ends * (images / available)).astype(int), prepend=0)
    some = {}
    for name, count in (("train", train), ("validation", validation), ("test", test)):
        some[name] = np.sort(_in_proportion(labels, parts[name], seed)[:count])
        missing = np.setdiff1d(np.arange(classes), labels[some[name]])
        if missing.size:
            raise BadInput(
                f"images must leave one of each class in train, validation and test, but {images} leave none of class {missing[0]} in {name}: "
                "use more images"
            )
    return some


def _part_of_training(labels: np.ndarray, train: np.ndarray, data_fraction: float, seed: int) -> np.ndarray:
    order = _in_proportion(labels, train, seed)
    count = round(data_fraction * len(train))
    # Each class once: the place of the last class's first image.
    needed = int(np.unique(labels[order], return_index=True)[1].max()) + 1
    if count < needed:
        raise BadInput(
            f"data_fraction must leave an image of each class, but {data_fraction:g} of {len(train)} training images are {count}, and the "
            f"classes need {needed}: use {math.ceil(needed / len(train) * 10_000) / 10_000:g} or more"
        )
    return np.sort(order[:count])


def _cut(labels: np.ndarray, rows: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    # Imported here: it costs 1 s, and the commands that only list or open data sets never split.
    from sklearn.model_selection import train_test_split

    # Counts, not fractions: scikit-learn floors 0.29 * 100 = 28.999... to 28.
    first_count = round(fraction * len(rows))
    classes = len(np.unique(labels[rows]))
    if min(first_count, len(rows) - first_count) < classes:
        raise BadInput(
            f"each split must have an image of each of the {classes} classes, but {fraction:g} of {len(rows)} images "
            f"leaves {min(first_count, len(rows) - first_count)} in one: use more images or a fraction nearer to 0.5"
        )
    try:
        first, second = train_test_split(
            rows, train_size=first_count, test_size=len(rows) - first_count, random_state=seed, stratify=labels[rows]
        )
    except ValueError as error:
        # A class of which the first cut has left one.
        raise BadInput(
            f"each class must be in each split, but one has too few images ({error}): add images or use fractions nearer to 0.5"
        ) from None
    return np.sort(first).astype(np.int64), np.sort(second).astype(np.int64)


def _check_every_class(labels: np.ndarray, rows: np.ndarray, parts: dict[str, np.ndarray], train: float, validation: float) -> None:
    counts = np.bincount(labels[rows])
    for name, part in parts.items():
        missing = np.setdiff1d(labels[rows], labels[part])
        if missing.size:
            raise BadInput(
                f"each class must be in each split, but class {missing[0]} with {counts[missing[0]]} images is not in {name} "
                f"at train_fraction {train:g} and validation_fraction {validation:g}: add images or use fractions nearer to 0.5"
            )
