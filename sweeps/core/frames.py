"""The tables of a results folder for a notebook: `sweeps.trials("results")` and its like are plain pandas DataFrames."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data_prep import BadInput
from sweeps.core.tables import BEST_MODELS, BOOL, CLASS_REPORTS, CONFUSIONS, EPOCHS, INT, MISTAKES, PARAMS, TEXT, TRIALS, schema

if TYPE_CHECKING:
    import pandas as pd

STATUSES: Final = ("completed", "stopped", "failed", "running")
# Texts of which a table has few: for `groupby`, and small in memory. The settings are the others.
CATEGORIES: Final = {"sweep", "run", "trainable", "dataset", "node", "device", "published_setting", "study", "part", "fit_on"}


def trials(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a trial of all runs in the folder, also of those that run or failed. For its columns see the folder's README.md.

    Types are those of the column, whatever is in it: whole numbers are `Int64` (a missing one is `pd.NA`), parts and seconds `float64` (missing: NaN), moments
    `datetime64[us, UTC]`, names and settings that are texts categories; `status` has the categories completed, stopped, failed, running.
    BadInput where there is no such folder, or a file is damaged."""
    return _frame(results, TRIALS)


def epochs(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a trial and epoch: the learning curves. Types and errors as of `trials`."""
    return _frame(results, EPOCHS)


def best(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a run: its best model, with its figures on train, validation and test. Types and errors as of `trials`."""
    return _frame(results, BEST_MODELS)


def class_reports(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a run and class: precision, recall and F1 of its best model on test; `class_name` is a text. Types and errors as of `trials`."""
    return _frame(results, CLASS_REPORTS)


def confusions(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a run, class and class that `images` of it are taken for: the confusion matrix of its best model on test, without its zeros. None of runs that
    an older version measured. Types and errors as of `trials`."""
    return _frame(results, CONFUSIONS)


def mistakes(results: str | PathLike[str] = "results") -> pd.DataFrame:
    """A row a run and image of test that its best model is the surest of and wrong about, the surest first; `png` is the image as a PNG file (bytes). None
    of runs that an older version measured. Types and errors as of `trials`."""
    return _frame(results, MISTAKES)


def _frame(results: str | PathLike[str], table: str) -> pd.DataFrame:
    """All runs' rows of a table, by sweep, run and trial, with `sweep` and `run` before its own columns."""
    # pandas takes half a second, and `import sweeps` is at the head of every sweep's file.
    import pandas as pd
    import pyarrow as pa

    from sweeps.core.best import sweep_and_run
    from sweeps.core.parquet import check, read_table, with_all_columns

    folder = Path(results)
    if not folder.is_dir():
        raise BadInput(
            f"results are in a folder that `sweeps run` or `sweeps export` made, but there is no folder '{folder}': give its path"
        )
    whole = pa.schema([("sweep", TEXT), ("run", TEXT), *schema(table)])
    parts = [whole.empty_table()]
    for path in sorted((folder / table).glob("sweep=*/run=*/*.parquet")):
        check(path, table)
        # An older version's file lacks columns until the next export.
        own = with_all_columns(read_table(path), schema(table))
        names = [pa.array([name] * len(own), TEXT) for name in sweep_and_run(path)]
        parts.append(pa.table([*names, *own.columns], schema=whole))
    integers: dict[Any, Any] = {INT: pd.Int64Dtype(), BOOL: pd.BooleanDtype()}
    frame: pd.DataFrame = pa.concat_tables(parts).to_pandas(types_mapper=integers.get)
    few = [field.name for field in whole if field.type == TEXT and (field.name in CATEGORIES or field.name.startswith(PARAMS))]
    kinds: dict[str, Any] = dict.fromkeys(few, "category")
    if "status" in whole.names:
        kinds["status"] = pd.CategoricalDtype([*STATUSES])
    return frame.astype(kinds)
