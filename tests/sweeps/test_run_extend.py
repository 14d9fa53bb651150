"""A real run that is finished, then given more trials and epochs: the numbers of one that had them from the start, to the last bit on a CPU."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.conftest import Sweeps

pytestmark = pytest.mark.usefixtures("ray")

METRICS = ["trial_id", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
TIMED = ["run", "run_seconds", "train_seconds", "git_commit"]


def test_more_trials_and_epochs(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = [
        "--set",
        "size=16",
        "--set",
        "filters=4",
        "--set",
        "depth=1",
        "--data",
        "digits",
        "--data-root",
        str(data_root),
        "--parallel",
        "1",
    ]
    for name, limits in (("short", ["--samples", "2", "--epochs", "2"]), ("whole", ["--samples", "3", "--epochs", "4"])):
        (tmp_path / "mine.py").write_text(
            "from sweeps import Sweep, uniform\n"
            "SWEEP = Sweep(question='q', trainable='cnn', space={'dropout': uniform(0, 0.7)}, searcher='random', scheduler='none')\n"
        )
        assert sweeps("run", "mine.py", *words, *limits, "--run-name", name)[0] == 0
    code, out, err = sweeps("resume", "short", "--data-root", str(data_root), "--samples", "+1", "--epochs", "4")
    assert (code, err) == (0, "")
    assert out.startswith("short: 2 trials so far, going on with: 00001, 00002\n")
    tables = {name: pd.read_parquet(tmp_path / "results" / name) for name in ("trials", "epochs", "best_models")}
    curves = {
        run: rows[METRICS].sort_values(METRICS[:2]).reset_index(drop=True) for run, rows in tables["epochs"].groupby("run", observed=True)
    }
    assert len(curves["whole"]) == 12
    pd.testing.assert_frame_equal(curves["short"], curves["whole"], check_exact=True)
    best = {run: rows.drop(columns=TIMED).reset_index(drop=True) for run, rows in tables["best_models"].groupby("run", observed=True)}
    pd.testing.assert_frame_equal(best["short"], best["whole"], check_exact=True)
    trials = tables["trials"][tables["trials"]["run"] == "short"]
    assert list(trials["params_epochs"]) == [4, 4, 4]
    assert list(trials["restarts"]) == [0, 0, 0]
    assert sweeps("resume", "short")[:2] == (0, "short is finished: nothing to do. `sweeps best short` shows its best model.\n")
    code, _, err = sweeps("resume", "short", "--samples", "2")
    assert (code, err) == (2, "error: a resume adds to the 3 trials of short, but --samples 2 does not: give more\n")
