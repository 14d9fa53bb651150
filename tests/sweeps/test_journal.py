from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from data_prep import BadInput
from sweeps.core.journal import SEGMENT_ROWS, Journal, read_state
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from trainables.core.files import StorageLost

CONFIG = runs.suggest(1, 0)["config"]


def storage(tmp_path: Path, run: str = "run") -> RunStorage:
    made = RunStorage(str(tmp_path), run)
    made.create(runs.spec(run))
    return made


def object_store(tmp_path: Path) -> RunStorage:
    """A storage that is treated as an object store: no append, no rename, and files appear when they are closed."""
    made = RunStorage(str(tmp_path), "run")
    made.system, made.folder, made.local = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "run", False
    (tmp_path / "run" / "journal").mkdir(parents=True)
    return made


@pytest.mark.parametrize("kind", ["local", "objects"])
def test_what_is_appended_is_read_back(tmp_path: Path, kind: str) -> None:
    made = storage(tmp_path) if kind == "local" else object_store(tmp_path)
    first = Journal(made)
    first.append("session", workers=2)
    for trial in range(1, SEGMENT_ROWS + 20):
        first.append("suggest", trial=trial, config=CONFIG)
    second = Journal(made)
    assert [row.get("trial") for row in second.rows()] == [None, *range(1, SEGMENT_ROWS + 20)]
    second.append("end", trial=1, status="failed", reason="error", error="no")
    state = read_state(made)
    assert len(state.trials) == SEGMENT_ROWS + 19
    assert state.trials[1].error == "no"


def test_a_gap_in_the_segments_is_refused(tmp_path: Path) -> None:
    made = object_store(tmp_path)
    journal = Journal(made)
    for trial in range(1, 2 * SEGMENT_ROWS + 2):
        journal.append("suggest", trial=trial, config=CONFIG)
    (tmp_path / "run" / "journal" / "notes.txt").write_text("of a user")
    assert len(Journal(made).state.trials) == 2 * SEGMENT_ROWS + 1
    (tmp_path / "run" / "journal" / "000002.jsonl").unlink()
    with pytest.raises(BadInput) as refused:
        Journal(made)
    assert str(refused.value) == "a journal's segments are numbered without a gap, but in run/journal 000002.jsonl is missing: restore it"


def test_segments_are_numbered_and_of_a_bounded_size(tmp_path: Path) -> None:
    journal = Journal(object_store(tmp_path))
    for trial in range(1, 2 * SEGMENT_ROWS + 2):
        journal.append("suggest", trial=trial, config=CONFIG)
    folder = tmp_path / "run" / "journal"
    assert sorted(path.name for path in folder.iterdir()) == ["000001.jsonl", "000002.jsonl", "000003.jsonl"]
    assert [len(path.read_text().splitlines()) for path in sorted(folder.iterdir())] == [SEGMENT_ROWS, SEGMENT_ROWS, 1]


