"""Real runs in processes of their own, interrupted in every way, then resumed: the numbers of an uninterrupted run, each reported once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweeps.core.journal import read_state
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage

pytestmark = pytest.mark.kill

METRICS = ["trial_id", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
SECONDS = 120
SWEEPS = [sys.executable, "-m", "sweeps"]


class Machine:
    """A folder to run `sweeps` in as its own processes."""

    def __init__(self, folder: Path, data_root: Path) -> None:
        self.folder, self.data_root = folder, data_root
        folder.mkdir(exist_ok=True)

    def start(self, *words: str, data: bool = True) -> subprocess.Popen[str]:
        """`sweeps words` in the background."""
        command = [*SWEEPS, *words, *(["--data-root", str(self.data_root)] if data else [])]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str, data: bool = True) -> str:
        """`sweeps words` to its end, which must be good."""
        with self.start(*words, data=data) as process:
            out, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, out + err
        return out

    def state(self, run: str) -> RunState:
        """What the run's journal tells now."""
        storage = RunStorage(str(self.folder / "runs"), run)
        return read_state(storage) if storage.exists() else RunState()

    def wait(self, run: str, condition: Callable[[RunState], bool]) -> None:
        """Until the journal tells so."""
        ending = time.monotonic() + SECONDS
        while not condition(self.state(run)):
            assert time.monotonic() < ending, "the run did not come so far"
            time.sleep(0.05)

    def results(self, run: str) -> pd.DataFrame:
        """The curves that were exported."""
        epochs = pd.read_parquet(self.folder / "results" / "epochs")
        return epochs[epochs["run"] == run].sort_values(["trial_id", "epoch"])[METRICS].reset_index(drop=True)


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver, all of its Ray and all of its workers."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=20)
    process.communicate()


def epochs(state: RunState) -> int:
    return sum(len(trial.epochs) for trial in state.trials.values())


# Two trials at a time; a search that does not depend on the order of arrival.
# An epoch takes some 0.3 s: a warm worker would be through with smaller ones before anyone kills it.
WORDS = ["--epochs", "8", "--samples", "3", "--set", "size=16", "--set", "filters=16", "--set", "depth=2", "--data", "digits"]
SWEEP = """from sweeps import Sweep, uniform
SWEEP = Sweep(question="How much dropout?", trainable="cnn", space={"dropout": uniform(0, 0.7)}, searcher="random", scheduler="none")
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Machine:
    """Where the run `run` was made without interruption."""
    machine = Machine(tmp_path_factory.mktemp("calm"), data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    machine.run("run", "mine.py", *WORDS, "--run-name", "run")
    return machine


def assert_each_epoch_was_reported_once(machine: Machine, run: str) -> None:
    rows = [json.loads(line) for line in (machine.folder / "runs" / run / "journal.jsonl").read_text().splitlines()]
    reported = [(row["trial"], row["epoch"]) for row in rows if row["kind"] == "result"]
    assert sorted(reported) == [(trial, epoch) for trial in (1, 2, 3) for epoch in range(1, 9)]


def test_kill_9_of_everything_twice_then_another_place(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    """Killed in the first and in a later trial; then the storage is moved, and resumed without the sweep's file."""
    first = Machine(tmp_path / "first", data_root)
    (first.folder / "mine.py").write_text(SWEEP)
    process = first.start("run", "mine.py", *WORDS, "--run-name", "run")
    first.wait("run", lambda state: epochs(state) >= 3)
    kill_all(process)
    before = epochs(first.state("run"))
    process = first.start("resume", "run")
    first.wait("run", lambda state: epochs(state) >= before + 8)
    kill_all(process)
    second = Machine(tmp_path / "second", data_root)
    shutil.move(first.folder / "runs", second.folder / "runs")
    second.run("resume", "run")

    assert_each_epoch_was_reported_once(second, "run")
    pd.testing.assert_frame_equal(second.results("run"), calm.results("run"), check_exact=True)
    best = [
        pd.read_parquet(machine.folder / "results" / "best_models").drop(columns=["run_seconds", "train_seconds"])
        for machine in (calm, second)
    ]
    pd.testing.assert_frame_equal(best[0], best[1], check_exact=True)
    assert "nothing to do" in second.run("resume", "run")


SHARED = """from sweeps import Sweep, choice
SWEEP = Sweep(question="How long?", trainable="cnn", space={"depth": choice(1, 2), "epochs": choice(3, 12, 8)}, searcher="grid", scheduler="none")
"""


