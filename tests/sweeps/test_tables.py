"""Columns: one type each, derived from the settings, and explained."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa
import pytest
from pydantic import Field

from sweeps.core.tables import (
    BEST_MODELS,
    CLASS_REPORTS,
    CONFUSIONS,
    EPOCHS,
    LAYERS,
    MISTAKES,
    TRIALS,
    arrow_type,
    columns,
    params_columns,
    params_fields,
    readme,
    schema,
)
from trainables import TrainConfig, get_trainable, trainable_names

TABLES = [TRIALS, EPOCHS, BEST_MODELS, CLASS_REPORTS, LAYERS, CONFUSIONS, MISTAKES]

# Scripts outside the project rely on these.
CONTRACT = {
    TRIALS: """trial_id trainable dataset dataset_fingerprint status error seed repeat_of final_of params_dropout params_depth params_epochs params_learning_rate
        params_batch_size config_json epochs_trained best_epoch train_loss train_accuracy val_loss val_accuracy parameters trainable_parameters
        train_seconds total_seconds images_per_second shared_with restarts node device started_at finished_at checkpoint""",
    EPOCHS: """trial_id epoch train_loss train_accuracy val_loss val_accuracy learning_rate epoch_seconds images_per_second finished_at
        shared_with node pid repeated""",
    BEST_MODELS: """trial_id trainable dataset train_loss train_accuracy train_top5_accuracy val_loss val_accuracy val_top5_accuracy test_loss
        test_accuracy test_top5_accuracy test_precision_micro test_precision_macro test_precision_weighted test_recall_micro test_recall_macro
        test_recall_weighted test_f1_micro test_f1_macro test_f1_weighted seeds train_accuracy_mean train_accuracy_std val_accuracy_mean
        val_accuracy_std test_accuracy_mean test_accuracy_std published_test_accuracy published_setting fit_on final_of
        config_json""",
    CLASS_REPORTS: "class_index class_name precision recall f1 support",
    LAYERS: "trial_id number name kind output_shape parameters trainable_parameters inputs",
    CONFUSIONS: "trial_id class_index class_name predicted_index predicted_name images",
    MISTAKES: "trial_id number image class_index class_name predicted_index predicted_name class_probability predicted_probability png",
}


class OtherConfig(TrainConfig):
    frozen: bool = Field(True, description="whether the base is")
    base: Literal["vgg16", "cifar10"] = "vgg16"
    cut: int | None = None


@pytest.mark.parametrize("table", TABLES)
def test_contract_columns_in_their_order(table: str) -> None:
    wanted, names = CONTRACT[table].split(), schema(table).names
    assert set(wanted) <= set(names)
    # The settings stand together, in the order of the trainables' fields.
    fixed = [name for name in wanted if not name.startswith("params_")]
    assert [name for name in names if name in fixed] == fixed


@pytest.mark.parametrize("table", TABLES)
def test_a_column_stands_once_and_not_in_the_path_too(table: str) -> None:
    names = schema(table).names
    assert len(names) == len(set(names))
    assert not {"sweep", "run"} & set(names), "pyarrow refuses a column that is in the path and in the file"


def test_every_setting_of_every_trainable_has_its_column() -> None:
    settings = {f"params_{name}" for trainable in trainable_names() for name in get_trainable(trainable).config.model_fields} - {
        "params_seed",
        "params_hyperparameters",
    }
    for table in (TRIALS, BEST_MODELS):
        assert {name for name in schema(table).names if name.startswith("params_")} == settings
    assert {column.name for column in params_fields()} == settings


def test_a_new_trainable_adds_its_settings() -> None:
    types = {column.name: column.type for column in params_columns({"other": OtherConfig})}
    assert types["params_frozen"] == pa.bool_()
    assert types["params_base"] == pa.string()
    assert types["params_cut"] == pa.int64()
    assert types["params_learning_rate"] == pa.float64()
    assert "params_seed" not in types


def test_two_meanings_of_one_setting_are_both_told() -> None:
    class Another(TrainConfig):
        frozen: bool = Field(False, description="whether all is")

    found = {column.name: column.meaning for column in params_columns({"a": OtherConfig, "b": Another, "c": OtherConfig})}
    assert found["params_frozen"] == "whether the base is; or whether all is"


def test_two_types_of_one_setting_are_refused() -> None:
    class Clash(TrainConfig):
        frozen: int = 3

    with pytest.raises(TypeError, match="setting 'frozen' is bool elsewhere but int64 in trainable 'b': give it that type or another name"):
        params_columns({"a": OtherConfig, "b": Clash})


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, pa.bool_()),
        (int, pa.int64()),
        (float | None, pa.float64()),
        (Literal["a", "b"] | None, pa.string()),
        (Literal[1, 2], pa.int64()),
    ],
)
def test_types(annotation: Any, expected: Any) -> None:
    assert arrow_type(annotation) == expected


def test_a_setting_of_many_has_no_column() -> None:
    """Those of a searched network: they are in config_json."""

    class Searched(TrainConfig):
        parts: dict[str, int | str] = Field({}, description="of it")
        depth: int = 3

    assert {column.name for column in params_columns({"a": Searched})} - {column.name for column in params_columns({})} == {"params_depth"}
    for table in (TRIALS, BEST_MODELS):
        assert schema(table).field("config_json").type == pa.string()
        assert schema(table).field("final_of").type == pa.string()


@pytest.mark.parametrize("annotation", [dict[str, int], list[int], int | str, Literal["a", 1], tuple[int, ...], None])
def test_types_that_one_column_cannot_hold(annotation: Any) -> None:
    with pytest.raises(TypeError, match="a setting is one of"):
        arrow_type(annotation)


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_explained(table: str) -> None:
    section = readme().split(f"## {table}\n")[1].split("\n## ")[0]
    for column in columns()[table]:
        assert column.meaning, column.name
        assert f"| `{column.name}` | {column.type} | {column.unit} | {column.split} | {column.meaning} |" in section


def test_a_figure_names_its_split() -> None:
    splits = {"train": "train", "val": "validation", "test": "test", "published": "test"}
    for column in columns()[BEST_MODELS]:
        prefix = "" if column.name in ("train_seconds", "published_setting") else column.name.partition("_")[0]
        assert column.split == splits.get(prefix, ""), column.name
