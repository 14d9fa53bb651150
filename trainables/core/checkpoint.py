"""Checkpoints of one trial: a file an epoch, the newest two and the best kept.

A file is a NumPy archive (`.npz`, read without pickle) of the training's arrays and its history as JSON, and after it the archive's SHA-256: zip's
own checks leave a good part of an altered directory unseen, or end in any of a dozen exceptions.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainables.core import files

HISTORY = "history"
KEPT = 2
DIGEST_BYTES = hashlib.sha256().digest_size


class Signed(io.RawIOBase):
    """A stream that tells the SHA-256 of what went through it. It cannot go back, which zip need not."""

    def __init__(self, stream: files.Stream) -> None:
        self.stream, self.sha256 = stream, hashlib.sha256()

    def write(self, content: Any) -> int:
        """Count it in and pass it on."""
        self.sha256.update(content)
        self.stream.write(content)
        return len(content)


class CheckpointStore:
    """The checkpoints in one folder of the run storage (a path or a URI)."""

    def __init__(self, folder: str) -> None:
        self.system, self.folder = files.resolve(folder, files.patience())

    def name(self, epoch: int) -> str:
        """File name of an epoch's checkpoint."""
        return f"epoch-{epoch:06d}.npz"

    def save(self, arrays: dict[str, np.ndarray], history: list[dict[str, Any]], *kept: int) -> str:
        """Store the state after the last epoch of the history; of the files up to it only the epochs `kept` and the newest two stay. Gives its
        name. StorageLost where that cannot be: a full disk, a store that does not answer."""
        told, epoch = np.frombuffer(json.dumps(history).encode(), np.uint8), history[-1]["epoch"]

        def content(stream: files.Stream) -> None:
            # On a disk straight into the file: AlexNet's is 259 MB with Adam's moments, and each copy in memory takes time and room.
            signed = Signed(stream)
            np.savez(signed, allow_pickle=False, **arrays, **{HISTORY: told})
            stream.write(signed.sha256.digest())

        try:
            files.write(self.system, f"{self.folder}/{self.name(epoch)}", content, files.patience())
            # Not counting later ones: they are torn, or this epoch would not have been trained again.
            old = [n for n in self.epochs() if n <= epoch and n not in kept][:-KEPT]
        except OSError as error:
            raise files.StorageLost(f"a checkpoint cannot be written ({files.reason(error)})") from error
        for number in old:
            # One too many harms nobody, and the next save tries again.
            with suppress(OSError):
                self.system.delete_file(f"{self.folder}/{self.name(number)}")
        return self.name(epoch)

    def clear_drafts(self) -> None:
        """Delete what writers that were killed have left. For who alone writes here: a trial is trained by one worker at a time."""
        if files.is_local(self.system):
            for draft in Path(self.folder).glob(".epoch-*.tmp"):
                with suppress(OSError):
                    draft.unlink()

    def epochs(self) -> list[int]:
        """Epochs there is a file of, ascending."""
        matches = [re.fullmatch(r"epoch-(\d{6,})\.npz", name) for name in files.names(self.system, self.folder, files.patience())]
        return sorted(int(match[1]) for match in matches if match)

    def load(self, epoch: int) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """(arrays, history) of that epoch; OSError or ValueError when the file is missing, torn or altered."""
        path = f"{self.folder}/{self.name(epoch)}"
        content = files.read(self.system, path, files.patience())
        archive, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
        if hashlib.sha256(archive).digest() != digest:
            raise ValueError(f"a checkpoint must end in the SHA-256 of the rest, but {path} is torn or altered: use another epoch's")
        try:
            with np.load(io.BytesIO(archive), allow_pickle=False) as opened:
                arrays = {key: opened[key] for key in opened.files}
            history = json.loads(arrays.pop(HISTORY).tobytes())
            last = history[-1]["epoch"]
        except ValueError:
            raise
        except Exception as error:
            # Anybody can sign: zipfile, zlib and NumPy raise a dozen others, MemoryError for an array that claims to be of terabytes.
            raise ValueError(f"a checkpoint must hold arrays and a history, but {path} does not ({error}): use another epoch's") from error
        if last != epoch:
            raise ValueError(f"a checkpoint must be of the epoch in its name, but {path} is of {last!r}: use another epoch's")
        return arrays, history

    def load_newest(self, before: int | None = None) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]] | None:
        """The newest that reads whole, of an epoch `before` that one: a torn one falls back to the one before. None when there is none."""
        for epoch in reversed([n for n in self.epochs() if before is None or n < before]):
            try:
                return self.load(epoch)
            except files.StorageLost:
                raise
            except (OSError, ValueError):
                continue
        return None
