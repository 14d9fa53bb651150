"""Files on a local disk or an object store, through pyarrow: written whole or not at all.

A store may be gone for a while, so those who work for hours give it `patience`: seconds to go on trying. A local disk that is full has none."""

from __future__ import annotations

import io
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pyarrow import fs

from data_prep import BadInput
from data_prep.core.npy import sync_folder

__all__ = ["StorageLost", "is_local", "names", "patience", "read", "reason", "resolve", "shown", "sync_folder", "write"]

# Of checkpoints and the journal: a server that is started anew, credentials that have to be renewed.
PATIENCE_SECONDS = 300.0
PATIENCE = "SWEEPS_STORAGE_PATIENCE"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0

# What an object store says that it will say again.
REFUSED = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|INVALID_CLIENT_TOKEN_ID)"
)
# Of a URI's options those that are no secrets.
OPEN_OPTIONS = ("region", "scheme", "endpoint_override", "anonymous")

Found = TypeVar("Found")


class Stream(Protocol):
    """What a file is written to."""

    def write(self, content: bytes, /) -> Any:
        """Add this to its end."""


# A file's, or what writes it.
Content = bytes | Callable[[Stream], Any]


def patience() -> float:
    """Seconds to wait for an object store that does not answer: 300, or what the environment says. BadInput where that is no number."""
    given = os.environ.get(PATIENCE, str(PATIENCE_SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise BadInput(f"{PATIENCE} is a number of seconds, 0 or more, but got {given!r}: set it to one, or unset it")
    return seconds


def shown(location: str) -> str:
    """A path or URI without its secrets: user, password, and options that may be some."""
    if "://" not in location:
        return location
    place, mark, options = location.partition("?")
    place = re.sub(r"://.*@", "://***@", place)
    told = [option if option.partition("=")[0] in OPEN_OPTIONS else f"{option.partition('=')[0]}=***" for option in options.split("&")]
    return f"{place}{mark}{'&'.join(told)}" if mark else place


class StorageLost(OSError):
    """The storage cannot be used, and that may pass: what was reported is kept, and a resume goes on. One line."""


def _patiently(patience: float, call: Callable[[], Found]) -> Found:
    if not patience:
        return call()
    until, pause = time.monotonic() + patience, FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except (FileNotFoundError, StorageLost):
            raise
        except OSError as error:
            if REFUSED.search(str(error)):
                raise StorageLost(f"the storage refuses ({reason(error)})") from error
            if time.monotonic() + pause > until:
                raise StorageLost(f"the storage does not answer ({reason(error)})") from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _of(system: fs.FileSystem, patience: float) -> float:
    # A local disk that is full is so at the next try.
    return 0 if is_local(system) else patience


def reason(error: OSError) -> str:
    """Why, in a few words."""
    return error.strerror or " ".join(str(error).split())[:200] or type(error).__name__


def resolve(location: str, patience: float = 0) -> tuple[fs.FileSystem, str]:
    """(file system, path) of a local path or a URI such as `s3://bucket/folder`. (pyarrow asks AWS for the region of one that has none.)"""
    try:
        location.encode()
    except UnicodeEncodeError:
        # pyarrow takes no other.
        raise BadInput(f"a storage is a folder or a URI in UTF-8, but got {location!r}: rename the folder, or give another") from None
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).absolute())
    try:
        system, path = _patiently(patience, lambda: fs.FileSystem.from_uri(location))
    except StorageLost as error:
        raise StorageLost(str(error).replace(location, shown(location))) from None
    except (ValueError, OSError) as error:
        why = str(error).replace(location, shown(location))
        raise BadInput(f"a storage is a folder or a URI that pyarrow reads (s3://...), but {shown(location)!r} is not: {why}") from None
    return system, path


def is_local(system: fs.FileSystem) -> bool:
    """Whether plain file calls, fsync and rename work on its paths."""
    return isinstance(system, fs.LocalFileSystem)


def write(system: fs.FileSystem, path: str, content: Content, patience: float = 0, allowed: Callable[[], Any] | None = None) -> None:
    """Replace the file: a reader, or a later call after a crash, sees the old content or the new, never a part. `allowed`: asked before each try at an
    object store; it raises where that may not be."""
    if not is_local(system):
        # Whole before its stream is opened: pyarrow closes that after an exception, too, and what came so far would be the object.
        whole = _whole(content)

        def put() -> None:
            if allowed:
                allowed()
            _put(system, path, whole)

        _patiently(patience, put)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)


def _whole(content: Content) -> bytes:
    if not callable(content):
        return content
    buffer = io.BytesIO()
    content(buffer)
    return buffer.getvalue()


def _put(system: fs.FileSystem, path: str, content: bytes) -> None:
    # An object appears when its stream is closed.
    with system.open_output_stream(path) as stream:
        stream.write(content)


def read(system: fs.FileSystem, path: str, patience: float = 0) -> bytes:
    """The whole content; FileNotFoundError when there is none."""
    return _patiently(_of(system, patience), lambda: _get(system, path))


def _get(system: fs.FileSystem, path: str) -> bytes:
    with system.open_input_stream(path) as stream:
        content = stream.read()
    assert isinstance(content, bytes)
    return content


def names(system: fs.FileSystem, folder: str, patience: float = 0) -> list[str]:
    """Names of the finished files directly in the folder, sorted; empty when there is no folder."""
    infos = _patiently(_of(system, patience), lambda: system.get_file_info(fs.FileSelector(folder, allow_not_found=True)))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.File and not info.base_name.startswith("."))
