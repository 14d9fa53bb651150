"""Data sets of a cluster: prepared once, kept on the run storage, and copied by each machine to its own disk, where its processes map them.

`<storage>/.data/<folder name>/` holds the files of the prepared folder, whose name ends in its fingerprint; `dataset.json` comes last and says that the
others are there.
"""

from __future__ import annotations

import platform
import shutil
import uuid
from pathlib import Path

from filelock import FileLock
from pyarrow import fs

from data_prep import BadInput, Dataset, open_dataset
from data_prep.core.dataset import IMAGES, INFO, LABELS
from data_prep.core.npy import sync_folder
from trainables.core import files

FOLDER = ".data"


def published(place: str) -> bool:
    """Whether the storage has the data set: `place` is its folder there, a path or URI. StorageLost where that cannot be told."""
    try:
        system, folder = files.resolve(place, files.patience())
        return INFO in files.names(system, folder, files.patience())
    except OSError as error:
        raise files.StorageLost(f"the storage cannot be looked at ({files.reason(error)})") from error


def publish(dataset: Dataset, place: str) -> None:
    """Copy it to the storage, where it is not there yet. StorageLost where that cannot be."""
    if published(place):
        return
    system, folder = files.resolve(place)
    try:
        system.create_dir(folder, recursive=True)
        for name in (IMAGES, LABELS):
            # Another run may do the same, and others read already: an object appears when it is whole, a file does by its name.
            source, target = str(dataset.path / name), f"{folder}/{name}"
            if not files.is_local(system):
                _copy(fs.LocalFileSystem(), source, system, target)
                continue
            draft = Path(f"{folder}/.{name}.{uuid.uuid4().hex[:8]}")
            try:
                _copy(fs.LocalFileSystem(), source, system, str(draft))
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        files.write(system, f"{folder}/{INFO}", (dataset.path / INFO).read_bytes(), files.patience())
    except OSError as error:
        raise files.StorageLost(f"a data set cannot be written to the storage ({files.reason(error)})") from error


def at_hand(folder: Path, place: str | None) -> Dataset:
    """The data set in that folder of this machine; where it is not there, copied from `place` first, by one process, the others wait. BadInput where
    neither has it, or what came is not what the folder's name says. StorageLost where it cannot be copied: no trial's fault."""
    try:
        if place is not None and not (folder / INFO).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.parent / f".{folder.name}.lock"):
                if not (folder / INFO).is_file() and published(place):
                    _fetch(folder, place)
    except files.StorageLost:
        raise
    except OSError as error:
        raise files.StorageLost(
            f"the data set cannot be copied to '{folder.parent}' of {platform.node()} ({files.reason(error)})"
        ) from error
    return open_dataset(folder)


def _fetch(folder: Path, place: str) -> None:
    # Left by a process that died: we hold the lock.
    for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
        shutil.rmtree(stale)
    draft = folder.parent / f".{folder.name}.tmp-{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    system, source = files.resolve(place, files.patience())
    try:
        for name in (IMAGES, LABELS, INFO):
            _copy(system, f"{source}/{name}", fs.LocalFileSystem(), str(draft / name))
        dataset = open_dataset(draft, verify=True)
        if not folder.name.endswith(f"-{dataset.fingerprint}"):
            raise BadInput(
                f"a data set's folder ends in its fingerprint, but what {files.shown(place)} holds has {dataset.fingerprint}: delete that folder"
            )
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _copy(source: fs.FileSystem, path: str, target: fs.FileSystem, to: str) -> None:
    """In blocks: a data set may be larger than the memory."""
    fs.copy_files(path, to, source_filesystem=source, destination_filesystem=target)
