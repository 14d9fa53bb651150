"""Files on a local disk or an object store, through pyarrow: written whole or not at all.

A store may be gone for a while, so those who work for hours give it `patience`: seconds to go on trying. A local disk that is full has none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyarrow import fs

from data_prep import BadInput
from data_prep.core.npy import sync_folder

__all__ = ["PATIENCE_SECONDS", "StorageLost", "is_local", "names", "read", "resolve", "sync_folder", "write"]

# Of checkpoints and the journal: a server that is started anew, a lease that has to be renewed.
PATIENCE_SECONDS = 300.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0

Found = TypeVar("Found")


class StorageLost(OSError):
    """The storage cannot be used, and that may pass: what was reported is kept, and a resume goes on. One line."""


def _patiently(system: fs.FileSystem, patience: float, call: Callable[[], Found]) -> Found:
    if is_local(system) or not patience:
        return call()
    until, pause = time.monotonic() + patience, FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            if time.monotonic() + pause > until:
                raise StorageLost(f"the storage does not answer ({reason(error)})") from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def reason(error: OSError) -> str:
    """Why, in a few words."""
    return error.strerror or " ".join(str(error).split())[:200]


def resolve(location: str) -> tuple[fs.FileSystem, str]:
    """(file system, path) of a local path or a URI such as `s3://bucket/folder`."""
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).absolute())
    try:
        system, path = fs.FileSystem.from_uri(location)
    except (ValueError, OSError) as error:
        raise BadInput(f"a storage is a folder or a URI that pyarrow reads (s3://...), but {location!r} is not: {error}") from None
    return system, path


def is_local(system: fs.FileSystem) -> bool:
    """Whether plain file calls, fsync and rename work on its paths."""
    return isinstance(system, fs.LocalFileSystem)


def write(system: fs.FileSystem, path: str, content: bytes, patience: float = 0) -> None:
    """Replace the file: a reader, or a later call after a crash, sees the old content or the new, never a part."""
    if not is_local(system):
        _patiently(system, patience, lambda: _put(system, path, content))
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)


def _put(system: fs.FileSystem, path: str, content: bytes) -> None:
    # An object appears when its stream is closed.
    with system.open_output_stream(path) as stream:
        stream.write(content)


def read(system: fs.FileSystem, path: str, patience: float = 0) -> bytes:
    """The whole content; FileNotFoundError when there is none."""
    return _patiently(system, patience, lambda: _get(system, path))


def _get(system: fs.FileSystem, path: str) -> bytes:
    with system.open_input_stream(path) as stream:
        content = stream.read()
    assert isinstance(content, bytes)
    return content


def names(system: fs.FileSystem, folder: str, patience: float = 0) -> list[str]:
    """Names of the finished files directly in the folder, sorted; empty when there is no folder."""
    infos = _patiently(system, patience, lambda: system.get_file_info(fs.FileSelector(folder, allow_not_found=True)))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.File and not info.base_name.startswith("."))
