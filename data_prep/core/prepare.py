"""Prepare a data set: find it prepared, or build it in a temporary folder and rename that, under a lock."""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from data_prep.core.build import add_identity, build
from data_prep.core.dataset import FINGERPRINT_DIGITS, INFO, Dataset, open_dataset
from data_prep.core.errors import BadInput
from data_prep.core.npy import sync_folder
from data_prep.core.progress import say
from data_prep.core.source import Found, find_source

if TYPE_CHECKING:
    from rich.console import Console

MAX_SIZE: Final = 2048
# Part of the identity: raise it when the same source gives other pixels, and every data set is prepared anew.
PREPARATION: Final = 1
_DISK: Final = {
    errno.ENOSPC: "have room for the images",
    errno.EDQUOT: "have room for the images",
    errno.EROFS: "be writable",
    errno.EACCES: "be writable",
    errno.EPERM: "be writable",
    errno.ENOTDIR: "be a folder",
    errno.EEXIST: "be a folder",
}


def check_source(name: str, source: str | None = None) -> None:
    """Raise BadInput where `prepare(name, source=source)` would fail at once: unknown data set, missing source. Reads no image."""
    find_source(name, source, Path())


def prepare(name: str, *, size: int, root: Path, source: str | None = None, console: Console | None = None) -> Dataset:
    """Prepare the data set `name` at size x size pixels under the folder `root`, or open it where that was done before.

    `name` is one of `source_names()`, `images:PATH` with the user's folder as PATH. `source` is a folder, an archive or a URL in place
    of the default one. "Done before" means same name, size and content of the source. `console` shows progress; None is silent.
    BadInput: unknown name, size not in 1 to 2,048, missing or damaged source, over 1 % unreadable images, no room, unwritable root.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise BadInput(f"size must be a whole number of pixels from 1 to {MAX_SIZE}, but got {size!r}: use 32 or 64")
    root = Path(root)
    stem, found = find_source(name, source, root, console)
    task = _Task(root, stem, size, found, _identity(found), console)
    with _one_line_errors(root):
        # Without the lock first: a prepared folder never changes, and a root that others own may be read-only.
        ready = _prepared(task)
        if ready is not None:
            return ready
        root.mkdir(parents=True, exist_ok=True)
        with _locked(task):
            # Once more: whoever held the lock may have prepared it.
            return _prepared(task) or _build(task)


@dataclass(frozen=True)
class _Task:
    root: Path
    name: str
    size: int
    found: Found
    identity: str
    console: Console | None

    @property
    def key(self) -> str:
        """What the lock, the temporary folder and the prepared one begin with."""
        return f"{self.name}-{self.size}px"


def _identity(found: Found) -> str:
    return f"preparation {PREPARATION}, {found.identity()}"


def _prepared(task: _Task) -> Dataset | None:
    if not task.root.is_dir():
        return None
    name = re.compile(re.escape(task.key) + f"-[0-9a-f]{{{FINGERPRINT_DIGITS}}}")
    for path in sorted(path for path in task.root.glob(f"{task.key}-*") if name.fullmatch(path.name)):
        try:
            dataset = open_dataset(path)
        except BadInput:
            # Damaged: built anew, and then replaced. One of another source stays, for whoever opens it to hear of it.
            continue
        if task.identity in dataset.info["source_identities"]:
            return dataset
    return None


def _build(task: _Task) -> Dataset:
    # Nobody else builds this key while we hold its lock: every such folder was left by a process that died.
    for stale in task.root.glob(f".{task.key}.tmp-*"):
        shutil.rmtree(stale)
    work = task.root / f".{task.key}.tmp-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    try:
        sha256 = build(task.found, task.name, task.size, work, task.identity, task.console)
        if _identity(task.found) != task.identity:
            raise BadInput(f"a source must stay as it is while it is prepared, but '{task.found.where}' changed: run it again")
        final = task.root / f"{task.key}-{sha256[:FINGERPRINT_DIGITS]}"
        if not _same_content(final, task.identity):
            shutil.rmtree(final, ignore_errors=True)
            work.rename(final)
            sync_folder(task.root)
        return open_dataset(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _same_content(final: Path, identity: str) -> bool:
    """Is this content prepared already, from another source (a zip file and its extracted folder)? Then note the new one there."""
    try:
        dataset = open_dataset(final, verify=True)
    except BadInput:
        return False
    add_identity(final / INFO, dataset.info, identity)
    return True


@contextmanager
def _locked(task: _Task) -> Iterator[None]:
    lock = FileLock(task.root / f".{task.key}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(task.console, f"waiting: another process prepares {task.key} in {task.root}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _one_line_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise BadInput(
            f"the folder for data sets must {_DISK[error.errno]}, but '{root}' is not so ({error.strerror}): "
            f"free it or choose another by --root"
        ) from error
