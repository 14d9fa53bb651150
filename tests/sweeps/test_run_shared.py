"""Real runs in which trials share a training, beside trainings of each trial alone: the same numbers, to the last bit on a CPU."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_prep import Dataset
from sweeps.core.storage import RunStorage
from tests.sweeps.conftest import Sweeps
from tests.sweeps.test_run import Killer
from trainables.core.features import CACHE_BYTES
from trainables.core.trainable import TRAIN

pytestmark = pytest.mark.usefixtures("ray")

SMALL: dict[str, Any] = {"size": 16, "filters": 4, "depth": 1, "classes": 2}
SEED = 3
METRICS = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]

Run = Callable[..., tuple[str, pd.DataFrame, pd.DataFrame]]
Alone = Callable[..., pd.DataFrame]


@pytest.fixture
def run(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> Run:
    """Runs a sweep over `cnn`; gives its output, its trials by id and its epochs."""

    def call(name: str, space: str, *words: str, **more: Any) -> tuple[str, pd.DataFrame, pd.DataFrame]:
        given = {"searcher": "grid", "scheduler": "none", "samples": 20, **more, "fixed": {**SMALL, **more.get("fixed", {})}}
        (tmp_path / "own.py").write_text(
            "from sweeps import Sweep, choice, integers\n"
            f"SWEEP = Sweep(question='q', trainable='cnn', space={{{space}}}, {', '.join(f'{key}={value!r}' for key, value in given.items())})\n"
        )
        options = ["--data", "digits", "--data-root", str(data_root), "--run-name", name, "--seed", str(SEED)]
        code, out, err = sweeps("run", "own.py", *options, *words)
        assert (code, err) == (0, "")
        return out, *tables(tmp_path, name)

    return call


@pytest.fixture(scope="module")
def alone(ray: None, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """The curve of a training that shares nothing: a worker's, in a process of its own for all tests here."""
    import ray as ray_module

    from trainables.core.worker import Worker

    actors: list[Any] = []
    curves: dict[str, pd.DataFrame] = {}

    def train(**settings: Any) -> pd.DataFrame:
        key = json.dumps(settings, sort_keys=True)
        if key not in curves:
            task = {
                "task": TRAIN,
                "trial": 1,
                "trainable": "cnn",
                "config": {**SMALL, "seed": SEED, **settings},
                "reported": 0,
                "dataset_folder": str(digits.path),
                "cache_bytes": CACHE_BYTES,
                "bases": {},
                "checkpoints": str(tmp_path_factory.mktemp("alone")),
                "final": False,
                "deadline": None,
                "cpus": 1,
                "gpus": 0,
            }
            if actors:
                ray_module.get(actors[0].reset_config.remote(task))
            else:
                actors.append(ray_module.remote(num_cpus=0)(Worker).remote(task))
            results = [ray_module.get(actors[0].step.remote()) for _ in range(settings["epochs"])]
            curves[key] = pd.DataFrame(results)[METRICS]
        return curves[key]

    yield train
    for actor in actors:
        ray_module.kill(actor)


