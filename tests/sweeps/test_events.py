"""`--json` and `--quiet`: a run for scripts, on real Ray; `status` and `best` as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.test_run import SMALL
from tests.sweeps.test_screen import job


@pytest.mark.usefixtures("ray")
def test_a_run_in_lines_of_json_and_then_quietly(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "2", "--epochs", "2", *SMALL, "--set", "images=300", "--data-root", str(data_root)]
    code, out, err = sweeps(*words, "--run-name", "one", "--json")
    assert (code, err) == (0, "")
    *trials, end, done = [json.loads(line) for line in out.splitlines()]
    assert [(trial["event"], trial["run"], trial["status"], trial["error"]) for trial in trials] == [
        ("trial", "one", "completed", None)
    ] * 2
    table = pd.read_parquet(tmp_path / "results" / "trials").set_index("trial_id")
    for trial in trials:
        row = table.loc[trial["trial_id"]]
        assert trial["params"] == {"dropout": row["params_dropout"]}
        assert (trial["epochs_trained"], trial["best_epoch"], trial["val_accuracy"]) == (2, row["best_epoch"], row["val_accuracy"])
    assert (end["event"], end["run"], end["outcome"]) == ("end", "one", "done")
    best = pd.read_parquet(tmp_path / "results" / "best_models").iloc[0]
    assert {name: end["best"][name] for name in ("trial_id", "test_accuracy", "settings")} == {
        "trial_id": best["trial_id"],
        "test_accuracy": best["test_accuracy"],
        "settings": {"dropout": best["params_dropout"]},
    }
    assert done == {"event": "done", "outcome": "done", "results": "results"}

    code, out, _ = sweeps("resume", "one", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [end, done], "also where there is nothing to do"
    assert sweeps("resume", "one", "--samples", "+1", "--quiet") == (0, "", "")
    assert len(pd.read_parquet(tmp_path / "results" / "trials")) == 3


def test_bad_input_is_told_as_ever(sweeps: Sweeps) -> None:
    for option in ("--json", "--quiet"):
        code, out, err = sweeps("run", "nope", option)
        assert (code, out) == (2, "")
        assert err.startswith("error: there is no sweep 'nope': ")


def test_status(tmp_path: Path, sweeps: Sweeps) -> None:
    job(tmp_path / "runs", "one", None, 20)
    code, out, _ = sweeps("status", "one", "--json")
    assert code == 0
    found = json.loads(out)
    assert found.pop("elapsed_seconds") > 0
    assert found.pop("seconds_left") >= 0
    assert found == {
        "run": "one",
        "state": "interrupted",
        "trials": 3,
        "completed": 1,
        "stopped": 1,
        "failed": 1,
        "running": 1,
        "epochs_trained": 6,
        "epochs_shared": 0,
        "best": {"trial_id": "00002", "epoch": 2, "val_accuracy": 0.7, "params": {"dropout": 0.3, "depth": 1}},
    }
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "run.json").write_text("{")
    (tmp_path / "runs" / "torn" / "journal.jsonl").write_text("")
    rows = json.loads(sweeps("status", "--json")[1])
    assert {row["run"]: "error" in row for row in rows} == {"one": False, "torn": True}


def test_best(tmp_path: Path, sweeps: Sweeps) -> None:
    job(tmp_path / "runs", "one", None, len(runs.JOURNAL))
    code, out, _ = sweeps("best", "one", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["run"], row["trial_id"], row["val_accuracy"], row["evaluated"]) == ("one", "00002", 0.7, False)
