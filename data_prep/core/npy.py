"""images.npy, written in pieces: rows at their offset, the header when all of them are there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# One length for every shape, so that rows have their place before their number is known. NumPy pads to a multiple of 64 as well.
HEADER_BYTES: Final = 128
_MAGIC: Final = b"\x93NUMPY\x01\x00"
_BLOCK_BYTES: Final = 8 << 20


def header(rows: int, size: int) -> bytes:
    """The NPY 1.0 header of uint8 rows x size x size x 3."""
    shape = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {size}, {size}, 3), }}".encode()
    padded = shape.ljust(HEADER_BYTES - len(_MAGIC) - 2 - 1) + b"\n"
    return _MAGIC + len(padded).to_bytes(2, "little") + padded


def row_offset(row: int, size: int) -> int:
    """Where a row begins, in bytes from the start of the file."""
    return HEADER_BYTES + row * size * size * 3


def write_rows(file: int, row: int, size: int, pixels: bytes | memoryview) -> None:
    """Write whole rows from `row` on. pwrite, not a map: dirty mapped pages count as resident memory of the process."""
    offset, rest = row_offset(row, size), memoryview(pixels)
    while rest:
        # A write may be cut short (a full disk: the next one then says so).
        written = os.pwrite(file, rest, offset)
        offset, rest = offset + written, rest[written:]


def drop_rows(file: int, dropped: Iterable[int], rows: int, size: int) -> int:
    """Close the holes of unreadable images, in place and in order; the number of rows left."""
    edges = [*sorted(dropped), rows]
    target = edges[0]
    for start, end in zip((row + 1 for row in edges), edges[1:], strict=False):
        _move_down(file, row_offset(start, size), row_offset(end, size), row_offset(target, size))
        target += end - start
    return target


def _move_down(file: int, start: int, end: int, target: int) -> None:
    while start < end:
        block = os.pread(file, min(_BLOCK_BYTES, end - start), start)
        rest = memoryview(block)
        while rest:
            written = os.pwrite(file, rest, target)
            target, rest = target + written, rest[written:]
        start += len(block)


def finish(file: int, rows: int, size: int) -> None:
    """Cut the file to `rows`, give it its header, and put it on the disk."""
    os.ftruncate(file, row_offset(rows, size))
    os.pwrite(file, header(rows, size), 0)
    os.fsync(file)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a new or renamed file survives a power cut only when its folder was synced after it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
