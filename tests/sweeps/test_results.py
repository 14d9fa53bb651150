"""Export: real files, read back as a user does, by pandas and by DuckDB."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image
from rich.console import Console

from data_prep import BadInput
from sweeps.core import results as results_module
from sweeps.core.parquet import as_table
from sweeps.core.results import best_models_table, check_results, export, run_folder, show_best
from sweeps.core.tables import BEST_MODELS, CLASS_REPORTS, CONFUSIONS, EPOCHS, LAYERS, MISTAKES, SPLITS, TRIALS, schema
from tests.sweeps.runs import (
    JOURNAL,
    NETWORK,
    RUN,
    T0,
    autokeras,
    autokeras_journal,
    end,
    evaluated,
    evaluation,
    fitted,
    result,
    spec,
    start,
    state,
    suggest,
)

TABLES = [TRIALS, EPOCHS, BEST_MODELS, CLASS_REPORTS, LAYERS, CONFUSIONS, MISTAKES]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def file_of(results: Path, table: str, run: str = RUN) -> Path:
    return run_folder(results, table, spec(run)) / "part-0.parquet"


def trials_of(results: Path) -> pd.DataFrame:
    return pd.read_parquet(results / TRIALS, dtype_backend="pyarrow").set_index("trial_id")


def best_of(results: Path) -> dict[str, Any]:
    (row,) = pd.read_parquet(results / BEST_MODELS, dtype_backend="pyarrow").to_dict("records")
    return {str(name): None if value is pd.NA else value for name, value in row.items()}


def message(results: Path) -> str:
    with pytest.raises(BadInput) as refusal:
        check_results(results)
    text = str(refusal.value)
    assert "\n" not in text
    return text


def test_trials(results: Path) -> None:
    export(spec(), state(), results)
    trials = trials_of(results)
    assert list(trials.index) == ["00001", "00002", "00003", "00004"]
    assert list(trials["status"]) == ["completed", "stopped", "failed", "running"]
    assert set(trials["sweep"].astype(str)) == {"dropout"}
    assert set(trials["run"].astype(str)) == {RUN}
    first = trials.loc["00001"]
    assert (first["best_epoch"], first["epochs_trained"], first["val_accuracy"]) == (2, 3, 0.6)
    assert (first["params_dropout"], first["params_depth"], first["seed"]) == (0.1, 2, 7)
    assert (first["parameters"], first["trainable_parameters"], first["restarts"]) == (110_810, 110_234, 1)
    assert first["started_at"] == pd.Timestamp(T0 + 2, unit="s", tz="UTC")
    assert first["finished_at"] == pd.Timestamp(T0 + 123, unit="s", tz="UTC")
    assert first["checkpoint"] == "epoch-000002.npz"
    assert json.loads(str(first["config_json"]))["dropout"] == 0.1


def test_seconds_of_an_interrupted_trial(results: Path) -> None:
    export(spec(), state(), results)
    first = trials_of(results).loc["00001"]
    assert first["train_seconds"] == 12.0
    assert first["total_seconds"] == (10 - 2) + (123 - 102)


def test_speed_is_images_over_time(results: Path) -> None:
    export(spec(), state(), results)
    assert trials_of(results).loc["00002", "images_per_second"] == pytest.approx(3 / (1 / 100 + 2 / 50))


def test_what_is_not_known_is_null(results: Path) -> None:
    export(spec(), state(), results)
    trials = trials_of(results)
    running, failed = trials.loc["00004"], trials.loc["00003"]
    unknown = ["error", "best_epoch", "train_loss", "val_accuracy", "parameters", "images_per_second", "node", "finished_at", "checkpoint"]
    assert running[unknown].isna().all()
    assert (running["epochs_trained"], running["train_seconds"]) == (0, 0.0)
    assert (failed["error"], failed["best_epoch"] is pd.NA) == ("ValueError: no", True)
    assert trials["shared_with"].isna().all()
    assert trials["params_classes"].isna().all()


def test_epochs_are_the_learning_curves(results: Path) -> None:
    export(spec(), state(), results)
    epochs = pd.read_parquet(results / EPOCHS)
    assert list(epochs["epoch"]) == [1, 2, 3, 1, 2, 3]
    assert list(epochs[epochs["trial_id"] == "00002"]["val_accuracy"]) == [0.5, 0.7, 0.65]
    assert epochs["finished_at"].iloc[0] == pd.Timestamp(T0 + 9.5, unit="s", tz="UTC")


def test_best_model_before_the_evaluation(results: Path) -> None:
    export(spec(), state(), results)
    best = best_of(results)
    assert (best["trial_id"], best["best_epoch"], best["evaluated"]) == ("00002", 2, False)
    assert (best["val_accuracy"], best["train_accuracy"]) == (0.7, 0.5)
    assert [name for name, value in best.items() if name.startswith("test_") and value is not None] == []
    assert best["published_test_accuracy"] == 0.1756
    assert len(pd.read_parquet(results / CLASS_REPORTS)) == 0


def test_best_model_evaluated(results: Path) -> None:
    export(spec(), evaluated(), results)
    best = best_of(results)
    assert best["evaluated"]
    assert (best["train_accuracy"], best["val_accuracy"], best["test_accuracy"]) == (0.95, 0.9, 0.85)
    assert (best["test_loss"], best["test_top5_accuracy"], best["test_images"]) == (0.4, pytest.approx(0.9), 540)
    assert (best["test_f1_micro"], best["test_f1_macro"], best["test_f1_weighted"]) == pytest.approx((0.8, 0.81, 0.82))
    assert (best["trials"], best["train_seconds"], best["run_seconds"], best["git_commit"]) == (4, 12.0, 20 + 60, "0" * 40)
    settings = {f"params_{name}" for name, value in suggest(2, 11)["config"].items() if value is not None}
    no_value = {name for name in best if name.startswith("params_")} - settings | {f"{split}_accuracy_std" for split in SPLITS}
    no_value |= {"study", "part", "final_of"}
    assert {name for name, value in best.items() if value is None} == no_value
    assert (best["seeds"], best["train_accuracy_mean"], best["val_accuracy_mean"], best["test_accuracy_mean"]) == (1, 0.95, 0.9, 0.85)
    classes = pd.read_parquet(results / CLASS_REPORTS)
    assert list(classes["class_index"]) == list(range(10))
    assert set(classes["support"]) == {54}


def test_layers_of_the_best_model(results: Path) -> None:
    export(spec(), state(), results)
    assert len(pd.read_parquet(results / LAYERS)) == 0
    export(spec(), evaluated(), results)
    layers = pd.read_parquet(results / LAYERS)
    assert list(layers["number"]) == list(range(1, 8))
    assert set(layers["trial_id"]) == {"00002"}
    assert list(layers["name"]) == ["images", "stem", "first", "second", "sum", "pool", "head"]
    assert list(layers["inputs"]) == ["", "images", "stem", "first", "stem, second", "sum", "pool"]
    second = layers.iloc[3]
    assert (second["kind"], second["output_shape"], second["parameters"], second["trainable_parameters"]) == (
        "Conv2D",
        "8 x 8 x 16",
        2320,
        2320,
    )


def test_what_the_best_model_takes_for_what(results: Path) -> None:
    export(spec(), evaluated(), results)
    confusions = pd.read_parquet(results / CONFUSIONS)
    assert len(confusions) == 11
    assert confusions.groupby("class_index")["images"].sum().tolist() == pd.read_parquet(results / CLASS_REPORTS)["support"].tolist()
    (wrong,) = confusions[confusions["class_index"] != confusions["predicted_index"]].to_dict("records")
    assert (wrong["class_name"], wrong["predicted_name"], wrong["images"], wrong["trial_id"]) == ("9", "8", 30, "00002")
    (mistake,) = pd.read_parquet(results / MISTAKES).to_dict("records")
    told = ("number", "image", "class_name", "predicted_name", "class_probability", "predicted_probability")
    assert [mistake[name] for name in told] == [1, 7, "9", "8", 0.01, 0.99]
    assert Image.open(io.BytesIO(mistake["png"])).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_journal_from_before_there_were_layers(results: Path) -> None:
    before = {name: value for name, value in evaluation(2, 2, 160).items() if name != "layers"}
    export(spec(), state(before), results)
    assert best_of(results)["evaluated"]
    assert len(pd.read_parquet(results / LAYERS)) == 0


@pytest.mark.parametrize(
    "better",
    [[result(4, 1, 170, 0.8)], [result(2, 4, 170, 0.8)]],
    ids=["another trial is the best now", "the same trial has a better epoch now"],
)
def test_an_evaluation_of_another_model_counts_no_more(results: Path, better: list[dict[str, Any]]) -> None:
    export(spec(), evaluated(), results)
    export(spec(), state(evaluation(2, 2, 160), *better), results)
    best = best_of(results)
    assert (best["evaluated"], best["val_accuracy"], best["test_accuracy"], best["test_images"]) == (False, 0.8, None, None)
    assert len(pd.read_parquet(results / CLASS_REPORTS)) == 0


@pytest.mark.parametrize("rows", [[], JOURNAL[:1], JOURNAL[:3], [*JOURNAL[:3], end(1, 5, "failed", "no")]], ids=len)
def test_a_run_without_a_result(results: Path, rows: list[dict[str, Any]]) -> None:
    export(spec(), state(rows=rows), results)
    assert len(trials_of(results)) == sum(row["kind"] == "suggest" for row in rows)
    for table in TABLES[1:]:
        frame = pd.read_parquet(results / table)
        assert len(frame) == 0
        assert set(schema(table).names) <= set(frame.columns)
    assert best_models_table(results) == []


def test_again_is_the_same_to_the_byte(results: Path) -> None:
    export(spec(), evaluated(), results)
    first = contents(results)
    export(spec(), evaluated(), results)
    assert contents(results) == first


def test_a_later_export_replaces_an_earlier_one(results: Path) -> None:
    export(spec(), state(rows=JOURNAL[:4]), results)
    export(spec(), state(), results)
    assert len(trials_of(results)) == 4
    assert not [path for path in contents(results) if path.endswith(".tmp")]


def test_schema_is_one_over_all_sweeps(results: Path) -> None:
    export(spec(), evaluated(), results)
    export(spec("depth-1", "depth"), state(rows=JOURNAL[:3]), results)
    for table in TABLES:
        files = sorted((results / table).rglob("*.parquet"))
        assert len(files) == 2
        for file in files:
            assert pq.read_schema(file).equals(schema(table)), file
            assert pq.ParquetFile(file).metadata.num_columns == len(schema(table))
    trials = pd.read_parquet(results / TRIALS)
    assert isinstance(trials["run"].dtype, pd.CategoricalDtype)
    assert set(zip(trials["sweep"], trials["run"], strict=True)) == {("dropout", RUN), ("depth", "depth-1")}


def test_files_are_zstd(results: Path) -> None:
    export(spec(), evaluated(), results)
    for table in TABLES:
        assert pq.ParquetFile(file_of(results, table)).metadata.row_group(0).column(0).compression == "ZSTD"


def test_duckdb_reads_it(results: Path) -> None:
    export(spec(), evaluated(), results)
    export(spec("depth-1", "depth"), state(), results)
    (results / TRIALS / "sweep=depth" / "run=depth-1" / ".part-0.parquet.tmp").write_bytes(b"a crashed write")
    query = "SELECT sweep, run, trial_id, val_accuracy FROM read_parquet('{}/{}/**/*.parquet', hive_partitioning = true) ORDER BY ALL"
    connection = duckdb.connect()
    rows = connection.execute(query.format(results, TRIALS)).fetchall()
    assert len(rows) == 8
    assert rows[1] == ("depth", "depth-1", "00002", 0.7)
    assert connection.execute(query.format(results, BEST_MODELS)).fetchall() == [
        ("depth", "depth-1", "00002", 0.7),
        ("dropout", RUN, "00002", 0.9),
    ]
    assert len(pd.read_parquet(results / TRIALS)) == 8


def test_names_that_a_path_cannot_hold(results: Path) -> None:
    export(spec("a b/c=d é"), state(), results)
    assert set(pd.read_parquet(results / TRIALS)["run"].astype(str)) == {"a b/c=d é"}
    assert [row["run"] for row in best_models_table(results)] == ["a b/c=d é"]


def drop_column(file: Path, name: str) -> None:
    pq.write_table(pq.ParquetFile(file).read().drop_columns([name]), file)


def test_older_files_are_upgraded(results: Path) -> None:
    export(spec("a"), evaluated(), results)
    drop_column(file_of(results, TRIALS, "a"), "params_dropout")
    check_results(results)
    export(spec("b"), evaluated(), results)
    for table in TABLES:
        assert pq.read_schema(file_of(results, table, "a")).equals(schema(table))
    trials = pd.read_parquet(results / TRIALS, dtype_backend="pyarrow")
    older, newer = (trials[trials["run"].astype(str) == run].reset_index(drop=True) for run in "ab")
    assert older["params_dropout"].isna().all()
    assert list(newer["params_dropout"]) == [0.1, 0.3, 0.1, 0.1]
    pd.testing.assert_frame_equal(older.drop(columns=["run", "params_dropout"]), newer.drop(columns=["run", "params_dropout"]))


def test_without_the_upgrade_a_reader_loses_a_column(results: Path) -> None:
    """What makes `upgrade` necessary: pyarrow takes the first file's columns for those of all. If this fails, it is no longer needed."""
    export(spec("a"), state(), results)
    export(spec("b"), state(), results)
    drop_column(file_of(results, TRIALS, "a"), "params_dropout")
    assert "params_dropout" not in pd.read_parquet(results / TRIALS).columns


