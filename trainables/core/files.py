"""Files on a local disk or an object store, through pyarrow: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import fs

from data_prep import BadInput
from data_prep.core.npy import sync_folder

__all__ = ["is_local", "names", "read", "resolve", "sync_folder", "write"]


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


def write(system: fs.FileSystem, path: str, content: bytes) -> None:
    """Replace the file: a reader, or a later call after a crash, sees the old content or the new, never a part."""
    if not is_local(system):
        # An object appears when its stream is closed.
        with system.open_output_stream(path) as stream:
            stream.write(content)
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


def read(system: fs.FileSystem, path: str) -> bytes:
    """The whole content; FileNotFoundError when there is none."""
    with system.open_input_stream(path) as stream:
        content = stream.read()
    assert isinstance(content, bytes)
    return content


def names(system: fs.FileSystem, folder: str) -> list[str]:
    """Names of the finished files directly in the folder, sorted; empty when there is no folder."""
    infos = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return sorted(info.base_name for info in infos if info.type == fs.FileType.File and not info.base_name.startswith("."))
