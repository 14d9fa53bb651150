"""The disks that a run writes: whether there is room, and leave to write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from sweeps.core.sweep import Sweep
from trainables.core import files
from trainables.core.pretrained import PretrainedConfig

# Checkpoints and features that do not fit end a run, or make it slow.
LEAST_BYTES = 5_000_000_000


def free(folder: Path) -> int:
    """Bytes that are free where the folder is, or will be."""
    return shutil.disk_usage(_there(folder)).free


def unwritable(folder: Path) -> str | None:
    """Why no file can be made in the folder, or no such folder; None: one can."""
    try:
        # Without a name: nothing is left, whatever happens.
        with tempfile.TemporaryFile(dir=_there(folder)):
            return None
    except OSError as error:
        return files.reason(error)


def _there(folder: Path) -> Path:
    # Of one within a folder that may not be searched, `Path.exists` raises.
    return next(part for part in (folder, *folder.absolute().parents) if os.access(part, os.F_OK))


def notes(storage: str, data_roots: Iterable[Path], sweeps: Iterable[Sweep]) -> Iterator[str]:
    """What may stop a run on this machine, or make it slow: a line each. `data_roots`: the folders that its data sets are in, with their features beside
    them. Nothing is refused: what a run will take is not known before."""
    system, base = files.resolve(storage)
    if files.is_local(system) and (has := free(Path(base))) < LEAST_BYTES:
        yield (
            f"a run stops where its checkpoints have no room, but the storage {files.shown(storage)!r} has {has / 1e9:.1f} GB free: "
            f"make room for {LEAST_BYTES / 1e9:g} GB, or give another --storage"
        )
    configs = [sweep.config({}, 0) for sweep in sweeps]
    if not any(isinstance(config, PretrainedConfig) and config.features != "off" for config in configs):
        return
    for root in sorted(set(data_roots)):
        if why := unwritable(root):
            yield (
                f"features of frozen layers are kept beside the data sets, but '{root}' cannot be written ({why}): without them these layers "
                "run in every epoch; give another --data-root"
            )
        elif (has := free(root)) < LEAST_BYTES:
            yield (
                f"features of frozen layers are kept beside the data sets, but '{root}' has {has / 1e9:.1f} GB free: without room these layers "
                f"run in every epoch; make room for {LEAST_BYTES / 1e9:g} GB, or give another --data-root"
            )
