"""The best models of all runs in a results folder, as a Markdown page and on the screen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rich.console import Console
from rich.table import Table

from data_prep import BadInput
from sweeps.core.fit import say
from sweeps.core.parquet import read_table
from sweeps.core.published import data_of
from sweeps.core.tables import BEST_MODELS, PARAMS, SPLITS, columns
from trainables.core.pretrained import RANDOM
from trainables.core.spaces import HEAD, IMAGES

Row = dict[str, Any]
NONE = "-"
# Beside the tables: what each run is, as JSON.
RUNS = "runs"
RUN_JSON = "run.json"


def exported_runs(results: Path) -> dict[tuple[str, str], Row]:
    """(sweep, run) -> its run.json, of all runs in the results."""
    return {sweep_and_run(path): read_json(path) for path in sorted((results / RUNS).glob(f"sweep=*/run=*/{RUN_JSON}"))}


def all_rows(results: Path, table: str) -> dict[tuple[str, str], list[Row]]:
    """(sweep, run) -> its rows of a table, of all runs that have a file there; BadInput when one is damaged."""
    found: dict[tuple[str, str], list[Row]] = {}
    # Files of an older version lack columns until the next export.
    nothing = dict.fromkeys(column.name for column in columns()[table])
    for path in sorted((results / table).glob("sweep=*/run=*/*.parquet")):
        found.setdefault(sweep_and_run(path), []).extend({**nothing, **row} for row in read_table(path).to_pylist())
    return found


def sweep_and_run(path: Path) -> tuple[str, str]:
    """Of a file `.../sweep=<sweep>/run=<run>/<name>`."""
    sweep, run = (unquote(part.partition("=")[2]) for part in path.parts[-3:-1])
    return sweep, run


def best_models_table(results: Path) -> list[Row]:
    """The rows of the best_models table of all runs, by sweep and run, with `sweep`, `run`, `settings` (the searched ones: name -> value) and `fixed` (those
    that the sweep or `--set` fixed)."""
    specs = exported_runs(results)
    return [
        {"sweep": sweep, "run": run, **row, "settings": _settings(spec, row), "fixed": _fixed(spec, row)}
        for (sweep, run), rows in all_rows(results, BEST_MODELS).items()
        for spec in [specs.get((sweep, run), {})]
        for row in rows
    ]


def _settings(spec: Row, row: Row) -> Row:
    sweep = spec.get("sweep", {})
    if sweep.get("searcher") == "autokeras":
        found = json.loads(row["config_json"] or "{}").get("hyperparameters") or {}
        return {short_name(name): value for name, value in found.items()}
    return {name: row.get(PARAMS + name) for name in sweep.get("space", {})}


def _fixed(spec: Row, row: Row) -> Row:
    values = {name: row.get(PARAMS + name) for name in spec.get("sweep", {}).get("fixed", {})}
    return {name: value for name, value in values.items() if value is not None}


def short_name(hyperparameter: str) -> str:
    """Of AutoKeras, without the block that every network has."""
    return hyperparameter.removeprefix(f"{IMAGES}/").replace(f"{HEAD}/", "head/")


def read_json(file: Path) -> Row:
    """What a run.json says; nothing where it is missing or damaged: another run's export does not stop at it."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if _is_run(content) else {}


def _is_run(content: Any) -> bool:
    """Whether what is read of it, in the tables and studies, is of its type."""
    if not isinstance(content, dict) or not isinstance(content.get("run", ""), str):
        return False
    sweep, bases = content.get("sweep", {}), content.get("bases", {})
    if (
        not isinstance(sweep, dict)
        or not isinstance(bases, dict)
        or not all(isinstance(sweep.get(key, {}), dict) for key in ("space", "fixed"))
    ):
        return False
    if content.get("study") is None:
        return True
    return is_whole(content) and {"run", "sweep_name", "part", "part_number"} <= content.keys() and _is_part(content)