def test_best_models_of_older_files_can_be_shown(results: Path) -> None:
    export(spec(), evaluated(), results)
    drop_column(file_of(results, BEST_MODELS), "test_f1_weighted")
    assert best_models_table(results)[0]["test_f1_weighted"] is None


def test_another_type_is_refused(results: Path) -> None:
    export(spec(), evaluated(), results)
    file = file_of(results, TRIALS)
    table = pq.ParquetFile(file).read()
    at = table.column_names.index("params_dropout")
    pq.write_table(table.set_column(at, "params_dropout", table["params_dropout"].cast(pa.string())), file)
    before = contents(results)
    text = f"{file} has column params_dropout of type string, but this version writes double: give another --results folder, or move the old one away"
    assert message(results) == text
    with pytest.raises(BadInput, match="params_dropout"):
        export(spec("other"), state(), results)
    assert contents(results) == before


def test_an_unknown_column_is_refused(results: Path) -> None:
    export(spec(), evaluated(), results)
    file = file_of(results, EPOCHS)
    table = pq.ParquetFile(file).read()
    pq.write_table(table.append_column("mood", pa.nulls(len(table), pa.string())), file)
    assert message(results).startswith(
        f"results have the columns of this version, but {file} has mood, which it does not know: give another"
    )


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_damaged_file_is_refused(results: Path, content: bytes) -> None:
    export(spec(), evaluated(), results)
    file = file_of(results, BEST_MODELS)
    file.write_bytes(content)
    assert message(results).startswith(f"results are whole Parquet files, but {file} cannot be read (")
    assert message(results).endswith("): move it away, then `sweeps export` its run again")
    with pytest.raises(BadInput, match="cannot be read"):
        best_models_table(results)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = message(tmp_path / "file" / "results")
    assert text.startswith(
        f"results go to a folder that can be written, but '{tmp_path}/file/results' cannot (Not a directory): give another"
    )


