"""Real runs on an object store, which goes away and comes back."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.s3 import SECRET, Store, store
from tests.sweeps.test_kill import SECONDS, SMALL, SWEEP, Machine, assert_nothing_was_trained_again, calm_run, epochs, kill_all
from trainables.core.files import PATIENCE

pytestmark = pytest.mark.kill

WORDS = ["--epochs", "40", "--samples", "3", "--parallel", "2", *SMALL]


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    with store() as made:
        yield made


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Machine:
    return calm_run(tmp_path_factory.mktemp("calm"), data_root, WORDS)


def machine(s3: Store, folder: Path, data_root: Path, **environment: str) -> Machine:
    made = Machine(folder, data_root, s3.uri(f"{folder.name}/runs"), no_proxy="127.0.0.1", **environment)
    (folder / "mine.py").write_text(SWEEP)
    return made


def start(made: Machine, *more: str) -> subprocess.Popen[str]:
    return made.start("run", "mine.py", *WORDS, *more, "--run-name", "run", "--storage", made.storage)


def good_end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, out + err
    return out + err


def test_gone_for_a_while_then_killed_and_resumed(s3: Store, calm: Machine, tmp_path: Path, data_root: Path) -> None:
    """The workers wait; after a kill the numbers are those of a run on a disk. No secret is written anywhere."""
    made = machine(s3, tmp_path, data_root)
    process = start(made)
    made.wait("run", lambda state: epochs(state) >= 3)
    s3.gate.shut()
    time.sleep(8)
    s3.gate.open()
    before = epochs(made.state("run"))
    made.wait("run", lambda state: epochs(state) >= before + 2)
    kill_all(process)
    said = good_end(made.start("resume", "run", "--storage", made.storage))
    said += made.run("status", "run", "--storage", made.storage, data=False)
    pd.testing.assert_frame_equal(made.results("run"), calm.results("run"), check_exact=True)
    assert "run: s3://***@bucket/" in said
    written = {**s3.objects(), **{str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}}
    assert len(written) > 20
    assert [name for name, content in written.items() if SECRET.encode() in content] == []
    assert SECRET not in said
    assert_nothing_was_trained_again(made, "run")
    assert "lease.json" not in {name.rpartition("/")[2] for name in written}, "nobody works on it"


def test_a_second_process_is_refused(s3: Store, tmp_path: Path, data_root: Path) -> None:
    made = machine(s3, tmp_path, data_root)
    # It works until it is killed.
    process = start(made, "--epochs", "5000")
    try:
        made.wait("run", lambda state: epochs(state) >= 1)
        second = made.start("resume", "run", "--storage", made.storage)
        out, err = second.communicate(timeout=SECONDS)
        assert second.returncode == 2, out + err
        assert err == "error: one process at a time runs a run, but run is running already: watch it with `sweeps status run`\n"
        assert SECRET not in out
    finally:
        kill_all(process)


def test_away_for_too_long(s3: Store, calm: Machine, tmp_path: Path, data_root: Path) -> None:
    """The run stops in one line; when the store is back it goes on."""
    made = machine(s3, tmp_path, data_root, **{PATIENCE: "3"})
    process = start(made)
    # Both work: one that begins asks for a checkpoint first, and says another line.
    made.wait("run", lambda state: [bool(trial.epochs) for trial in state.open_trials] == [True, True])
    s3.gate.shut()
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        s3.gate.open()
    assert process.returncode == 130, out + err
    assert re.search(r"^stopped: (a checkpoint|the journal) cannot be written \(the storage does not answer ", out, re.MULTILINE), out
    assert "Traceback" not in out + err
    assert SECRET not in out + err
    good_end(made.start("resume", "run", "--storage", made.storage))
    pd.testing.assert_frame_equal(made.results("run"), calm.results("run"), check_exact=True)
