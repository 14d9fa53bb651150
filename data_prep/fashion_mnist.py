"""Fashion-MNIST: 70,000 photographs of clothes of 28 x 28 pixels, grey, 10 classes of 7,000.

Where from: https://github.com/zalandoresearch/fashion-mnist (H. Xiao, K. Rasul, R. Vollgraf, 2017, arXiv 1708.07747). Licence: MIT.
Debian and Ubuntu have it as the package `dataset-fashion-mnist`, which is looked for where it installs; else `--source FOLDER`.
Size: 31 MB gzipped. Layout: four IDX files, gzipped or plain: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` (60,000) and `t10k-...` (10,000).
Both parts are labelled and come from one shuffled pool: all 70,000 are used, train first, and split anew by `split`.
"""

import gzip
import hashlib
import math
import os
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from data_prep.core.errors import BadInput
from data_prep.core.source import Arrays, Found, Request, Source

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PARTS = ("train", "t10k")
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
DEBIAN_FOLDER = Path(os.sep) / "usr/share/datasets/fashion-mnist"
PIXELS = 28
UBYTE = 8  # IDX type code: unsigned byte
MAX_DIMENSIONS = 3
# Nearly three times the largest published one, unpacked.
MAX_BYTES = 128 << 20


def _find(request: Request) -> Found:
    folder = Path(request.source).expanduser() if request.source else DEBIAN_FOLDER
    if not request.source and not folder.is_dir():
        raise BadInput(
            "Fashion-MNIST must be on this machine, but its package is not installed: "
            "`apt-get install dataset-fashion-mnist`, or --source FOLDER with its four IDX files"
        )
    files = [_file(folder, f"{part}-{kind}") for part in PARTS for kind in (IMAGES, LABELS)]
    return Found(where=str(folder), identity=partial(_identity, files), read=partial(_read, files))


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise BadInput(f"a Fashion-MNIST folder must have {name} or {name}.gz, but '{folder}' has neither: give its folder by --source")


def _identity(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256 {digest.hexdigest()}"


def _read(files: list[Path]) -> Arrays:
    arrays = [read_idx(path) for path in files]
    for path, images, labels in zip(files[::2], arrays[::2], arrays[1::2], strict=True):
        if images.shape[1:] != (PIXELS, PIXELS) or not len(images):
            raise BadInput(
                f"Fashion-MNIST images must be {PIXELS} x {PIXELS} pixels and at least one, but '{path}' has the shape {images.shape}: "
                "fetch the files again"
            )
        if labels.ndim != 1 or len(images) != len(labels):
            raise BadInput(
                f"IDX images and labels must be of equal number, but '{path}' has {images.shape} for {labels.shape} labels: "
                "fetch the files again"
            )
    labels = np.concatenate(arrays[1::2])
    if labels.max() >= len(CLASSES):
        raise BadInput(f"Fashion-MNIST labels must be 0 to 9, but got {labels.max()} in '{files[1].parent}': fetch the files again")
    return Arrays(np.concatenate(arrays[::2]), labels, CLASSES)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, plain or gzipped: magic 0, 0, type, dimensions; then a big-endian 32-bit size for each."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"an IDX file must be readable, but '{path}' is not ({error}): fetch it again") from error
    if len(data) < 4 or data[:3] != bytes((0, 0, UBYTE)) or len(data) < 4 + 4 * data[3]:
        raise BadInput(f"an IDX file of bytes must begin with 00 00 08, but '{path}' begins with {data[:4].hex(' ')}: fetch it again")
    if data[3] > MAX_DIMENSIONS:
        raise BadInput(f"an IDX file must have at most {MAX_DIMENSIONS} dimensions, but '{path}' has {data[3]}: fetch it again")
    if len(data) > MAX_BYTES:
        raise BadInput(f"an IDX file must have at most {MAX_BYTES} bytes, but '{path}' has more: fetch it again")
    header = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", count=data[3], offset=4))
    # Of Python's numbers, for NumPy's begin anew beyond 2**64.
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise BadInput(f"an IDX file of shape {shape} must have {expected} bytes, but '{path}' has {len(data)}: fetch it again")
    try:
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    except ValueError as error:
        # 0 images of 4 billion px squared.
        raise BadInput(
            f"an IDX file must have a shape that an array can have, but '{path}' has {shape} ({error}): fetch it again"
        ) from None


SOURCE = Source(summary="70,000 photographs of clothes, 28 x 28 grey, 10 classes; Debian package dataset-fashion-mnist", find=_find)
