"""The report's figures, `published.csv` beside this file: read here, and found for a run's best configuration.

A row is a figure. Its setting tells the results of an experiment apart: key=value pairs in the names of the trainable's settings, `data` for the data
set, and words that are notes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from data_prep import BadInput

FILE: Final = Path(__file__).with_name("published.csv")
TEST_ACCURACY: Final = "test_accuracy"
# Where a setting names no other: the data set of all experiments but one.
DATA: Final = "tiny-imagenet"
# Decide only between results that fit alike: few train for exactly as long as the report did.
TIES: Final = ("epochs", "batch_size")
# Which data: a result that does not name them was measured at their defaults.
AMOUNTS: Final = ("classes", "train_fraction")


@dataclass(frozen=True)
class Result:
    """What the report gives for one experiment and setting; `figures` maps a metric, a column of best_models, to its value as printed."""

    experiment: str
    setting: str
    figures: Mapping[str, str]

    @property
    def pairs(self) -> dict[str, str]:
        """The key=value pairs of the setting."""
        return {key: value for key, equals, value in (word.partition("=") for word in self.setting.split()) if equals}

    @property
    def test_accuracy(self) -> float:
        """A part of 1, to four digits."""
        return round(float(self.figures[TEST_ACCURACY]), 4)


@cache
def results() -> tuple[Result, ...]:
    """All of the file, in its order."""
    figures: dict[tuple[str, str], dict[str, str]] = {}
    with FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            figures.setdefault((row["experiment"], row["setting"]), {})[row["metric"]] = row["value"]
    return tuple(Result(experiment, setting, found) for (experiment, setting), found in figures.items())


def of(experiment: str) -> list[Result]:
    """The results of an experiment (a trainable's name)."""
    return [result for result in results() if result.experiment == experiment]


def best_of_each(without: Iterable[str]) -> list[Result]:
    """Of each experiment but these, the result with the highest test accuracy."""
    best: dict[str, Result] = {}
    for result in results():
        if result.experiment not in without and TEST_ACCURACY in result.figures:
            old = best.get(result.experiment, result)
            best[result.experiment] = max(old, result, key=lambda one: one.test_accuracy)
    return list(best.values())


def named(experiment: str, setting: str) -> Result:
    """The result with that setting; BadInput when the file has none."""
    for result in of(experiment):
        if result.setting == setting:
            return result
    known = ", ".join(repr(result.setting) for result in of(experiment)) or "none"
    raise BadInput(
        f"`published` is a setting that published.csv has for trainable {experiment!r} ({known}), but got {setting!r}: use one of these"
    )


def closest(experiment: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Result | None:
    """The result to compare a configuration with; None when the report has none. `settings` are those of the configuration and `data`; `defaults`
    are the trainable's.

    Pairs must be equal, but for epochs and batch_size; what other results of the experiment name, classes and train_fraction must be at their defaults.
    (How many of a data set's images were used decides nothing: the report's data set is another one as a rule.) Of several that fit: the one with
    more of epochs and batch_size equal, then the highest test accuracy."""
    known = of(experiment)
    telling = {key for result in known for key in result.pairs} - {*TIES, "data"} | set(AMOUNTS)
    fitting = [result for result in known if _fits(result, settings, defaults, telling)]
    return max(fitting, key=lambda result: (_equal(result, settings, TIES), result.test_accuracy), default=None)


def _fits(result: Result, settings: Mapping[str, Any], defaults: Mapping[str, Any], telling: Iterable[str]) -> bool:
    named_keys = result.pairs.keys() - set(TIES)
    at_default = all(settings.get(key, defaults.get(key)) == defaults.get(key) for key in telling if key not in named_keys)
    return at_default and _equal(result, settings, named_keys) == len(named_keys)


def _equal(result: Result, settings: Mapping[str, Any], keys: Iterable[str]) -> int:
    return sum(key in result.pairs and _same(settings.get(key), result.pairs[key]) for key in keys)


def _same(value: Any, written: str) -> bool:
    if isinstance(value, int | float):
        try:
            return value == float(written)
        except ValueError:
            return False
    return bool(value == written)


def data_of(experiment: str) -> str:
    """The data set that an experiment's results were measured on."""
    return next((result.pairs["data"] for result in of(experiment) if "data" in result.pairs), DATA)
