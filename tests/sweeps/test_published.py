"""The report's figures: the file, and which of them a run is compared with."""

from __future__ import annotations

import csv
import importlib.metadata
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_prep import BadInput
from sweeps import Sweep, choice
from sweeps.core import published
from sweeps.core.results import export
from sweeps.core.tables import AVERAGES, BEST_MODELS, SCORES, schema
from tests.sweeps import runs
from trainables import get_trainable, trainable_names

ROOT = Path(__file__).parents[2]
ROWS = list(csv.DictReader(published.FILE.read_text().splitlines()))
EXPERIMENTS = {"cnn", "autokeras_search", "alexnet", "inception", "base", "transfer", "fine_tune"}


def test_the_file() -> None:
    assert list(ROWS[0]) == ["experiment", "setting", "metric", "value", "source"]
    assert {row["experiment"] for row in ROWS} == EXPERIMENTS
    assert all(row["setting"] and row["source"] for row in ROWS)
    assert len({(row["experiment"], row["setting"], row["metric"]) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['experiment']} {row['setting']} {row['metric']}")
def test_a_figure_has_a_column_and_is_possible(row: dict[str, str]) -> None:
    assert row["metric"] in schema(BEST_MODELS).names
    value = float(row["value"])
    assert math.isfinite(value)
    assert 0 < value < 1 or row["metric"].endswith("loss")


def test_a_setting_is_in_the_names_of_its_trainable() -> None:
    for result in published.results():
        if result.experiment in trainable_names():
            fields = get_trainable(result.experiment).config.model_fields
            assert set(result.pairs) - {"data"} <= set(fields), result.setting


def test_every_result_has_a_test_accuracy() -> None:
    found = {(result.experiment, result.setting): result.test_accuracy for result in published.results()}
    assert found == {
        ("cnn", "first result"): 0.1535,
        ("cnn", "second result"): 0.1756,
        ("autokeras_search", "3 hours"): 0.3005,
        ("alexnet", "epochs=100"): 0.1037,
        ("alexnet", "epochs=50"): 0.1251,
        ("alexnet", "classes=2 epochs=500 batch_size=46"): 0.996,
        ("inception", "frozen base"): 0.0042,
        ("base", "data=cifar10 epochs=50"): 0.8423,
        ("transfer", "base=cifar10"): 0.1806,
        ("transfer", "base=vgg16"): 0.1260,
        ("transfer", "base=cifar10 train_fraction=0.9"): 0.1950,
        ("fine_tune", "base=cifar10 unfrozen_layers=5"): 0.2071,
        ("fine_tune", "base=cifar10 unfrozen_layers=8"): 0.2341,
        ("fine_tune", "base=cifar10 unfrozen_layers=13"): 0.2659,
        ("fine_tune", "base=cifar10 unfrozen_layers=24"): 0.3288,
    }


def test_autokeras_averages() -> None:
    (result,) = published.of("autokeras_search")
    assert {f"test_{score}_{average}" for score in SCORES for average in AVERAGES} < set(result.figures)
    assert result.figures["test_f1_micro"] == "0.30", "as printed"


# Of settings that are the same in all trainables that have them.
DEFAULTS = {"classes": None, "train_fraction": 0.7, "base": "cifar10", "unfrozen_layers": 5, "epochs": 20, "batch_size": 64}


@pytest.mark.parametrize(
    ("experiment", "settings", "setting"),
    [
        ("cnn", {}, "second result"),
        ("cnn", {"depth": 5, "dropout": 0.1, "epochs": 3}, "second result"),
        ("cnn", {"classes": 10}, None),
        ("cnn", {"train_fraction": 0.9}, None),
        ("cnn", {"images": 5000, "data_fraction": 0.5}, "second result"),
        ("alexnet", {}, "epochs=50"),
        ("alexnet", {"epochs": 100}, "epochs=100"),
        ("alexnet", {"classes": 2}, "classes=2 epochs=500 batch_size=46"),
        ("alexnet", {"classes": 3}, None),
        ("inception", {"base": "inception"}, "frozen base"),
        ("base", {"data": "cifar10"}, "data=cifar10 epochs=50"),
        ("base", {"data": "digits"}, None),
        ("transfer", {}, "base=cifar10"),
        ("transfer", {"base": "vgg16"}, "base=vgg16"),
        ("transfer", {"base": "half"}, None),
        ("transfer", {"train_fraction": 0.9}, "base=cifar10 train_fraction=0.9"),
        ("transfer", {"train_fraction": 0.8}, None),
        ("transfer", {"base": "vgg16", "train_fraction": 0.9}, None),
        ("fine_tune", {"unfrozen_layers": 13}, "base=cifar10 unfrozen_layers=13"),
        ("fine_tune", {"unfrozen_layers": 6}, None),
        ("fine_tune", {"base": "vgg16"}, None),
        ("autokeras_search", {}, "3 hours"),
        ("autokeras_search", {"classes": 10}, None),
        ("autokeras", {}, None),
        ("nothing", {}, None),
    ],
)
def test_the_result_that_fits(experiment: str, settings: dict[str, Any], setting: str | None) -> None:
    result = published.closest(experiment, {"data": "tiny-imagenet", **DEFAULTS, **settings}, DEFAULTS)
    assert (result and result.setting) == setting


def test_data_of() -> None:
    assert {name: published.data_of(name) for name in EXPERIMENTS if published.data_of(name) != "tiny-imagenet"} == {"base": "cifar10"}


def test_a_sweep_that_names_one_that_is_not_there() -> None:
    """`check` refuses it; tests/sweeps/test_contract.py calls that for every shipped sweep."""
    sweep = Sweep(question="q", trainable="cnn", space={"depth": choice(1, 2)}, published="third result")
    with pytest.raises(BadInput) as refused:
        sweep.check()
    assert str(refused.value) == (
        "`published` is a setting that published.csv has for trainable 'cnn' ('first result', 'second result'), but got 'third result': use one of these"
    )


def best_model(results: Path) -> Any:
    (row,) = pd.read_parquet(results / BEST_MODELS).to_dict("records")
    return row


def test_a_run_has_its_figure_and_the_readme_joins_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export(runs.spec(), runs.evaluated(), tmp_path / "results")
    row = best_model(tmp_path / "results")
    assert (row["published_test_accuracy"], row["published_setting"]) == (0.1756, "second result")
    code = re.search(r"    published = .*\n    best = .*\n    (?P<last>best\.merge.*)\n", (tmp_path / "results" / "README.md").read_text())
    assert code
    names: dict[str, Any] = {"pandas": pd}
    exec("\n".join(line.strip() for line in code[0].splitlines()[:-1]), names)
    joined = eval(code["last"], names)
    assert joined["test_accuracy_published"].tolist() == [0.17563333333333334]
    assert joined["test_loss_published"].tolist() == [3.8188165491739907]


def test_a_run_with_fewer_classes_has_none(tmp_path: Path) -> None:
    config = runs.suggest(1, 1, classes=5)
    export(runs.spec(), runs.state(rows=[config, runs.start(1, 2), runs.result(1, 1, 3, 0.5)]), tmp_path)
    row = best_model(tmp_path)
    assert pd.isna(row["published_test_accuracy"])
    assert pd.isna(row["published_setting"])


def test_a_sweep_says_which(tmp_path: Path) -> None:
    sweep = runs.spec().sweep.model_copy(update={"published": "first result"})
    export(runs.spec(sweep=sweep), runs.evaluated(), tmp_path)
    assert best_model(tmp_path)["published_test_accuracy"] == 0.1535


def test_the_repositorys_own_copy_is_the_packaged_file(tmp_path: Path) -> None:
    """After `make sweep` git is clean: an export writes the same bytes."""
    export(runs.spec(), runs.evaluated(), tmp_path)
    assert (tmp_path / "published.csv").read_bytes() == published.FILE.read_bytes()
    assert (ROOT / "results" / "published.csv").read_bytes() == published.FILE.read_bytes()


def test_it_is_installed() -> None:
    assert '"sweeps.core" = ["published.csv", "templates/*"]' in (ROOT / "pyproject.toml").read_text()
    assert importlib.metadata.version("keras-sweeps")
