"""What the charts of the report draw: a run's rows of `trials` and `epochs`, packed for the page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from sweeps.core.best import short_name
from sweeps.core.importance import Importance, importance
from sweeps.core.parquet import check, read_table, with_all_columns
from sweeps.core.study_table import WIDE
from sweeps.core.tables import EPOCHS, PARAMS, TRIALS, schema
from sweeps.core.timeline import timeline

FIGURES: Final = ("train_accuracy", "val_accuracy", "train_loss", "val_loss")
OF_TRIAL: Final = (
    *("trial_id", "status", "error", "seed", "repeat_of", "final_of", "shared_with", "restarts", "epochs_trained", "best_epoch"),
    *(*FIGURES, "train_seconds"),
)
# Curves of more trials would make the page too big to open; the best are kept.
MOST_CURVES: Final = 2_000


@dataclass(frozen=True)
class Charts:
    """`packed`: a run's trials, curves and timeline as JSON, compressed by gzip, as base64. Figures of epochs are rounded to float32, those of trials not
    at all. `trained`: whether any trial has an epoch."""

    packed: str
    trained: bool
    importance: Importance | None


def charts(results: Path, sweep: str, run: str, space: Mapping[str, Any], best: str | None = None) -> Charts | None:
    """Of a run; None where it has no trial. `space`: what was searched, as run.json has it; `best`: the trial that `best_models` has. BadInput when a
    table is damaged."""
    # First: an export that comes between the two brings trials, and takes none.
    epochs = _table(results / EPOCHS / sweep / run, EPOCHS)
    trials = _table(results / TRIALS / sweep / run, TRIALS).to_pydict()
    if not trials["trial_id"]:
        return None
    found = {name: trials[name] for name in OF_TRIAL}
    params = _searched(trials)
    important = importance(
        params, [None if left_out else value for value, left_out in zip(found["val_accuracy"], _not_of_search(trials), strict=True)]
    )
    if important:
        params = {name: params[name] for name in important.parts}
    chosen = found["trial_id"].index(best) if best in found["trial_id"] else None
    drawn = set(sorted(range(len(found["trial_id"])), key=lambda n: (n != chosen, -(found["val_accuracy"][n] or 0)))[:MOST_CURVES])
    content = {
        "trials": found,
        "params": params,
        "best": chosen,
        "kinds": {name: searched.get("kind") for name, searched in space.items() if isinstance(searched, dict)},
        "drawn": len(drawn),
        "curves": _curves(epochs, found["trial_id"], drawn),
        "timeline": timeline(epochs, found["trial_id"]),
        "sharing": sorted(set(epochs["shared_with"].to_pylist()) - {None}),
    }
    return Charts(_pack(content), len(epochs) > 0, important)


def _searched(trials: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The settings in which trials differ: name -> a value a trial. Those of AutoKeras' networks stand in config_json alone."""
    found = {name.removeprefix(PARAMS): values for name, values in trials.items() if name.startswith(PARAMS)}
    networks = [json.loads(text or "{}").get("hyperparameters") or {} for text in trials["config_json"]]
    for name in dict.fromkeys(name for network in networks for name in network):
        found.setdefault(short_name(name), [network.get(name) for network in networks])
    # A final fit has the epochs that its model needed.
    searched = [n for n, final_of in enumerate(trials["final_of"]) if final_of is None]
    return {name: values for name, values in found.items() if len({str(values[n]) for n in searched}) > 1}


def _not_of_search(trials: Mapping[str, list[Any]]) -> list[bool]:
    columns = (trials["repeat_of"], trials["final_of"], trials["status"])
    return [
        repeat_of is not None or final_of is not None or status == "failed" for repeat_of, final_of, status in zip(*columns, strict=True)
    ]


def packed_confusion(rows: list[dict[str, Any]], names: list[str]) -> str:
    """The same of a run's rows of `confusions`: `names` of the classes in their order, `cells` of (class, predicted class, images)."""
    return _pack({"names": names, "cells": [[row["class_index"], row["predicted_index"], row["images"]] for row in rows]}) if rows else ""


def packed_study(rows: list[dict[str, Any]]) -> str:
    """The same of a study's rows (see `study_table.study_rows`): test accuracy, over seeds where there are several, and the published one, a value each."""
    over_seeds = [row.get("test_accuracy_std") is not None for row in rows]
    content = {
        "names": [WIDE["experiment"](row) for row in rows],
        "measured": [
            row.get("test_accuracy_mean") if several else row.get("test_accuracy") for row, several in zip(rows, over_seeds, strict=True)
        ],
        "deviation": [row.get("test_accuracy_std") for row in rows],
        "published": [row.get("published_test_accuracy") for row in rows],
    }
    return _pack(content)


def _pack(content: dict[str, Any]) -> str:
    return base64.b64encode(gzip.compress(orjson.dumps(content), 6, mtime=0)).decode()


def _table(folder: Path, table: str) -> pa.Table:
    """Of all files there; what one of an older version lacks is null."""
    parts = [schema(table).empty_table()]
    for path in sorted(folder.glob("*.parquet")):
        check(path, table)
        parts.append(with_all_columns(read_table(path), schema(table)))
    return pa.concat_tables(parts)


def _curves(epochs: pa.Table, trial_ids: list[str], drawn: set[int]) -> dict[str, Any]:
    """Rows by trial, then by epoch: `trial` is its place among the trials; each column is base64 of little-endian float32, NaN for null."""
    place = {trial_id: n for n, trial_id in enumerate(trial_ids) if n in drawn}
    trial = [place.get(trial_id, -1) for trial_id in epochs["trial_id"].to_pylist()]
    rows = np.column_stack([np.asarray(trial, float), *(np.asarray(epochs[name].to_numpy(), float) for name in ("epoch", *FIGURES))])
    rows = rows[rows[:, 0] >= 0]
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))].astype("<f4")
    return {name: base64.b64encode(rows[:, n].tobytes()).decode() for n, name in enumerate(("trial", "epoch", *FIGURES))}
