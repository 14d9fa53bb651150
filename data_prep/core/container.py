"""Where encoded images lie, a folder or a zip file, read member by member; nothing is extracted."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from data_prep.core.decode import Unreadable

# A file of a few kB may claim to unpack to gigabytes; no photograph is as large as this.
MAX_FILE_BYTES: Final = 256 << 20

Read = Callable[[str], bytes]


def open_container(path: Path) -> Read:
    """`read(member) -> bytes`, which raises Unreadable. A zip file's directory is read once, here."""
    return _zip_reader(path) if path.is_file() else _folder_reader(path)


def _folder_reader(folder: Path) -> Read:
    def read(member: str) -> bytes:
        try:
            path = folder / member
            _check_size(path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error

    return read


def _zip_reader(path: Path) -> Read:
    archive = zipfile.ZipFile(path)

    def read(member: str) -> bytes:
        info = archive.getinfo(member)
        _check_size(info.file_size)
        try:
            return archive.read(info)
        except Exception as error:
            # zipfile raises BadZipFile, zlib.error, EOFError, RuntimeError (encrypted), NotImplementedError (a method it lacks).
            raise Unreadable(f"damaged in the zip file: {error}") from error

    return read


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise Unreadable(f"file of {size} bytes, over {MAX_FILE_BYTES}")
