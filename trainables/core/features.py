"""What the frozen part of a network gives for a data set's images: computed once, kept on the disk, read by all trials of the node.

A folder a set of features, `<data root>/features/<key>/`: `features.npy` (rows x the shape of an image's features), `blocks` (a digest for each
BLOCK of rows, zeros until it is there), `features.json` (for people) and `locks`. Workers that need the same features share the work block by block:
a block is computed by who has its lock, which ends with its process. A block counts when its digest fits, so that one that was torn or altered is
made again, and nothing needs to be synced. Between the machines of a cluster they go by way of the storage: see `shelf`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from data_prep import Dataset
from trainables.core.shelf import PIECE, Pieces, Shelf

BLOCK = 128
# That features may take on a disk unless `--cache-size` says otherwise.
CACHE_BYTES = 20 * 10**9
DIGEST_BYTES = 16
# Part of every key: what is stored depends on this code, too.
FORMAT = 1
# Of the setting `features`: none.
OFF = "off"
WAIT_SECONDS = 0.02
FLOAT16_MOST = float(np.finfo(np.float16).max)

Compute = Callable[[np.ndarray], np.ndarray]


class TooLarge(Exception):
    """Features that float16 cannot hold."""


class NoRoom(OSError):
    """More features than may be kept, or than the disk has room for; one line says which."""


def key_of(parts: Iterable[bytes]) -> str:
    """16 hex digits of the SHA-256 of all that features depend on, each part with its length."""
    digest = hashlib.sha256(str(FORMAT).encode())
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]


def feature_folder(dataset: Dataset) -> Path:
    """Where a data set's features are kept: beside it, with those of the other data sets of its root."""
    return dataset.path.parent / "features"


