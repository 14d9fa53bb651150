"""Real runs in processes of their own, interrupted in every way, then resumed: the numbers of an uninterrupted run, each reported once."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import psutil
import pytest

from sweeps.core.journal import read_state
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage
from trainables.core.checkpoint import CheckpointStore

pytestmark = pytest.mark.kill

METRICS = ["trial_id", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]
# Two runs at a time share the cores of a slow machine.
SECONDS = 240
SWEEPS = [sys.executable, "-m", "sweeps"]


def until(condition: Callable[[], bool], complaint: str) -> None:
    """Wait for it."""
    ending = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ending, complaint
        time.sleep(0.05)


class Machine:
    """A folder to run `sweeps` in as its own processes."""

    def __init__(self, folder: Path, data_root: Path, storage: str | None = None, **environment: str) -> None:
        self.folder, self.data_root, self.environment = folder, data_root, {**os.environ, **environment}
        self.storage = storage or str(folder / "runs")
        folder.mkdir(exist_ok=True)

    def start(self, *words: str, data: bool = True, out: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
        """`sweeps words` in the background."""
        command = [*SWEEPS, *words, *(["--data-root", str(self.data_root)] if data else [])]
        pipes: dict[str, Any] = {"stdout": out, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **pipes)

    def run(self, *words: str, data: bool = True, seconds: float = SECONDS) -> str:
        """`sweeps words` to its end, which must be good."""
        process = self.start(*words, data=data)
        out, err = process.communicate(timeout=seconds)
        assert process.returncode == 0, out + err
        return out

    def state(self, run: str) -> RunState:
        """What the run's journal tells now."""
        storage = RunStorage(self.storage, run)
        return read_state(storage) if storage.exists() else RunState()

    def wait(self, run: str, condition: Callable[[RunState], bool]) -> None:
        """Until the journal tells so."""
        until(lambda: condition(self.state(run)), "the run did not come so far")

    def results(self, run: str) -> pd.DataFrame:
        """The curves that were exported."""
        epochs = pd.read_parquet(self.folder / "results" / "epochs")
        return epochs[epochs["run"] == run].sort_values(["trial_id", "epoch"])[METRICS].reset_index(drop=True)


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver, all of its Ray and all of its workers."""
    assert process.poll() is None, "it was through before anyone killed it"
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=20)
    process.communicate()


def epochs(state: RunState) -> int:
    return sum(len(trial.epochs) for trial in state.trials.values())


# Two trials at a time; a search that does not depend on the order of arrival.
# An epoch takes some 0.3 s: a warm worker would be through with smaller ones before anyone kills it.
SMALL = ["--set", "size=16", "--set", "filters=16", "--set", "depth=2", "--data", "digits"]
WORDS = ["--epochs", "8", "--samples", "3", "--parallel", "2", *SMALL]
SWEEP = """from sweeps import Sweep, uniform
SWEEP = Sweep(question="How much dropout?", trainable="cnn", space={"dropout": uniform(0, 0.7)}, searcher="random", scheduler="none")
"""


def calm_run(folder: Path, data_root: Path, words: list[str]) -> Machine:
    """Where the run `run` was made on a disk, without interruption."""
    machine = Machine(folder, data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    machine.run("run", "mine.py", *words, "--run-name", "run")
    return machine


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Machine:
    return calm_run(tmp_path_factory.mktemp("calm"), data_root, WORDS)


def assert_each_epoch_was_reported_once(machine: Machine, run: str) -> None:
    rows = [json.loads(line) for line in (machine.folder / "runs" / run / "journal.jsonl").read_text().splitlines()]
    reported = [(row["trial"], row["epoch"]) for row in rows if row["kind"] == "result"]
    assert sorted(reported) == [(trial, epoch) for trial in (1, 2, 3) for epoch in range(1, 9)]


def assert_nothing_was_trained_again(machine: Machine, run: str) -> None:
    """Of what was reported. A worker that found no checkpoint would train up to there in silence, and to the same numbers."""
    storage, state = RunStorage(machine.storage, run), machine.state(run)
    for trajectory in {trial.trajectory for trial in state.trials.values()}:
        longest = max(state.mates(trajectory), key=lambda trial: trial.last_epoch)
        newest = CheckpointStore(storage.trial_checkpoints(longest.folder_id)).load_newest()
        assert newest
        assert [row["finished_at"] for row in newest[1]] == [row["finished_at"] for row in longest.epochs.values()]


def test_kill_9_of_everything_twice_then_another_place(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    """Killed in the first and in a later trial; then the storage is moved, and resumed without the sweep's file and in an empty home."""
    first = Machine(tmp_path / "first", data_root)
    (first.folder / "mine.py").write_text(SWEEP)
    process = first.start("run", "mine.py", *WORDS, "--run-name", "run")
    first.wait("run", lambda state: epochs(state) >= 3)
    kill_all(process)
    before = epochs(first.state("run"))
    process = first.start("resume", "run")
    first.wait("run", lambda state: epochs(state) >= before + 8)
    kill_all(process)
    (tmp_path / "home").mkdir()
    second = Machine(tmp_path / "second", data_root, HOME=str(tmp_path / "home"))
    shutil.move(first.folder / "runs", second.folder / "runs")
    second.run("resume", "run")

    assert_each_epoch_was_reported_once(second, "run")
    assert_nothing_was_trained_again(second, "run")
    assert second.state("run").interruptions == 2
    assert "interrupted 2 times" in second.run("status", "run", data=False)
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
    words = ["run", "mine.py", "--samples", "6", "--set", "size=16", "--set", "filters=16", "--data", "digits", "--run-name", "run"]
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
    assert_nothing_was_trained_again(killed, "run")
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


