"""tiny-imagenet: made archives in the published layout."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_prep import BadInput, open_dataset, prepare, tiny_imagenet
from tests.data_prep.archives import WNIDS, make_tiny_imagenet


@pytest.mark.parametrize("size", [32, 64])
def test_zip_and_folder_are_the_same(tmp_path: Path, size: int) -> None:
    archive = make_tiny_imagenet(tmp_path / "tiny-imagenet-200.zip", images_per_class=100)
    folder = make_tiny_imagenet(tmp_path / "tiny-imagenet-200", images_per_class=100)
    first = prepare("tiny-imagenet", size=size, root=tmp_path / "one", source=str(archive))
    again = prepare("tiny-imagenet", size=size, root=tmp_path / "two", source=str(archive))
    loose = prepare("tiny-imagenet", size=size, root=tmp_path / "two", source=str(folder))
    assert first.fingerprint == again.fingerprint == loose.fingerprint
    assert again.path == loose.path
    assert first.images.shape == (398, size, size, 3)
    assert first.skipped == 2
    assert np.bincount(first.labels).tolist() == [100, 100, 100, 98]
    assert open_dataset(first.path, verify=True).classes == ("Egyptian cat", "reel", "volleyball", "rocking chair")


def test_rows_are_the_files_in_order(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=200, broken=0)
    with zipfile.ZipFile(archive, "a") as file:  # one broken image in the middle, more rows after it
        file.writestr(f"tiny-imagenet-200/train/{WNIDS[1]}/images/{WNIDS[1]}_100x.JPEG", b"not an image")
    dataset = prepare("tiny-imagenet", size=64, root=tmp_path / "data", source=str(archive))
    with zipfile.ZipFile(archive) as file:
        names = [
            n for w in WNIDS[:4] for n in sorted(file.namelist()) if n.startswith(f"tiny-imagenet-200/train/{w}/images/") and "x" not in n
        ]
        expected = [np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB")) for name in names]
    np.testing.assert_array_equal(dataset.images, np.stack(expected))
    assert dataset.info["skipped"] == [
        {"file": f"tiny-imagenet-200/train/{WNIDS[1]}/images/{WNIDS[1]}_100x.JPEG", "reason": "not an image"}
    ]


def test_what_was_skipped_is_said(tmp_path: Path) -> None:
    screen = io.StringIO()
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=50)
    prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(archive), console=Console(file=screen, width=60))
    line = screen.getvalue()
    assert line.startswith(f"skipped 2 of 200 images as unreadable: tiny-imagenet-200/train/{WNIDS[3]}/images/{WNIDS[3]}_48.JPEG (")
    assert line.count("\n") == 1


def test_only_train_is_used_and_said_so(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=10, broken=0)
    dataset = prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(archive))
    assert len(dataset.images) == 40
    assert any("val/" in note for note in dataset.info["notes"])


def test_more_than_one_percent_broken(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=50, broken=3)
    with pytest.raises(
        BadInput, match=r"^at most 1% of the images may be unreadable, but 3 of 200 are \(first: '.*_47.JPEG': .*\): repair them"
    ):
        prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(archive))
    assert not [path for path in (tmp_path / "data").iterdir() if path.is_dir()]


def test_wnids_must_fit_train(tmp_path: Path) -> None:
    folder = make_tiny_imagenet(tmp_path / "tiny-imagenet-200", images_per_class=5, broken=0)
    (folder / "wnids.txt").write_text("\n".join(WNIDS[:5]))
    with pytest.raises(BadInput, match=rf"but {WNIDS[4]} is in one of them only in '.*': fetch the archive again"):
        prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(folder))
    (folder / "wnids.txt").unlink()
    dataset = prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(tmp_path))  # the folder around it is found, too
    assert dataset.classes == ("Egyptian cat", "reel", "rocking chair", "volleyball")  # sorted by wnid


def test_class_names() -> None:
    words = "n1\tcrane, bird\nn2\tcrane\nn3\tgoldfish, Carassius auratus\n"
    assert tiny_imagenet.class_names(["n3", "n2", "n1", "n0"], words) == ("goldfish", "crane (n2)", "crane (n1)", "n0")


def test_truncated_zip(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip")
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(BadInput, match=r"^Tiny ImageNet's archive must be a whole zip file, but '.*' is not: fetch it again$"):
        prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=str(archive))


def not_utf8(folder: Path) -> None:
    (folder / "words.txt").write_bytes(f"{WNIDS[0]}\tcaf\xe9".encode("latin-1"))


def dangling(folder: Path) -> None:
    (folder / "words.txt").unlink()
    (folder / "words.txt").symlink_to(folder / "nowhere")


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    with zipfile.ZipFile(path) as archive:
        return {Path(info.filename).name: info for info in archive.infolist()}


def damaged(path: Path) -> None:
    info, data = members(path)["words.txt"], bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)  # 30: the header before the name
    data[start : start + info.compress_size] = b"\xff" * info.compress_size
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    """Only flagged so: nothing is read before the password is asked for."""
    data = bytearray(path.read_bytes())
    local = members(path)["words.txt"].header_offset
    central = data.rindex(b"PK\x01\x02", 0, data.rindex(b"words.txt"))
    data[local + 6] |= 1
    data[central + 8] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "spoil", "text"),
    [
        ("folder", not_utf8, "words.txt must be UTF-8, but that in '{}' is not ('utf-8' codec can't decode byte 0xe9 in position 13: "),
        ("folder", dangling, "Tiny ImageNet's files must be readable, but those in '{}' are not ([Errno 2] No such file or directory: "),
        ("t.zip", damaged, "Tiny ImageNet's files must be readable, but those in '{}' are not (Error -3 while decompressing data: "),
        (
            "t.zip",
            encrypted,
            "Tiny ImageNet's files must be readable, but those in '{}' are not (File 'tiny-imagenet-200/words.txt' is encrypted, ",
        ),
    ],
)
def test_words_that_cannot_be_read(tmp_path: Path, name: str, spoil: Callable[[Path], None], text: str) -> None:
    archive = make_tiny_imagenet(tmp_path / name, images_per_class=1, broken=0)
    spoil(archive)
    with pytest.raises(BadInput) as caught:
        prepare("tiny-imagenet", size=8, root=tmp_path / "data", source=str(archive))
    assert str(caught.value).startswith(text.format(archive))
    assert str(caught.value).endswith("): fetch the archive again")