def is_whole(run: Row) -> bool:
    """Whether its run.json has what a row of a study is made of."""
    whole = "bases" in run and {"trainable", "fixed"} <= run.get("sweep", {}).keys()
    return whole and all(isinstance(base, dict) and {"source", "file"} <= base.keys() for base in run["bases"].values())


def _is_part(content: Row) -> bool:
    return isinstance(content["study"], str) and isinstance(content["part_number"], int)


def best_models_markdown(results: Path) -> str:
    """best_models.md."""
    titles = [*COLUMNS]
    lines = [[_cell(show(row)) for show in COLUMNS.values()] for row in best_models_table(results)]
    table = [titles, ["---"] * len(titles), *lines]
    return "\n".join([_HEAD, *("| " + " | ".join(line) + " |" for line in table), "", FOOT])


def random_weights(row: Row) -> str:
    """A note where the base is a network that has learnt nothing."""
    return " (random weights)" if row.get(f"{PARAMS}weights") == RANDOM else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _number(value: float | None) -> str:
    """Four digits that count: a rate of 0.00042 shows as much as an accuracy of 0.1756."""
    return NONE if value is None else f"{value:.4g}"


def part(value: float | None) -> str:
    """A part of 1, or a loss: `0.9125`."""
    return NONE if value is None else f"{value:.4f}"


def _over_seeds(row: Row) -> str:
    """`0.9820 ± 0.0031 (3)`: mean, standard deviation, seeds."""
    mean, deviation = row["test_accuracy_mean"], row["test_accuracy_std"]
    return NONE if mean is None or deviation is None else f"{mean:.4f} ± {deviation:.4f} ({row['seeds']})"


def count(value: int | None) -> str:
    """`110,810`."""
    return NONE if value is None else f"{value:,}"


def written(settings: Row) -> str:
    """Settings in one line: `dropout 0.25, depth 3`."""
    parts = (f"{name} {_number(value) if isinstance(value, float) else value}" for name, value in settings.items())
    return ", ".join(parts) or NONE


COLUMNS: dict[str, Callable[[Row], str]] = {
    "sweep": lambda row: row["sweep"],
    "run": lambda row: row["run"],
    "trainable": lambda row: f"{row['trainable']}{random_weights(row)}",
    "dataset": lambda row: row["dataset"] or NONE,
    "settings searched": lambda row: written(row["settings"]),
    "train accuracy": lambda row: part(row["train_accuracy"]),
    "validation accuracy": lambda row: part(row["val_accuracy"]) + " (fitted)" * (row["fit_on"] == "train+validation"),
    "test accuracy": lambda row: part(row["test_accuracy"]),
    "test accuracy over seeds": _over_seeds,
    "test top-5": lambda row: part(row["test_top5_accuracy"]),
    "test F1, weighted": lambda row: part(row["test_f1_weighted"]),
    "parameters": lambda row: count(row["parameters"]),
    "trials": lambda row: count(row["trials"]),
    "published test accuracy": lambda row: part(row["published_test_accuracy"]),
}

_HEAD = """# Best models

A row a run: its best trial, at its best epoch. Over seeds: mean ± standard deviation (n) over n runs of that configuration, a seed each.
Made from `best_models/`; README.md explains every column.
"""
FOOT = f"""The best trial and epoch are chosen by validation accuracy alone, so that figure is a little too good. Train, validation and test are three parts of
the labelled images without overlap; test was read once, for the model shown (and its other seeds). All figures are parts of 1, of the stored weights, without dropout.
"(fitted)": these weights were trained on the validation images, too.
Where test is "{NONE}" the model is not evaluated yet: then train is as the epoch trained, with dropout. The published figure is the report's, on Tiny
ImageNet (`base`: CIFAR-10): compare it with a row on that data set only.
"""


