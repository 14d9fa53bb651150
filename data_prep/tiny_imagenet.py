"""Tiny ImageNet-200: 100,000 labelled photographs of 64 x 64 pixels, 200 classes of 500.

Where from: http://cs231n.stanford.edu/tiny-imagenet-200.zip (Stanford CS231n, 2015; scaled down from ILSVRC), downloaded unless
`--source` gives the zip file, its extracted folder or another URL. Licence: none is stated; ImageNet's terms are non-commercial
research. Size: 248,100,043 bytes. Stanford publishes no checksum; the MD5 below is the one that public loaders carry (torchvision-style
loaders, Avalanche). No SHA-256 could be confirmed, so this one is against broken files, not against an attacker.
Layout: `train/<wnid>/images/*.JPEG`, `wnids.txt` (the order of the classes), `words.txt` (their names), `val/`, `test/`; 2 % are grey.
Only `train/` is used: the report's protocol is 70,000 for training and 30,000 for test of these 100,000. `val/` (10,000) was collected
apart and has no part in it; the published `test/` has no labels, so a "test accuracy" here is on a split of `train/`. Networks
pretrained on ImageNet have seen these photographs.
"""

import re
import zipfile
from collections import Counter
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np

from data_prep.core.archive import Archive, find_archive
from data_prep.core.container import read_member
from data_prep.core.download import Remote
from data_prep.core.errors import BadInput
from data_prep.core.folder import read_file, walk
from data_prep.core.source import Files, Found, Request, Source

OFFICIAL = Remote("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de")
TEXTS = ("wnids.txt", "words.txt")
MEMBER = re.compile(r"(?:[^/]+/)?train/(?P<wnid>[^/]+)/images/[^/]+\.jpe?g", re.IGNORECASE)
NOTES = (
    "only the 100,000 labelled images of train/ are used, the protocol of the report: test is a split of them",
    "val/ was collected apart and is left out; the published test/ has no labels",
    "networks pretrained on ImageNet have seen these images",
)


def _find(request: Request) -> Found:
    archive = find_archive(request, OFFICIAL)
    if request.source and Path(archive.where).is_file() and not zipfile.is_zipfile(archive.where):
        raise BadInput(_not_a_zip(archive.where))
    if request.source and Path(archive.where).is_dir() and not _has_train(Path(archive.where)):
        raise BadInput(f"a Tiny ImageNet folder must have train/, but '{archive.where}' has none: give the folder tiny-imagenet-200")
    return Found(where=archive.where, identity=archive.identity, read=partial(_read, archive), notes=NOTES)


def _not_a_zip(where: str | Path) -> str:
    return f"Tiny ImageNet's archive must be a whole zip file, but '{where}' is not: fetch it again"


def _has_train(folder: Path) -> bool:
    return any((folder / inner / "train").is_dir() for inner in ("", "tiny-imagenet-200"))


def _read(archive: Archive) -> Files:
    path = archive.path()
    names, data = _read_folder(path) if path.is_dir() else _read_zip(path)
    wnids_txt, words_txt = (_text(name, data.get(name, b""), path) for name in TEXTS)
    members = sorted((match["wnid"], name) for name in names if (match := MEMBER.fullmatch(name)))
    wnids = _order(sorted({wnid for wnid, _ in members}), wnids_txt, path)
    label = {wnid: i for i, wnid in enumerate(wnids)}
    members.sort(key=lambda member: (label[member[0]], member[1]))
    labels = np.asarray([label[wnid] for wnid, _ in members], np.int32)
    return Files(path, tuple(name for _, name in members), labels, class_names(wnids, words_txt))


def _read_folder(path: Path) -> tuple[list[str], dict[str, bytes]]:
    names = list(walk(path))
    try:
        return names, {Path(n).name: read_file(path / n) for n in names if Path(n).name in TEXTS}
    except OSError as error:
        raise BadInput(_unreadable(path, error)) from error


def _read_zip(path: Path) -> tuple[list[str], dict[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _check_once(names, path)
            return names, {Path(n).name: read_member(archive, archive.getinfo(n)) for n in names if Path(n).name in TEXTS}
    except BadInput:
        raise
    except Exception as error:
        # zipfile raises BadZipFile, zlib.error, EOFError, RuntimeError (encrypted), NotImplementedError (a method it lacks).
        raise BadInput(_unreadable(path, error)) from error


def _check_once(names: list[str], path: Path) -> None:
    name, count = max(Counter(names).items(), key=itemgetter(1), default=("", 1))
    if count > 1:
        # An image that is there twice would be trained on and tested on.
        raise BadInput(f"Tiny ImageNet's archive must have each file once, but '{path}' has {name!r} {count} times: fetch it again")


def _unreadable(path: Path, error: Exception) -> str:
    return f"Tiny ImageNet's files must be readable, but those in '{path}' are not ({error}): fetch the archive again"


def _text(name: str, data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{name} must be UTF-8, but that in '{path}' is not ({error}): fetch the archive again") from error


def _order(present: list[str], wnids_txt: str, path: Path) -> list[str]:
    """The order of wnids.txt, which must name exactly the classes that are there; sorted where there is no such file."""
    listed = wnids_txt.split()
    if listed and sorted(listed) != present:
        odd = sorted(set(listed) ^ set(present)) or listed
        raise BadInput(
            f"wnids.txt must list the classes in train/, but {odd[0]} is in one of them only in '{path}': "
            "fetch the archive again, or delete wnids.txt to take the classes as they are"
        )
    return listed or present


def class_names(wnids: list[str], words_txt: str) -> tuple[str, ...]:
    """The first word(s) of each wnid in words.txt ("n01443537<tab>goldfish, Carassius auratus"), with the wnid where two are equal."""
    words = {}
    for line in words_txt.splitlines():
        wnid, _, text = line.partition("\t")
        words[wnid] = text.split(",")[0].strip()
    names = [words.get(wnid) or wnid for wnid in wnids]
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))


SOURCE = Source(summary="100,000 photographs, 64 x 64, 200 classes; 248 MB from Stanford, or --source", find=_find)
