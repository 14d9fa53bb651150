"""Features on the run storage: each is computed by one machine of a cluster, and fetched by the others to their own disks.

`<storage>/.features/<key>/000012` is a piece of them: PIECE blocks as they stand in `features.npy`, behind their digests. It is there whole or not at
all, and what does not fit its digests is not taken. Nobody waits for another machine: each computes the pieces in an order of its own, and takes what has
appeared meanwhile, so that two seldom have the same in work; where they have, both store equal ones.
"""

from __future__ import annotations

import platform
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from data_prep import BadInput
from trainables.core import files

FOLDER = ".features"
# Blocks of a piece: 1,024 images, of a megabyte or a few.
PIECE = 8
# Between two looks at what others have stored.
LOOK_SECONDS = 2.0
LEFT_FREE_BYTES = 2 * 10**9


class Shelf:
    """`place`: a folder or URI that all machines reach; `limit`: bytes of features that it may hold. Features can be computed again: where the storage
    fails, they are, and it is left alone from then on."""

    def __init__(self, place: str, limit: int) -> None:
        self.place, self.limit = place, limit
        self.failed = False
        self._resolved: tuple[fs.FileSystem, str] | None = None

    def of(self, key: str, blocks: int, size: int) -> Pieces | None:
        """The features of that key: so many blocks, of `size` bytes in all. None where they may not be stored."""
        return None if size > self.limit else Pieces(self, key, blocks)

    def system(self) -> tuple[fs.FileSystem, str]:
        """As `files.resolve`; OSError where it cannot be had."""
        try:
            self._resolved = self._resolved or files.resolve(self.place)
        except BadInput as error:
            raise OSError(str(error)) from error
        return self._resolved

    def has_room(self, key: str, wanted: int) -> bool:
        """Whether so many more bytes of that key's fit, once the features of others that were stored longest ago are deleted. A disk is not filled: the
        run's checkpoints go there, too."""
        system, root = self.system()
        if files.is_local(system):
            Path(root).mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(root).free < wanted + LEFT_FREE_BYTES:
                return False
        found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        stored: dict[str, list[fs.FileInfo]] = {key: []}
        for info in found:
            if info.type == fs.FileType.File:
                stored.setdefault(info.path.rsplit("/", 2)[-2], []).append(info)
        sizes = {name: sum(info.size for info in infos) for name, infos in stored.items()}
        for name in sorted(sizes.keys() - {key}, key=lambda name: max(info.mtime_ns or 0 for info in stored[name])):
            if sum(sizes.values()) + wanted <= self.limit:
                break
            # Another machine may delete the same.
            with suppress(FileNotFoundError):
                system.delete_dir(f"{root}/{name}")
            del sizes[name]
        fits: bool = sum(sizes.values()) + wanted <= self.limit
        return fits


class Pieces:
    """Of the features of one key."""

    def __init__(self, shelf: Shelf, key: str, blocks: int) -> None:
        self.shelf, self.key, self.blocks = shelf, key, blocks
        self.count = -(-blocks // PIECE)
        self.there: set[int] = set()
        # Stored, but not whole: computed here, then stored anew.
        self.damaged: set[int] = set()
        self.next_look = 0.0

    @property
    def order(self) -> list[int]:
        """Of all blocks, as this machine computes them."""
        pieces = random.Random(f"{platform.node()} {self.key}").sample(range(self.count), self.count)
        return [block for piece in pieces for block in self.blocks_of(piece)]

    def blocks_of(self, piece: int) -> range:
        """The numbers of its blocks."""
        return range(piece * PIECE, min((piece + 1) * PIECE, self.blocks))

    def look(self) -> None:
        """See which are stored, every LOOK_SECONDS."""
        if self.shelf.failed or time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + LOOK_SECONDS
        try:
            system, root = self.shelf.system()
            self.there = {int(name) for name in files.names(system, f"{root}/{self.key}") if name.isdecimal()} - self.damaged
        except OSError:
            self.shelf.failed = True

    def reject(self, piece: int) -> None:
        """What is stored of it does not fit its digests."""
        self.damaged.add(piece)
        self.there.discard(piece)

    def fetch(self, piece: int) -> bytes | None:
        """What is stored; None where it cannot be had."""
        if self.shelf.failed:
            return None
        try:
            system, root = self.shelf.system()
            return files.read(system, f"{root}/{self.key}/{piece:06d}")
        except FileNotFoundError:
            # Deleted to make room.
            self.there.discard(piece)
        except OSError:
            self.shelf.failed = True
        return None

    def put(self, piece: int, content: bytes) -> None:
        """Store it, where there is room and the storage can be written."""
        if self.shelf.failed or piece in self.there:
            return
        try:
            if self.shelf.has_room(self.key, len(content)):
                system, root = self.shelf.system()
                files.write(system, f"{root}/{self.key}/{piece:06d}", content)
                self.there.add(piece)
                self.damaged.discard(piece)
        except OSError:
            self.shelf.failed = True
