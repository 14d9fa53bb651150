"""The tables of the results: every column once, with its type, unit, split and meaning. Schemas and the README of the results come from here."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Union, get_args, get_origin

import pyarrow as pa

from trainables import TrainConfig, get_trainable, trainable_names
from trainables.core.evaluation import MOST_MISTAKES, THUMBNAIL

TRIALS: Final = "trials"
EPOCHS: Final = "epochs"
BEST_MODELS: Final = "best_models"
CLASS_REPORTS: Final = "class_reports"
LAYERS: Final = "layers"
CONFUSIONS: Final = "confusions"
MISTAKES: Final = "mistakes"
PARAMS: Final = "params_"

BOOL, INT, FLOAT, TEXT, BYTES = pa.bool_(), pa.int64(), pa.float64(), pa.string(), pa.binary()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """`unit` "1" is a part of one, "" has none; `split` is the images that a figure was measured on, "" where there are none."""

    name: str
    type: Any
    meaning: str
    unit: str = ""
    split: str = ""


# The journal's setting -> the type of its column. Optional ones have the same: every column may be null.
_ARROW = {bool: BOOL, int: INT, float: FLOAT, str: TEXT}


def arrow_type(annotation: Any) -> Any:
    """Column type of a setting; TypeError where one column cannot hold it."""
    if annotation in _ARROW:
        return _ARROW[annotation]
    if get_origin(annotation) is Literal:
        found = {arrow_type(type(value)) for value in get_args(annotation) if value is not None}
    elif get_origin(annotation) in (Union, types.UnionType):
        found = {arrow_type(part) for part in get_args(annotation) if part is not types.NoneType}
    else:
        found = set()
    if len(found) != 1:
        raise TypeError(
            f"a setting is one of bool, int, float, str, a Literal of one of them, or one of these or None, but got {annotation}"
        )
    return found.pop()


def params_columns(configs: Mapping[str, type[TrainConfig]]) -> list[Column]:
    """`params_<name>` for every setting of these trainables but the seed, those that all have first; TypeError where two disagree on a type."""
    columns: dict[str, Column] = {}
    everywhere: dict[str, type[TrainConfig]] = {"every trainable": TrainConfig}
    for trainable, config in (everywhere | dict(configs)).items():
        for name, field in config.model_fields.items():
            # Those of a network that is searched are as many as its space has: they are in config_json.
            if name == "seed" or get_origin(field.annotation) is dict:
                continue
            new = Column(PARAMS + name, arrow_type(field.annotation), field.description or "")
            old = columns.get(name, new)
            if old.type != new.type:
                raise TypeError(
                    f"setting {name!r} is {old.type} elsewhere but {new.type} in trainable {trainable!r}: give it that type or another name"
                )
            known = old.meaning.split("; or ")
            columns[name] = old if new.meaning in known else Column(old.name, old.type, f"{old.meaning}; or {new.meaning}")
    return list(columns.values())


@cache
def params_fields() -> tuple[Column, ...]:
    """The `params_<name>` columns of all trainables that there are."""
    return tuple(params_columns({name: get_trainable(name).config for name in trainable_names()}))


TRIAL_ID = Column("trial_id", TEXT, "of the run, from 00001 in the order of the suggestions; equal after every resume")
WHAT = (
    Column("trainable", TEXT, "the experiment: a file of trainables/"),
    Column("dataset", TEXT, "name of the prepared data set"),
    Column("dataset_fingerprint", TEXT, "the first digits of the SHA-256 of its content"),
)
CONFIG_JSON = Column("config_json", TEXT, "all its settings as JSON, keys sorted; of AutoKeras' networks their hyper-parameters, too")
FINAL_OF = Column(
    "final_of", TEXT, "trial_id of the trial whose settings this one, a final fit, has on train and validation; null: it is none"
)
SEED = Column("seed", INT, "of weights, shuffling and dropout")
PARAMETERS = (
    Column("parameters", INT, "numbers in the network"),
    Column("trainable_parameters", INT, "of them, those that training changes"),
)
METRICS = (
    Column("train_loss", FLOAT, "cross-entropy, mean over the epoch as it trained (with dropout)", "nat", "train"),
    Column("train_accuracy", FLOAT, "right answers over the epoch as it trained (with dropout)", "1", "train"),
    Column("val_loss", FLOAT, "cross-entropy after the epoch", "nat", "validation"),
    Column("val_accuracy", FLOAT, "right answers after the epoch", "1", "validation"),
)
CHECKPOINT = Column(
    "checkpoint",
    TEXT,
    "of best_epoch: a path from checkpoints/<trial_id>/ of the run's storage, `../` where trials that share a training have one folder; that of the "
    "best trial is there",
)
SPLITS: Final = {"train": "train", "val": "validation", "test": "test"}
FIGURES: Final = {
    "loss": ("cross-entropy", "nat"),
    "accuracy": ("right answers", "1"),
    "top5_accuracy": ("right answer among the five likeliest", "1"),
}
OVER_SEEDS: Final = {
    "mean": "right answers, mean over the seeds; null until all of them are evaluated",
    "std": "its standard deviation over the seeds, with n - 1; null for one seed",
}
AVERAGES: Final = ("micro", "macro", "weighted")
SCORES: Final = ("precision", "recall", "f1")
IMAGES_PER_SECOND = "training images a second, validation and checkpoints not counted"


def _trials() -> list[Column]:
    at_best = [Column(column.name, column.type, f"{column.meaning}; at best_epoch", column.unit, column.split) for column in METRICS]
    return [
        TRIAL_ID,
        *WHAT,
        Column(
            "status",
            TEXT,
            "completed: all its epochs; stopped: ended early by the search; failed: see error; running: not ended, or interrupted",
        ),
        Column("error", TEXT, "why it failed; null otherwise"),
        SEED,
        Column(
            "repeat_of", TEXT, "trial_id of the trial of the search that has the same settings and another seed; null: the search's own"
        ),
        FINAL_OF,
        *params_fields(),
        CONFIG_JSON,
        Column("epochs_trained", INT, "epochs with a result, shared ones too"),
        Column("best_epoch", INT, "from 1: highest val_accuracy, then lowest val_loss, then earliest; null before the first result"),
        *at_best,
        *PARAMETERS,
        Column(
            "train_seconds",
            FLOAT,
            "sum of epoch_seconds, shared ones too: training and validation, had it been alone; what a run cost is in run.json, or the sum over its "
            "`epochs` that are not shared",
            "s",
        ),
        Column(
            "total_seconds",
            FLOAT,
            "wall time from each start to the last row of the journal before the next one: set-up and checkpoints included, work lost with a machine not; "
            "0 where another trial's training gave all of it",
            "s",
        ),
        Column("images_per_second", FLOAT, f"{IMAGES_PER_SECOND}; over all its epochs", "1/s"),
        Column(
            "shared_with",
            TEXT,
            "trial_id of the trial whose training gave these numbers, or the most of those that are not its own: the two differ only in what "
            "an epoch does not depend on, as params_epochs; null: its own",
        ),
        Column("restarts", INT, "how often it was started again after a failure, a lost machine or an interruption"),
        Column("node", TEXT, "host name of the machine of its last epoch"),
        Column("device", TEXT, "what that machine trained on"),
        Column("started_at", TIME, "its first start; its suggestion where another trial's training gave all of it", "UTC"),
        Column("finished_at", TIME, "its end; null while it is running", "UTC"),
        CHECKPOINT,
    ]


def _epochs() -> list[Column]:
    return [
        TRIAL_ID,
        Column("epoch", INT, "from 1"),
        *METRICS,
        Column("learning_rate", FLOAT, "at the end of the epoch"),
        Column("epoch_seconds", FLOAT, "training and validation", "s"),
        Column("images_per_second", FLOAT, IMAGES_PER_SECOND, "1/s"),
        Column("finished_at", TIME, "end of the epoch", "UTC"),
        Column("shared_with", TEXT, "trial_id of the trial whose training this epoch is of; null: its own"),
        Column("node", TEXT, "host name of the machine"),
        Column("pid", INT, "process of the worker there; null where an older version trained"),
        Column("repeated", BOOL, "a worker that was lost may have been in the middle of it before: what it had done was done again"),
    ]


def _best_models() -> list[Column]:
    not_yet = "; while `evaluated` is false: over the epoch as it trained (with dropout)"
    return [
        TRIAL_ID,
        *WHAT,
        SEED,
        *params_fields(),
        Column("best_epoch", INT, "whose weights these figures are of; from 1"),
        *(
            Column(f"{prefix}_{figure}", FLOAT, meaning + (not_yet if prefix == "train" and figure != "top5_accuracy" else ""), unit, split)
            for prefix, split in SPLITS.items()
            for figure, (meaning, unit) in FIGURES.items()
        ),
        *(
            Column(f"test_{score}_{average}", FLOAT, f"{score} over the classes, {average} average", "1", "test")
            for score in SCORES
            for average in AVERAGES
        ),
        *(Column(f"{prefix}_images", INT, f"images of the {split} split", "", split) for prefix, split in SPLITS.items()),
        Column("seeds", INT, "runs of this configuration, a seed each, that the means below are over; 1: this trial alone"),
        *(
            Column(f"{prefix}_accuracy_{name}", FLOAT, meaning, "1", split)
            for prefix, split in SPLITS.items()
            for name, meaning in OVER_SEEDS.items()
        ),
        *PARAMETERS,
        Column(
            "published_test_accuracy",
            FLOAT,
            "the report's figure for this experiment and setting, on its own data (Tiny ImageNet; `base`: CIFAR-10), to four digits",
            "1",
            "test",
        ),
        Column("published_setting", TEXT, "`setting` of that figure in published.csv; null: the report has none that fits"),
        Column("study", TEXT, "the study that the run is a part of; null: none"),
        Column("part", TEXT, "its name there"),
        Column(
            "fit_on",
            TEXT,
            "what the stored weights were trained on: train, or train+validation: then the validation figures are of images that it has seen",
        ),
        FINAL_OF,
        CONFIG_JSON,
        Column("trials", INT, "trials of the run so far"),
        Column("train_seconds", FLOAT, "sum of epoch_seconds of this trial", "s"),
        Column("run_seconds", FLOAT, "wall time of all sessions of the run", "s"),
        Column("git_commit", TEXT, "of the code that started the run; null outside a checkout"),
        Column("evaluated", BOOL, "the weights were measured on all three splits; false: not yet, and the test columns are null"),
        CHECKPOINT,
    ]


def _class_reports() -> list[Column]:
    return [
        TRIAL_ID,
        Column("class_index", INT, "from 0"),
        Column("class_name", TEXT, "as in the data set"),
        Column("precision", FLOAT, "right ones among those taken for this class; 0 when there are none", "1", "test"),
        Column("recall", FLOAT, "right ones among those of this class", "1", "test"),
        Column("f1", FLOAT, "harmonic mean of the two", "1", "test"),
        Column("support", INT, "images of this class", "", "test"),
    ]


def _layers() -> list[Column]:
    return [
        TRIAL_ID,
        Column("number", INT, "from 1, in the order of the model"),
        Column("name", TEXT, "inner/name: of a network inside; name:2: called again"),
        Column("kind", TEXT, "its class in Keras"),
        Column("output_shape", TEXT, "of one image: height x width x channels, or features; ?: any size"),
        Column("parameters", INT, "numbers in it; those of a layer that is called again stand at its first call"),
        Column("trainable_parameters", INT, "of them, those that training changes"),
        Column("inputs", TEXT, 'names of the layers that it reads, joined by ", "'),
    ]


PREDICTED = (
    Column("class_index", INT, "of the class that it is, from 0"),
    Column("class_name", TEXT, "as in the data set"),
    Column("predicted_index", INT, "of the class that it is taken for"),
    Column("predicted_name", TEXT, "as in the data set"),
)


def _confusions() -> list[Column]:
    return [
        TRIAL_ID,
        *PREDICTED,
        Column("images", INT, "images of the one class that are taken for the other, or rightly for their own", "", "test"),
    ]


def _mistakes() -> list[Column]:
    return [
        TRIAL_ID,
        Column("number", INT, "from 1, the surest first"),
        Column("image", INT, "its row of images.npy, from 0"),
        *PREDICTED,
        Column("class_probability", FLOAT, "that the model gave the class that it is", "1", "test"),
        Column("predicted_probability", FLOAT, "that it gave the one that it is taken for", "1", "test"),
        Column("png", BYTES, f"the image as a PNG file, its sides at most {THUMBNAIL}", "px"),
    ]


ROW_OF: Final = {
    TRIALS: "A row a trial, also of those that run or failed.",
    EPOCHS: "A row a trial and epoch: the learning curves.",
    BEST_MODELS: "A row a run: its best trial by validation accuracy, at its best epoch; where configurations were trained with several seeds, the best "
    "trial of the one with the best mean. No row before the first epoch of the run.",
    CLASS_REPORTS: "A row a run and class: the best model on the test split. No row before it is evaluated.",
    LAYERS: "A row a run and layer: the network of the best model. No row before it is evaluated, and none where an older version did that.",
    CONFUSIONS: "A row a run, class and class that images of it are taken for: the confusion matrix of the best model on the test split, without its zeros. "
    "No row before it is evaluated, and none where an older version did that.",
    MISTAKES: f"A row a run and image of the test split that its best model is wrong about: the {MOST_MISTAKES} that it is the surest of, with the images. "
    "No row before it is evaluated, and none where an older version did that.",
}


@cache
def columns() -> Mapping[str, tuple[Column, ...]]:
    """Table -> its columns in order; `sweep` and `run` are not among them: they stand in the path."""
    made = {
        TRIALS: _trials(),
        EPOCHS: _epochs(),
        BEST_MODELS: _best_models(),
        CLASS_REPORTS: _class_reports(),
        LAYERS: _layers(),
        CONFUSIONS: _confusions(),
        MISTAKES: _mistakes(),
    }
    return {table: tuple(found) for table, found in made.items()}


def schema(table: str) -> Any:
    """The Arrow schema of every file of a table."""
    return pa.schema([(column.name, column.type) for column in columns()[table]])


def readme() -> str:
    """README.md of a results folder."""
    return "\n".join([_HEAD, *(_section(table) for table in ROW_OF)])


def _section(table: str) -> str:
    lines = [f"| `{column.name}` | {column.type} | {column.unit} | {column.split} | {column.meaning} |" for column in columns()[table]]
    return "\n".join([f"## {table}", ROW_OF[table], "", "| column | type | unit | split | meaning |", "|---|---|---|---|---|", *lines, ""])


_HEAD = """# Results

