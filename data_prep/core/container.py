"""Where encoded images lie, a folder or a zip file, read member by member; nothing is extracted."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from data_prep.core.decode import Unreadable
from data_prep.core.folder import MAX_FILE_BYTES, read_file

# Of the others Python unpacks all that there is at once, however little is asked for.
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Read = Callable[[str], bytes]


def open_container(path: Path) -> Read:
    """`read(member) -> bytes`, which raises Unreadable. A zip file's directory is read once, here."""
    return _zip_reader(path) if path.is_file() else _folder_reader(path)


def _folder_reader(folder: Path) -> Read:
    def read(member: str) -> bytes:
        try:
            return read_file(folder / member)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error

    return read


def _zip_reader(path: Path) -> Read:
    archive = zipfile.ZipFile(path)

    def read(member: str) -> bytes:
        try:
            return read_member(archive, archive.getinfo(member))
        except Unreadable:
            raise
        except Exception as error:
            # zipfile raises BadZipFile, zlib.error, EOFError, RuntimeError (encrypted), NotImplementedError (a method it lacks).
            raise Unreadable(f"damaged in the zip file: {error}") from error

    return read


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Unreadable: too large, or packed by a method that is not known; whatever zipfile raises: damaged."""
    if info.file_size > MAX_FILE_BYTES:
        raise Unreadable(f"file of {info.file_size} bytes, over {MAX_FILE_BYTES}")
    if info.compress_type not in METHODS:
        raise Unreadable(f"packed by method {info.compress_type} of zip, not deflated or stored")
    with archive.open(info.filename) as file:
        # With a number: what says it is small and is not is unpacked no further than that.
        return file.read(info.file_size + 1)