class Features:
    """Features of some rows of a data set: float16 or float32, len(rows) x shape. Complete when `missing` is 0. `shelf`: where other machines leave
    theirs, and find those of this one."""

    def __init__(
        self, folder: Path, rows: np.ndarray, shape: tuple[int, ...], dtype: str, about: dict[str, Any], shelf: Shelf | None = None
    ) -> None:
        self.folder, self.rows, self.shape, self.dtype = folder, rows, shape, np.dtype(dtype)
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        self.blocks = math.ceil(len(rows) / BLOCK)
        self.pieces: Pieces | None = None
        self.order: Sequence[int] = range(self.blocks)
        self.share(shelf)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "features.json").exists():
            written = {**about, "rows": len(rows), "shape": list(shape), "dtype": dtype}
            (folder / "features.json").write_text(json.dumps(written, indent=1))
        # The time of the last use, for `trim`.
        os.utime(folder / "features.json")
        self._locks = os.open(folder / "locks", os.O_RDWR | os.O_CREAT)
        self._digests = os.open(folder / "blocks", os.O_RDWR | os.O_CREAT)
        self._file = os.open(folder / "features.npy", os.O_RDWR | os.O_CREAT)
        self._size()
        self._whole: set[int] = set()
        self._look()

    def share(self, shelf: Shelf | None) -> None:
        """Exchange what is missing with other machines from now on."""
        if shelf and self.pieces is None and (pieces := shelf.of(self.folder.name, self.blocks, len(self.rows) * self.row_bytes)):
            self.pieces, self.order = pieces, pieces.order

    def _size(self) -> None:
        """Give the file its header and length; what is not written yet takes no room on the disk."""
        shape = (len(self.rows), *self.shape)
        text = f"{{'descr': {np.lib.format.dtype_to_descr(self.dtype)!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
        length = -(-(10 + len(text) + 1) // 64) * 64
        head = b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little") + text.ljust(length - 10 - 1) + b"\n"
        self.header = len(head)
        if os.pread(self._file, len(head), 0) != head:
            os.pwrite(self._file, head, 0)
        if os.fstat(self._file).st_size != self.header + len(self.rows) * self.row_bytes:
            os.ftruncate(self._file, self.header + len(self.rows) * self.row_bytes)

    def __del__(self) -> None:
        for name in ("_locks", "_digests", "_file"):
            with suppress(OSError, AttributeError):
                os.close(getattr(self, name))

    def _part(self, block: int) -> slice:
        return slice(block * BLOCK, min((block + 1) * BLOCK, len(self.rows)))

    def _look(self) -> None:
        """Count the blocks that are there."""
        noted = os.pread(self._digests, self.blocks * DIGEST_BYTES, 0)
        for block in range(self.blocks):
            digest = noted[block * DIGEST_BYTES : (block + 1) * DIGEST_BYTES]
            if block not in self._whole and any(digest) and digest == _digest(self._content(block)):
                self._whole.add(block)

    def _bytes(self, block: int) -> int:
        part = self._part(block)
        size: int = (part.stop - part.start) * self.row_bytes
        return size

    def _content(self, block: int) -> bytes:
        return os.pread(self._file, self._bytes(block), self.header + self._part(block).start * self.row_bytes)

    @property
    def missing(self) -> int:
        """Rows that are not there yet."""
        return sum(part.stop - part.start for block in range(self.blocks) if block not in self._whole for part in (self._part(block),))

    def work(self, compute: Compute, seconds: float) -> None:
        """Compute missing blocks for about so long: `compute` gives features (n x shape, float32) of rows of the data set. Where others have all that is
        missing in work, wait for them as long. TooLarge where float16 cannot hold them; NoRoom where the disk is full."""
        until = time.monotonic() + seconds
        while self.missing and time.monotonic() < until:
            self._fetch(until)
            taken = next((block for block in self.order if block not in self._whole and self._lock(block)), None)
            if taken is None:
                time.sleep(WAIT_SECONDS)
                self._look()
                continue
            try:
                # Another process may have made it since.
                self._look()
                if taken not in self._whole:
                    self._make(taken, compute)
            finally:
                self._unlock(taken)

    def _fetch(self, until: float) -> None:
        """Take over the pieces that other machines have stored; one process of this machine each."""
        if self.pieces is None:
            return
        self.pieces.look()
        for piece in sorted(self.pieces.there):
            missing = [block for block in self.pieces.blocks_of(piece) if block not in self._whole]
            if not missing or time.monotonic() >= until or not self._lock(missing[0]):
                continue
            try:
                self._look()
                if missing[0] not in self._whole:
                    self._take(piece, self.pieces.fetch(piece))
            finally:
                self._unlock(missing[0])

    def _take(self, piece: int, stored: bytes | None) -> None:
        """Of a piece the blocks that are missing and fit their digests. One that does not fit is computed here, and stored anew."""
        assert self.pieces is not None
        blocks = self.pieces.blocks_of(piece)
        digests, rest = (stored or b"")[: len(blocks) * DIGEST_BYTES], memoryview(stored or b"")[len(blocks) * DIGEST_BYTES :]
        for number, block in enumerate(blocks):
            content, rest = bytes(rest[: self._bytes(block)]), rest[self._bytes(block) :]
            if digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] != _digest(content):
                self.pieces.reject(piece)
                return
            if block not in self._whole and self._lock(block):
                try:
                    # Another process may have made it meanwhile, and reads it.
                    self._look()
                    if block not in self._whole:
                        self._store(block, content)
                finally:
                    self._unlock(block)

    def _give(self, piece: int) -> None:
        """Store a piece that is whole now, for the other machines."""
        if self.pieces is None:
            return
        # What other processes of this machine have made of it.
        self._look()
        blocks = self.pieces.blocks_of(piece)
        if self._whole.issuperset(blocks):
            contents = [self._content(block) for block in blocks]
            self.pieces.put(piece, b"".join([*map(_digest, contents), *contents]))

    def _unlock(self, block: int) -> None:
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, block)

    def _lock(self, block: int) -> bool:
        try:
            # Of one byte a block: the system lets go of it when the process ends.
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, block)
        except OSError:
            return False
        return True

    def _make(self, block: int, compute: Compute) -> None:
        part = self._part(block)
        values = compute(self.rows[part])
        if self.dtype == np.float16 and not np.abs(values).max(initial=0) <= FLOAT16_MOST:
            raise TooLarge
        self._store(block, np.ascontiguousarray(values, self.dtype).tobytes())
        self._give(block // PIECE)

    def _store(self, block: int, content: bytes) -> None:
        try:
            _write(self._file, content, self.header + self._part(block).start * self.row_bytes)
            _write(self._digests, _digest(content), block * DIGEST_BYTES)
        except OSError as error:
            raise NoRoom(f"features are kept on the disk, but {self.folder.parent} cannot be written ({error.strerror})") from error
        self._whole.add(block)

    def has(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows of the data set are among `rows`: bool, one each."""
        found: np.ndarray = self.rows[np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)] == rows
        return found

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Of these rows of the data set (each one of `rows`), in memory. OSError when the file was cut short meanwhile."""
        found = np.empty((len(rows), *self.shape), self.dtype)
        content = memoryview(found.reshape(-1).view(np.uint8).data)
        # Not by a map: its pages count as memory of the process, and all that the kernel finds around them, too, and a file that is cut short kills it.
        # The page cache is shared by all processes either way, and a read of a row costs a microsecond.
        for number, place in enumerate(np.searchsorted(self.rows, rows)):
            part = content[number * self.row_bytes : (number + 1) * self.row_bytes]
            if os.preadv(self._file, [part], self.header + int(place) * self.row_bytes) != self.row_bytes:
                raise OSError(f"{self.folder} was cut short while it was read")
        return found


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _write(file: int, content: bytes, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        # A write may be cut short; on a full disk the next one says so.
        written = os.pwrite(file, rest, offset)
        offset, rest = offset + written, rest[written:]


def make_room(root: Path, wanted: int, limit: int, keep: Iterable[str] = ()) -> None:
    """Delete the features that were used longest ago until `wanted` more bytes fit below `limit`; NoRoom when they never will. Who has some of
    them open reads on."""
    if wanted > limit:
        raise NoRoom(f"features take {wanted / 1e9:.1f} GB, but --cache-size is {limit / 1e9:g} GB")
    root.mkdir(parents=True, exist_ok=True)
    kept = set(keep)
    with FileLock(root / ".lock"):
        folders = sorted((folder for folder in root.iterdir() if folder.is_dir() and folder.name not in kept), key=_last_used)
        taken = sum(map(_bytes_on_disk, folders)) + sum(_bytes_on_disk(root / name) for name in kept)
        for folder in folders:
            if taken + wanted <= limit:
                return
            taken -= _bytes_on_disk(folder)
            shutil.rmtree(folder, ignore_errors=True)
    if taken + wanted > limit:
        raise NoRoom(f"features take {(taken + wanted) / 1e9:.1f} GB, but --cache-size is {limit / 1e9:g} GB")


def _last_used(folder: Path) -> float:
    try:
        return (folder / "features.json").stat().st_mtime
    except OSError:
        return 0.0


def _bytes_on_disk(folder: Path) -> int:
    """Also those that are still to be written: a file has its length from the start."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0
