"""Every kind of image becomes RGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from data_prep.core.decode import Unreadable, decode, strict_pillow

SIZE = 8


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def decoded(data: bytes, size: int = SIZE) -> np.ndarray:
    with strict_pillow():
        return decode(data, size)


def colour(data: bytes) -> list[int]:
    """The one colour of an image that has one, within the rounding of JPEG."""
    pixels = decoded(data)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert np.ptp(pixels.astype(int), axis=(0, 1)).max() <= 2
    return [int(level) for level in pixels[0, 0]]


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (SIZE, SIZE), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, transparency=1) if transparent else encoded(image)


def plain(mode: str, value: object, form: str = "PNG") -> bytes:
    return encoded(Image.new(mode, (SIZE, SIZE), value), form)  # type: ignore[arg-type]


def sixteen_bit(value: int, form: str = "PNG") -> bytes:
    return encoded(Image.fromarray(np.full((SIZE, SIZE), value, np.uint16)), form)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(plain("RGB", (10, 20, 30)), [10, 20, 30], id="RGB"),
        pytest.param(plain("L", 77), [77, 77, 77], id="grey"),
        pytest.param(plain("1", 1), [255, 255, 255], id="black and white"),
        pytest.param(palette(False), [10, 20, 30], id="palette"),
        pytest.param(palette(True), [255, 255, 255], id="palette, transparent"),
        pytest.param(plain("RGBA", (10, 20, 30, 255)), [10, 20, 30], id="RGBA, opaque"),
        pytest.param(plain("RGBA", (10, 20, 30, 0)), [255, 255, 255], id="RGBA, transparent"),
        pytest.param(plain("RGBA", (0, 0, 0, 51)), [204, 204, 204], id="RGBA, a fifth of black on white"),
        pytest.param(plain("LA", (77, 0)), [255, 255, 255], id="LA, transparent"),
        pytest.param(plain("LA", (77, 255)), [77, 77, 77], id="LA, opaque"),
        pytest.param(encoded(Image.new("L", (SIZE, SIZE), 77), transparency=77), [255, 255, 255], id="grey with a transparent level"),
        pytest.param(
            encoded(Image.new("RGB", (SIZE, SIZE), (1, 2, 3)), transparency=(1, 2, 3)), [255] * 3, id="RGB with a transparent colour"
        ),
        pytest.param(sixteen_bit(65535), [255, 255, 255], id="16-bit PNG, white"),
        pytest.param(sixteen_bit(257 * 100), [100, 100, 100], id="16-bit PNG, grey"),
        pytest.param(sixteen_bit(257 * 100, "TIFF"), [100, 100, 100], id="16-bit TIFF"),
        pytest.param(b"P5 8 8 65535\n" + (257 * 100).to_bytes(2, "big") * 64, [100, 100, 100], id="16-bit PGM"),
        pytest.param(plain("L", 77, "JPEG"), [77, 77, 77], id="grey JPEG"),
        pytest.param(plain("CMYK", (0, 0, 0, 255), "JPEG"), [0, 0, 0], id="CMYK JPEG"),
        pytest.param(plain("CMYK", (255, 0, 0, 0), "TIFF"), [0, 255, 255], id="CMYK TIFF"),
        pytest.param(encoded(Image.new("RGB", (SIZE, SIZE), (10, 20, 30)), "WEBP", lossless=True), [10, 20, 30], id="WebP"),
        pytest.param(plain("RGB", (10, 20, 30), "BMP"), [10, 20, 30], id="BMP"),
        pytest.param(plain("RGB", (0, 0, 0), "GIF"), [0, 0, 0], id="GIF"),
    ],
)
def test_modes(data: bytes, expected: list[int]) -> None:
    assert colour(data) == pytest.approx(expected, abs=2)


def halves() -> Image.Image:
    """Left red, right blue."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8, 0], pixels[:, 8:, 2] = 255, 255
    return Image.fromarray(pixels)


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    pixels = decoded(encoded(halves(), "JPEG", exif=exif, quality=95, subsampling=0), 16)
    assert pixels[1, 8].tolist() == pytest.approx([255, 0, 0], abs=8)  # what was left is on top
    assert pixels[14, 8].tolist() == pytest.approx([0, 0, 255], abs=8)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8)])
def test_the_centre_square_is_kept(shape: tuple[int, int]) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[shape[0] // 2 - 4 : shape[0] // 2 + 4, shape[1] // 2 - 4 : shape[1] // 2 + 4] = 200
    assert decoded(encoded(Image.fromarray(pixels))).tolist() == np.full((8, 8, 3), 200).tolist()


def test_draft_mode_changes_little() -> None:
    image = Image.radial_gradient("L").resize((512, 512)).convert("RGB")
    jpeg, png = encoded(image, "JPEG", quality=95), encoded(image)
    assert np.abs(decoded(jpeg, 32).astype(int) - decoded(png, 32)).max() <= 4


def test_enlarging() -> None:
    assert decoded(plain("RGB", (1, 2, 3)), 64).shape == (64, 64, 3)


def bomb() -> bytes:
    """A PNG of 10,000 x 10,000 pixels in 15 kB."""
    return encoded(Image.new("1", (10_000, 10_000)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "not an image", id="empty"),
        pytest.param(b"<html></html>", "not an image", id="not an image"),
        pytest.param(encoded(halves(), "JPEG")[:300], "[Tt]runcated|not processed", id="truncated JPEG, header"),
        pytest.param(encoded(Image.effect_noise((64, 64), 90), "JPEG")[:-200], "truncated", id="truncated JPEG, pixels"),
        pytest.param(encoded(Image.effect_noise((64, 64), 90))[:-500], "[Tt]runcated|broken", id="truncated PNG"),
        pytest.param(bomb(), "exceeds limit of 89478485 pixels, could be decompression bomb", id="bomb"),
        pytest.param(encoded(Image.new("F", (8, 8)), "TIFF"), "floating point", id="floating point"),
        pytest.param(encoded(Image.new("I", (8, 8), 70_000), "TIFF"), "beyond 16 bits", id="32-bit"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "not an image", id="EPS, which starts a program"),
    ],
)
def test_unreadable(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decoded(data)
