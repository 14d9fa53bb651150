"""Decode many files on all cores, by joblib's loky.

Its workers do not import the caller's main module again, as `ProcessPoolExecutor`'s do (a training script's TensorFlow in each; without
an `if __name__` guard the copy calls `prepare` and waits for the lock its parent holds, for ever), and inherit neither threads nor locks.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Final

import numpy as np

from data_prep.core import npy
from data_prep.core.container import open_container
from data_prep.core.decode import Unreadable, decode, strict_pillow
from data_prep.core.errors import BadInput
from data_prep.core.progress import Advance
from data_prep.core.source import Files

Skipped = list[tuple[int, str]]
# Below this a process's start (0.3 s) costs more than it saves.
FEW_FILES: Final = 256
# All decoders together stay near 1 GB on a machine of many cores: one holds 40 MB, and up to 126 MB with the directory of a zip of 100,000 files.
MAX_OF_FOLDER: Final = 24
MAX_OF_ZIP: Final = 8
_CHUNK_FILES: Final = 256
_CHUNK_BYTES: Final = 16 << 20
_ORPHAN_CHECK_S: Final = 0.5
# joblib has one pool for the whole process: who ends it would end that of another thread.
_POOL: Final = threading.Lock()
# Read once in each process, not once a chunk.
_container = lru_cache(maxsize=1)(open_container)


def decode_files(files: Files, size: int, out: Path, advance: Advance) -> Skipped:
    """Decode every member into its row of the file `out`; (row, reason) of each unreadable one, by row."""
    # Imported here: it costs 0.2 s, and opening what is prepared needs none of it.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    step = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // (3 * size * size)))
    chunks = {start: files.members[start : start + step] for start in range(0, len(files.members), step)}
    most = MAX_OF_ZIP if files.container.is_file() else MAX_OF_FOLDER
    processes = 1 if len(files.members) < FEW_FILES else min(cores(), most, len(chunks))
    # All at once: a chunk handed out later, by joblib's own thread, would race with the end of the pool.
    parallel = Parallel(
        processes,
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch="all",
        batch_size=1,
        max_nbytes=None,
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    jobs = [delayed(decode_rows)(files.container.absolute(), size, out.absolute(), row, chunk) for row, chunk in chunks.items()]
    skipped: Skipped = []
    with _POOL, _silent():
        try:
            if processes > 1:
                # Their helpers first, for the start of one lets Ctrl-C through again.
                get_reusable_executor().shutdown()
                resource_tracker.ensure_running()
            with ExitStack() as stack:
                with _no_ctrl_c():
                    results = stack.enter_context(closing(parallel(jobs)))
                    stack.callback(_drop_waiting)
                for row, reasons in results:
                    skipped += reasons
                    advance(len(chunks.pop(row)))
        except TerminatedWorkerError as error:
            raise BadInput(
                "decoding must have the memory of one image a core, but a decoder process was killed "
                f"among the files from '{chunks[min(chunks)][0]}' on: free memory, or take the file that breaks it out"
            ) from error
        finally:
            _container.cache_clear()
            if processes > 1:
                # Idle ones would stay for 300 s; all is done, or given up.
                get_reusable_executor(kill_workers=True).shutdown()
    return sorted(skipped)


def _drop_waiting() -> None:
    """Take the chunks that no worker has begun from the pool's queue, before the pool is ended.

    loky (joblib 1.6) forgets them when it ends, and looks for them once more where a worker has just become free: the KeyError ends its thread, which
    leaves a semaphore behind. May go when its `flag_executor_shutting_down` empties `work_ids_queue`."""
    from joblib.externals.loky import reusable_executor

    executor = reusable_executor._executor
    if executor is not None:
        with suppress(queue.Empty):
            while True:
                executor._work_ids.get(block=False)


def cores() -> int:
    """How many cores this process may use; macOS does not tell: all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_rows(container: Path, size: int, out: Path, row: int, members: tuple[str, ...]) -> tuple[int, Skipped]:
    """Decode `members` into the rows of the file `out` from `row` on; `row`, and (row, reason) of each that is unreadable."""
    read = _container(container)
    pixels = np.zeros((len(members), size, size, 3), np.uint8)
    skipped = []
    with strict_pillow():
        for i, member in enumerate(members):
            try:
                pixels[i] = decode(read(member), size)
            except Unreadable as reason:
                skipped.append((row + i, str(reason)))
    # Never created here: a worker whose parent was killed finds its folder gone, or writes into a file that nobody trusts.
    file = os.open(out, os.O_WRONLY)
    try:
        npy.write_rows(file, row, size, pixels.data.cast("B"))
    finally:
        os.close(file)
    return row, skipped


def _end_with(parent: int) -> None:
    """In a worker: end soon after the parent was killed; loky's would wait 300 s for more to do."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_ORPHAN_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Processes started in here never see a terminal's Ctrl-C, which their parent handles; else each would show a traceback.

    The parent handles it when they are started: one half started fails with a traceback, and semaphores are left behind.
    """
    held: list[int] = []
    # The mask alone does not hold it back: NumPy's threads take the signal, and Python then interrupts the main thread.
    handler = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if handler is not None:
        signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _silent() -> Iterator[None]:
    """joblib warns that a Ctrl-C wastes results, and that it replaces a worker: nothing a user could act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="joblib")
        yield
