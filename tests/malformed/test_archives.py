"""`sweeps data tiny-imagenet` and `cifar10` from damaged and hostile archives: nothing is extracted, so no member can write anywhere."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data_prep.archives import make_cifar10, make_tiny_imagenet
from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES

TINY = ("data", "tiny-imagenet", "--size", "8", "--source")
CIFAR = ("data", "cifar10", "--size", "8", "--source")
IMAGES = 120
BATCH = "cifar-10-batches-py/data_batch_1"
TRAIN = "tiny-imagenet-200/train"
WNID = "n02124075"

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Two classes of 60, as the files of a zip."""
    path = make_tiny_imagenet(tmp_path_factory.mktemp("tiny") / "tiny.zip", classes=2, images_per_class=IMAGES // 2, broken=0, size=12)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Six batches of 20 images, and the names."""
    folder = make_cifar10(tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py")
    return {f"{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def tarred(files: Files, *more: tarfile.TarInfo, mode: str = "w:gz", **how: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, **how) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    content: bytes = file.getvalue()
    return content


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("how", DAMAGES)
def test_a_zip_damaged_at_random(sweeps: Outcomes, tiny: Files, how: str, draw: int) -> None:
    (sweeps.here / "tiny.zip").write_bytes(DAMAGES[how](zipped(tiny), sweeps.random))
    sweeps.refused_or_skipped(*TINY, "tiny.zip", of=IMAGES)


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", ""])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_tar_damaged_at_random(sweeps: Outcomes, cifar: Files, how: str, packed: str) -> None:
    (sweeps.here / "c.tar").write_bytes(DAMAGES[how](tarred(cifar, mode=f"w:{packed}"), sweeps.random))
    sweeps.refused_or_skipped(*CIFAR, "c.tar", of=IMAGES)


def with_member(name: str, data: bytes = b"member") -> Callable[[Files], bytes]:
    return lambda tiny: zipped({**tiny, name: data})


def link(tiny: Files) -> bytes:
    """Its content is where it leads to."""
    file = io.BytesIO(zipped(tiny))
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo(f"{TRAIN}/{WNID}/images/link.JPEG")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


# Read as any other: their names are names of images, and no place that is written to.
@pytest.mark.parametrize(
    ("make", "skipped", "images"),
    [
        (with_member("../../evil.txt"), 0, IMAGES),
        (with_member("/evil.txt"), 0, IMAGES),
        (with_member("C:\\evil.txt"), 0, IMAGES),
        (with_member(f"../train/{WNID}/images/evil.JPEG"), 1, IMAGES + 1),
        (with_member(f"{TRAIN}/{WNID}/images/\x1b[2Jevil\n.JPEG"), 1, IMAGES + 1),
        (with_member("a/" * 5000), 0, IMAGES),
        (link, 1, IMAGES + 1),
    ],
    ids=["up", "absolute", "drive", "up image", "control characters", "deep", "link"],
)
def test_zip_members_cannot_escape(sweeps: Outcomes, tiny: Files, make: Callable[[Files], bytes], skipped: int, images: int) -> None:
    (sweeps.here / "tiny.zip").write_bytes(make(tiny))
    assert sweeps.skipped(*TINY, "tiny.zip", of=images) == skipped


def an_image(make: Callable[[bytes], bytes]) -> Callable[[Files], bytes]:
    """Its entry in the zip's directory, altered."""

    def made(tiny: Files) -> bytes:
        content = zipped(tiny)
        place = content.rindex(f"{TRAIN}/{WNID}/images/{WNID}_7.JPEG".encode()) - 46
        assert content[place : place + 4] == b"PK\x01\x02"
        return content[:place] + make(content[place : place + 46]) + content[place + 46 :]

    return made


def a_bomb_that_says_it_is_small(tiny: Files) -> bytes:
    """It unpacks to a quarter of a GB and claims 700 bytes."""
    name = f"{TRAIN}/{WNID}/images/bomb.JPEG"
    content = bytearray(zipped({**tiny, name: bytes(1 << 28)}))
    place = content.rindex(name.encode()) - 46
    struct.pack_into("<I", content, place + 24, 700)
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "images"),
    [
        (an_image(lambda entry: entry[:8] + struct.pack("<H", 1) + entry[10:]), IMAGES),
        (an_image(lambda entry: entry[:10] + struct.pack("<H", 99) + entry[12:]), IMAGES),
        (an_image(lambda entry: entry[:10] + struct.pack("<H", zipfile.ZIP_BZIP2) + entry[12:]), IMAGES),
        (an_image(lambda entry: entry[:24] + struct.pack("<I", 2**31) + entry[28:]), IMAGES),
        (an_image(lambda entry: entry[:24] + struct.pack("<I", 10) + entry[28:]), IMAGES),
        (an_image(lambda entry: entry[:42] + struct.pack("<I", 5) + entry[46:]), IMAGES),
        (a_bomb_that_says_it_is_small, IMAGES + 1),
    ],
    ids=["encrypted", "unknown method", "bzip2", "declared 2 GB", "declared 10 bytes", "elsewhere", "bomb"],
)
def test_zip_members_that_are_skipped(sweeps: Outcomes, tiny: Files, make: Callable[[Files], bytes], images: int) -> None:
    (sweeps.here / "tiny.zip").write_bytes(make(tiny))
    assert sweeps.skipped(*TINY, "tiny.zip", of=images) == 1


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_member_twice(sweeps: Outcomes, tiny: Files) -> None:
    file = io.BytesIO(zipped(tiny))
    name = f"{TRAIN}/{WNID}/images/{WNID}_7.JPEG"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, tiny[name])
    (sweeps.here / "tiny.zip").write_bytes(file.getvalue())
    assert sweeps.refused(*TINY, "tiny.zip") == (
        f"error: Tiny ImageNet's archive must have each file once, but 'tiny.zip' has '{name}' 2 times: fetch it again\n"
    )


