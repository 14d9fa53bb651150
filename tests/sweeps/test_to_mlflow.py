"""Runs for MLflow, in a real store: an SQLite file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from data_prep import BadInput
from sweeps.core.rows import rows
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
from sweeps.core.to_mlflow import write
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.test_screen import job


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: its tables take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store.db").write_bytes(empty.read_bytes())
    return f"sqlite:///{tmp_path / 'store.db'}"


def written(store: str, state: RunState, spec: RunSpec | None = None) -> dict[str, Any]:
    """Trial -> its MLflow run."""
    spec = spec or runs.spec()
    assert write(spec, rows(spec, state), store) == (len(state.trials), store)
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name(spec.run)
    assert experiment
    found = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in found}


def curve(store: str, run: Any, name: str) -> Any:
    history = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in sorted(history, key=lambda metric: metric.step)]


def test_a_trial_is_a_run_with_its_settings_curves_and_figures(store: str) -> None:
    found = written(store, runs.evaluated())
    assert {name: run.info.status for name, run in found.items()} == {
        "00001": "FINISHED",
        "00002": "FINISHED",
        "00003": "FAILED",
        "00004": "RUNNING",
    }
    best = found["00002"]
    assert (best.info.start_time, best.info.end_time) == (int(runs.T0 + 12) * 1000, int(runs.T0 + 141) * 1000)
    assert {name: best.data.params[name] for name in ("dropout", "depth", "seed", "size", "schedule")} == {
        "dropout": "0.3",
        "depth": "1",
        "seed": "7",
        "size": "8",
        "schedule": "constant",
    }
    assert curve(store, best, "val_accuracy") == [(1, 0.5), (2, 0.7), (3, 0.65)]
    assert curve(store, best, "train_loss") == [(1, 1.5), (2, 1.5), (3, 1.5)]
    assert curve(store, best, "best_val_accuracy") == [(2, 0.7)]
    assert curve(store, best, "test_accuracy") == [(2, 0.85)]
    assert curve(store, best, "test_f1_weighted") == [(2, pytest.approx(0.82))]
    assert "test_accuracy" not in found["00001"].data.metrics, "test is read for the best alone"
    tags = best.data.tags
    assert tags["sweeps.trial_id"] == "00002"
    assert (tags["sweeps.sweep"], tags["sweeps.dataset_fingerprint"], tags["sweeps.git_commit"]) == ("dropout", "0123456789ab", "0" * 40)
    assert found["00003"].data.tags["sweeps.error"] == "ValueError: no"


def test_again_nothing_is_there_twice_and_what_has_come_since_is_added(store: str) -> None:
    first = written(store, runs.state(rows=runs.JOURNAL[:13]))
    assert curve(store, first["00002"], "val_accuracy") == [(1, 0.5), (2, 0.7)]
    assert first["00002"].info.status == "RUNNING"
    for _ in range(2):
        later = written(store, runs.evaluated())
        assert list(later) == ["00004", "00003", "00002", "00001"]
        assert later["00002"].info.run_id == first["00002"].info.run_id
        assert curve(store, later["00002"], "val_accuracy") == [(1, 0.5), (2, 0.7), (3, 0.65)]
        assert curve(store, later["00002"], "best_val_accuracy") == [(2, 0.7)]
        assert later["00002"].info.status == "FINISHED"


def test_a_setting_that_a_resume_has_raised_is_told(store: str) -> None:
    """A store keeps parameters as they were first."""
    rows = runs.JOURNAL[:13]
    assert written(store, runs.state(rows=rows))["00002"].data.params["epochs"] == "20"
    longer = [{**row, "config": {**row["config"], "epochs": 40}} if row["kind"] == "suggest" else row for row in rows]
    found = written(store, runs.state(rows=longer))["00002"].data
    assert (found.params["epochs"], found.tags["sweeps.now.epochs"]) == ("20", "40")
    assert [name for name in found.tags if name.startswith("sweeps.now.")] == ["sweeps.now.epochs"]


def test_another_run_of_the_same_name_is_refused(store: str) -> None:
    written(store, runs.evaluated())
    with pytest.raises(BadInput) as refused:
        written(store, runs.evaluated(), runs.spec(created_at="2030-01-01T00:00:00+00:00"))
    assert str(refused.value) == (
        f"an MLflow experiment is of one run, but {runs.spec().run!r} there is of another of that name, begun {runs.spec().created_at} and not "
        "2030-01-01T00:00:00+00:00: give another --out, or rename the experiment"
    )


def test_a_figure_that_has_changed_is_written_again(store: str) -> None:
    written(store, runs.evaluated())
    later = runs.evaluated()
    later.trials[2].starts.append({**later.trials[2].starts[0], "time": later.trials[2].starts[0]["time"] - 5})
    seconds = [row["total_seconds"] for row in rows(runs.spec(), later)["trials"] if row["trial_id"] == "00002"]
    assert written(store, later)["00002"].data.metrics["total_seconds"] == seconds[0]


def test_a_network_that_is_searched_has_its_own_parameters(store: str) -> None:
    found = written(store, runs.state(rows=runs.autokeras_journal()), runs.autokeras())
    assert found["00001"].data.params["image_block_1/block_type"] == "residual"
    assert found["00004"].data.tags["sweeps.final_of"] == "00001"


def test_by_the_command(tmp_path: Path, sweeps: Sweeps, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path / "runs", "one", None, 13)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    code, out, _ = sweeps("export", "one", "--to", "mlflow")
    assert (code, out) == (0, f"one: 2 trials written to {store}, experiment one\n")


def test_without_mlflow_one_line_with_the_cure(tmp_path: Path, sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path / "runs", "one", None, 13)
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    assert sweeps("export", "one", "--to", "mlflow") == (
        2,
        "",
        "error: --to mlflow needs MLflow, but it is not installed: pip install 'keras-sweeps[mlflow]'\n",
    )


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no data base, but long enough to be looked at by who expects one")
    with pytest.raises(
        BadInput, match=r"^--out is an MLflow tracking store that takes runs, but 'sqlite:.*' does not \(.*\): give another$"
    ):
        written(f"sqlite:///{tmp_path / 'text.db'}", runs.evaluated())


def test_a_password_is_not_told() -> None:
    with pytest.raises(BadInput) as error:
        written("nonsense://me:secret@here/store", runs.evaluated())
    assert "--out is an MLflow tracking store that takes runs, but 'nonsense://***@here/store' does not (" in str(error.value)
    assert "secret" not in str(error.value)
