"""The files of a folder, in an order that does not depend on the file system, and what tells that they changed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_prep.core.errors import BadInput

# A file's name may have 255 bytes: of one that is made from another name so many are that name's, the rest says which file it is.
MAX_NAME: Final = 60
# A file of a few kB may claim to unpack to gigabytes; no photograph is as large as this.
MAX_FILE_BYTES: Final = 256 << 20


def walk(folder: Path) -> Iterator[str]:
    """Paths relative to `folder`, with /, sorted; hidden files and folders and __MACOSX are left out."""
    # A list, not calls within calls: folders may be deeper than Python's stack.
    ahead = _entries(folder, "")
    while ahead:
        name, is_folder = ahead.pop()
        if is_folder:
            ahead += _entries(folder, f"{name}/")
        else:
            yield name


def _entries(folder: Path, prefix: str) -> list[tuple[str, bool]]:
    """(path, whether it is a folder), the last one first."""
    try:
        with os.scandir(folder / prefix) as listing:
            entries = sorted(((entry.name, entry.is_dir()) for entry in listing), reverse=True)
    except OSError as error:
        raise BadInput(
            f"a source folder must be readable, but '{folder / prefix}' is not ({error.strerror}): allow it or leave it out"
        ) from error
    return [(prefix + name, is_folder) for name, is_folder in entries if not name.startswith(".") and name != "__MACOSX"]


def read_file(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """Its content; OSError where it cannot be read, is larger than `most` bytes or no file: a pipe would be waited for, and /dev/zero has no end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no file but a pipe, a device or a folder", str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"file of {status.st_size} bytes, over {most}", str(path))
    return path.read_bytes()


def folder_identity(folder: Path) -> str:
    """A digest over names, sizes and modification times: 100,000 files take a second, reading them would take minutes."""
    digest = hashlib.sha256()
    for name in walk(folder):
        try:
            stat = (folder / name).stat()
        except OSError:
            # A dangling link: it is reported as unreadable when its turn comes.
            digest.update(os.fsencode(f"{name}\0-\n"))
            continue
        digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
    return f"folder {digest.hexdigest()}"
