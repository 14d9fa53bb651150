"""Prepare a data set: find it prepared, or build it in a temporary folder and rename that, under a lock."""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from data_prep.core.build import add_identity, build
from data_prep.core.dataset import FINGERPRINT_DIGITS, INFO, Dataset, open_dataset
from data_prep.core.errors import BadInput
from data_prep.core.npy import sync_folder
from data_prep.core.progress import say
from data_prep.core.source import Found, find_source, look_up

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
    errno.ENAMETOOLONG: "have names that a disk can bear",
}


def check_source(name: str, source: str | None = None, *, size: int | None = None, root: Path | None = None) -> None:
    """Raise BadInput where `prepare` with these arguments would fail at once: unknown data set, missing source. Reads no image.

    With `size` and `root` the default source need not be there where `prepare` would open what was prepared before.
    """
    any_source = _any_source(name, source)
    if size is not None and root is not None:
        with _one_line_errors(Path(root)):
            if _prepared(_Task(Path(root), name, size, "", any_source, None)):
                return
    find_source(name, source, Path())


def find_prepared(name: str, *, size: int, root: Path) -> Dataset | None:
    """The data set as `prepare` would open it; None where it would be prepared first."""
    any_source, identity = _any_source(name, None), ""
    with _one_line_errors(Path(root)):
        if not any_source:
            # A user's own folder, whose content may be another one by now.
            name, found = find_source(name, None, Path(root))
            identity = _identity(found)
        return _prepared(_Task(Path(root), name, size, identity, any_source, None))


def prepare(name: str, *, size: int, root: Path, source: str | None = None, console: Console | None = None) -> Dataset:
    """Prepare the data set `name` at size x size pixels under the folder `root`, or open it where that was done before.

    `name` is one of `source_names()`, `images:PATH` with the user's folder as PATH. `source` is a folder, an archive or a URL in place
    of the default one. "Done before" means same name, size and content of the source; without a `source` (and without a PATH) also the
    newest of another source, where the default one's is not prepared. `console` shows progress, and that source; None is silent.
    BadInput: unknown name, size not in 1 to 2,048, missing or damaged source, over 1 % unreadable images, no room, unwritable root.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise BadInput(f"size must be a whole number of pixels from 1 to {MAX_SIZE}, but got {size!r}: use 32 or 64")
    root = Path(root)
    any_source = _any_source(name, source)
    with _one_line_errors(root):
        try:
            stem, found = find_source(name, source, root, console)
            task = _Task(root, stem, size, _identity(found), any_source, console)
        except BadInput:
            ready = _prepared(_Task(root, name, size, "", any_source, console))
            if ready is None:
                raise
            return ready
        # Without the lock first: a prepared folder never changes, and a root that others own may be read-only.
        ready = _prepared(task)
        if ready is not None:
            return ready
        root.mkdir(parents=True, exist_ok=True)
        with _locked(task):
            # Once more: whoever held the lock may have prepared it.
            return _prepared(task) or _build(task, found)


@dataclass(frozen=True)
class _Task:
    """`identity` is the source's, "" where it is not there; `any_source`: another one's will do."""

    root: Path
    name: str
    size: int
    identity: str
    any_source: bool
    console: Console | None

    @property
    def key(self) -> str:
        """What the lock, the temporary folder and the prepared one begin with."""
        return f"{self.name}-{self.size}px"


def _any_source(name: str, source: str | None) -> bool:
    """BadInput: unknown name. Not for images:PATH, whose folder may have changed since."""
    _, argument, _ = look_up(name)
    return source is None and not argument


def _identity(found: Found) -> str:
    return f"preparation {PREPARATION}, {found.identity()}"


def _prepared(task: _Task) -> Dataset | None:
    whole = _whole(task)
    for dataset in whole:
        if task.identity in dataset.info["source_identities"]:
            return dataset
    for dataset in whole if task.any_source else []:
        if any(identity.startswith(f"preparation {PREPARATION}, ") for identity in dataset.info["source_identities"]):
            say(task.console, f"{task.key} was prepared before from {dataset.info['source']}: opening that, not the default source")
            return dataset
    return None


def _whole(task: _Task) -> list[Dataset]:
    """What was prepared under this name and size from any source, the newest first."""
    name = re.compile(re.escape(task.key) + f"-[0-9a-f]{{{FINGERPRINT_DIGITS}}}")
    datasets = []
    for path in task.root.glob(f"{task.key}-*") if task.root.is_dir() else ():
        if name.fullmatch(path.name):
            # Damaged: built anew, and then replaced.
            with suppress(BadInput):
                datasets.append(open_dataset(path))
    return sorted(datasets, key=lambda dataset: (dataset.path / INFO).stat().st_mtime_ns, reverse=True)


def _build(task: _Task, found: Found) -> Dataset:
    # Nobody else builds this key while we hold its lock: every such folder was left by a process that died.
    for stale in task.root.glob(f".{task.key}.tmp-*"):
        shutil.rmtree(stale)
    work = task.root / f".{task.key}.tmp-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    try:
        sha256 = build(found, task.name, task.size, work, task.identity, task.console)
        if _identity(found) != task.identity:
            raise BadInput(f"a source must stay as it is while it is prepared, but '{found.where}' changed: run it again")
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
