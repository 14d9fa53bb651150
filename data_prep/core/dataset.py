"""A prepared data set: the folder that `prepare` leaves, opened and checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_prep.core.errors import BadInput

IMAGES: Final = "images.npy"
LABELS: Final = "labels.npy"
INFO: Final = "dataset.json"
FINGERPRINT_DIGITS: Final = 12
_BLOCK_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Dataset:
    """Prepared images. Every process of a node maps the same pages, so N trials cost the memory of one.

    `images` uint8 N x H x W x 3, 0 to 255, RGB, read-only memory map; `labels` int32 N, 0 to len(classes) - 1;
    `size` is H = W in pixels; `fingerprint` 12 hex digits of the SHA-256 of the content; `skipped` unreadable images left out;
    `info` is dataset.json.
    """

    path: Path
    name: str
    size: int
    fingerprint: str
    classes: tuple[str, ...]
    images: np.memmap
    labels: np.ndarray
    skipped: int
    info: dict[str, Any]


def open_dataset(path: Path, *, verify: bool = False) -> Dataset:
    """Open the prepared data set in the folder `path`; `verify` also reads all of it and compares its SHA-256 (about 1 s a GB).

    BadInput: no such folder, a file that is missing or damaged, or files that do not fit together.
    """
    path = Path(path)
    if not (path / INFO).is_file():
        raise BadInput(f"a prepared data set must have a {INFO}, but '{path}' has none: make it by `sweeps data`")
    try:
        return _open(path, verify)
    except (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise BadInput(
            f"a prepared data set must be whole, but '{path}' is damaged ({reason}): delete that folder and run `sweeps data` again"
        ) from error


def _open(path: Path, verify: bool) -> Dataset:
    info = json.loads((path / INFO).read_text(encoding="utf-8"))
    classes, size, count = tuple(info["class_names"]), int(info["size_px"]), int(info["images"])
    labels = np.load(path / LABELS, allow_pickle=False)
    _must_be(LABELS, labels, np.int32, (count,))
    images = np.load(path / IMAGES, mmap_mode="r", allow_pickle=False)
    _must_be(IMAGES, images, np.uint8, (count, size, size, 3))
    if not all(isinstance(identity, str) for identity in info["source_identities"]) or not isinstance(info["source"], str):
        raise ValueError(f"{INFO} does not say of which source it is")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"{LABELS} holds {labels.min()} to {labels.max()} for {len(classes)} classes")
    if verify and content_sha256(path / IMAGES, labels, classes) != info["sha256"]:
        raise ValueError("its SHA-256 is not the one noted")
    labels.flags.writeable = False
    return Dataset(path, info["name"], size, info["sha256"][:FINGERPRINT_DIGITS], classes, images, labels, len(info["skipped"]), info)


def _must_be(file: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{file} is {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}")


def content_sha256(images: Path, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """SHA-256 over the pixels, the labels (little-endian int32) and the class names: equal content, equal digits."""
    digest = hashlib.sha256()
    with images.open("rb") as file:
        # The header is left out: only its shape says anything, and the other two parts fix that.
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        # read(), not a map: a mapped 1.2 GB counts as resident memory, a read one does not.
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    digest.update(np.ascontiguousarray(labels, dtype="<i4").tobytes())
    digest.update(json.dumps(list(classes)).encode())
    return digest.hexdigest()
