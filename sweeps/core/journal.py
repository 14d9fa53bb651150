"""The truth of a run: an append-only record of every suggestion, result and end, on disk before anything acts on it.

On a local disk one file, appended and synced, a JSON row a line, those that follow from one another at once. On an object store, which cannot append,
numbered segments: a session writes its rows into the newest segment, whole each time, and starts another when it has SEGMENT_ROWS.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, get_args

import orjson

from data_prep import BadInput
from sweeps.core.lease import RunTaken
from sweeps.core.state import EPOCH_METRICS, Row, RunState, Status
from sweeps.core.storage import RunStorage
from trainables.core import files

SEGMENT_ROWS = 100
SEGMENT = re.compile(r"\d{6,}\.jsonl")


class _Log(Protocol):
    def read(self) -> Iterable[Row]: ...

    def append(self, rows: list[Row], synced: bool = True) -> None: ...


class _FileLog:
    """A local file. A torn last line, left by a kill in the middle of a write, is not a row: nothing acted on it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Iterator[Row]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            yield from _parse((line for line in file if line.endswith(b"\n")), str(self.path))

    def append(self, rows: list[Row], synced: bool = True) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            new = os.fstat(descriptor).st_size == 0
            _cut_torn_line(descriptor)
            lines = b"".join(map(_line, rows))
            if os.write(descriptor, lines) != len(lines):
                raise OSError("short write")
            if synced:
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
        self.storage, self.system, self.folder = storage, storage.system, folder
        self.number = 0
        self.rows: list[Row] = []

    def read(self) -> Iterator[Row]:
        names = [name for name in files.names(self.system, self.folder) if SEGMENT.fullmatch(name)]
        self.number = len(names)
        self.rows = []
        for number, name in enumerate(names, 1):
            if name != f"{number:06d}.jsonl":
                raise BadInput(
                    f"a journal's segments are numbered without a gap, but in {files.shown(self.folder)} {number:06d}.jsonl is missing: restore it"
                )
        for name in names:
            yield from _parse(files.read(self.system, f"{self.folder}/{name}").splitlines(), name)

    def append(self, rows: list[Row], synced: bool = True) -> None:
        full = not self.rows or len(self.rows) >= SEGMENT_ROWS
        number, rows = (self.number + 1, rows) if full else (self.number, [*self.rows, *rows])
        allowed = self.storage.lease.check if self.storage.lease else None
        files.write(self.system, f"{self.folder}/{number:06d}.jsonl", b"".join(map(_line, rows)), files.patience(), allowed)
        self.number, self.rows = number, rows


