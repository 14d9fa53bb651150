"""One encoded image -> size x size x 3 bytes of RGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# A phone's JPEG with several pictures in it (MPO) is opened by the JPEG reader. Pillow's other readers are left out:
# some start programs (EPS runs Ghostscript), and nobody has photographs in them.
FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
EXTENSIONS: Final = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
RESAMPLING: Final = Image.Resampling.BICUBIC
# Goes into dataset.json: what happened to each image.
DESCRIPTION: Final = (
    "first frame, EXIF orientation applied, transparency on white, converted to 8-bit RGB, "
    "cropped to the centre square, resampled by Pillow's bicubic filter (antialiased)"
)
_MAX_16_BIT: Final = 65535


class Unreadable(Exception):
    """The image cannot be used; the text is the reason."""


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow's warnings: an image of over 89 million pixels (a decompression bomb) is refused, the rest is noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(data: bytes, size: int) -> np.ndarray:
    """uint8 size x size x 3. Call inside `strict_pillow()`. Unreadable: anything that is not a whole image."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return np.asarray(fit(_load(image, size), size))
    except Exception as error:
        # Pillow's readers raise what they meet (OSError, SyntaxError, ValueError, struct.error, TypeError, ...): all mean a bad file.
        raise Unreadable(_reason(error)) from error


def _load(image: Image.Image, size: int) -> Image.Image:
    # JPEG only, a no-op elsewhere: the decoder itself halves the image while it stays twice as large as needed (4 times less work
    # a halving); twice, because a bicubic filter on less than that is visibly not the filter on the full image.
    image.draft(None, (2 * size, 2 * size))
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB. ValueError: pixels without a fixed range."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if image.mode == "F":
        raise ValueError("pixels are floating point numbers, whose range is not known")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # Pillow's own convert() clips at 255: a 16-bit photograph becomes white.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _MAX_16_BIT:
        raise ValueError("pixels are integers beyond 16 bits, whose range is not known")
    return Image.fromarray(np.rint(values * (255 / _MAX_16_BIT)).astype(np.uint8)).convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Centre square, resampled: the aspect ratio of what is shown stays true, which squeezing the whole image would not keep."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), method=RESAMPLING)


def _reason(error: Exception) -> str:
    # BytesIO's address is in Pillow's text for "not an image": without it, equal failures read equal.
    text = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    return " ".join(text.split()) or type(error).__name__