def of_the_driver(process: subprocess.Popen[str], notice: signal.Signals) -> None:
    process.send_signal(notice)


def of_all(process: subprocess.Popen[str], notice: signal.Signals) -> None:
    """Every process of the run at once, as the end of a machine's session or a job queue sends it."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(notice)


Sent = Callable[[subprocess.Popen[str], signal.Signals], None]


@pytest.mark.parametrize(
    ("send", "notice"), [(of_the_driver, signal.SIGINT), (of_the_driver, signal.SIGTERM), (of_all, signal.SIGINT), (of_all, signal.SIGTERM)]
)
def test_a_notice_ends_cleanly_and_says_how_to_go_on(
    calm: Machine, tmp_path: Path, data_root: Path, send: Sent, notice: signal.Signals
) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    process = machine.start("run", "mine.py", *WORDS, "--run-name", "run")
    machine.wait("run", lambda state: epochs(state) >= 3)
    send(process, notice)
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
    told = tmp_path / "told"
    with told.open("w") as file:
        process = machine.start("run", "mine.py", *LONG, out=file)
    machine.wait("run", lambda state: len(state.trials) == 2 and all(trial.epochs for trial in state.trials.values()))
    # Each is in the middle of its next epoch.
    before = {trial.index: trial.last_epoch for trial in machine.state("run").trials.values()}
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        # Two that come while the process is held up are one.
        until(lambda: ENDING in told.read_text(), "it said nothing")
        # One that comes while rich still prints would have it printed again.
        time.sleep(1)
    _, err = process.communicate(timeout=SECONDS)
    out = told.read_text()
    assert process.returncode == 130, out + err
    assert out.count(ENDING) == 1
    assert "Traceback" not in err
    state = machine.state("run")
    assert state.paused == (times == 1)
    assert {trial.index: trial.last_epoch for trial in state.trials.values()} == {
        index: last + (times == 1) for index, last in before.items()
    }
    assert not any(trial.end for trial in state.trials.values())


@pytest.mark.parametrize(("part", "why"), [("raylet", "Ray has no node left: "), ("gcs_server", "Ray does not answer any more: ")])
def test_a_part_of_ray_itself_is_killed(tmp_path: Path, data_root: Path, part: str, why: str) -> None:
    """The run stops by itself, in a line and not in a traceback. (How such a run goes on is what the soak looks at.)"""
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    # It works until it has noticed, which takes some 15 s.
    process = machine.start("run", "mine.py", *WORDS, "--epochs", "5000", "--run-name", "run")
    try:
        machine.wait("run", lambda state: epochs(state) >= 3)
        (found,) = [member for member in psutil.Process(process.pid).children(recursive=True) if member.name() == part]
        found.kill()
        out, err = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:
            kill_all(process)
    assert process.returncode == 130, out + err
    assert re.search(rf"^stopped: {why}", out, re.MULTILINE), out
    assert out.endswith("interrupted; everything reported is kept: go on with `sweeps resume run`\n")
    assert "Traceback" not in out + err
    state = machine.state("run")
    assert (epochs(state) >= 3, state.count("failed"), len(state.open)) == (True, 0, 2)
    assert len(machine.results("run")) == epochs(state), "it is exported"


def test_a_second_driver_is_refused(tmp_path: Path, data_root: Path) -> None:
    machine = Machine(tmp_path / "machine", data_root)
    (machine.folder / "mine.py").write_text(SWEEP)
    # It works until it is killed.
    process = machine.start("run", "mine.py", *WORDS, "--epochs", "5000", "--run-name", "run")
    try:
        machine.wait("run", lambda state: epochs(state) >= 1)
        second = machine.start("resume", "run")
        _, err = second.communicate(timeout=60)
        assert second.returncode == 2
        done = subprocess.run([*SWEEPS, "status", "run"], cwd=machine.folder, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("running now\n")
        assert err == "error: one process at a time runs a run, but run is running already: watch it with `sweeps status run`\n"
    finally:
        kill_all(process)


FEATURES = """from sweeps import Sweep, choice
SWEEP = Sweep(question="How much dropout?", trainable="transfer", space={"dropout": choice(0.2, 0.5)}, searcher="grid", scheduler="none",
    fixed={"base": "vgg16", "weights": "random", "size": 32})
