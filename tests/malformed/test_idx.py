"""`sweeps data fashion-mnist` from damaged IDX files."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES

WORDS = ("data", "fashion-mnist", "--size", "8", "--source", "idx")
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
COUNT = 40


def idx(array: np.ndarray) -> bytes:
    return header(*array.shape) + array.astype(np.uint8).tobytes()


def header(*shape: int, kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + struct.pack(f">{len(shape)}I", *shape)


def whole(folder: Path) -> Path:
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 10)):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(np.random.default_rng(0).integers(0, 256, (count, 28, 28))))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return folder


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(sweeps: Outcomes, how: str, packed: bool, name: str) -> None:
    """Other pixels are pixels: a plain file has no checksum."""
    folder = whole(sweeps.here / "idx")
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / (name + ".gz" * packed)).write_bytes(DAMAGES[how](gzip.compress(data, mtime=0) if packed else data, sweeps.random))
    assert sweeps.refused_or_skipped(*WORDS, of=COUNT) in (0, None)


WRONG: dict[str, tuple[str, bytes]] = {
    "no bytes": (IMAGES, b""),
    "three bytes": (IMAGES, b"\0\0\x08"),
    "magic": (IMAGES, b"\x01" + idx(np.zeros((30, 28, 28)))[1:]),
    "floats": (IMAGES, header(30, 28, 28, kind=13) + bytes(30 * 28 * 28 * 4)),
    "a png": (IMAGES, b"\x89PNG\r\n\x1a\n"),
    "no dimension": (IMAGES, header() + b"\0"),
    "one dimension": (IMAGES, idx(np.zeros(30))),
    "shape cut off": (IMAGES, header(30, 28, 28)[:9]),
    "one image more in the header": (IMAGES, header(31, 28, 28) + bytes(30 * 784)),
    "one image less in the header": (IMAGES, header(29, 28, 28) + bytes(30 * 784)),
    "4 billion images": (IMAGES, header(2**32 - 1, 28, 28) + bytes(784)),
    "no images": (IMAGES, header(0, 28, 28)),
    "no images of 4 billion px": (IMAGES, header(0, 2**32 - 1, 2**32 - 1)),
    "images of no px": (IMAGES, header(30, 0, 0)),
    "27 px": (IMAGES, idx(np.zeros((30, 27, 27)))),
    "transposed": (IMAGES, idx(np.zeros((28, 28, 30)))),
    "2**64 px, which is 0 again": (IMAGES, header(*(65_536,) * 4)),
    "2**96 px": (IMAGES, header(*(2**32 - 1,) * 3)),
    "255 dimensions": (IMAGES, header(*(1,) * 255) + b"\0"),
    "labels for images": (IMAGES, idx(np.arange(30) % 10)),
    "images for labels": (LABELS, idx(np.zeros((30, 28, 28)))),
    "fewer labels": (LABELS, idx(np.arange(29) % 10)),
    "no labels": (LABELS, header(0)),
    "label 10": (LABELS, idx(np.full(30, 10))),
    "label 255": (LABELS, idx(np.full(30, 255))),
    "labels in a column": (LABELS, idx(np.zeros((30, 1)))),
    "gz that is none": (f"{IMAGES}.gz", b"not packed"),
    "gz of nothing": (f"{IMAGES}.gz", gzip.compress(b"")),
    "gz without its end": (f"{IMAGES}.gz", gzip.compress(idx(np.zeros((30, 28, 28))))[:-4]),
    "gz and more": (f"{IMAGES}.gz", gzip.compress(idx(np.zeros((30, 28, 28)))) + b"more"),
    "gz in gz": (f"{IMAGES}.gz", gzip.compress(gzip.compress(idx(np.zeros((30, 28, 28)))))),
    "bomb": (f"{IMAGES}.gz", gzip.compress(header(2**20, 28, 28)) + gzip.compress(bytes(1 << 29), 1)),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong(sweeps: Outcomes, what: str) -> None:
    folder = whole(sweeps.here / "idx")
    name, data = WRONG[what]
    (folder / name.removesuffix(".gz")).unlink()
    (folder / name).write_bytes(data)
    sweeps.refused(*WORDS)


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_device(place: Path) -> None:
    place.symlink_to("/dev/zero")


def a_folder(place: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("make", [a_pipe, a_device, a_folder])
def test_what_is_no_file(sweeps: Outcomes, make: Callable[[Path], None]) -> None:
    folder = whole(sweeps.here / "idx")
    (folder / IMAGES).unlink()
    make(folder / IMAGES)
    sweeps.refused(*WORDS)
