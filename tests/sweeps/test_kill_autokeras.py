"""AutoKeras searches in processes of their own, killed in every way and resumed: the candidates and scores of an uninterrupted search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweeps.core.state import RunState
from tests.sweeps.test_kill import SECONDS, Machine, kill_all

pytestmark = pytest.mark.kill

WORDS = ["run", "autokeras", "--data", "digits", "--samples", "6", "--epochs", "3", "--seed", "1", "--set", "size=16", "--run-name", "run"]

BUDGET = 90


def trials(machine: Machine) -> pd.DataFrame:
    columns = ["trial_id", "config_json", "status", "final_of", "best_epoch", "train_loss", "val_loss", "val_accuracy", "parameters"]
    return pd.read_parquet(machine.folder / "results" / "trials").sort_values("trial_id")[columns].reset_index(drop=True)


def begun(trial: int, state: RunState) -> bool:
    """Whether it is running and has a result."""
    return trial in state.trials and bool(state.trials[trial].epochs) and not state.trials[trial].end


def kill_worker(machine: Machine, trial: int) -> None:
    state = machine.state("run").trials[trial]
    psutil.Process(state.epochs[state.last_epoch]["pid"]).kill()


def spoil(run: Path, trial: str) -> None:
    """What a kill in the middle of writing leaves: a torn last row, a truncated newest checkpoint."""
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"kind": "result", "trial": 4, "epo')
    newest = max((run / "checkpoints" / trial).glob("epoch-*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("calm"), data_root)
    machine.run(*WORDS)
    return machine


def test_kill_9_of_a_worker_and_of_everything_then_another_place(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    first = Machine(tmp_path / "first", data_root)
    process = first.start(*WORDS)
    first.wait("run", lambda state: begun(2, state))
    kill_worker(first, 2)
    first.wait("run", lambda state: begun(4, state))
    kill_all(process)
    spoil(first.folder / "runs" / "run", "00004")
    second = Machine(tmp_path / "second", data_root)
    shutil.move(first.folder / "runs", second.folder / "runs")
    second.run("resume", "run")

    pd.testing.assert_frame_equal(trials(second), trials(calm), check_exact=True)
    pd.testing.assert_frame_equal(second.results("run"), calm.results("run"), check_exact=True)
    best = [pd.read_parquet(machine.folder / "results" / "best_models") for machine in (calm, second)]
    timed = ["run_seconds", "train_seconds"]
    pd.testing.assert_frame_equal(best[0].drop(columns=timed), best[1].drop(columns=timed), check_exact=True)
    state = second.state("run")
    assert [trial.index for trial in state.trials.values() if trial.final_of] == [7], "one final fit"
    assert {index: trial.restarts for index, trial in state.trials.items()} == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0, 6: 0, 7: 0}
    assert "nothing to do" in second.run("resume", "run")
    assert len(second.state("run").sessions) == 2


def test_kill_9_in_the_final_fit(tmp_path: Path, data_root: Path) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    process = machine.start(*WORDS, "--samples", "1")
    machine.wait("run", lambda state: 2 in state.trials)
    kill_all(process)
    assert not machine.state("run").trials[2].end
    machine.run("resume", "run")
    search, fit = machine.state("run").trials.values()
    assert (fit.final_of, fit.config["epochs"], sorted(fit.epochs)) == (1, search.best_epoch, list(range(1, fit.config["epochs"] + 1)))
    assert list(machine.state("run").evaluations) == [(2, fit.config["epochs"])], "the final fit is what is measured, once"


def test_a_time_budget_holds_over_a_kill(tmp_path: Path, data_root: Path) -> None:
    words = [*WORDS, "--epochs", "500", "--samples", "100", "--time-budget", f"{BUDGET}s"]
    machine = Machine(tmp_path / "machine", data_root)
    process = machine.start(*words)
    # A worker that starts and traces has had its time before the budget ends, also on a slow machine.
    machine.wait("run", lambda state: state.elapsed_seconds >= BUDGET / 3 and any(trial.epochs for trial in state.trials.values()))
    kill_all(process)
    out = machine.run("resume", "run")
    state = machine.state("run")
    search = [trial for trial in state.trials.values() if not trial.final_of]
    (fit,) = (trial for trial in state.trials.values() if trial.final_of)
    assert any(trial.end and trial.end["reason"] == "time budget" for trial in search)
    first, second = (session["time"] for session in state.sessions)
    rows = [json.loads(line) for line in (machine.folder / "runs" / "run" / "journal.jsonl").read_text().splitlines()]
    until_killed = max(row["time"] for row in rows if row["time"] < second) - first
    ended = max(trial.end["time"] for trial in search if trial.end)
    # A batch takes milliseconds, but the budget may end while a worker starts. One that began again would come to BUDGET * 4 / 3.
    assert until_killed + ended - second < BUDGET + 15
    assert fit.config["epochs"] == state.trials[fit.final_of or 0].best_epoch
    assert fit.status == "completed"
    assert f"final fit of trial {fit.final_of:05d} on train and validation: {fit.config['epochs']} epoch" in out
    assert "nothing to do" in machine.run("resume", "run")


def test_two_at_a_time_and_a_worker_killed(tmp_path: Path, data_root: Path) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    process = machine.start(*WORDS, "--parallel", "2", "--epochs", "6")
    machine.wait("run", lambda state: begun(2, state) and len([trial for trial in state.trials.values() if not trial.end]) == 2)
    kill_worker(machine, 2)
    out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, out + err
    state = machine.state("run")
    assert len(state.trials) == 7
    assert [trial.index for trial in state.trials.values() if trial.restarts] == [2]
    assert state.trials[2].restarts == 1
    assert all(sorted(trial.epochs) == list(range(1, trial.config["epochs"] + 1)) for trial in state.trials.values())
