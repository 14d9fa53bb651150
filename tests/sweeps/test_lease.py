from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pyarrow import fs

from data_prep import BadInput
from sweeps.core import lease
from sweeps.core.journal import Journal
from sweeps.core.lease import Lease, RunTaken, held
from tests.sweeps.test_journal import CONFIG, object_store
from trainables.core.files import StorageLost

TAKEN = "one process at a time runs a run, but run is running already: watch it with `sweeps status run`"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RENEW_SECONDS": 0.1, "SETTLE_SECONDS": 0.3, "LOOK_SECONDS": 0.05}.items():
        monkeypatch.setattr(lease, name, seconds)


@pytest.fixture
def soon_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who is not there any more: one that works may be held up for longer."""
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)


def store(folder: Path) -> fs.FileSystem:
    """One that is treated as an object store."""
    return fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())


def make(folder: Path, told: list[str] | None = None) -> Lease:
    return Lease(store(folder), "lease.json", "run", (told if told is not None else []).append)


def test_a_second_one_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with make(tmp_path):
        assert held(store(tmp_path), "lease.json")
        with pytest.raises(BadInput) as refused, make(tmp_path):
            pass
        assert str(refused.value) == TAKEN
    assert list(tmp_path.iterdir()) == []
    assert not held(store(tmp_path), "lease.json")
    with make(tmp_path):
        pass


@pytest.mark.parametrize("content", [b'{"host": "another", "pid": 1, "token": "x"}', b"", b"[]", b"{"])
@pytest.mark.usefixtures("soon_stale")
def test_one_that_is_not_renewed_is_taken_over(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lease.json").write_bytes(content)
    told: list[str] = []
    slept: list[float] = []
    sleep = time.sleep

    def noted(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", noted)
    started = time.monotonic()
    with make(tmp_path, told):
        assert time.monotonic() - started > 1
        assert sum(slept) < 3
    (text,) = told
    assert text.startswith("run: waiting up to 1 s to see whether process ")
    assert text.endswith("still works on it")


def test_that_of_a_dead_process_of_this_machine_at_once(tmp_path: Path) -> None:
    import platform

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "lease.json").write_text(json.dumps({"host": platform.node(), "pid": dead.pid, "token": "x"}))
    told: list[str] = []
    with make(tmp_path, told):
        assert told == []


def test_of_two_that_begin_at_once_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 2.0)
    outcomes: list[str] = []
    other = threading.Event()

    def begin() -> None:
        try:
            with make(tmp_path):
                outcomes.append("has it")
                other.wait(20)
        except BadInput:
            outcomes.append("refused")
        other.set()

    both = [threading.Thread(target=begin) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(outcomes) == ["has it", "refused"]


def test_who_has_lost_it_writes_no_more(tmp_path: Path) -> None:
    made = object_store(tmp_path)
    journal = Journal(made)
    with make(tmp_path) as mine:
        made.lease = mine
        journal.append("suggest", trial=1, config=CONFIG)
        until = time.monotonic() + 5
        while not mine.lost:
            # Again and again: it may have looked just before, and write its own now.
            (tmp_path / "lease.json").write_text(json.dumps({"token": "another"}))
            assert time.monotonic() < until
            time.sleep(0.05)
        with pytest.raises(RunTaken, match=r"^another process has taken the run$"):
            journal.append("suggest", trial=2, config=CONFIG)
        with pytest.raises(StorageLost, match=r"^the journal could not be written before$"):
            journal.append("suggest", trial=2, config=CONFIG)
    assert json.loads((tmp_path / "lease.json").read_text()) == {"token": "another"}, "it is not ours to delete"
    assert len(list(journal.rows())) == 1


@pytest.mark.usefixtures("soon_stale")
def test_after_a_suspension_the_store_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for long, and writes before the thread that renews its lease has had a turn."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60)
    made = object_store(tmp_path)
    journal = Journal(made)
    with make(tmp_path) as mine:
        made.lease = mine
        journal.append("suggest", trial=1, config=CONFIG)
        time.sleep(1.1)
        journal.append("suggest", trial=2, config=CONFIG)
        (tmp_path / "lease.json").write_text(json.dumps({"token": "another"}))
        with pytest.raises(RunTaken):
            journal.append("suggest", trial=3, config=CONFIG)
    assert len(list(journal.rows())) == 2