def _line(row: Row) -> bytes:
    return json.dumps(row, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _parse(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        try:
            yield orjson.loads(line)
        except ValueError:
            raise BadInput(
                f"every line of a journal is JSON, but line {number} of {name} is damaged: restore the file, or start a new run"
            ) from None


def _log(storage: RunStorage) -> _Log:
    return _FileLog(Path(storage.folder) / "journal.jsonl") if storage.local else _SegmentLog(storage, f"{storage.folder}/journal")


class Journal:
    """A run's journal, open for writing by one process, and the state it tells."""

    def __init__(self, storage: RunStorage) -> None:
        self._log = _log(storage)
        self.state = _replay(self.rows(), storage.run)
        # The screen reads the state from a thread of its own.
        self.lock = threading.Lock()
        self.lost = False

    def rows(self) -> Iterable[Row]:
        """All of them, from the disk: a long run has a million."""
        return self._log.read()

    def append(self, kind: str, synced: bool = True, **values: Any) -> None:
        """Write a row, sync it, then apply it to the state. StorageLost when it cannot be written; then nor can any later one, or there would be a gap.
        `synced`: False for a row that nothing acts on: a kill leaves it, a machine that loses its power may lose it, up to the next row."""
        self.append_together([{"kind": kind, **values}], synced)

    def append_together(self, rows: list[Row], synced: bool = True) -> None:
        """The same of rows that follow from one another, in one write. A kill leaves the first ones or all, as between rows that are written one by one."""
        if self.lost:
            raise files.StorageLost("the journal could not be written before")
        now = time.time()
        rows = [{"kind": row["kind"], "time": now, **row} for row in rows]
        try:
            self._log.append(rows, synced)
        except RunTaken:
            self.lost = True
            raise
        except OSError as error:
            self.lost = True
            raise files.StorageLost(f"the journal cannot be written ({files.reason(error)})") from error
        with self.lock:
            for row in rows:
                self.state.apply(row)


def read_state(storage: RunStorage) -> RunState:
    """The state of a run, also while another process writes it."""
    return _replay(_log(storage).read(), storage.run)


class Check(NamedTuple):
    """What a value of a row is: of one of these types, and a number within these limits or a text that is one of `texts`."""

    types: tuple[type, ...]
    least: float = 0
    most: float = sys.float_info.max
    texts: tuple[str, ...] = ()


NONE: Final = type(None)
NUMBER: Final = Check((float, int), -sys.float_info.max)
NUMBER_OR_NONE: Final = Check((float, int, NONE), -sys.float_info.max)
# Of 64 bits, as in the tables.
COUNT: Final = Check((int,), 0, 2**63 - 1)
COUNT_OR_NONE: Final = Check((int, NONE), 0, 2**63 - 1)
# Unix time (s): up to the last moment that a date can be, the end of the year 9999.
MOMENT: Final = Check((float, int), 0, 253_402_300_799)

# A damaged row would be found by whoever happens to reckon with it.
OF_ANY: Final = {"time": MOMENT}
CHECKS: Final[dict[str, dict[str, Check]]] = {
    "suggest": {**OF_ANY, "trial": COUNT, "config": Check((dict,))},
    "result": {
        **OF_ANY,
        "trial": COUNT,
        "epoch": Check((int,), 1, 2**63 - 1),
        **dict.fromkeys(EPOCH_METRICS, NUMBER_OR_NONE),
        **dict.fromkeys(("learning_rate", "setup_seconds"), NUMBER_OR_NONE),
        "epoch_seconds": NUMBER,
        "images_per_second": Check((float, int), sys.float_info.min),
        **dict.fromkeys(("parameters", "trainable_parameters"), COUNT_OR_NONE),
        **dict.fromkeys(("checkpoint", "node"), Check((str, NONE))),
        "pid": COUNT_OR_NONE,
        "finished_at": MOMENT,
    },
    "end": {**OF_ANY, "status": Check((str,), texts=get_args(Status))},
    "evaluation": {**OF_ANY, "splits": Check((dict,)), "test_averages": Check((dict,)), "classes": Check((list,))},
    "resources": {**OF_ANY, "cpus": Check((int,), 1, 2**63 - 1), "gpus": Check((float, int))},
    "extend": {**OF_ANY, "samples": COUNT_OR_NONE, "epochs": COUNT_OR_NONE, "time_budget_seconds": NUMBER_OR_NONE},
}


# A row that somebody altered may have any keys.
@lru_cache(256)
def _checks(kind: str, names: tuple[str, ...]) -> list[tuple[str, tuple[type, ...], float, float, tuple[str, ...]]]:
    """Of a row of that kind with these keys: each that is checked, and how."""
    checks = CHECKS.get(kind, OF_ANY)
    return [(name, *checks[name]) for name in names if name in checks]


def _check_values(row: Row) -> None:
    """ValueError where what is in a row is no such value. (What is not in it is the reader's matter.)"""
    if row["kind"] == "end" and "status" not in row:
        raise ValueError("an end lacks its status")
    # In one place, without a call for each value: a million rows have 18 each.
    for key, types, least, most, texts in _checks(row["kind"], tuple(row)):
        value = row[key]
        kind = type(value)
        if kind is float or kind is int:
            # NaN is within no limits; a bool is of type bool.
            if kind in types and least <= value <= most:
                continue
        elif kind in types and (not texts or value in texts):
            continue
        raise ValueError(f"{key} of a {row['kind']} is {str(value)[:40]!r}")


@contextmanager
def whole_rows(run: str) -> Iterator[None]:
    """BadInput where a row lacks what is asked of it."""
    try:
        yield
    except KeyError as error:
        raise BadInput(
            f"a journal holds whole rows, but one of {run} lacks {error}: use the version that wrote it, or restore it"
        ) from None


def _replay(rows: Iterable[Row], run: str) -> RunState:
    state = RunState()
    try:
        for row in rows:
            _check_values(row)
            state.apply(row)
    except OSError as error:
        raise BadInput(
            f"a journal must be one that can be read, but that of {run} gave {files.reason(error)}: mend that, or restore it"
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(
            f"a journal holds rows that this version knows, but that of {run} does not ({error}): use the version that wrote it"
        ) from None
    return state