def test_check_makes_the_folder(results: Path) -> None:
    check_results(results)
    assert results.is_dir()


def test_a_value_without_a_column_is_not_dropped() -> None:
    with pytest.raises(ValueError, match="table epochs has no column mood"):
        as_table(EPOCHS, [{"epoch": 1, "mood": "good"}])


def test_run_json(results: Path) -> None:
    export(spec(), evaluated(), results)
    run = json.loads((run_folder(results, "runs", spec()) / "run.json").read_text())
    without_folder = spec(dataset_folder="digits-8px-0123456789ab")
    assert spec().model_validate({key: value for key, value in run.items() if key != "totals"}) == without_folder
    assert run["totals"] == {
        "trials": {"all": 4, "completed": 1, "stopped": 1, "failed": 1, "running": 1},
        "epochs": 6,
        "epochs_trained": 6,
        "epochs_shared": 0,
        "elapsed_seconds": 80.0,
        "train_seconds": 24.0,
        "sessions": 2,
        "restarts": 1,
        "machines": [{"node": "here", "device": "CPU"}, {"node": "there", "device": "CPU"}],
    }


def test_run_json_holds_no_path_of_one_machine(results: Path) -> None:
    fixed = {"size": 8, "filters": "/home/me/base.keras"}
    sweep = spec().sweep.model_copy(update={"data": "images:/home/me/photos", "question": "s3://bucket/x or 1:2?", "fixed": fixed})
    made = spec(sweep=sweep, dataset_source="images:/home/me/photos", dataset_folder="/home/me/data/photos-8px-0123456789ab")
    export(made, evaluated(), results)
    text = (run_folder(results, "runs", made) / "run.json").read_text()
    assert "/home" not in text
    run = json.loads(text)
    assert (run["dataset_folder"], run["dataset_source"]) == ("photos-8px-0123456789ab", "images:photos")
    assert (run["sweep"]["data"], run["sweep"]["fixed"]["filters"]) == ("images:photos", "base.keras")
    assert run["sweep"]["question"] == "s3://bucket/x or 1:2?"


