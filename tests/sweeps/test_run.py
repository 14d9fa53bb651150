"""Real runs on real Ray: from the command line to Parquet."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import keras
import numpy as np
import pandas as pd
import pytest
from ray.tune.experiment import Trial
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_prep import open_dataset, split
from sweeps.core.journal import read_state
from sweeps.core.storage import RunStorage
from sweeps.core.tune import JournalScheduler
from tests.data_prep.archives import make_tiny_imagenet
from tests.sweeps.conftest import Sweeps

# A small network on small images: seconds a trial, the same code as ever.
SMALL = ["--set", "size=16", "--set", "filters=4", "--set", "depth=2"]

pytestmark = pytest.mark.usefixtures("ray")


def frames(results: Path) -> dict[str, pd.DataFrame]:
    tables = ("trials", "epochs", "best_models", "class_reports", "layers", "confusions", "mistakes")
    return {name: pd.read_parquet(results / name) for name in tables}


def shown_curve(folder: Path, tag: str = "accuracy/validation") -> dict[int, float]:
    """Epoch -> figure, as TensorBoard shows a trial's folder: an epoch that is there twice is an error."""
    reader = EventAccumulator(str(folder))
    reader.Reload()
    events = reader.Scalars(tag)
    assert [event.step for event in events] == list(range(1, len(events) + 1))
    return {event.step: event.value for event in events}