def tables(folder: Path, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    trials, epochs = (pd.read_parquet(folder / "results" / table / f"sweep=own/run={run}") for table in ("trials", "epochs"))
    return trials.set_index("trial_id"), epochs


def curve(epochs: pd.DataFrame, trial_id: object) -> pd.DataFrame:
    return epochs[epochs["trial_id"] == trial_id][METRICS].reset_index(drop=True)


def trained(epochs: pd.DataFrame) -> int:
    return int(epochs["shared_with"].isna().sum())


def best_of(folder: Path) -> Any:
    return pd.read_parquet(folder / "results" / "best_models" / "sweep=own/run=one").iloc[0]


def keep(folder: Path, wanted: Callable[[int, dict[str, Any]], bool]) -> None:
    """What is left of the run's journal after a kill."""
    file = folder / "runs" / "one" / "journal.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for n, line in enumerate(lines) if wanted(n, json.loads(line))))


def test_a_grid_is_its_longest_trial(run: Run, alone: Alone, sweeps: Sweeps, tmp_path: Path) -> None:
    out, trials, table = run("one", "'epochs': choice(1, 2, 4)")
    assert list(trials["params_epochs"]) == [1, 2, 4]
    assert list(trials["status"]) == ["completed"] * 3
    for trial_id, count in trials["params_epochs"].items():
        pd.testing.assert_frame_equal(curve(table, trial_id), alone(epochs=count), check_exact=True)
    assert trained(table) == 4
    assert re.search(r"^shared: 3 of 7 epochs are of another trial's training, \d+ s saved$", out, re.MULTILINE)
    assert len(re.findall(r"^trial 0000\d completed: .* epochs \(shared with 0000\d\)$", out, re.MULTILINE)) == 2
    assert [path.name for path in (tmp_path / "runs" / "one" / "checkpoints").iterdir()] == ["00001"]
    assert best_of(tmp_path)["val_accuracy"] == pytest.approx(trials["val_accuracy"].max(), abs=1e-6)
    account = json.loads((tmp_path / "results" / "runs" / "sweep=own" / "run=one" / "run.json").read_text())["totals"]
    assert (account["epochs"], account["epochs_trained"], account["epochs_shared"]) == (7, 4, 3)

    # Killed between an epoch and its first copy.
    rows = [json.loads(text) for text in (tmp_path / "runs" / "one" / "journal.jsonl").read_text().splitlines()]
    copied = next(n for n, row in enumerate(rows) if row.get("of"))
    keep(tmp_path, lambda n, row: n < copied)
    assert sweeps("resume", "one")[0] == 0
    pd.testing.assert_frame_equal(tables(tmp_path, "one")[1][["trial_id", *METRICS]], table[["trial_id", *METRICS]], check_exact=True)


def test_the_longest_first(run: Run, alone: Alone, sweeps: Sweeps, tmp_path: Path) -> None:
    _, trials, table = run("one", "'epochs': choice(4, 2, 1)")
    for trial_id, count in trials["params_epochs"].items():
        pd.testing.assert_frame_equal(curve(table, trial_id), alone(epochs=count), check_exact=True)
    assert trained(table) == 4
    assert list(trials["shared_with"].fillna("")) == ["", "00001", "00001"]

    # Killed before the others were suggested: a session that trains nothing.
    keep(tmp_path, lambda n, row: row.get("trial", 1) == 1 and row["kind"] != "evaluation")
    assert sweeps("resume", "one")[0] == 0
    pd.testing.assert_frame_equal(tables(tmp_path, "one")[1][["trial_id", *METRICS]], table[["trial_id", *METRICS]], check_exact=True)

    # As if the longest had diverged, and had not known of the others: the best checkpoint of its prefix is not there.
    file = tmp_path / "runs" / "one" / "journal.jsonl"
    ended = '"trial":1,"status":"completed","reason":"epochs","error":null'
    assert file.read_text().count(ended) == 1
    keep(tmp_path, lambda n, row: row["kind"] != "evaluation")
    file.write_text(file.read_text().replace(ended, '"trial":1,"status":"failed","reason":"error","error":"diverged"'))
    best_epoch = int(trials["best_epoch"]["00002"])
    checkpoints = tmp_path / "runs" / "one" / "checkpoints" / "00001"
    for path in checkpoints.iterdir():
        if path.name <= f"epoch-{best_epoch:06d}.npz":
            path.unlink()
    assert sweeps("resume", "one")[0] == 1
    best = best_of(tmp_path)
    assert (best["trial_id"], best["best_epoch"], bool(best["evaluated"])) == ("00002", best_epoch, True)
    assert best["val_accuracy"] == pytest.approx(trials["val_accuracy"]["00002"], abs=1e-6)
    assert best["val_loss"] == pytest.approx(trials["val_loss"]["00002"], rel=1e-5)
    assert (checkpoints.parent / "00002" / str(best["checkpoint"])).resolve().is_file()
    assert sweeps("best", "one", "--save", "best.keras")[0] == 0


@pytest.mark.kill
def test_a_lost_worker_costs_those_that_wait_nothing(run: Run, alone: Alone, tmp_path: Path) -> None:
    killer = Killer(RunStorage(str(tmp_path / "runs"), "one"))
    killer.start()
    # Long enough that it is at work when the killer, beside a busy driver, has its turn.
    _, trials, table = run("one", "'epochs': choice(60, 3)")
    killer.join()
    assert killer.killed
    assert list(trials["restarts"]) == [1, 0]
    for trial_id, count in trials["params_epochs"].items():
        pd.testing.assert_frame_equal(curve(table, trial_id), alone(epochs=60)[:count], check_exact=True)
    assert trained(table) == 60


def test_a_schedule_that_goes_by_the_count_is_not_shared(run: Run, alone: Alone) -> None:
    out, trials, table = run("one", "'epochs': choice(1, 2)", fixed={"schedule": "cosine"})
    for trial_id, count in trials["params_epochs"].items():
        pd.testing.assert_frame_equal(curve(table, trial_id), alone(epochs=count, schedule="cosine"), check_exact=True)
    assert trained(table) == 3
    assert trials["shared_with"].isna().all()
    assert "shared" not in out


def assert_as_if_alone(trials: pd.DataFrame, epochs: pd.DataFrame, alone: Alone) -> None:
    """Each up to where it stopped, and nothing was trained twice."""
    for dropout, group in trials.groupby("params_dropout"):
        expected = alone(epochs=4, dropout=dropout)
        for trial_id, count in group["epochs_trained"].items():
            pd.testing.assert_frame_equal(curve(epochs, trial_id), expected[:count], check_exact=True)
    assert trained(epochs) == trials.groupby("params_dropout")["epochs_trained"].max().sum()
    assert trials["shared_with"].notna().any()


SPACE = "'epochs': integers(2, 4), 'dropout': choice(0.0, 0.4)"


def test_a_random_search_over_epochs(run: Run, alone: Alone) -> None:
    _, trials, epochs = run("one", SPACE, searcher="random", samples=7)
    assert list(trials["status"]) == ["completed"] * 7
    assert (trials["epochs_trained"] == trials["params_epochs"]).all()
    assert trials[["params_epochs", "params_dropout"]].duplicated().any()
    assert_as_if_alone(trials, epochs, alone)


def test_tpe_with_asha_in_trial_order(run: Run, alone: Alone) -> None:
    """On two workers, and one training at a time."""
    more: dict[str, Any] = {"searcher": "tpe", "startup": 2, "samples": 8, "scheduler": "asha", "grace_epochs": 1, "reduction_factor": 2}
    two = run("two", SPACE, "--deterministic", **more)[1:]
    one = run("one", SPACE, "--deterministic", "--parallel", "1", **more)[1:]
    assert set(two[0]["status"]) == {"completed", "stopped"}
    for trials, epochs in (one, two):
        assert_as_if_alone(trials, epochs, alone)
    columns = ["params_epochs", "params_dropout", "status", "epochs_trained", "best_epoch"]
    pd.testing.assert_frame_equal(one[0][columns], two[0][columns])
    pd.testing.assert_frame_equal(one[1][["trial_id", *METRICS]], two[1][["trial_id", *METRICS]], check_exact=True)