@pytest.mark.parametrize("torn", [b"{", b'{"kind":"sugg', b'{"kind":"session","time":1.0}'])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    made = storage(tmp_path)
    Journal(made).append("session", workers=1)
    file = Path(made.folder, "journal.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    assert len(read_state(made).sessions) == 1
    journal = Journal(made)
    journal.append("session", workers=2)
    assert file.read_bytes().startswith(whole + b'{"kind":"session"')
    assert [row["workers"] for row in Journal(made).rows()] == [1, 2]


def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    made = storage(tmp_path)
    Journal(made).append("session", workers=1)
    file = Path(made.folder, "journal.jsonl")
    file.write_bytes(file.read_bytes() + b"garbage\n" + file.read_bytes())
    with pytest.raises(BadInput) as refused:
        Journal(made)
    assert str(refused.value) == f"every line of a journal is JSON, but line 2 of {file} is damaged: restore the file, or start a new run"


def test_a_row_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    made = storage(tmp_path)
    Path(made.folder, "journal.jsonl").write_text('{"kind":"fork","time":1}\n')
    with pytest.raises(BadInput) as refused:
        read_state(made)
    text = "a journal holds rows that this version knows, but that of run does not (journal rows are of a known kind, but got 'fork'): "
    assert str(refused.value) == text + "use the version that wrote it"


@pytest.mark.parametrize(
    ("row", "lacks"),
    [
        ({"kind": "suggest", "trial": 1, "config": {}}, "a row lacks epochs"),
        ({"kind": "suggest", "trial": 1}, "'config'"),
        ({"kind": "result", "trial": 1, "epoch": 1}, "a row lacks train_loss"),
        ({"kind": "end", "trial": 7, "status": "failed"}, "7"),
        ([], "list indices must be integers or slices, not str"),
    ],
)
def test_a_row_that_was_altered_is_refused(tmp_path: Path, row: object, lacks: str) -> None:
    made = storage(tmp_path)
    content = {**row, "time": 1.0} if isinstance(row, dict) else row
    Path(made.folder, "journal.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(BadInput) as refused:
        read_state(made)
    text = f"a journal holds rows that this version knows, but that of run does not ({lacks}): use the version that wrote it"
    assert str(refused.value) == text


def test_a_number_that_json_has_not_is_refused_at_once(tmp_path: Path) -> None:
    journal = Journal(storage(tmp_path))
    with pytest.raises(ValueError, match="JSON compliant"):
        journal.append("session", workers=float("nan"))
    assert list(journal.rows()) == []


@pytest.mark.kill
def test_kill_9_at_any_moment_leaves_whole_rows(tmp_path: Path) -> None:
    """A writer is killed eight times; what it had said was written is there each time, in order and once."""
    made = storage(tmp_path)
    Journal(made).append("session", workers=1)
    code = (
        "import sys; from sweeps.core.journal import Journal; from sweeps.core.storage import RunStorage\n"
        f"journal = Journal(RunStorage({str(tmp_path)!r}, 'run'))\n"
        "trial = len(journal.state.trials)\n"
        "while True:\n"
        f"    trial += 1; journal.append('suggest', trial=trial, config={CONFIG!r}); print(trial, flush=True)\n"
    )
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            said = [int(writer.stdout.readline()) for _ in range(5)]
            time.sleep(0.02)
            os.kill(writer.pid, signal.SIGKILL)
            said += [int(line) for line in writer.stdout.read().splitlines() if line]
        rows = [json.loads(line) for line in Path(made.folder, "journal.jsonl").read_bytes().split(b"\n")[1:-1]]
        assert [row["trial"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) >= max(said)


@pytest.mark.parametrize("kind", ["local", "objects"])
def test_a_row_that_cannot_be_written_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nothing acts on it, and none comes after it, or a later resume would find a gap."""
    made = storage(tmp_path) if kind == "local" else object_store(tmp_path)
    journal = Journal(made)
    journal.append("session", workers=2)
    journal.append("suggest", trial=1, config=CONFIG)

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if kind == "local" else "trainables.core.files.write", full)
        with pytest.raises(StorageLost) as caught:
            journal.append("suggest", trial=2, config=CONFIG)
    assert str(caught.value) == "the journal cannot be written (No space left on device)"
    assert list(journal.state.trials) == [1]
    with pytest.raises(StorageLost, match="could not be written before"):
        journal.append("start", trial=1)
    # The row itself may have reached the disk: then it was written before anything acted on it, as any other.
    again = Journal(made)
    again.append("start", trial=1)
    assert [row["kind"] for row in read_state_rows(made)][:2] == ["session", "suggest"]
    assert read_state(made).trials[1].starts


@pytest.mark.parametrize("kind", ["local", "objects"])
def test_rows_that_follow_from_one_another_are_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    made = storage(tmp_path) if kind == "local" else object_store(tmp_path)
    journal = Journal(made)
    journal.append("session", workers=2)
    written: list[int] = []
    plain = type(journal._log).append

    def counted(log: Any, rows: list[dict[str, Any]], synced: bool = True) -> None:
        written.append(len(rows))
        plain(log, rows, synced)

    monkeypatch.setattr(type(journal._log), "append", counted)
    journal.append_together([{"kind": "suggest", "trial": trial, "config": CONFIG} for trial in (1, 2)])
    assert written == [2]
    assert list(read_state(made).trials) == list(journal.state.trials) == [1, 2]
    assert {type(row["time"]) for row in journal.rows()} == {float}

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync" if kind == "local" else "trainables.core.files.write", full)
    with pytest.raises(StorageLost):
        journal.append_together([{"kind": "suggest", "trial": trial, "config": CONFIG} for trial in (3, 4)])
    assert journal.lost
    assert list(journal.state.trials) == [1, 2], "nothing shows what may not be on the disk"


def test_a_row_that_nothing_acts_on_is_synced_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    plain = os.fsync

    def sync(handle: int) -> None:
        synced.append(handle)
        plain(handle)

    monkeypatch.setattr(os, "fsync", sync)
    made = storage(tmp_path)
    journal = Journal(made)
    journal.append("suggest", trial=1, config=CONFIG)
    synced.clear()
    journal.append("start", synced=False, trial=1)
    assert not synced
    assert read_state(made).trials[1].starts, "a kill leaves it"
    journal.append("end", trial=1, status="failed", reason="error", error="no")
    assert len(synced) == 1
    assert read_state(made).trials[1].status == "failed"


def read_state_rows(made: RunStorage) -> list[dict[str, object]]:
    return list(Journal(made).rows())


def test_a_journal_that_cannot_be_read(tmp_path: Path) -> None:
    made = RunStorage(str(tmp_path), "run")
    (tmp_path / "run" / "journal.jsonl").mkdir(parents=True)
    for read in (read_state, Journal):
        with pytest.raises(BadInput) as refused:
            read(made)
        assert str(refused.value) == "a journal must be one that can be read, but that of run gave Is a directory: mend that, or restore it"