def show_best(results: Path, run: str, console: Console) -> None:
    """The best model of one run on the screen, at most 80 columns wide. BadInput when that run is not in the results."""
    exported = [unquote(path.parent.name.partition("=")[2]) for path in sorted((results / RUNS).glob(f"sweep=*/run=*/{RUN_JSON}"))]
    if run not in exported:
        known = ", ".join(exported) or "none"
        raise BadInput(
            f"the table shows a run that is in '{results}' ({known}), but got {run!r}: use one of these, or `sweeps export {run}` first"
        )
    own = [row for row in best_models_table(results) if row["run"] == run]
    if not own:
        console.print(f"{run}: no trial has a result yet", markup=False, highlight=False, soft_wrap=True)
    for row in own:
        say(console, f"Best of {row['run']}: trial {row['trial_id']}, epoch {row['best_epoch']}", style="bold")
        console.print(_figures(row))
        for name, value in facts(row):
            say(console, f"{name:<12}{value}", indent=12)


def _figures(row: Row) -> Table:
    # One word each: every header fits 80 columns beside the others.
    table = Table()
    for header in ("split", "images", "accuracy", "top-5", "loss", "F1"):
        table.add_column(header, justify="left" if header == "split" else "right", no_wrap=True)
    for prefix, split in SPLITS.items():
        accuracy, top5, loss = (part(row[f"{prefix}_{figure}"]) for figure in ("accuracy", "top5_accuracy", "loss"))
        f1 = part(row["test_f1_weighted"]) if prefix == "test" else ""
        table.add_row(split, count(row[f"{prefix}_images"]), accuracy, top5, loss, f1)
    return table


def _first_classes(row: Row) -> str:
    classes = row.get(f"{PARAMS}classes")
    return f", its first {classes} classes" if classes else ""


def _on_base(row: Row) -> str:
    base = row.get(f"{PARAMS}base")
    return f" on {base}{random_weights(row)}" if base else ""


def _candidates(row: Row) -> int:
    """Trials that the best was chosen from: not the final fits, one a seed."""
    return int(row["trials"] or 0) - (row["seeds"] or 1) * bool(row["final_of"])


def _chosen_by(row: Row) -> str:
    return "mean validation accuracy" if (row["seeds"] or 1) > 1 else "validation accuracy"


def _all_settings(row: Row) -> str:
    """The searched ones, then the fixed ones."""
    fixed = [f"fixed: {written(row['fixed'])}"] if row["fixed"] else []
    return "; ".join([written(row["settings"]), *fixed] if row["settings"] else fixed) or NONE


def facts(row: Row) -> list[tuple[str, str]]:
    """What is told about a best model beside its figures: (word, text)."""
    found = [
        ("settings", _all_settings(row)),
        (
            "network",
            f"{row['trainable']}{_on_base(row)}, {count(row['parameters'])} parameters, {count(row['trainable_parameters'])} of them trained",
        ),
        ("data", f"{row['dataset']} {row['dataset_fingerprint']}{_first_classes(row)}"),
        ("chosen by", f"{_chosen_by(row)}, of {count(_candidates(row))} trial{'s' * (_candidates(row) != 1)}; F1 is the weighted average"),
    ]
    if row["final_of"]:
        found.append(
            ("final fit", f"trial {row['final_of']} once more, on train and validation: the figure of validation is of images seen")
        )
    if (row["seeds"] or 1) > 1:
        found.append(("over seeds", f"test accuracy {_over_seeds(row)}" if row["test_accuracy_mean"] is not None else "not evaluated yet"))
    if not row["evaluated"]:
        found.append(("test", "not evaluated yet; train is as the epoch trained, with dropout"))
    # Beside other data it would only mislead; the tables keep it for who joins them.
    if row["published_test_accuracy"] is not None and row["dataset"] == data_of(row["trainable"]):
        found.append(
            ("published", f"{part(row['published_test_accuracy'])} test accuracy ({row['published_setting']}), on {row['dataset']}")
        )
    return found