Written by `sweeps run` and `sweeps export`; change nothing here, export again instead. Each run is a folder `sweep=<name>/run=<name>` in each table:

    import pandas
    trials = pandas.read_parquet("results/trials")

    -- DuckDB; from its Python package take .df() or .arrow(), fetchall() of a time needs pytz
    SELECT * FROM read_parquet('results/trials/**/*.parquet', hive_partitioning = true)

`sweep` and `run` stand in the path, not in the files; both readers add them as columns, pandas as categories (`trials.astype({"run": str})` undoes that).
A column that does not apply, or is not known yet, is null, never a special number. pandas shows a column of integers with nulls as floats;
`dtype_backend="pyarrow"` keeps the types below. Accuracies, precision, recall and F1 are parts of 1. `run.json` in `runs/` says how a run was made:
sweep, seed, data, versions, commit, machine, totals.

`published.csv` holds every figure that the report on Tiny ImageNet-200 prints, as it prints it: `experiment` is a trainable, `setting` tells its results apart,
`metric` is a column of best_models, `source` says where in the report it stands. A run is beside the result that has the settings of its best trial:

    published = pandas.read_csv("results/published.csv").pivot(index=["experiment", "setting"], columns="metric", values="value")
    best = pandas.read_parquet("results/best_models")
    best.merge(published, how="left", left_on=["trainable", "published_setting"], right_index=True, suffixes=("", "_published"))

Splits: the labelled images are cut into train and test by `params_train_fraction`, then validation is cut out of train by `params_validation_fraction`.
Search, early stopping and the choice of the best trial and epoch see validation only, so validation figures of the best model are a little too good.
Test is read once, for the best model. It is a part of the labelled images, not a data set's own unlabelled test set.
"""
