"""Decode many files on all cores.

Plain child processes, not `ProcessPoolExecutor`: its spawned workers import the caller's main module again (a training script's
TensorFlow in each; without an `if __name__` guard the copy calls `prepare` and waits for the lock its parent holds, for ever), its
forked ones inherit threads and the lock, and all of them outlive a parent that is killed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import data_prep
from data_prep.core.container import open_container
from data_prep.core.errors import BadInput
from data_prep.core.progress import Advance
from data_prep.core.rows import decode_rows
from data_prep.core.source import Files

Skipped = list[tuple[int, str]]
# Below this a process's start (0.3 s) costs more than it saves.
FEW_FILES: Final = 256
# All decoders together stay within 1 GB on a machine of many cores: one holds 40 MB, and the directory of a zip file of 100,000 another 70.
MAX_OF_FOLDER: Final = 24
MAX_OF_ZIP: Final = 8
_CHUNK_FILES: Final = 256
_CHUNK_BYTES: Final = 16 << 20


def decode_files(files: Files, size: int, out: Path, advance: Advance) -> Skipped:
    """Decode every member into its row of the file `out`; (row, reason) of each unreadable one, by row."""
    step = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // (3 * size * size)))
    starts = range(0, len(files.members), step)
    skipped: Skipped = []
    most = MAX_OF_ZIP if files.container.is_file() else MAX_OF_FOLDER
    processes = 1 if len(files.members) < FEW_FILES else min(cores(), most, len(starts))
    with _decoders(processes, files.container, size, out) as decoders, ThreadPoolExecutor(processes) as threads:

        def run(start: int) -> tuple[int, Skipped]:
            members = files.members[start : start + step]
            decoder = decoders.get()
            try:
                return len(members), decoder.decode(start, list(members))
            finally:
                decoders.put(decoder)

        jobs = [threads.submit(run, start) for start in starts]
        try:
            for job in as_completed(jobs):
                done, reasons = job.result()
                skipped += reasons
                advance(done)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(skipped)


def cores() -> int:
    """How many cores this process may use; macOS does not tell: all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Here:
    """Decodes in this process."""

    def __init__(self, container: Path, size: int, out: Path) -> None:
        self._read, self._size, self._out = open_container(container), size, os.open(out, os.O_WRONLY)

    def decode(self, row: int, members: list[str]) -> Skipped:
        return decode_rows(self._read, self._size, self._out, row, members)

    def close(self) -> None:
        os.close(self._out)


class _Child:
    """Decodes in a process of its own."""

    def __init__(self, container: Path, size: int, out: Path) -> None:
        arguments = [str(container.absolute()), str(size), str(out.absolute())]
        command = [sys.executable, "-m", "data_prep.core.decode_worker", *arguments]
        paths = [str(Path(data_prep.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        # A group of its own: a terminal's Ctrl-C goes to this process alone, which ends its decoders; else each would show a traceback.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, process_group=0
        )

    def decode(self, row: int, members: list[str]) -> Skipped:
        assert self._process.stdin is not None  # for mypy: both are pipes
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"row": row, "members": members}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BadInput(
                f"decoding must have the memory of one image a core, but a decoder process ended (exit {self._process.wait()}) "
                f"among the files from '{members[0]}' on: free memory, or take the file that breaks it out"
            )
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["strerror"])
        return [(row, reason) for row, reason in answer["skipped"]]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def _decoders(count: int, container: Path, size: int, out: Path) -> Iterator[queue.SimpleQueue[_Here | _Child]]:
    free: queue.SimpleQueue[_Here | _Child] = queue.SimpleQueue()
    started: list[_Here | _Child] = []
    try:
        for _ in range(count):
            started.append(_Child(container, size, out) if count > 1 else _Here(container, size, out))
            free.put(started[-1])
        yield free
    finally:
        for decoder in started:
            decoder.close()
