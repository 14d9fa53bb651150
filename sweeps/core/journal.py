"""The truth of a run: an append-only record of every suggestion, result and end, on disk before anything acts on it.

On a local disk one file, appended and synced, a JSON row a line. On an object store, which cannot append, numbered segments: a session writes
its rows into the newest segment, whole each time, and starts another when it has SEGMENT_ROWS.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from data_prep import BadInput
from sweeps.core.state import Row, RunState
from sweeps.core.storage import RunStorage
from trainables.core import files

SEGMENT_ROWS = 100


class _Log(Protocol):
    def read(self) -> list[Row]: ...

    def append(self, row: Row) -> None: ...


class _FileLog:
    """A local file. A torn last line, left by a kill in the middle of a write, is not a row: nothing acted on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Row]:
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        return _parse(content[: content.rfind(b"\n") + 1], str(self.path))

    def append(self, row: Row) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            new = os.fstat(descriptor).st_size == 0
            _cut_torn_line(descriptor)
            line = _line(row)
            if os.write(descriptor, line) != len(line):
                raise OSError("short write")
            os.fsync(descriptor)
            if new:
                files.sync_folder(self.path.parent)
        finally:
            os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)


class _SegmentLog:
    """Objects `000001.jsonl`, `000002.jsonl`, ... in a folder of an object store."""

    def __init__(self, storage: RunStorage, folder: str) -> None:
        self.system, self.folder = storage.system, folder
        self.number = 0
        self.rows: list[Row] = []

    def read(self) -> list[Row]:
        names = files.names(self.system, self.folder)
        self.number = len(names)
        self.rows = []
        return [row for name in names for row in _parse(files.read(self.system, f"{self.folder}/{name}"), name)]

    def append(self, row: Row) -> None:
        full = not self.rows or len(self.rows) >= SEGMENT_ROWS
        number, rows = (self.number + 1, [row]) if full else (self.number, [*self.rows, row])
        files.write(self.system, f"{self.folder}/{number:06d}.jsonl", b"".join(map(_line, rows)), files.PATIENCE_SECONDS)
        self.number, self.rows = number, rows


def _line(row: Row) -> bytes:
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _parse(content: bytes, name: str) -> list[Row]:
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise BadInput(
                f"every line of a journal is JSON, but line {number} of {name} is damaged: restore the file, or start a new run"
            ) from None
    return rows


def _log(storage: RunStorage) -> _Log:
    return _FileLog(Path(storage.folder) / "journal.jsonl") if storage.local else _SegmentLog(storage, f"{storage.folder}/journal")


class Journal:
    """A run's journal, open for writing by one process, and the state it tells."""

    def __init__(self, storage: RunStorage) -> None:
        self._log = _log(storage)
        self.rows = self._log.read()
        self.state = _replay(self.rows, storage.run)
        # The screen reads the state from a thread of its own.
        self.lock = threading.Lock()
        self.lost = False

    def append(self, kind: str, **values: Any) -> None:
        """Write a row, sync it, then apply it to the state. StorageLost when it cannot be written; then nor can any later one, or there would be a gap."""
        row = {"kind": kind, "time": time.time(), **values}
        if self.lost:
            raise files.StorageLost("the journal could not be written before")
        try:
            self._log.append(row)
        except OSError as error:
            self.lost = True
            raise files.StorageLost(f"the journal cannot be written ({files.reason(error)})") from error
        with self.lock:
            self.rows.append(row)
            self.state.apply(row)


def read_state(storage: RunStorage) -> RunState:
    """The state of a run, also while another process writes it."""
    return _replay(_log(storage).read(), storage.run)


def _replay(rows: list[Row], run: str) -> RunState:
    state = RunState()
    try:
        for row in rows:
            state.apply(row)
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(
            f"a journal holds rows that this version knows, but that of {run} does not ({error}): use the version that wrote it"
        ) from None
    return state
