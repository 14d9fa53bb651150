"""Small archives in the exact published layouts, for tests of any room: no internet, no luck.

from tests.data_prep.archives import make_tiny_imagenet
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n02124075", "n04067472", "n04540053", "n04099969", "n07749582", "n01641577", "n02802426", "n09246464", "n07920052", "n03970156")
WORDS = ("Egyptian cat", "reel", "volleyball", "rocking chair, rocker", "lemon", "bullfrog, Rana catesbeiana", "basketball",
         "cliff, drop, drop-off", "espresso", "plunger, plumber's helper")  # fmt: skip
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def make_tiny_imagenet(path: Path, *, classes: int = 4, images_per_class: int = 60, grey: int = 4, broken: int = 2, size: int = 64) -> Path:
    """Tiny ImageNet's layout at `path`: a zip file where it ends in .zip, else the folder tiny-imagenet-200 itself. Returns `path`.

    `classes` 1 to 10; `images_per_class` JPEGs of `size` x `size` pixels a class in train/; of all of them the first `grey` are grey
    (mode L) and the last `broken` are cut in half. A class has a colour of its own, so that a net can learn them. val/ and test/ hold
    two images each. wnids.txt is not in sorted order, as in the published file. The same arguments give the same bytes.
    """
    files = _tiny_imagenet_files(classes, images_per_class, grey, broken, size)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(f"tiny-imagenet-200/{name}"), data, zipfile.ZIP_DEFLATED)
        return path
    for name, data in files:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def _tiny_imagenet_files(classes: int, images_per_class: int, grey: int, broken: int, size: int) -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(0)
    last = classes * images_per_class
    for c, wnid in enumerate(WNIDS[:classes]):
        boxes = ""
        for i in range(images_per_class):
            number = c * images_per_class + i
            data = jpeg(random, size, c, grey=number < grey)
            data = data[: len(data) // 2] if number >= last - broken else data
            boxes += f"{wnid}_{i}.JPEG\t0\t10\t{size - 1}\t{size - 1}\n"
            yield f"train/{wnid}/images/{wnid}_{i}.JPEG", data
        yield f"train/{wnid}/{wnid}_boxes.txt", boxes.encode()
    for i in range(2):
        yield f"val/images/val_{i}.JPEG", jpeg(random, size, i)
        yield f"test/images/test_{i}.JPEG", jpeg(random, size, i)
    yield "val/val_annotations.txt", "".join(f"val_{i}.JPEG\t{WNIDS[i]}\t0\t0\t{size - 1}\t{size - 1}\n" for i in range(2)).encode()
    yield "wnids.txt", "".join(f"{wnid}\n" for wnid in WNIDS[:classes]).encode()
    yield "words.txt", "".join(f"{wnid}\t{words}\n" for wnid, words in sorted(zip(WNIDS, WORDS, strict=True))).encode()


def jpeg(random: np.random.Generator, size: int, label: int = 0, *, grey: bool = False) -> bytes:
    """A JPEG of a gradient in the label's colour under noise."""
    colour = np.array([(37 * label + 20) % 200, (91 * label + 60) % 200, (53 * label + 130) % 200])
    ramp = np.linspace(0, 40, size)[:, None, None]
    pixels = (colour + ramp + random.integers(0, 16, (size, size, 3))).astype(np.uint8)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert("L") if grey else image).save(file, "JPEG", quality=85)
    return file.getvalue()


def make_cifar10(path: Path, *, images_per_batch: int = 20) -> Path:
    """CIFAR-10's layout at `path`: a tar.gz, or where it has no such ending the folder cifar-10-batches-py. Labels go 0, 1, ... 9, 0, ...

    The pickles are written as Python 2 wrote the published ones: protocol 2, strings of bytes, numpy.core.multiarray.
    """
    random = np.random.default_rng(0)
    files = {"batches.meta": py2_pickle({"num_cases_per_batch": images_per_batch, "label_names": list(CIFAR10_NAMES), "num_vis": 3072})}
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels = [i % 10 for i in range(images_per_batch)]
        data = random.integers(0, 256, (images_per_batch, 3072), dtype=np.uint8)
        files[name] = py2_pickle({"data": data, "labels": labels, "batch_label": name, "filenames": [f"{i}.png" for i in labels]})
    return write_files(path, {f"cifar-10-batches-py/{name}": data for name, data in files.items()})


def write_files(path: Path, files: dict[str, bytes]) -> Path:
    """A tar.gz, or a folder."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path
    path.mkdir(parents=True)
    for name, data in files.items():
        (path / Path(name).name).write_bytes(data)
    return path


def py2_pickle(value: object) -> bytes:
    """A pickle of protocol 2 with Python 2's strings."""
    return b"\x80\x02" + _py2(value) + b"."


def _py2(value: object) -> bytes:
    match value:
        case str():
            return b"T" + struct.pack("<i", len(value)) + value.encode()
        case int():
            return b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(map(_py2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_py2(key) + _py2(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            dtype = b"cnumpy\ndtype\n(" + _py2("u1") + _py2(0) + _py2(1) + b"tR"
            dtype += b"(" + _py2(3) + _py2("|") + b"NNN" + _py2(-1) + _py2(-1) + _py2(0) + b"tb"
            shape = b"(" + b"".join(map(_py2, value.shape)) + b"t"
            data = b"T" + struct.pack("<i", value.nbytes) + value.tobytes()
            new = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + _py2(0) + b"t" + _py2("b") + b"tR"
            return new + b"(" + _py2(1) + shape + dtype + b"\x89" + data + b"tb"
    raise TypeError(type(value))
