"""Build a prepared data set's three files in a folder that nobody trusts yet."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from data_prep.core import npy
from data_prep.core.dataset import IMAGES, INFO, LABELS, content_sha256
from data_prep.core.decode import DESCRIPTION, fit
from data_prep.core.errors import BadInput
from data_prep.core.pool import decode_files
from data_prep.core.progress import Advance, progress, say
from data_prep.core.source import Arrays, Files, Found

if TYPE_CHECKING:
    from rich.console import Console

MAX_UNREADABLE: Final = 0.01
_CHUNK_ROWS: Final = 256
_NAMED_ON_SCREEN: Final = 3


@dataclass(frozen=True)
class _Unreadable:
    file: str
    reason: str


def build(found: Found, name: str, size: int, folder: Path, identity: str, console: Console | None) -> str:
    """Write images.npy, labels.npy and dataset.json into `folder`, on the disk when it returns; the content's SHA-256."""
    began = time.monotonic()
    content = _read(found)
    count = len(content.labels)
    if count == 0:
        raise BadInput(f"a data set must have images, but '{found.where}' has none: give another source")
    _check_skipped(content, np.asarray(content.labels), {})
    _check_room(folder, count * size * size * 3)
    with progress(console, f"preparing {name} at {size} px", count) as advance:
        skipped = _write_images(content, size, folder / IMAGES, advance)
    labels = np.delete(np.asarray(content.labels, np.int32), list(skipped))
    _check_skipped(content, labels, skipped)
    _write_labels(folder / LABELS, labels)
    sha256 = content_sha256(folder / IMAGES, labels, content.class_names)
    info = {
        "format": 1,
        "name": name,
        "size_px": size,
        "sha256": sha256,
        "images": len(labels),
        "class_names": list(content.class_names),
        "images_per_class": np.bincount(labels, minlength=len(content.class_names)).tolist(),
        "source": found.where,
        "source_identities": [identity],
        "notes": [*found.notes, *content.notes],
        "pixels": DESCRIPTION,
        "skipped": [vars(image) for image in skipped.values()],
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("numpy", "pillow", "scikit-learn")},
        "prepared_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 2),
    }
    _write_json(folder / INFO, info)
    npy.sync_folder(folder)
    _report(skipped, count, console)
    return sha256


def _read(found: Found) -> Arrays | Files:
    try:
        return found.read()
    except FileNotFoundError as error:
        # A link to nowhere: its name is in the folder, its content is not.
        raise BadInput(f"a source's files must be there, but '{error.filename}' is not: mend or remove it") from None


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BadInput(
            f"the folder for data sets must have room for the images, but '{folder.parent}' has {free / 1e9:.2f} GB free "
            f"of {needed / 1e9:.2f} GB: free some, choose another by --root, or a smaller --size"
        )


def _write_images(content: Arrays | Files, size: int, path: Path, advance: Advance) -> dict[int, _Unreadable]:
    """The rows of images that were unreadable and are left out, with file and reason."""
    count = len(content.labels)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if isinstance(content, Arrays):
            _write_arrays(file, content.images, size, advance)
            npy.finish(file, count, size)
            return {}
        skipped = {row: _Unreadable(content.members[row], reason) for row, reason in decode_files(content, size, path, advance)}
        npy.finish(file, npy.drop_rows(file, skipped, count, size), size)
        return skipped
    finally:
        os.close(file)


def _write_arrays(file: int, images: np.ndarray, size: int, advance: Advance) -> None:
    for start in range(0, len(images), _CHUNK_ROWS):
        chunk = images[start : start + _CHUNK_ROWS]
        pixels = np.stack([np.asarray(fit(Image.fromarray(image).convert("RGB"), size)) for image in chunk])
        npy.write_rows(file, start, size, pixels.data.cast("B"))
        advance(len(chunk))


def _check_skipped(content: Arrays | Files, labels: np.ndarray, skipped: dict[int, _Unreadable]) -> None:
    count = len(content.labels)
    before = np.bincount(content.labels, minlength=len(content.class_names))
    after = np.bincount(labels, minlength=len(content.class_names))
    empty = np.flatnonzero(after == 0)
    if empty.size:
        raise BadInput(
            f"each class must have a readable image, but '{content.class_names[empty[0]]}' has none of {before[empty[0]]}: "
            "add images or take the class out"
        )
    if len(skipped) > MAX_UNREADABLE * count:
        first = next(iter(skipped.values()))
        raise BadInput(
            f"at most {MAX_UNREADABLE:.0%} of the images may be unreadable, but {len(skipped)} of {count} are "
            f"(first: '{first.file}': {first.reason}): repair them or take them out"
        )


def _report(skipped: dict[int, _Unreadable], count: int, console: Console | None) -> None:
    if skipped:
        named = ", ".join(f"{image.file} ({image.reason})" for image in list(skipped.values())[:_NAMED_ON_SCREEN])
        more = ", ..." if len(skipped) > _NAMED_ON_SCREEN else ""
        say(console, f"skipped {len(skipped)} of {count} images as unreadable: {named}{more}; all are in {INFO}")


def _write_labels(path: Path, labels: np.ndarray) -> None:
    with path.open("xb") as file:
        np.save(file, labels, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _write_json(path: Path, info: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(info, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def add_identity(path: Path, info: dict[str, Any], identity: str) -> None:
    """Note one more source that gives this content; readers see the old file or the new one, never a part."""
    changed = info | {"source_identities": [*info["source_identities"], identity]}
    new = path.with_name(f".{path.name}.new")
    _write_json(new, changed)
    new.replace(path)
    npy.sync_folder(path.parent)
