"""AutoKeras searches to their end in this process: what comes out, and what a candidate that fails does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep import prepare
from tests.sweeps.conftest import Sweeps

SMALL = ["--data", "digits", "--set", "size=16", "--seed", "1"]

pytestmark = pytest.mark.usefixtures("ray")


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(folder / "results" / name)


def test_a_search_its_tables_and_its_model(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    root = ["--data-root", str(data_root)]
    code, out, err = sweeps("run", "autokeras", *SMALL, *root, "--samples", "3", "--epochs", "2", "--run-name", "one")
    assert code == 0, out + err
    assert "final fit of trial 0000" in out
    trials = table(tmp_path, "trials").sort_values("trial_id").reset_index(drop=True)
    assert list(trials["status"]) == ["completed"] * 4
    assert trials["final_of"].notna().tolist() == [False, False, False, True]
    networks = [json.loads(text)["hyperparameters"] for text in trials["config_json"]]
    assert [network["image_block_1/block_type"] for network in networks[:2]] == ["plain", "residual"]
    assert (trials["parameters"] > 0).all()
    best = table(tmp_path, "best_models").iloc[0]
    searched = trials[trials["final_of"].isna()]
    winner = searched.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
    assert (best["trial_id"], best["final_of"], best["fit_on"]) == ("00004", winner["trial_id"], "train+validation")
    assert best["best_epoch"] == winner["best_epoch"]
    assert best["evaluated"]
    assert {f"test_{score}_{average}" for score in ("precision", "recall", "f1") for average in ("micro", "macro", "weighted")} <= set(
        best.index
    )
    classes = table(tmp_path, "class_reports")
    assert (len(classes), classes["support"].sum()) == (10, best["test_images"])
    curves = table(tmp_path, "epochs")
    assert curves.loc[curves["trial_id"] == "00004", "val_accuracy"].isna().all()

    code, out, err = sweeps("best", "one", "--save", "model.keras")
    assert code == 0, out + err
    # A process that knows Keras alone.
    data = prepare("digits", size=16, root=data_root)
    np.savez(tmp_path / "images.npz", images=data.images[:200], labels=data.labels[:200])
    script = """import keras, numpy, sys
model, data = keras.models.load_model("model.keras"), numpy.load("images.npz")
assert "autokeras" not in sys.modules
classes = model.predict(data["images"], verbose=0).argmax(axis=1)
print((classes == data["labels"]).mean())"""
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert float(shown) > 0.5

    code, out, _ = sweeps("resume", "one", *root)
    assert (code, out) == (0, "one is finished: nothing to do. `sweeps best one` shows its best model.\n")


def test_candidates_that_are_too_big_fail_and_the_others_go_on(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--data-root", str(data_root), "--samples", "2", "--epochs", "1", "--run-name", "one"]
    # The first network has 45,000 parameters at 16 px, the second, residual one 20,000.
    code, out, err = sweeps("run", "autokeras", *words, "--set", "max_parameters=30000")
    assert code == 1, out + err
    trials = table(tmp_path, "trials").sort_values("trial_id")
    assert list(trials["status"]) == ["failed", "completed", "completed"]
    assert trials["error"].iloc[0].startswith("too big: ")
    assert trials["error"].iloc[0].endswith(" parameters, and max_parameters is 30,000")
    assert table(tmp_path, "best_models")["final_of"].tolist() == ["00002"]


def test_a_search_without_a_candidate_that_fits_ends(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = [*SMALL, "--data-root", str(data_root), "--samples", "2", "--epochs", "1", "--run-name", "one"]
    code, out, err = sweeps("run", "autokeras", *words, "--set", "max_parameters=100")
    assert code == 1, out + err
    assert list(table(tmp_path, "trials")["status"]) == ["failed", "failed"]
    assert "one: no trial has a result yet" in out
