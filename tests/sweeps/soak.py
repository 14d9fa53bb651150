"""A sweep whose processes are killed again and again, until it is finished all the same: then its results are compared with those of a calm one.

    python -m tests.sweeps.soak [--minutes 10] [--seed 0]

Every 5 to 20 s a process of the run, drawn at random, gets SIGKILL: the driver, a part of Ray, a worker in the middle of whatever it does. When the
driver is gone the run is resumed. The sweep learns (TPE, ASHA) on two workers, so it decides in trial order. Prints each kill and the account;
exit code 1 where a figure differs from those of a calm run on one worker."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from data_prep import prepare
from tests.sweeps.test_kill import Machine

# Of the whole run that is killed; a resume may train on for long.
LIMIT_SECONDS = 3600
PAUSE_SECONDS = 5.0, 20.0
SWEEP = """from sweeps import Sweep, log_uniform, uniform
SWEEP = Sweep(question="What holds?", trainable="cnn", space={"dropout": uniform(0, 0.7), "learning_rate": log_uniform(1e-4, 1e-2)},
    searcher="tpe", scheduler="asha", startup=3, grace_epochs=2, reduction_factor=2)
"""
SMALL = ["--set", "size=16", "--set", "filters=8", "--set", "depth=2"]
# Of a run like any other; times, machines and what interruptions leave are not compared.
TRIAL = [
    "trial_id",
    "status",
    "config_json",
    "epochs_trained",
    "best_epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "parameters",
    "shared_with",
]
TIMED = ["run_seconds", "train_seconds", "git_commit"]


@dataclass
class Survived:
    """What the run has lived through."""

    kills: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    account: str = ""


def role(process: psutil.Process, driver: int) -> str:
    """What a process of a run is."""
    if process.pid == driver:
        return "the driver"
    words = process.cmdline()
    if words and words[0].startswith("ray::"):
        return "an idle worker" if "IDLE" in words[0] else "an agent of Ray" if "Agent" in words[0] else "a worker"
    for name in ("gcs_server", "raylet", "log_monitor", "monitor.py", "dashboard", "runtime_env_agent"):
        if any(name in word for word in words):
            return name.removesuffix(".py")
    return "a process that stands by"


def kill_one(process: subprocess.Popen[str], draw: random.Random) -> str | None:
    """SIGKILL to a process of the run; its role, or None where none is left."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        family = [member for member in family if member.status() != psutil.STATUS_ZOMBIE]
        # By role first: else it would nearly always be one of Ray's many.
        roles: dict[str, list[psutil.Process]] = {}
        for member in family:
            roles.setdefault(role(member, process.pid), []).append(member)
        chosen = draw.choice(sorted(roles))
        draw.choice(sorted(roles[chosen], key=lambda member: member.pid)).kill()
    except psutil.Error:
        return None
    return chosen


def killed_run(
    machine: Machine, words: list[str], draw: random.Random, pause: tuple[float, float] = PAUSE_SECONDS, most: int | None = None
) -> Survived:
    """The run `run` from `words` to its end, through at most so many kills."""
    found, until = Survived(), time.monotonic() + LIMIT_SECONDS
    process = machine.start(*words)
    while True:
        assert time.monotonic() < until, f"it does not come to its end: {found}"
        wait = draw.uniform(*pause) if most is None or sum(found.kills.values()) < most else LIMIT_SECONDS
        try:
            process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            if killed := kill_one(process, draw):
                found.kills[killed] += 1
                print(f"{time.strftime('%H:%M:%S')} killed {killed}", flush=True)
            continue
        if process.returncode == 0:
            break
        # What the driver leaves behind ends by itself, but not at once.
        begun = (machine.folder / "runs" / "run" / "run.json").exists()
        process = machine.start(*(["resume", "run"] if begun else words))
        found.resumes += begun
    shown = machine.run("status", "run", data=False)
    found.account = next((line for line in shown.splitlines() if "kept" in line or "begun again" in line), "")
    return found


def assert_equal(one: Machine, other: Machine) -> None:
    """Their results, but for times and machines."""
    pd.testing.assert_frame_equal(one.results("run"), other.results("run"), check_exact=True)
    for table, columns in (("trials", TRIAL), ("best_models", None)):
        left, right = (pd.read_parquet(machine.folder / "results" / table) for machine in (one, other))
        keep = columns or [column for column in left.columns if column not in TIMED]
        pd.testing.assert_frame_equal(left[keep].sort_values(keep[0]), right[keep].sort_values(keep[0]), check_exact=True)


def soak(folder: Path, data_root: Path, seed: int, trials: int, epochs: int, **more: object) -> Survived:
    """A calm run of one trial at a time and a killed one of two, which must come to the same."""
    calm, killed = (Machine(folder / name, data_root) for name in ("calm", "killed"))
    words = ["run", "mine.py", "--data", "digits", "--samples", str(trials), "--epochs", str(epochs), *SMALL]
    words += ["--deterministic", "--seed", str(seed), "--run-name", "run"]
    for machine in (calm, killed):
        (machine.folder / "mine.py").write_text(SWEEP)
    calm.run(*words, "--parallel", "1", seconds=LIMIT_SECONDS)
    found = killed_run(killed, words, random.Random(seed), **more)  # type: ignore[arg-type]
    assert_equal(calm, killed)
    return found


def main() -> None:
    """Soak until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    until, seed, kills, resumes = time.monotonic() + 60 * given.minutes, given.seed, Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        root = Path(folder) / "data"
        prepare("digits", size=16, root=root)
        while time.monotonic() < until:
            place = Path(folder) / str(seed)
            place.mkdir()
            try:
                found = soak(place, root, seed, trials=12, epochs=80)
            except AssertionError as error:
                sys.exit(f"seed {seed}: {error}")
            kills, resumes, seed = kills + found.kills, resumes + found.resumes, seed + 1
            print(
                f"seed {seed - 1}: equal after {sum(found.kills.values())} kills and {found.resumes} resumes; {found.account}", flush=True
            )
    roles = ", ".join(f"{count} of {name}" for name, count in kills.most_common())
    print(f"{seed - given.seed} runs, each equal to a calm one, through {sum(kills.values())} kills ({roles}) and {resumes} resumes")


if __name__ == "__main__":
    main()