def other(name: str, data: bytes) -> Callable[[Files], bytes]:
    return lambda tiny: zipped({**tiny, f"tiny-imagenet-200/{name}": data})


def words_of_a_gigabyte(tiny: Files) -> bytes:
    content = bytearray(zipped({**tiny, "tiny-imagenet-200/words.txt": bytes(1 << 20)}))
    place = content.rindex(b"tiny-imagenet-200/words.txt") - 46
    struct.pack_into("<I", content, place + 24, 1 << 30)
    return bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        other("wnids.txt", b"n00000001\nn00000002\n"),
        other("wnids.txt", f"{WNID}\n{WNID}\n".encode()),
        other("wnids.txt", b"\xff\xfe\x00"),
        other("words.txt", b"\xc3("),
        words_of_a_gigabyte,
        lambda tiny: zipped({name: data for name, data in tiny.items() if "/train/" not in name}),
        lambda tiny: zipped({}),
        lambda tiny: b"",
        lambda tiny: b"Not a zip file",
        tarred,
        lambda tiny: zipped(tiny)[:-22] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 0, 0),
        lambda tiny: zipped({name: b"" if "/images/" in name else data for name, data in tiny.items()}),
    ],
    ids=[
        "others",
        "twice",
        "bytes",
        "words of bytes",
        "words of 1 GB",
        "no images",
        "empty",
        "no bytes",
        "text",
        "tar",
        "directory",
        "blank",
    ],
)
def test_zips_that_are_refused(sweeps: Outcomes, tiny: Files, make: Callable[[Files], bytes]) -> None:
    (sweeps.here / "tiny.zip").write_bytes(make(tiny))
    sweeps.refused(*TINY, "tiny.zip")