def test_kill_9_of_trials_that_share_a_training(tmp_path: Path, data_root: Path) -> None:
    """While the first of them trains, and while another one goes on."""
    words = ["run", "mine.py", "--samples", "6", "--set", "size=16", "--set", "filters=4", "--data", "digits", "--run-name", "run"]
    calm, killed = (Machine(tmp_path / name, data_root) for name in ("calm", "killed"))
    for machine in (calm, killed):
        (machine.folder / "mine.py").write_text(SHARED)
    calm.run(*words)
    process = killed.start(*words)
    killed.wait("run", lambda state: state.trained_epochs >= 2)
    kill_all(process)
    before = killed.state("run").trained_epochs
    process = killed.start("resume", "run")
    killed.wait("run", lambda state: state.trained_epochs >= before + 6)
    kill_all(process)
    killed.run("resume", "run")
    pd.testing.assert_frame_equal(killed.results("run"), calm.results("run"), check_exact=True)
    for machine in (calm, killed):
        state = machine.state("run")
        assert (state.trained_epochs, state.shared_epochs) == (24, 22), "no epoch twice"
        assert [len(trial.epochs) for trial in state.trials.values()] == [3, 12, 8] * 2


def test_kill_9_when_the_repeats_begin(tmp_path: Path, data_root: Path) -> None:
    words = ["run", "mine.py", *WORDS, "--epochs", "2", "--seeds", "2", "--deterministic"]
    machines = [Machine(tmp_path / name, data_root) for name in ("calm", "killed")]
    for machine in machines:
        (machine.folder / "mine.py").write_text(SWEEP)
    calm, killed = machines
    calm.run(*words, "--run-name", "run")
    process = killed.start(*words, "--run-name", "run")
    killed.wait("run", lambda state: any(trial.repeat_of for trial in state.trials.values()))
    kill_all(process)
    killed.run("resume", "run")
    assert killed.state("run").count("completed") == 6
    pd.testing.assert_frame_equal(killed.results("run"), calm.results("run"), check_exact=True)
    best = [
        pd.read_parquet(machine.folder / "results" / "best_models").drop(columns=["run_seconds", "train_seconds"]) for machine in machines
    ]
    pd.testing.assert_frame_equal(best[0], best[1], check_exact=True)


@pytest.mark.parametrize("notice", [signal.SIGINT, signal.SIGTERM])
def test_a_notice_ends_cleanly_and_says_how_to_go_on(calm: Machine, tmp_path: Path, data_root: Path, notice: signal.Signals) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    process = machine.start("run", "mine.py", *WORDS, "--run-name", "run")
    machine.wait("run", lambda state: epochs(state) >= 3)
    process.send_signal(notice)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert out.endswith("interrupted; everything reported is kept: go on with `sweeps resume run`\n")
    assert "Traceback" not in err
    kept = machine.results("run")
    assert len(kept) >= 3, "an interrupted run is exported too"
    shown = subprocess.run([*SWEEPS, "status", "run"], cwd=machine.folder, capture_output=True, text=True, check=True).stdout
    assert shown.endswith("interrupted: `sweeps resume run` goes on with it\n")
    machine.run("resume", "run")
    assert_each_epoch_was_reported_once(machine, "run")
    pd.testing.assert_frame_equal(machine.results("run"), calm.results("run"), check_exact=True)


# An epoch takes some 15 s: more than Ray Tune itself gives a worker that it ends.
LONG = ["--epochs", "3", "--samples", "2", "--set", "size=32", "--set", "filters=64", "--data", "digits", "--run-name", "run"]
ENDING = "interrupted: ending the epochs that are being trained; Ctrl-C again gives them up\n"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_ends_the_epoch_and_twice_gives_it_up(tmp_path: Path, data_root: Path, times: int) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    process = machine.start("run", "mine.py", *LONG)
    machine.wait("run", lambda state: len(state.trials) == 2 and all(trial.starts for trial in state.trials.values()))
    time.sleep(6)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, out + err
    assert out.count(ENDING) == 1
    assert "Traceback" not in err
    state = machine.state("run")
    assert state.paused == (times == 1)
    assert [sorted(trial.epochs) for trial in state.trials.values()] == [[1] if times == 1 else []] * 2
    assert not any(trial.end for trial in state.trials.values())


def test_a_second_driver_is_refused(tmp_path: Path, data_root: Path) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    # It works until it is killed.
    process = machine.start("run", "mine.py", *WORDS, "--epochs", "5000", "--run-name", "run")
    try:
        machine.wait("run", lambda state: epochs(state) >= 1)
        with machine.start("resume", "run") as second:
            _, err = second.communicate(timeout=60)
        assert second.returncode == 2
        done = subprocess.run([*SWEEPS, "status", "run"], cwd=machine.folder, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("running now\n")
        assert err == "error: one process at a time runs a run, but run is running already: watch it with `sweeps status run`\n"
    finally:
        kill_all(process)
