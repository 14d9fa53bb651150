"""Files of a container -> rows of images.npy: what each decoder does, in a process of its own or in the caller's."""

from __future__ import annotations

import numpy as np

from data_prep.core import npy
from data_prep.core.container import Read
from data_prep.core.decode import Unreadable, decode, strict_pillow


def decode_rows(read: Read, size: int, out: int, row: int, members: list[str]) -> list[tuple[int, str]]:
    """Decode `members` into the rows from `row` on of the open file `out`; (row, reason) of each that is unreadable."""
    pixels = np.zeros((len(members), size, size, 3), np.uint8)
    skipped = []
    with strict_pillow():
        for i, member in enumerate(members):
            try:
                pixels[i] = decode(read(member), size)
            except Unreadable as reason:
                skipped.append((row + i, str(reason)))
    npy.write_rows(out, row, size, pixels.data.cast("B"))
    return skipped