"""


def test_kill_9_while_features_are_computed(tmp_path: Path) -> None:
    """Twice; each has data of its own, and so no features of the other."""
    words = ["run", "mine.py", "--data", "digits", "--epochs", "2", "--run-name", "run"]
    calm, killed = (Machine(tmp_path / name, tmp_path / name / "data") for name in ("calm", "killed"))
    for machine in (calm, killed):
        (machine.folder / "mine.py").write_text(FEATURES)
    calm.run(*words)
    process = killed.start(*words)
    done = 0
    for _ in range(2):
        killed.wait("run", lambda state, done=done: done < images_done(state))  # type: ignore[misc]
        kill_all(process)
        done = images_done(killed.state("run"))
        assert not epochs(killed.state("run")), "there was something left to compute"
        process = killed.start("resume", "run")
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    stages = [stage for trial in killed.state("run").trials.values() for stage in trial.stages]
    assert sum(stage["computed"] for stage in stages) <= max(stage["images_total"] for stage in stages), (
        "what was stored is not computed again"
    )
    pd.testing.assert_frame_equal(killed.results("run"), calm.results("run"), check_exact=True)


def images_done(state: RunState) -> int:
    return max((stage["images_done"] for trial in state.trials.values() for stage in trial.stages), default=0)


def test_kill_9_in_the_middle_of_an_export(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    """At moments drawn at random: readers see whole tables or none, and the next export is that of the run."""
    machine = Machine(tmp_path / "machine", data_root)
    shutil.copytree(calm.folder / "runs", machine.folder / "runs")
    draw, begun = random.Random(0), 0
    for _ in range(12):
        shutil.rmtree(machine.folder / "results", ignore_errors=True)
        process = machine.start("export", "run", data=False)
        while not (machine.folder / "results" / "trials").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.04))
        process.kill()
        process.communicate()
        begun += process.returncode == -signal.SIGKILL
        for file in (machine.folder / "results").rglob("*.parquet"):
            assert len(pd.read_parquet(file)) > 0, file
    assert begun > 6, "killed in the middle"
    machine.run("export", "run", data=False)
    for table in ("trials", "epochs", "best_models", "class_reports", "layers", "confusions", "mistakes"):
        one, other = (pd.read_parquet(place.folder / "results" / table) for place in (machine, calm))
        pd.testing.assert_frame_equal(one, other, check_exact=True)


MEMORY = """from sweeps import Sweep, choice
SWEEP = Sweep(question="How wide?", trainable="cnn", space={"filters": choice(4, 512)}, searcher="grid", scheduler="none",
    fixed={"size": 56, "depth": 1, "batch_size": 1024})
"""


def test_a_trial_that_takes_too_much_memory_fails_alone(tmp_path: Path, data_root: Path) -> None:
    """Its worker is ended by Ray, which watches the machine's memory; 512 filters take 6.6 GB a layer, and other tests run beside this one. Of 2^31
    elements and more TensorFlow (2.21) ends the worker itself, with a `bad_alloc`, before its memory is full."""
    memory = psutil.virtual_memory()
    most = min(0.95, (memory.total - memory.available + 9 * 10**9) / memory.total)
    settings = {"RAY_memory_usage_threshold": f"{most:.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    machine = Machine(tmp_path / "machine", data_root, **settings)
    (machine.folder / "mine.py").write_text(MEMORY)
    process = machine.start("run", "mine.py", "--data", "digits", "--epochs", "1", "--parallel", "1", "--run-name", "run")
    # Each of its four workers takes these 9 GB, which lasts 40 s on a slow machine.
    out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 1, out + err
    assert "Traceback" not in out + err
    small, large = machine.state("run").trials.values()
    assert (small.status, large.status) == ("completed", "failed")
    assert re.fullmatch(
        r"out of memory: Ray ended its worker when [\d.]+GB of the machine's [\d.]+GB were used; a smaller batch_size, or fewer trials at a time, "
        "may help",
        large.error or "",
    )