def a_member(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "member",
    [
        a_member("../../evil"),
        a_member("/evil"),
        a_member("link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        a_member("cifar-10-batches-py/test_batch", tarfile.SYMTYPE, linkname="../../../etc/passwd"),
        a_member(BATCH, tarfile.LNKTYPE, linkname="/etc/passwd"),
        a_member(BATCH, tarfile.CHRTYPE, devmajor=1, devminor=5),
        a_member(BATCH, tarfile.FIFOTYPE),
        a_member(BATCH, tarfile.DIRTYPE, mode=0o777),
    ],
    ids=["up", "absolute", "link", "link for a batch", "hard link", "device", "pipe", "folder"],
)
def test_tar_members_cannot_escape(sweeps: Outcomes, cifar: Files, member: tarfile.TarInfo) -> None:
    (sweeps.here / "c.tar.gz").write_bytes(tarred(cifar, member))
    assert sweeps.skipped(*CIFAR, "c.tar.gz", of=IMAGES) == 0


def test_batches_by_other_names_are_read_where_they_are(sweeps: Outcomes, cifar: Files) -> None:
    (sweeps.here / "c.tar.gz").write_bytes(tarred({f"../../{name}": data for name, data in cifar.items()}))
    assert sweeps.skipped(*CIFAR, "c.tar.gz", of=IMAGES) == 0


class Trap:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch sprung",)


def batch(**values: object) -> bytes:
    whole: dict[str, object] = {"data": np.zeros((20, 3072), np.uint8), "labels": [n % 10 for n in range(20)]}
    return pickle.dumps({key.encode(): value for key, value in {**whole, **values}.items() if value is not None}, protocol=2)


def names(value: object) -> Files:
    return {"cifar-10-batches-py/batches.meta": pickle.dumps({b"label_names": value}, protocol=2)}


DEEP = b"\x80\x02" + b"(" * 200_000 + b"."
HUGE_ARRAY = b"\x80\x02}(U\x04datacnumpy\nndarray\n((\x8a\x05\x00\x00\x00\x00\x02tU\x02u1tRU\x06labels]u."
WRONG: dict[str, Files] = {
    "trap": {BATCH: pickle.dumps(Trap())},
    "trap inside": {BATCH: batch(labels=[Trap()])},
    "objects": {BATCH: batch(data=np.array([Trap()], object))},
    "deep": {BATCH: DEEP},
    "huge array": {BATCH: HUGE_ARRAY},
    "no bytes": {BATCH: b""},
    "text": {BATCH: b"data_batch_1"},
    "list": {BATCH: pickle.dumps([1, 2])},
    "no data": {BATCH: batch(data=None)},
    "floats": {BATCH: batch(data=np.zeros((20, 3072)))},
    "narrow": {BATCH: batch(data=np.zeros((20, 3071), np.uint8))},
    "no dimension": {BATCH: batch(data=np.uint8(3))},
    "no labels": {BATCH: batch(labels=None)},
    "fewer labels": {BATCH: batch(labels=[1, 2])},
    "label 10": {BATCH: batch(labels=[10] * 20)},
    "label -1": {BATCH: batch(labels=[-1] * 20)},
    "label 2**40": {BATCH: batch(labels=[2**40] * 20)},
    "label 2**80": {BATCH: batch(labels=[2**80] * 20)},
    "label nan": {BATCH: batch(labels=[float("nan")] * 20)},
    "label 1.5": {BATCH: batch(labels=[1.5] * 20)},
    "label text": {BATCH: batch(labels=["1"] * 20)},
    "labels of labels": {BATCH: batch(labels=[[n % 10] for n in range(20)])},
    "ragged labels": {BATCH: batch(labels=[[1], [2, 3]])},
    "label none": {BATCH: batch(labels=[None] * 20)},
    "names are numbers": names([1, 2, 3]),
    "names are a number": names(7),
    "names are not utf-8": names([b"\xff"] * 10),
    "too few names": names([b"cat"]),
    "too many names": names([str(n).encode() for n in range(11)]),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_batches(sweeps: Outcomes, cifar: Files, what: str) -> None:
    (sweeps.here / "c.tar.gz").write_bytes(tarred({**cifar, **WRONG[what]}))
    sweeps.refused(*CIFAR, "c.tar.gz")


def packed_bomb(cifar: Files) -> bytes:
    return tarred({**cifar, BATCH: bytes(1 << 29)}, compresslevel=1)


def declared(cifar: Files) -> bytes:
    """8 GB in the header, and no bytes."""
    info = tarfile.TarInfo(BATCH)
    info.size = 2**33 - 1
    return gzip.compress(info.tobuf())


def sparse(cifar: Files) -> bytes:
    """A hole of 100 GB in a member of no bytes."""
    info = tarfile.TarInfo(BATCH)
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(10**11)}
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


@pytest.mark.parametrize(
    "make",
    [
        packed_bomb,
        declared,
        sparse,
        lambda cifar: tarred(cifar) + tarred(cifar),
        lambda cifar: tarred({**cifar, "again/data_batch_3": cifar[BATCH]}),
        lambda cifar: tarred({name: data for name, data in cifar.items() if name != BATCH}),
        lambda cifar: tarred({}),
        lambda cifar: b"",
        lambda cifar: gzip.compress(b""),
        lambda cifar: gzip.compress(bytes(1 << 28)),
        lambda cifar: bz2.compress(b"text"),
        lambda cifar: lzma.compress(tarred(cifar, mode="w"))[:-50] + bytes(50),
        zipped,
        lambda cifar: tarred(dict.fromkeys(cifar, b"")),
    ],
    ids=[
        "bomb", "declared", "sparse", "two in one", "twice", "one less", "empty", "no bytes", "packed nothing", "zeros", "text", "xz", "zip", "blank",
    ],
)  # fmt: skip
def test_tars_that_are_refused(sweeps: Outcomes, cifar: Files, make: Callable[[Files], bytes]) -> None:
    (sweeps.here / "c.tar.gz").write_bytes(make(cifar))
    # Two archives in one file are read up to the end of the first.
    sweeps.refused_or_skipped(*CIFAR, "c.tar.gz", of=IMAGES)


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_device(place: Path) -> None:
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("words", [TINY, CIFAR], ids=["tiny-imagenet", "cifar10"])
@pytest.mark.parametrize("make", [a_pipe, a_device])
def test_sources_that_never_end(sweeps: Outcomes, words: tuple[str, ...], make: Callable[[Path], None]) -> None:
    make(sweeps.here / "source")
    assert sweeps.refused(*words, "source") == (
        "error: --source must be a file, a folder or a URL, but 'source' is none of them: give the archive itself\n"
    )


@pytest.mark.parametrize("make", [a_pipe, a_device])
def test_a_batch_that_never_ends(sweeps: Outcomes, cifar: Files, make: Callable[[Path], None]) -> None:
    (sweeps.here / "cifar-10-batches-py").mkdir()
    for name, data in cifar.items():
        (sweeps.here / name).write_bytes(data)
    (sweeps.here / BATCH).unlink()
    make(sweeps.here / BATCH)
    assert sweeps.refused(*CIFAR, ".") == (
        "error: CIFAR-10's archive must be whole, but '.' is damaged (cifar-10-batches-py/data_batch_1: no file but a pipe, a device or a "
        "folder): fetch it again\n"
    )


@pytest.mark.parametrize("make", [a_pipe, a_device])
def test_words_that_never_end(sweeps: Outcomes, tiny: Files, make: Callable[[Path], None]) -> None:
    for name, data in tiny.items():
        (sweeps.here / name).parent.mkdir(parents=True, exist_ok=True)
        (sweeps.here / name).write_bytes(data)
    (sweeps.here / "tiny-imagenet-200" / "words.txt").unlink()
    make(sweeps.here / "tiny-imagenet-200" / "words.txt")
    sweeps.refused(*TINY, "tiny-imagenet-200")
