"""`sweeps data images:photos`: one bad image of 120 is skipped and counted, or the folder is refused."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import open_dataset
from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES

COUNT = 120
WORDS = ("data", "images:photos", "--size", "8")
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 60."""
    folder = tmp_path_factory.mktemp("whole") / "photos"
    for label, name in enumerate(("cats", "dogs")):
        (folder / name).mkdir(parents=True)
        for number in range(COUNT // 2):
            Image.new("RGB", (8, 8), (number, 100 * label, 0)).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def photos(whole: Path, sweeps: Outcomes) -> Path:
    return Path(shutil.copytree(whole, sweeps.here / "photos"))


def encoded(extension: str, image: Image.Image | None = None, **how: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    (image or Image.fromarray(pixels)).save(file, FORMATS[extension], **how)
    return file.getvalue()


def put(photos: Path, extension: str, data: bytes) -> None:
    """In the place of one that was good."""
    (photos / "cats" / "00.png").unlink()
    (photos / "cats" / f"00.{extension}").write_bytes(data)


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("draw", range(2))
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(photos: Path, sweeps: Outcomes, extension: str, how: str, draw: int) -> None:
    """Bytes that are lost can go unnoticed in a format without checksums; then the image is one."""
    put(photos, extension, DAMAGES[how](encoded(extension), sweeps.random))
    assert sweeps.skipped(*WORDS, of=COUNT) <= 1


@pytest.mark.parametrize("extension", FORMATS)
def test_the_first_half(photos: Path, sweeps: Outcomes, extension: str) -> None:
    data = encoded(extension)
    put(photos, extension, data[: len(data) // 2])
    assert sweeps.skipped(*WORDS, of=COUNT) == 1


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    rows = zlib.compress(bytes(1000))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def patched(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def huge_jpeg() -> bytes:
    data = encoded("jpg")
    return patched(data, data.index(b"\xff\xc0") + 5, b"\xff\xff\xff\xff")


def huge_tiff() -> bytes:
    """Width and height are the first two entries of its directory."""
    data = encoded("tif")
    (directory,) = struct.unpack_from("<I", data, 4)
    entries = [directory + 2 + 12 * n for n in range(2)]
    for place in entries:
        data = patched(data, place + 2, struct.pack("<HII", 4, 1, 1_000_000))
    return data


def float_tiff() -> bytes:
    return encoded("tif", Image.fromarray(np.full((9, 9), np.nan, np.float32)))


def negative_tiff() -> bytes:
    return encoded("tif", Image.fromarray(np.full((9, 9), -5, np.int32)))


UNUSABLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "bomb png": ("png", lambda: png(100_000, 100_000)),
    "bomb png, most of it": ("png", lambda: png(2**31 - 1, 2**31 - 1)),
    "bomb png of 90 million px": ("png", lambda: png(9_500, 9_500)),
    "bomb text in png": ("png", lambda: png(8, 8, chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(100_000_000))))),
    "bomb profile in png": ("png", lambda: png(8, 8, chunk(b"iCCP", b"key\0\0" + zlib.compress(bytes(100_000_000))))),
    "bomb gif": ("gif", lambda: patched(encoded("gif"), 6, b"\xff\xff\xff\xff")),
    "bomb bmp": ("bmp", lambda: patched(encoded("bmp"), 18, struct.pack("<ii", 2**30, 2**30))),
    "bomb jpeg": ("jpg", huge_jpeg),
    "bomb tiff": ("tif", huge_tiff),
    "bomb ppm": ("ppm", lambda: b"P6 99999999 99999999 255\n"),
    "ppm of many digits": ("ppm", lambda: b"P6 " + b"9" * 100_000 + b" 1 255\n"),
    "bmp of negative width": ("bmp", lambda: patched(encoded("bmp"), 18, struct.pack("<ii", -24, 24))),
    "empty file": ("png", lambda: b""),
    "no pixels png": ("png", lambda: png(0, 0)),
    "no pixels gif": ("gif", lambda: b"GIF89a" + bytes(7) + b"\x3b"),
    "no pixels bmp": ("bmp", lambda: patched(encoded("bmp"), 18, bytes(8))),
    "no pixels ppm": ("ppm", lambda: b"P6 0 0 255\n"),
    "floats": ("tif", float_tiff),
    "negative integers": ("tif", negative_tiff),
    "postscript": ("png", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n"),
    "svg": ("png", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "a page": ("jpg", lambda: b"<!DOCTYPE html><html><body>404</body></html>"),
    "a pickle": ("jpg", lambda: b"cos\nsystem\n(S'touch ../sprung'\ntR."),
    "zeros": ("bmp", lambda: bytes(1 << 16)),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_skipped(photos: Path, sweeps: Outcomes, what: str) -> None:
    extension, make = UNUSABLE[what]
    put(photos, extension, make())
    assert sweeps.skipped(*WORDS, of=COUNT) == 1


def animated() -> bytes:
    frames = [Image.new("P", (9, 9), n) for n in range(5)]
    return encoded("gif", frames[0], save_all=True, append_images=frames[1:])


USABLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cmyk": ("jpg", lambda: encoded("jpg", Image.new("CMYK", (9, 9), (1, 2, 3, 4)))),
    "16 bits": ("png", lambda: encoded("png", Image.fromarray(np.full((9, 9), 40_000, np.uint16)))),
    "1 bit": ("tif", lambda: encoded("tif", Image.new("1", (9, 9), 1))),
    "transparent palette": ("png", lambda: encoded("png", Image.new("P", (9, 9), 1), transparency=1)),
    "animated": ("gif", animated),
    "a thousand times as wide as high": ("png", lambda: encoded("png", Image.new("RGB", (1000, 1)))),
    "a png called jpg": ("jpg", lambda: encoded("png")),
}


@pytest.mark.parametrize("what", USABLE)
def test_odd_and_used(photos: Path, sweeps: Outcomes, what: str) -> None:
    extension, make = USABLE[what]
    put(photos, extension, make())
    assert sweeps.skipped(*WORDS, of=COUNT) == 0


def a_pipe(place: Path) -> None:
    """Nobody writes into it: to read it is to wait for ever."""
    os.mkfifo(place)


def a_device(place: Path) -> None:
    """It never ends."""
    place.symlink_to("/dev/zero")


def a_link_to_nowhere(place: Path) -> None:
    place.symlink_to("nowhere.png")


def a_link_to_itself(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.parametrize("make", [a_pipe, a_device, a_link_to_nowhere, a_link_to_itself])
def test_what_is_no_file(photos: Path, sweeps: Outcomes, make: Callable[[Path], None]) -> None:
    (photos / "cats" / "00.png").unlink()
    make(photos / "cats" / "00.png")
    before = sweeps.refused_or_skipped(*WORDS, of=COUNT)
    assert before in (1, None)


def a_folder_in_itself(photos: Path) -> None:
    for name in ("again", "and again"):
        (photos / "cats" / name).symlink_to(photos / "cats")


def no_good_one(photos: Path) -> None:
    for path in (photos / "cats").iterdir():
        path.write_bytes(b"no image")


def two_bad_ones(photos: Path) -> None:
    for name in ("00", "01"):
        (photos / "cats" / f"{name}.png").write_bytes(b"no image")


def an_empty_class(photos: Path) -> None:
    (photos / "birds").mkdir()


def a_class_of_bytes(photos: Path) -> None:
    Path(os.fsdecode(bytes(photos) + b"/\xff\xfe")).mkdir()


def no_class(photos: Path) -> None:
    shutil.rmtree(photos)
    photos.mkdir()


def a_file(photos: Path) -> None:
    shutil.rmtree(photos)
    photos.write_bytes(b"photos")


@pytest.mark.parametrize("make", [a_folder_in_itself, no_good_one, two_bad_ones, an_empty_class, a_class_of_bytes, no_class, a_file])
def test_the_folder_is_refused(photos: Path, sweeps: Outcomes, make: Callable[[Path], None]) -> None:
    make(photos)
    sweeps.refused(*WORDS)


def test_folders_in_folders(photos: Path, sweeps: Outcomes) -> None:
    """Deeper than Python's calls: the image is found."""
    inner = photos / "cats"
    made = [inner := inner / "a" for _ in range(700)]
    for folder in made:
        folder.mkdir()
    (photos / "cats" / "00.png").rename(inner / "00.png")
    try:
        assert sweeps.of(*WORDS)[0] == 0
        assert len(open_dataset(next((sweeps.here / "data").glob("images-*"))).labels) == COUNT
    finally:
        # What removes them later calls itself.
        (inner / "00.png").unlink()
        for folder in reversed(made):
            folder.rmdir()


def test_a_name_of_bytes(photos: Path, sweeps: Outcomes) -> None:
    (photos / "cats" / "00.png").unlink()
    Path(os.fsdecode(bytes(photos) + b"/cats/\xff\x1b[31m.png")).write_bytes(b"no image")
    assert sweeps.skipped(*WORDS, of=COUNT) == 1