def test_tune_keeps_no_trial_that_has_ended(sweeps: Sweeps, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep 90 kB of each to the end, in six places: a search of 10,000 trials, 900 MB."""
    alive: list[int] = []
    plain = JournalScheduler.on_trial_add

    def looked(self: JournalScheduler, controller: Any, trial: Any) -> None:
        plain(self, controller, trial)
        gc.collect()
        alive.append(sum(isinstance(kept, Trial) for kept in gc.get_objects()))

    monkeypatch.setattr(JournalScheduler, "on_trial_add", looked)
    gc.collect()
    before = sum(isinstance(kept, Trial) for kept in gc.get_objects())
    words = ["run", "dropout", "--samples", "6", "--epochs", "1", *SMALL, "--set", "images=200", "--parallel", "1"]
    assert sweeps(*words, "--data-root", str(data_root), "--run-name", "six")[0] == 0
    assert len(alive) == 7, "six trials and a measurement"
    assert max(alive) - before <= 3


def test_a_run_from_start_to_table(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "3", "--epochs", "3", *SMALL, "--data-root", str(data_root), "--run-name", "one", "--seed", "3"]
    code, out, err = sweeps(*words)
    assert (code, err) == (0, "")
    assert out.startswith("one: How much dropout generalises best? cnn on digits (1797 images)\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out), "no control characters where it is no terminal"
    assert (
        len(re.findall(r"^trial 0000[123] completed: dropout=\S+: val_accuracy 0\.\d{4} at epoch \d, 3 of 3 epochs$", out, re.MULTILINE))
        == 3
    )
    assert "Best of one: trial 0000" in out

    tables = frames(tmp_path / "results")
    trials = tables["trials"].set_index("trial_id")
    assert list(trials["params_dropout"]) == [0.25, 0.0, 0.5], "the known points first"
    assert set(trials["params_filters"]) == {4}
    assert list(trials["status"]) == ["completed"] * 3
    assert list(trials["epochs_trained"]) == [3] * 3
    assert len(tables["epochs"]) == 9
    assert trials["parameters"].nunique() == 1
    best = tables["best_models"].iloc[0]
    # Measured again from the stored weights in double precision; the epoch's own figure is a float32 mean.
    assert best["val_accuracy"] == pytest.approx(trials["val_accuracy"].max(), abs=1e-6)
    assert len(tables["class_reports"]) == 10
    assert tables["layers"]["parameters"].sum() == best["parameters"]
    assert tables["class_reports"]["support"].sum() == tables["confusions"]["images"].sum() == best["test_images"] == 539
    wrong = tables["confusions"]["class_index"] != tables["confusions"]["predicted_index"]
    assert len(tables["mistakes"]) == min(24, tables["confusions"].loc[wrong, "images"].sum())
    assert f"{best['test_accuracy']:.4f}" in out
    assert f"| {best['test_accuracy']:.4f} |" in (tmp_path / "results" / "best_models.md").read_text()
    counted = duckdb.connect().execute(
        f"select run, count(*) from read_parquet('{tmp_path}/results/epochs/**/*.parquet', hive_partitioning=true) group by run"
    )
    assert counted.fetchall() == [("one", 9)]

    folders = sorted({path.parent for path in (tmp_path / "runs" / "one").rglob("*tfevents*")})
    assert [str(path.relative_to(tmp_path)) for path in folders] == [f"runs/one/checkpoints/0000{n}" for n in (1, 2, 3)]
    for folder in folders:
        own = tables["epochs"].query("trial_id == @folder.name").set_index("epoch")["val_accuracy"]
        assert shown_curve(folder) == pytest.approx(own.to_dict())

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Tune gives Ctrl-C back: this may be a notebook"

    code, out, _ = sweeps("resume", "one")
    assert (code, out) == (0, "one is finished: nothing to do. `sweeps best one` shows its best model.\n")

    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.parquet")}
    assert sweeps("export", "one")[:2] == (0, "one: 3 trials, 9 epochs written to results\n")
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.parquet")} == before

    code, out, err = sweeps("best", "one", "--save", "best.keras")
    assert (code, err) == (0, "")
    model = keras.models.load_model(tmp_path / "best.keras")
    (folder,) = data_root.glob("digits-16px-*")
    dataset = open_dataset(folder)
    test = split(dataset.labels, seed=0).test
    predicted = model.predict(np.asarray(dataset.images[test]), verbose=0).argmax(axis=1)
    assert (predicted == dataset.labels[test]).mean() == pytest.approx(best["test_accuracy"], abs=1e-9)

    code, out, _ = sweeps("status", "one")
    assert "0 running, 3 completed, 0 stopped, 0 failed\n9 epochs in " in out
    assert out.endswith("finished\n")
    assert re.search(r"^one +3 +9 +0\.\d{4} +finished$", sweeps("status")[1], re.MULTILINE)


def test_tiny_imagenets_layout_is_trained_on(sweeps: Sweeps, tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "tiny-imagenet-200.zip", classes=4, images_per_class=60, grey=3, broken=1)
    code, out, _ = sweeps("data", "tiny-imagenet", "--source", str(archive), "--size", "16")
    assert code == 0
    assert "tiny-imagenet: 239 images, 4 classes, 16 px, 1 skipped" in out
    code, out, _ = sweeps(
        "run", "depth", "--data", "tiny-imagenet", "--samples", "2", "--epochs", "2", "--set", "size=16", "--set", "filters=4"
    )
    assert code == 0
    tables = frames(tmp_path / "results")
    assert list(tables["trials"]["params_depth"]) == [3, 2]
    assert list(tables["trials"]["dataset"].unique()) == ["tiny-imagenet"]
    assert len(tables["class_reports"]) == 4


def test_several_seeds_of_the_best(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "4", "--epochs", "2", "--seeds", "2", *SMALL, "--data-root", str(data_root)]
    code, out, err = sweeps(*words, "--run-name", "one")
    assert (code, err) == (0, "")
    assert len(re.findall(r"^trial 0000[567] completed: dropout=\S+ seed=1: .*, 2 of 2 epochs$", out, re.MULTILINE)) == 3
    tables = frames(tmp_path / "results")
    trials = tables["trials"].set_index("trial_id")
    own, repeats = trials.iloc[:4], trials.iloc[4:]
    assert list(repeats["repeat_of"]) == list(own.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).index[:3])
    assert own["repeat_of"].isna().all()
    assert (set(own["seed"]), set(repeats["seed"])) == ({0}, {1})
    again = repeats.set_index("repeat_of")["val_accuracy"].to_dict()
    means = {first: (own["val_accuracy"].to_dict()[first] + accuracy) / 2 for first, accuracy in again.items()}
    best = tables["best_models"].iloc[0]
    chosen = trials["repeat_of"].fillna(best["trial_id"])[best["trial_id"]]
    assert means[chosen] == max(means.values())
    assert (best["seeds"], best["trials"]) == (2, 7)
    rows = [json.loads(line) for line in (tmp_path / "runs" / "one" / "journal.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    assert rows[-2:] == evaluations, "both seeds, after everything was decided"
    accuracies = pd.Series([row["splits"]["test"]["accuracy"] for row in evaluations])
    assert best["test_accuracy_mean"] == pytest.approx(accuracies.mean())
    assert best["test_accuracy_std"] == pytest.approx(accuracies.std())
    shown = f"{best['test_accuracy_mean']:.4f} ± {best['test_accuracy_std']:.4f} (2)"
    assert f"over seeds  test accuracy {shown}\n" in out
    assert f" {shown} " in (tmp_path / "results" / "best_models.md").read_text()
    assert sweeps("resume", "one")[1].startswith("one is finished: nothing to do.")
    status = sweeps("status", "one")[1]
    assert "7/7 trials" in status
    assert re.search(r"^trial +dropout +seed +status ", status, re.MULTILINE)

    # Killed before its last row: the other evaluation is kept.
    journal = tmp_path / "runs" / "one" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    assert "interrupted" in sweeps("status", "one")[1]
    assert sweeps("resume", "one")[0] == 0
    resumed = frames(tmp_path / "results")["best_models"].iloc[0]
    assert resumed.drop("run_seconds").equals(best.drop("run_seconds"))


def readme_example() -> str:
    """The complete sweep file that README shows."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.partition("## Your own sweep")[2]
    return section.partition("```python\n")[2].partition("```")[0]


def test_readmes_own_sweep_runs(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "my_sweep.py").write_text(readme_example())
    words = ["run", "my_sweep.py", "--samples", "2", "--epochs", "1", "--data", "digits", *SMALL[:4], "--data-root", str(data_root)]
    assert sweeps(*words)[0] == 0
    trials = frames(tmp_path / "results")["trials"]
    assert list(trials["sweep"].unique()) == ["my_sweep"]


def test_a_trial_that_cannot_go_on_fails_alone(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    """The second trial's checkpoints cannot be stored: tried four times, then failed; the others are not touched."""
    in_the_way = tmp_path / "runs" / "one" / "checkpoints" / "00002"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")
    words = ["run", "dropout", "--samples", "3", "--epochs", "1", *SMALL, "--data-root", str(data_root), "--run-name", "one"]
    code, out, err = sweeps(*words)
    assert (code, err) == (1, "")
    trials = frames(tmp_path / "results")["trials"].set_index("trial_id")
    assert list(trials["status"]) == ["completed", "failed", "completed"]
    assert trials["restarts"].tolist() == [0, 3, 0]
    error = trials["error"]["00002"]
    assert error.startswith(("NotADirectoryError: ", "FileExistsError: "))
    assert f"trial 00002 failed: dropout=0: {error}\n" in out
    assert "Best of one: trial 0000" in out
    assert sweeps("resume", "one")[0] == 1, "it says so again"


class Killer(threading.Thread):
    """Kills the worker of the run's first trial once that has reported an epoch."""

    def __init__(self, storage: RunStorage) -> None:
        super().__init__(daemon=True)
        self.storage, self.killed = storage, 0

    def run(self) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            time.sleep(0.05)
            if not self.storage.exists():
                continue
            trial = read_state(self.storage).trials.get(1)
            if trial and trial.epochs:
                self.killed = trial.epochs[1]["pid"]
                os.kill(self.killed, signal.SIGKILL)
                return


@pytest.mark.kill
def test_a_lost_worker_costs_a_restart_and_no_number(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    # Long enough that it is at work when the killer, beside a busy driver, has its turn.
    words = ["run", "dropout", "--samples", "1", "--epochs", "60", *SMALL, "--data-root", str(data_root)]
    assert sweeps(*words, "--run-name", "calm")[0] == 0
    killer = Killer(RunStorage(str(tmp_path / "runs"), "killed"))
    killer.start()
    assert sweeps(*words, "--run-name", "killed")[0] == 0
    killer.join()
    assert killer.killed
    tables = frames(tmp_path / "results")
    trials = tables["trials"].set_index("run")
    assert dict(trials["restarts"]) == {"calm": 0, "killed": 1}
    metrics = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    curves = {run: frame[metrics].reset_index(drop=True) for run, frame in tables["epochs"].groupby("run", observed=True)}
    pd.testing.assert_frame_equal(curves["calm"], curves["killed"], check_exact=True)
    rows: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "runs" / "killed" / "journal.jsonl").read_text().splitlines()]
    reported = [row["epoch"] for row in rows if row["kind"] == "result"]
    assert reported == list(range(1, 61)), "each epoch once, in order"
    own = curves["killed"].set_index("epoch")["val_accuracy"]
    assert shown_curve(tmp_path / "runs" / "killed" / "checkpoints" / "00001") == pytest.approx(own.to_dict())


def test_a_time_budget_ends_the_run_with_a_measured_model(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "50", "--epochs", "5000", *SMALL, "--data-root", str(data_root), "--time-budget", "60s"]
    started = time.time()
    assert sweeps(*words, "--run-name", "short")[0] == 0
    assert time.time() - started < 120
    tables = frames(tmp_path / "results")
    assert set(tables["trials"]["status"]) == {"stopped"}
    assert bool(tables["best_models"]["evaluated"].iloc[0])
    assert sweeps("resume", "short")[1].startswith("short is finished: nothing to do.")


def test_a_cluster_without_room_is_refused(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    code, _, err = sweeps("run", "dropout", *SMALL, "--data-root", str(data_root), "--gpus", "1", "--address", "auto")
    assert code == 2
    asks = "a trial runs on one node, but it asks for 1 CPUs and 1 GPUs and the largest node has 2 and 0"
    assert err == f"error: {asks}: lower --cpus or --gpus\n"
    assert list((tmp_path / "runs").iterdir()) == [], "no run was begun"


def test_a_finished_run_whose_export_was_lost_is_exported(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "1", "--epochs", "1", *SMALL, "--data-root", str(data_root), "--run-name", "one"]
    assert sweeps(*words)[0] == 0
    shutil.rmtree(tmp_path / "results")
    assert sweeps("resume", "one")[0] == 0
    assert len(frames(tmp_path / "results")["epochs"]) == 1


def test_a_best_checkpoint_that_is_damaged_loses_no_result(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = ["run", "dropout", "--samples", "1", "--epochs", "1", *SMALL, "--data-root", str(data_root), "--run-name", "one"]
    assert sweeps(*words)[0] == 0
    journal = tmp_path / "runs" / "one" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    checkpoint, events = sorted((tmp_path / "runs" / "one" / "checkpoints" / "00001").iterdir())
    assert (checkpoint.name, events.name) == ("epoch-000001.npz", "events.out.tfevents.sweeps")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1])
    shutil.rmtree(tmp_path / "results")
    code, _, err = sweeps("resume", "one")
    assert code == 2
    assert err.startswith("error: the best model is measured from the checkpoint of epoch 1 of trial 00001, but that failed (ValueError: ")
    assert err.endswith("): mend it, then `sweeps resume one`\n")
    tables = frames(tmp_path / "results")
    assert (len(tables["epochs"]), bool(tables["best_models"]["evaluated"].iloc[0])) == (1, False)
    checkpoint.write_bytes(whole)
    assert sweeps("resume", "one")[0] == 0
    assert bool(frames(tmp_path / "results")["best_models"]["evaluated"].iloc[0])
