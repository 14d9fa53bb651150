"""The curves of one trial beside its checkpoints, as TensorBoard reads them: an event file that grows by an epoch.

Written by hand, as its format is small and does not change: tensorboardX takes half a second to import in every worker. Of the protocol:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto, framed as TFRecord.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from pyarrow import fs

from trainables.core import files

Row = Mapping[str, Any]

# TensorBoard reads what has `tfevents` in its name.
NAME: Final = "events.out.tfevents.sweeps"
# Figure of an epoch -> tag: what has one word before the slash is side by side.
CURVES: Final = {
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "learning_rate": "learning_rate",
    "epoch_seconds": "epoch_seconds",
    "images_per_second": "images_per_second",
}


class Curves:
    """The event file in the folder of a trial's checkpoints: on a disk alone, as nothing can be appended on an object store. An export makes all of it
    again, so no trouble with it is told."""

    def __init__(self, system: fs.FileSystem, folder: str) -> None:
        self.file = Path(folder) / NAME if files.is_local(system) else None
        # Epochs that the file is known to hold, and no others.
        self.epochs: int | None = None

    def write(self, history: Sequence[Row]) -> None:
        """Bring the file up to `history` (see `Training.history`): what a reader has read of it stays, unless an epoch was trained again."""
        if self.file is None or not history:
            return
        known, self.epochs = self.epochs, None
        with suppress(OSError):
            if known is not None and known <= len(history):
                _append(self.file, b"".join(map(epoch_events, history[known:])))
            else:
                _fit(self.file, _content(history))
            self.epochs = len(history)


def _fit(file: Path, content: bytes) -> None:
    found = file.read_bytes() if file.exists() else b""
    if content.startswith(found):
        # Also where a kill has torn the last record: equal numbers are equal bytes, so what is missing is the rest of it.
        _append(file, content[len(found) :])
        return
    draft = file.with_name(".curves.tmp")
    draft.write_bytes(content)
    draft.replace(file)


def _append(file: Path, content: bytes) -> None:
    with file.open("ab") as opened:
        opened.write(content)


def _content(history: Sequence[Row]) -> bytes:
    began = history[0]["finished_at"] - history[0]["epoch_seconds"]
    return record(version(began)) + b"".join(map(epoch_events, history))


def epoch_events(row: Row) -> bytes:
    """The records of one epoch, a figure each; one that is None has none. `finished_at`: Unix time, s."""
    values = ((tag, row[name]) for name, tag in CURVES.items() if row[name] is not None)
    return b"".join(record(scalar(row["finished_at"], row["epoch"], tag, value)) for tag, value in values)


def version(moment: float) -> bytes:
    """The first event of a file that began at `moment` (Unix time, s)."""
    return b"\x09" + struct.pack("<d", moment) + _text(b"\x1a", b"brain.Event:2")


def scalar(moment: float, step: int, tag: str, value: float) -> bytes:
    """An event: `value` at `step` (from 1) of the curve `tag`, as it was at `moment` (Unix time, s)."""
    with np.errstate(over="ignore"):
        figure = np.asarray(value, "<f4").tobytes()
    summary = _text(b"\x0a", _text(b"\x0a", tag.encode()) + b"\x15" + figure)
    return b"\x09" + struct.pack("<d", moment) + b"\x10" + _varint(step) + _text(b"\x2a", summary)


def record(event: bytes) -> bytes:
    """An event as it stands in a file: its length and itself, each with a checksum."""
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _text(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    # Seven bits a byte, the lowest first; the top bit says that more follow.
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _table() -> Iterator[int]:
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
        yield rest


# CRC-32C: zlib's is of another polynomial.
CRC: Final = tuple(_table())


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    # Masked, as TFRecord has it.
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