def test_best_models_page(results: Path) -> None:
    export(spec("a"), evaluated(), results)
    export(spec("b|c", "depth"), state(), results)
    page = (results / "best_models.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| d")]
    assert rows == [
        r"| depth | b\|c | cnn | digits | dropout 0.3, depth 1 | 0.5000 | 0.7000 | - | - | - | - | 110,810 | 4 | 0.1756 |",
        "| dropout | a | cnn | digits | dropout 0.3, depth 1 | 0.9500 | 0.9000 | 0.8500 | - | 0.9000 | 0.8200 | 110,810 | 4 | 0.1756 |",
    ]
    assert "chosen by validation accuracy alone" in page
    assert (results / "README.md").read_text().startswith("# Results")


def shown(results: Path, run: str = RUN) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    show_best(results, run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_screen_at_80_columns(results: Path) -> None:
    export(spec(), evaluated(), results)
    text = shown(results)
    assert max(map(len, text.splitlines())) <= 80
    test_row = next(line for line in text.splitlines() if "test" in line and "540" in line)
    assert [cell for cell in test_row.replace("│", " ").split() if cell] == ["test", "540", "0.8500", "0.9000", "0.4000", "0.8200"]
    assert "dropout 0.3, depth 1" in text
    assert "not evaluated" not in text


@pytest.mark.parametrize(
    ("fixed", "line"),
    [
        ({"depth": 1}, "settings    dropout 0.3; fixed: size 8, depth 1"),
        ({"depth": 1, "dropout": 0.3}, "settings    fixed: size 8, depth 1, dropout 0.3"),
    ],
)
def test_the_screen_tells_of_what_was_fixed(results: Path, fixed: dict[str, Any], line: str) -> None:
    """By `--set`, on a setting that the sweep would have searched: the trial has it, and nothing else would say so."""
    of = spec()
    export(of.model_copy(update={"sweep": of.sweep.with_settings(fixed)}), evaluated(), results)
    told = [" ".join(text.split()) for text in shown(results).splitlines()]
    assert " ".join(line.split()) in told
    (row,) = best_models_table(results)
    assert {**row["settings"], **row["fixed"]} == {"dropout": 0.3, "depth": 1, "size": 8}


def test_the_screen_before_the_evaluation(results: Path) -> None:
    export(spec(), state(), results)
    assert "not evaluated yet" in shown(results)


def test_the_screen_of_a_run_without_a_result(results: Path) -> None:
    export(spec(), state(suggest(1, 1), end(1, 2, "failed", "no"), rows=[]), results)
    assert shown(results) == f"{RUN}: no trial has a result yet\n"


def test_the_screen_of_an_unknown_run(results: Path) -> None:
    export(spec(), state(), results)
    with pytest.raises(BadInput) as refusal:
        shown(results, "nope")
    assert str(refusal.value).endswith(f"({RUN}), but got 'nope': use one of these, or `sweeps export nope` first")


def test_exports_at_once(results: Path) -> None:
    runs = [f"run-{n}" for n in range(6)]
    threads = [threading.Thread(target=export, args=(spec(run), evaluated(), results)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(pd.read_parquet(results / TRIALS)["run"]) == set(runs)
    assert [row["run"] for row in best_models_table(results)] == runs
    assert (results / "best_models.md").read_text().count("| run-") == 6


def test_a_lock_that_is_never_released(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_results(results)
    monkeypatch.setattr(results_module, "LOCK_SECONDS", 0.05)
    with FileLock(results / ".lock"):
        assert message(results).endswith("but another has held its .lock for 0.05 s: end that one")


def test_a_crash_in_a_write_leaves_the_old_file(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(spec(), state(rows=JOURNAL[:4]), results)

    def torn(table: Any, file: Any, **_: Any) -> None:
        file.write(b"PAR1 torn")
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", torn)
        with pytest.raises(BadInput) as caught:
            export(spec(), evaluated(), results)
    assert str(caught.value) == (
        f"results go to a folder that can be written, but '{results}' cannot (the disk is full): make room or give another --results folder, "
        "then `sweeps export` the run"
    )
    assert len(trials_of(results)) == 1
    # DuckDB, unlike pandas, also takes files whose name starts with a dot.
    assert len(duckdb.connect().execute(f"SELECT trial_id FROM '{results}/{TRIALS}/**/*.parquet'").fetchall()) == 1
    export(spec(), evaluated(), results)
    assert len(trials_of(results)) == 4
    assert not list(results.rglob("*.tmp"))


def test_the_journal_may_start_anywhere(results: Path) -> None:
    """A trial that was suggested but never started, as a crash leaves it."""
    export(spec(), state(rows=[JOURNAL[0], suggest(1, 1), suggest(2, 2), start(2, 3)]), results)
    trials = trials_of(results)
    assert list(trials["total_seconds"]) == [0.0, 0.0]
    assert list(trials["started_at"].isna()) == [True, False]


def seeded() -> list[dict[str, Any]]:
    """The second trial again with two further seeds, of which the second is better than it."""
    first = suggest(2, 0, dropout=0.3, depth=1)["config"]
    rows: list[dict[str, Any]] = [end(4, 160, "failed", "no"), start(5, 171), start(6, 172)]
    for trial, seed, accuracy in ((5, 8, 0.6), (6, 9, 0.9)):
        again = {**suggest(trial, 170 + trial), "config": {**first, "seed": seed}, "repeat_of": 2}
        rows = [again, *rows, result(trial, 3, 180 + trial, accuracy), end(trial, 180 + trial)]
    return rows


def measured(trial: int, epoch: int, accuracy: float) -> dict[str, Any]:
    made = evaluation(trial, epoch, 200 + trial)
    made["splits"]["test"] = {**made["splits"]["test"], "accuracy": accuracy}
    return made


def full() -> list[dict[str, Any]]:
    """The run, but its second trial was trained in full."""
    return [end(2, 141) if row["kind"] == "end" and row["trial"] == 2 else row for row in JOURNAL]


def test_the_mean_over_seeds(results: Path) -> None:
    told = state(*seeded(), measured(6, 3, 0.9), measured(2, 2, 0.8), measured(5, 3, 0.7), rows=full())
    export(spec(seeds=3), told, results)
    trials = trials_of(results)
    assert trials["repeat_of"].fillna("").tolist() == ["", "", "", "", "00002", "00002"]
    assert trials["seed"].tolist() == [7, 7, 7, 7, 8, 9]
    best = best_of(results)
    assert (best["trial_id"], best["seed"], best["test_accuracy"], best["evaluated"]) == ("00006", 9, 0.9, True)
    assert (best["seeds"], best["trials"]) == (3, 6)
    assert best["test_accuracy_mean"] == pytest.approx(0.8)
    assert best["test_accuracy_std"] == pytest.approx(0.1), "with n - 1"
    assert (best["val_accuracy_mean"], best["val_accuracy_std"]) == (0.9, 0.0)
    assert set(pd.read_parquet(results / CLASS_REPORTS)["trial_id"]) == {"00006"}
    assert " | 0.9000 | 0.8000 ± 0.1000 (3) | " in (results / "best_models.md").read_text()
    text = shown(results)
    assert "over seeds  test accuracy 0.8000 ± 0.1000 (3)\n" in text
    assert "chosen by   mean validation accuracy, of 6 trials; F1 is the weighted average\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_mean_waits_for_all_evaluations(results: Path) -> None:
    export(spec(seeds=3), state(*seeded(), measured(6, 3, 0.9), rows=full()), results)
    best = best_of(results)
    assert (best["evaluated"], best["test_accuracy"], best["seeds"]) == (True, 0.9, 3)
    assert [best[f"{split}_accuracy_mean"] for split in ("train", "val", "test")] == [None] * 3
    assert "over seeds  not evaluated yet\n" in shown(results)


def final(*more: dict[str, Any]) -> Any:
    """AutoKeras' run after its final fit."""
    return state(fitted(2, 60), end(4, 61), *more, rows=autokeras_journal())


def test_a_final_fit_among_the_trials(results: Path) -> None:
    export(autokeras(), final(), results)
    trials = trials_of(results)
    assert trials["final_of"].fillna("").tolist() == ["", "", "", "00001"]
    assert trials["repeat_of"].isna().all()
    assert trials["status"].tolist() == ["completed", "failed", "stopped", "completed"]
    assert trials["best_epoch"].fillna(0).tolist() == [2, 0, 1, 2]
    assert trials["epochs_trained"].tolist() == [3, 0, 1, 2]
    assert trials["params_epochs"].tolist() == [1000, 1000, 1000, 2]
    fit = trials.loc["00004"]
    assert fit[["val_accuracy", "val_loss"]].isna().all(), "it has seen those images"
    assert (fit["train_accuracy"], fit["train_loss"], fit["parameters"], fit["checkpoint"]) == (0.5, 1.5, 24_105_960, "epoch-000002.npz")
    assert json.loads(str(trials.loc["00001", "config_json"]))["hyperparameters"] == NETWORK
    assert json.loads(str(fit["config_json"])) == {**json.loads(str(trials.loc["00001", "config_json"])), "epochs": 2}
    assert [name for name in trials.columns if "hyperparameters" in name] == []


def test_its_epochs_have_no_validation_figures(results: Path) -> None:
    export(autokeras(), final(), results)
    epochs = pd.read_parquet(results / EPOCHS)
    fit = epochs[epochs["trial_id"] == "00004"]
    assert list(fit["epoch"]) == [1, 2]
    assert fit[["val_accuracy", "val_loss"]].isna().all(axis=None)
    assert list(fit["train_accuracy"]) == [0.5, 0.5]
    assert list(epochs[epochs["trial_id"] == "00001"]["val_accuracy"]) == [0.5, 0.7, 0.6]


def test_the_best_model_is_the_final_fit_as_measured(results: Path) -> None:
    export(autokeras(), final(evaluation(4, 2, 70)), results)
    best = best_of(results)
    assert (best["trial_id"], best["final_of"], best["fit_on"], best["best_epoch"]) == ("00004", "00001", "train+validation", 2)
    assert (best["evaluated"], best["val_accuracy"], best["val_accuracy_mean"], best["test_accuracy"]) == (True, 0.9, 0.9, 0.85)
    assert json.loads(best["config_json"])["hyperparameters"] == NETWORK
    assert json.loads(best["config_json"])["epochs"] == best["params_epochs"] == 2
    assert (best["published_test_accuracy"], best["published_setting"]) == (0.3005, "3 hours")
    assert set(pd.read_parquet(results / CLASS_REPORTS)["trial_id"]) == {"00004"}


def test_the_best_model_is_the_final_fit_before_it_is_measured(results: Path) -> None:
    export(autokeras(), final(evaluation(1, 2, 35)), results)
    best = best_of(results)
    assert (best["trial_id"], best["evaluated"], best["val_accuracy"], best["val_loss"], best["test_accuracy"]) == (
        "00004",
        False,
        None,
        None,
        None,
    )
    assert len(pd.read_parquet(results / CLASS_REPORTS)) == 0


def test_while_the_final_fit_runs_the_best_is_the_searchs_own(results: Path) -> None:
    export(autokeras(), state(rows=autokeras_journal()), results)
    best = best_of(results)
    assert (best["trial_id"], best["final_of"], best["fit_on"], best["val_accuracy"]) == ("00001", None, "train", 0.7)
    assert " (fitted) | " not in (results / "best_models.md").read_text()
    assert "final fit" not in shown(results, "autokeras-1")


FOUND = "head/dropout 0.25, block_type residual, learning_rate 0.0003, optimizer adam_weight_decay"


def test_the_page_marks_figures_of_fitted_images(results: Path) -> None:
    export(autokeras(), final(evaluation(4, 2, 70)), results)
    page = (results / "best_models.md").read_text()
    assert [text for text in page.splitlines() if text.startswith("| autokeras |")] == [
        f"| autokeras | autokeras-1 | autokeras_search | digits | {FOUND} | 0.9500 | 0.9000 (fitted) | 0.8500 | - | 0.9000 | 0.8200 | 24,105,960 | 4 "
        "| 0.3005 |"
    ]
    assert '\n"(fitted)": these weights were trained on the validation images, too.\n' in page


def test_the_screen_says_what_the_final_fit_is(results: Path) -> None:
    export(autokeras(), final(evaluation(4, 2, 70)), results)
    text = shown(results, "autokeras-1")
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "trial 00001 once more, on train and validation: the figure of validation is of images seen" in words
    assert f"settings {FOUND}" in words
    assert "Best of autokeras-1: trial 00004, epoch 2" in words
    row = next(line for line in text.splitlines() if "validation" in line and "126" in line)
    assert [cell for cell in row.replace("│", " ").split() if cell] == ["validation", "126", "0.9000", "0.9500", "0.3000"]


def test_the_mean_over_final_fits(results: Path) -> None:
    """A seed each: what is averaged is what was fitted, not what the search had."""
    again = seeded()
    fits = [{**suggest(n, 190, dropout=0.3, depth=1, epochs=3, seed=s), "final_of": of} for n, of, s in ((7, 6, 9), (8, 2, 7), (9, 5, 8))]
    for row, n in zip(fits, (7, 8, 9), strict=True):
        again += [row, {**result(n, 3, 195, 0.0), "val_accuracy": None, "val_loss": None}, end(n, 196)]
    told = state(*again, measured(7, 3, 0.9), measured(8, 3, 0.8), measured(9, 3, 0.7), rows=full())
    export(spec(seeds=3), told, results)
    best = best_of(results)
    assert (best["trial_id"], best["final_of"], best["seed"], best["seeds"]) == ("00007", "00006", 9, 3)
    assert (best["test_accuracy_mean"], best["test_accuracy_std"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert trials_of(results)["final_of"].fillna("").tolist() == ["", "", "", "", "", "", "00006", "00002", "00005"]
    assert " | 0.9000 (fitted) | 0.9000 | 0.8000 ± 0.1000 (3) | " in (results / "best_models.md").read_text()
