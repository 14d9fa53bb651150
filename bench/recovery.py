"""How long does a run take to recover from a fault?

    python bench/recovery.py [--rounds 1] [--faults worker,kill,ctrl-c,raylet,torn,store]

One run of two trials at a time on digits (an epoch takes some 0.2 s) goes through one fault after the other, `--rounds` times. Measured are seconds from the
fault, or from the start of the `sweeps resume` that follows it at once, to the end of the first epoch that was trained after it and reported. Prints the
median and the range of each. The faults:

    worker   SIGKILL of a trial's worker: until that trial's next epoch, by itself
    kill     SIGKILL of every process, then `resume`
    ctrl-c   until the driver has ended, then `resume`
    raylet   SIGKILL of Ray's raylet: until the driver has ended by itself, then `resume`
    torn     SIGKILL of every process, the newest checkpoint of a trial cut in half, then `resume`: until that trial has an epoch more than it had
    store    an S3 server (moto's) that is away for 5 s: from its return, by itself; a run of its own

`start`, for comparison: from `sweeps run` to the first epoch, on data that is prepared. Linux."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil
from moto.server import ThreadedMotoServer

from data_prep import prepare
from sweeps.core.journal import read_state
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage

RUN = "run"
LIMIT_SECONDS = 120.0
LOOK_SECONDS = 0.2
AWAY_SECONDS = 5.0
SIZE = 16
SWEEP = """from sweeps import Sweep, uniform
SWEEP = Sweep(question="How much dropout?", trainable="cnn", space={"dropout": uniform(0, 0.7)}, searcher="random", scheduler="none")
"""
# More epochs than anyone waits for: no trial may end meanwhile.
WORDS = ["--epochs", "100000", "--samples", "2", "--parallel", "2", "--set", f"size={SIZE}", "--set", "filters=16", "--set", "depth=2"]
Seconds = dict[str, list[float]]


class Machine:
    """A folder with a run in it, and the driver that is at work on it."""

    def __init__(self, folder: Path, data_root: Path, storage: str) -> None:
        self.folder, self.storage = folder, storage
        self.options = ["--storage", storage, "--data-root", str(data_root)]
        self.driver: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        (folder / "mine.py").write_text(SWEEP)

    def start(self, *words: str) -> float:
        """`sweeps words` in the background; when (Unix time, s)."""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "no_proxy": "127.0.0.1"}
        command = [sys.executable, "-m", "sweeps", *words, *self.options]
        began = time.time()
        with (self.folder / "log").open("ab") as log:
            self.driver = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return began

    def run(self) -> float:
        """A new run; when it began."""
        return self.start("run", "mine.py", "--data", "digits", "--run-name", RUN, *WORDS)

    def resume(self) -> float:
        """Go on; when that began."""
        return self.start("resume", RUN)

    def state(self) -> RunState:
        """What the journal tells now."""
        storage = RunStorage(self.storage, RUN)
        return read_state(storage) if storage.exists() else RunState()

    def recovered(self, since: float, before: dict[int, int], count: int = 1) -> float:
        """Wait until so many trials of `before` (their last epochs) have had another epoch that was trained after `since`; seconds from there to
        the first one's end."""
        until = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            trials = self.state().trials
            firsts = [first_after(trials[index], since, last) for index, last in before.items() if index in trials]
            ended = sorted(moment for moment in firsts if moment is not None)
            if len(ended) >= count:
                return ended[0] - since
        sys.exit(f"the run did not go on within {LIMIT_SECONDS:g} s: {(self.folder / 'log').read_text()[-2000:]}")

    def family(self) -> list[psutil.Process]:
        """The driver, its Ray and its workers."""
        assert self.driver
        driver = psutil.Process(self.driver.pid)
        return [driver, *driver.children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL to all of them."""
        if self.driver is None or self.driver.poll() is not None:
            return
        family = self.family()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self.driver.wait()
        psutil.wait_procs(family, timeout=20)

    def ended(self) -> float:
        """Wait for the driver's own end; when that was."""
        assert self.driver
        self.driver.wait(timeout=LIMIT_SECONDS)
        return time.time()


def first_after(trial: Trial, since: float, last: int) -> float | None:
    """When the first epoch beyond `last` ended that was trained after `since`: one that was stored before, and is reported by a resume, is none."""
    return next((row["finished_at"] for epoch, row in sorted(trial.epochs.items()) if epoch > last and row["finished_at"] > since), None)


def at_work(machine: Machine) -> dict[int, int]:
    """Wait until both trials train; the last epoch of each."""
    before = lasts(machine)
    machine.recovered(time.time(), before or {1: 0, 2: 0}, count=2)
    return lasts(machine)


def lasts(machine: Machine) -> dict[int, int]:
    """The last epoch of each trial that was reported."""
    return {trial.index: trial.last_epoch for trial in machine.state().trials.values()}


def lose_worker(machine: Machine, found: Seconds) -> None:
    """SIGKILL of a trial's worker."""
    before = at_work(machine)
    trial = machine.state().trials[1]
    os.kill(trial.epochs[trial.last_epoch]["pid"], signal.SIGKILL)
    found["worker"].append(machine.recovered(time.time(), {1: before[1]}))


def kill_all(machine: Machine, found: Seconds) -> None:
    """SIGKILL of everything."""
    at_work(machine)
    machine.kill()
    before = lasts(machine)
    found["kill, resume"].append(machine.recovered(machine.resume(), before))


def interrupt(machine: Machine, found: Seconds) -> None:
    """Ctrl-C."""
    at_work(machine)
    assert machine.driver
    began = time.time()
    machine.driver.send_signal(signal.SIGINT)
    found["ctrl-c, driver ended"].append(machine.ended() - began)
    before = lasts(machine)
    found["ctrl-c, resume"].append(machine.recovered(machine.resume(), before))


def lose_raylet(machine: Machine, found: Seconds) -> None:
    """SIGKILL of a part of Ray itself."""
    at_work(machine)
    family = machine.family()
    began = time.time()
    next(member for member in family if member.name() == "raylet").kill()
    found["raylet, driver ended"].append(machine.ended() - began)
    psutil.wait_procs(family, timeout=LIMIT_SECONDS)
    before = lasts(machine)
    found["raylet, resume"].append(machine.recovered(machine.resume(), before))


def tear(machine: Machine, found: Seconds) -> None:
    """Half a checkpoint is left."""
    at_work(machine)
    machine.kill()
    newest = max(Path(RunStorage(machine.storage, RUN).trial_checkpoints("00001")).glob("epoch-*.npz"))
    os.truncate(newest, newest.stat().st_size // 2)
    last = lasts(machine)[1]
    found["torn, resume"].append(machine.recovered(machine.resume(), {1: last}))


FAULTS: dict[str, Callable[[Machine, Seconds], None]] = {
    "worker": lose_worker,
    "kill": kill_all,
    "ctrl-c": interrupt,
    "raylet": lose_raylet,
    "torn": tear,
}


def on_a_disk(folder: Path, data_root: Path, faults: list[str], rounds: int, found: Seconds) -> None:
    """All faults but that of a store."""
    machine = Machine(folder / "disk", data_root, str(folder / "disk" / "runs"))
    try:
        found["start"].append(machine.recovered(machine.run(), {1: 0, 2: 0}))
        for _ in range(rounds):
            for fault in faults:
                FAULTS[fault](machine, found)
    finally:
        machine.kill()


def on_a_store(folder: Path, data_root: Path, rounds: int, found: Seconds) -> None:
    """A server that is away for a while."""
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    # It must come back where it was.
    server._port = port
    keys = {"aws_access_key_id": "me", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys).create_bucket(Bucket="bucket")
    where = f"s3://me:secret@bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    machine = Machine(folder / "store", data_root, where)
    try:
        machine.run()
        for _ in range(rounds):
            at_work(machine)
            server.stop()
            time.sleep(AWAY_SECONDS)
            server.start()
            back = time.time()
            found["store"].append(machine.recovered(back, lasts(machine)))
    finally:
        machine.kill()
        server.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--faults", default=",".join([*FAULTS, "store"]))
    given = parser.parse_args()
    faults = given.faults.split(",")
    if unknown := set(faults) - {*FAULTS, "store"}:
        parser.error(f"--faults are of {', '.join([*FAULTS, 'store'])}, but got {', '.join(sorted(unknown))}")
    found: Seconds = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="recovery-", ignore_cleanup_errors=True) as name:
        folder, data_root = Path(name), Path(name) / "data"
        prepare("digits", size=SIZE, root=data_root)
        if on_disk := [fault for fault in faults if fault in FAULTS]:
            on_a_disk(folder, data_root, on_disk, given.rounds, found)
        if "store" in faults:
            on_a_store(folder, data_root, given.rounds, found)
    for what, seconds in found.items():
        print(f"{what:22} {median(seconds):5.1f} s ({min(seconds):.1f} to {max(seconds):.1f}, n = {len(seconds)})")


if __name__ == "__main__":
    main()
