"""CIFAR-10: 60,000 photographs of 32 x 32 pixels, RGB, 10 classes of 6,000.

Where from: https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009), downloaded unless `--source` gives the tar.gz, its extracted folder or another URL. Licence: none is stated; the author
asks for the citation. Size: 170 MB. Checksum: the SHA-256 below is the one Keras uses (the author publishes only an MD5,
c58f30108f718f92721af3b95e74349a).
Layout: `cifar-10-batches-py/data_batch_1` to `_5` and `test_batch`, Python 2 pickles of 10,000 rows of 3,072 bytes (1,024 red, then
green, then blue), and `batches.meta` with the names. Both parts are labelled: all 60,000 are used, in this order, and split by `split`.
"""

import io
import lzma
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.core.archive import Archive, find_archive
from data_prep.core.download import Remote
from data_prep.core.errors import BadInput
from data_prep.core.folder import read_file, walk
from data_prep.core.source import Arrays, Found, Request, Source

OFFICIAL = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
)
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
META = "batches.meta"
MEMBER = re.compile(r"(?:.*/)?(?P<file>data_batch_[1-5]|test_batch|batches\.meta)")
PIXELS, CHANNELS = 32, 3
# Twice a published file: what claims to be more is damaged, or meant to fill the memory.
MAX_BYTES = 64 << 20


def _find(request: Request) -> Found:
    archive = find_archive(request, OFFICIAL)
    path = Path(archive.where)
    if request.source and path.is_dir():
        _check_files({match["file"] for name in walk(path) if (match := MEMBER.fullmatch(name))}, path)
    if request.source and path.is_file() and not tarfile.is_tarfile(path):
        raise BadInput(_damaged(path, "not a tar file"))
    return Found(where=archive.where, identity=archive.identity, read=partial(_read, archive))


def _read(archive: Archive) -> Arrays:
    path = archive.path()
    files: dict[str, dict[bytes, Any]] = {}
    for name, content in _folder_files(path) if path.is_dir() else _tar_files(path):
        if name in files:
            raise BadInput(f"CIFAR-10 must have each file once, but '{path}' has {name} twice: give the archive as it was published")
        files[name] = content
    _check_files(set(files), path)
    try:
        names = tuple(name.decode() for name in files[META][b"label_names"])
        images = np.concatenate([_images(files[name]) for name in BATCHES])
        labels = np.concatenate([_labels(files[name]) for name in BATCHES])
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(_damaged(path, error)) from error
    if len(images) != len(labels) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(names)):
        raise BadInput(_damaged(path, f"{len(images)} images, {len(labels)} labels of {len(names)} classes"))
    return Arrays(images, labels, names)


def _check_files(present: set[str], path: Path) -> None:
    missing = [name for name in (*BATCHES, META) if name not in present]
    if missing:
        raise BadInput(
            f"CIFAR-10 must have {', '.join(BATCHES)} and {META}, but '{path}' lacks {missing[0]}: give the whole archive by --source"
        )


def _images(batch: dict[bytes, Any]) -> np.ndarray:
    rows = batch[b"data"]
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8:
        raise ValueError("data is not an array of bytes")
    if rows.size > MAX_BYTES:
        raise ValueError(f"data has {rows.size} bytes, over {MAX_BYTES}")
    return rows.reshape(-1, CHANNELS, PIXELS, PIXELS).transpose(0, 2, 3, 1)


def _labels(batch: dict[bytes, Any]) -> np.ndarray:
    labels = np.asarray(batch[b"labels"])
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise ValueError("labels is not a list of whole numbers")
    return labels.astype(np.int64)


def _damaged(path: Path, error: object) -> str:
    return f"CIFAR-10's archive must be whole, but '{path}' is damaged ({error}): fetch it again"


def _folder_files(folder: Path) -> Iterator[tuple[str, dict[bytes, Any]]]:
    for name in walk(folder):
        if match := MEMBER.fullmatch(name):
            try:
                data = read_file(folder / name, MAX_BYTES)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise BadInput(_damaged(folder, f"{name}: {error.strerror}")) from error
            yield match["file"], _load(data, folder)


def _tar_files(path: Path) -> Iterator[tuple[str, dict[bytes, Any]]]:
    """Members are read where they are, by their last name: nothing is extracted, so no member can write anywhere."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                match = MEMBER.fullmatch(member.name)
                if match and member.size > MAX_BYTES:
                    raise BadInput(_damaged(path, f"{match['file']} has {member.size} bytes, over {MAX_BYTES}"))
                if match and member.isfile() and (file := archive.extractfile(member)):
                    yield match["file"], _load(file.read(), path)
    except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise BadInput(_damaged(path, error)) from error


# The published files name the first three; the others are how Python 3 and NumPy 2 write the same.
NAMES_OF_ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _Unpickler(pickle.Unpickler):
    """Loads arrays, and nothing else: a pickle may name any function to be called, and this file may come from anywhere."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that an array needs; UnpicklingError for any other."""
        if (module, name) not in NAMES_OF_ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which an array does not need")
        # NumPy 2 warns at the old name of its module, and may drop it.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _load(data: bytes, path: Path) -> dict[bytes, Any]:
    try:
        # Python 2 strings are bytes, so the keys are too.
        content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:
        # A damaged pickle raises anything, from EOFError to UnicodeDecodeError.
        raise BadInput(_damaged(path, error)) from error
    if not isinstance(content, dict):
        raise BadInput(_damaged(path, f"{type(content).__name__} in place of a dict"))
    return content


SOURCE = Source(summary="60,000 photographs, 32 x 32, 10 classes; 170 MB from Toronto, or --source", find=_find)
