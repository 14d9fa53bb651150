"""The results in a notebook: `import sweeps; sweeps.trials("results")`."""

from __future__ import annotations

import importlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import sweeps
from data_prep import BadInput
from sweeps.core.parquet import read_table, write_table
from sweeps.core.results import export
from sweeps.core.tables import BEST_MODELS, CLASS_REPORTS, CONFUSIONS, EPOCHS, MISTAKES, TRIALS, columns
from tests.sweeps import runs

ROOT = Path(__file__).parents[2]
TABLES = {
    TRIALS: sweeps.trials,
    EPOCHS: sweeps.epochs,
    BEST_MODELS: sweeps.best,
    CLASS_REPORTS: sweeps.class_reports,
    CONFUSIONS: sweeps.confusions,
    MISTAKES: sweeps.mistakes,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one of AutoKeras: what applies to one is null in the other."""
    folder = tmp_path_factory.mktemp("frames") / "results"
    export(runs.spec(), runs.evaluated(), folder)
    export(runs.autokeras(), runs.state(rows=runs.autokeras_journal()), folder)
    return folder


@pytest.mark.parametrize("table", TABLES)
def test_a_frame_is_the_table(results: Path, table: str) -> None:
    frame = TABLES[table](results)
    assert list(frame.columns) == ["sweep", "run", *(column.name for column in columns()[table])]
    assert frame.index.equals(pd.RangeIndex(len(frame)))
    plain = pd.read_parquet(results / table)
    for name in frame.columns:
        ours, theirs = frame[name].astype(object), plain[name].astype(object)
        assert ours.isna().equals(theirs.isna()), name
        assert ours.dropna().to_list() == theirs.dropna().to_list(), name


def test_types_do_not_depend_on_what_is_in_a_column(results: Path, tmp_path: Path) -> None:
    """Also of no runs at all, so that a notebook may be written before the first one."""
    (tmp_path / "results").mkdir()
    for table, read in TABLES.items():
        some, none = read(results), read(tmp_path / "results")
        assert len(none) == 0
        assert [str(kind) for kind in some.dtypes] == [str(kind) for kind in none.dtypes], table


def test_types_fit_what_is_done_with_them(results: Path) -> None:
    trials = sweeps.trials(results)
    kinds = trials.dtypes.astype(str)
    assert kinds[["params_depth", "best_epoch", "seed", "parameters"]].unique().tolist() == ["Int64"], (
        "whole numbers stay whole beside missing ones"
    )
    assert kinds[["params_dropout", "val_accuracy", "train_seconds"]].unique().tolist() == ["float64"]
    assert kinds[["sweep", "run", "trainable", "dataset", "status", "params_schedule", "node"]].unique().tolist() == ["category"]
    assert kinds[["trial_id", "error", "shared_with", "config_json"]].unique().tolist() == ["str"]
    assert kinds["started_at"] == "datetime64[us, UTC]"
    assert kinds["params_final_fit"] == "boolean"
    assert trials["status"].value_counts().to_dict() == {"completed": 2, "stopped": 2, "failed": 2, "running": 2}
    assert trials.groupby("run")["epochs_trained"].sum().to_dict() == {runs.RUN: 6, "autokeras-1": 5}


def test_what_the_best_model_gets_wrong(results: Path) -> None:
    confusions = sweeps.confusions(results)
    matrix = confusions.pivot(index="class_index", columns="predicted_index", values="images").fillna(0)
    assert (matrix.shape, matrix.loc[9, 8], matrix.loc[9, 9], matrix.loc[8, 9]) == ((10, 10), 30, 24, 0)
    reports = sweeps.class_reports(results)
    assert confusions.groupby("class_name")["images"].sum().to_dict() == reports.set_index("class_name")["support"].to_dict()
    (mistake,) = sweeps.mistakes(results).to_dict("records")
    assert [mistake[name] for name in ("run", "class_name", "predicted_name", "predicted_probability")] == [runs.RUN, "9", "8", 0.99]
    assert Image.open(io.BytesIO(mistake["png"])).size == (1, 1)
    kinds = confusions.dtypes.astype(str)
    assert kinds[["class_index", "predicted_index", "images"]].unique().tolist() == ["Int64"]


def test_a_run_of_before_there_were_any(results: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(results, old)
    for table in (CONFUSIONS, MISTAKES):
        shutil.rmtree(old / table)
        assert (len(TABLES[table](old)), len(TABLES[table](results)) > 0) == (0, True)


def test_it_reads_a_folder_of_an_older_version_and_leaves_it_as_it_is(results: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(results, old)
    file = old / TRIALS / "sweep=dropout" / f"run={runs.RUN}" / "part-0.parquet"
    table = read_table(file).drop_columns(["final_of", "params_dropout"])
    write_table(file, table)
    trials = sweeps.trials(old)
    own = trials[trials["run"] == runs.RUN]
    assert own[["final_of", "params_dropout"]].isna().to_numpy().all()
    assert own["trial_id"].to_list() == ["00001", "00002", "00003", "00004"]
    assert read_table(file).equals(table)


def test_names_come_from_the_path_whatever_is_in_them(tmp_path: Path) -> None:
    export(runs.spec("a.b-c_d"), runs.evaluated(), tmp_path)
    assert sweeps.best(str(tmp_path))[["sweep", "run"]].to_numpy().tolist() == [["dropout", "a.b-c_d"]]


def test_no_folder() -> None:
    with pytest.raises(BadInput) as error:
        sweeps.trials("nowhere")
    assert (
        str(error.value)
        == "results are in a folder that `sweeps run` or `sweeps export` made, but there is no folder 'nowhere': give its path"
    )


def test_a_damaged_file_is_named(results: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(results, torn)
    file = torn / EPOCHS / "sweep=dropout" / f"run={runs.RUN}" / "part-0.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"results are whole Parquet files, but .*part-0\.parquet cannot be read .*: move it away, then"):
        sweeps.epochs(torn)
    assert len(sweeps.trials(torn)) == 8, "the other tables are read"


def test_the_sweep_of_the_same_name_does_not_take_its_place() -> None:
    """There is a sweep `epochs`."""
    module = importlib.import_module("sweeps.epochs")
    assert module.SWEEP.space.keys() == {"epochs"}
    assert sweeps.epochs.__module__ == "sweeps.core.frames"
    importlib.import_module("sweeps.depth")
    assert vars(sweeps)["depth"].SWEEP.trainable == "cnn", "others are there as Python has it"


def test_import_costs_little() -> None:
    """pandas comes with the first table, and ray, tensorflow and keras not even then."""
    code = (
        "import sys, sweeps; names = {'pandas', 'ray', 'tensorflow', 'keras'}; print(*names & set(sys.modules))\n"
        "sweeps.trials('results/reference'); print(*names & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["", "pandas"]), done.stderr
