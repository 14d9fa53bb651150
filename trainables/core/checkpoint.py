"""Checkpoints of one trial: a file an epoch, the newest two and the best kept.

A file is a NumPy archive (`.npz`: a zip with a CRC per member, read without pickle) of the training's arrays and its history as JSON.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import numpy as np

from trainables.core import files

HISTORY = "history"
KEPT = 2


class CheckpointStore:
    """The checkpoints in one folder of the run storage (a path or a URI)."""

    def __init__(self, folder: str) -> None:
        self.system, self.folder = files.resolve(folder)

    def name(self, epoch: int) -> str:
        """File name of an epoch's checkpoint."""
        return f"epoch-{epoch:06d}.npz"

    def save(self, arrays: dict[str, np.ndarray], history: list[dict[str, Any]], best_epoch: int) -> str:
        """Store the state after the last epoch of the history; older files but the best and the newest two go. Gives the file's name."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays, **{HISTORY: np.frombuffer(json.dumps(history).encode(), np.uint8)})
        epoch = history[-1]["epoch"]
        files.write(self.system, f"{self.folder}/{self.name(epoch)}", buffer.getvalue())
        for old in sorted(set(self.epochs()) - {best_epoch})[:-KEPT]:
            self.system.delete_file(f"{self.folder}/{self.name(old)}")
        return self.name(epoch)

    def epochs(self) -> list[int]:
        """Epochs there is a file of, ascending."""
        matches = [re.fullmatch(r"epoch-(\d{6,})\.npz", name) for name in files.names(self.system, self.folder)]
        return sorted(int(match[1]) for match in matches if match)

    def load(self, epoch: int) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """(arrays, history) of that epoch; OSError or ValueError when the file is missing, torn or altered."""
        content = files.read(self.system, f"{self.folder}/{self.name(epoch)}")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"a checkpoint is a whole .npz file, but {self.folder}/{self.name(epoch)} is damaged: {error}") from None
        return arrays, json.loads(arrays.pop(HISTORY).tobytes())

    def load_newest(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]] | None:
        """The newest that reads whole: a torn one falls back to the one before. None when there is none."""
        for epoch in reversed(self.epochs()):
            try:
                return self.load(epoch)
            except (OSError, ValueError):
                continue
        return None
