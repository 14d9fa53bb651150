"""The table of a study: the best model of each part beside the report's figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.core import published
from sweeps.core.best import NONE, best_models_table, exported_runs, is_whole, written
from sweeps.core.fit import Column, Fitted, say
from trainables.core.pretrained import LEAST_SIZE

Row = dict[str, Any]
# The study that is to hold every experiment of the report.
ALL = "study"


def study_rows(results: Path, study: str) -> list[Row]:
    """A row of best_models a part of the study in its order, after them the base runs that parts start from; in the study of all experiments then those
    of the report that it lacks, each with its best result (`part` and the published columns only)."""
    best = {row["run"]: row for row in best_models_table(results)}
    specs = {spec["run"]: spec for spec in exported_runs(results).values() if "run" in spec}
    own = [run for run, spec in specs.items() if spec.get("study") == study]
    own.sort(key=lambda run: specs[run]["part_number"])
    parts = [_part_row(specs[run], best.get(run)) for run in own]
    sources = dict.fromkeys(base["source"] for run in own for base in specs[run]["bases"].values())
    bases = [_part_row({**specs[run], "part": "base"}, best[run]) for run in sources if run in best and is_whole(specs.get(run, {}))]
    there = {row["trainable"] for row in [*parts, *bases]}
    every = any(specs[run]["sweep_name"] == ALL for run in own)
    return [*parts, *bases, *(map(_published_row, published.best_of_each(there)) if every else ())]


def _published_row(result: published.Result) -> Row:
    return {"part": result.experiment, "published_test_accuracy": result.test_accuracy, "published_setting": result.setting}


def _part_row(spec: Row, best: Row | None) -> Row:
    """The row, with all settings that the part does not leave at their defaults and whether its base has random weights."""
    trainable, settings = spec["sweep"]["trainable"], {**spec["sweep"]["fixed"], **(best["settings"] if best else {})}
    random = any(base["file"] is None for base in spec["bases"].values())
    if not LEAST_SIZE.keys() & spec["bases"].keys():
        settings.pop("weights", None)
    return {**(best or {}), "part": spec["part"], "trainable": trainable, "settings": settings, "random": random}


def _name(row: Row) -> str:
    return f"{row['part']}{' *' if row.get('random') else ''}"


def _part(row: Row, name: str) -> str:
    value = row.get(name)
    return NONE if value is None else f"{value:.4f}"


def _test(row: Row) -> str:
    mean, deviation = row.get("test_accuracy_mean"), row.get("test_accuracy_std")
    return f"{mean:.4f} ± {deviation:.4f} ({row['seeds']})" if mean is not None and deviation is not None else _part(row, "test_accuracy")


def _count(row: Row, name: str) -> str:
    value = row.get(name)
    return NONE if value is None else f"{value:,}"


def _published(row: Row) -> str:
    return _part(row, "published_test_accuracy")


def _what_published(row: Row) -> str:
    return row.get("published_setting") or NONE


def _settings(row: Row) -> str:
    return written(row["settings"]) if "settings" in row else NONE


# What fits 80 columns on the screen.
NARROW: dict[str, Callable[[Row], str]] = {
    "part": _name,
    "train": lambda row: _part(row, "train_accuracy"),
    "val": lambda row: _part(row, "val_accuracy") + "+" * (row.get("fit_on") == "train+validation"),
    "test": _test,
    "parameters": lambda row: _count(row, "parameters"),
    "published": _published,
}
# Left out first where there is no room for all.
GIVE = {"train": 2, "parameters": 1}
WIDE: dict[str, Callable[[Row], str]] = {
    "experiment": _name,
    "settings": _settings,
    "train accuracy": NARROW["train"],
    "validation accuracy": NARROW["val"],
    "test accuracy": _test,
    "parameters": NARROW["parameters"],
    "trained": lambda row: _count(row, "trainable_parameters"),
    "published test accuracy": _published,
    "of": _what_published,
}
FOOT = (
    "Accuracies are parts of 1; of several seeds the test accuracy is mean ± standard deviation (n), and train and validation are those of the stored "
    "model. Published: the report's, on Tiny ImageNet. *: a base of random weights. +: trained on, too."
)


def study_markdown(results: Path, study: str) -> str:
    """The table in Markdown."""
    lines = [list(WIDE), ["---"] * len(WIDE), *([show(row) for show in WIDE.values()] for row in study_rows(results, study))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def studies(results: Path) -> list[str]:
    """Those of which a run is in the results."""
    return sorted({spec["study"] for spec in exported_runs(results).values() if spec.get("study")})


def studies_markdown(results: Path) -> str:
    """A section a study that is in the results; nothing where there is none."""
    return "".join(f"\n## Study {study}\n\n{study_markdown(results, study)}\n\n{FOOT}\n" for study in studies(results))


def show_study(results: Path, study: str, console: Console) -> None:
    """The table on the screen."""
    say(console, f"Study {study}", style="bold")
    table = Fitted([Column(name, give=GIVE.get(name, 0), right=name != "part") for name in NARROW])
    for row in study_rows(results, study):
        table.add(*(show(row) for show in NARROW.values()))
    console.print(table)
    say(console, FOOT)
