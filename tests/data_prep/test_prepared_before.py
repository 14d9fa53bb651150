"""Without a source: what was prepared before under that name and size is opened, whatever its source."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from data_prep import BadInput, Dataset, check_source, digits, fashion_mnist, prepare
from data_prep.core import prepare as prepare_module
from tests.data_prep.archives import make_tiny_imagenet
from tests.data_prep.test_fashion_mnist import make as make_fashion_mnist


@pytest.fixture(autouse=True)
def _no_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, and no package is installed."""

    def fetch(*args: object) -> Path:
        raise BadInput("no network")

    monkeypatch.setattr("data_prep.core.archive.fetch", fetch)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "nowhere")


def from_zip(tmp: Path, images: int = 5) -> Dataset:
    archive = make_tiny_imagenet(tmp / f"{images}.zip", images_per_class=images, broken=0)
    return prepare("tiny-imagenet", size=8, root=tmp / "data", source=str(archive))


def opened(tmp: Path, name: str = "tiny-imagenet") -> tuple[Path, str]:
    """Which folder, and what the console was told."""
    console = Console(file=io.StringIO())
    dataset = prepare(name, size=8, root=tmp / "data", console=console)
    assert isinstance(console.file, io.StringIO)
    return dataset.path, console.file.getvalue()


def test_of_another_source(tmp_path: Path) -> None:
    path = from_zip(tmp_path).path
    (tmp_path / "5.zip").unlink()
    check_source("tiny-imagenet", size=8, root=tmp_path / "data")
    assert opened(tmp_path) == (
        path,
        f"tiny-imagenet-8px was prepared before from {tmp_path}/5.zip: opening that, not the default source\n",
    )


def test_the_newest_of_other_sources(tmp_path: Path) -> None:
    one, two = from_zip(tmp_path, 5).path, from_zip(tmp_path, 6).path
    for newest, oldest in ((one, two), (two, one)):
        os.utime(oldest / "dataset.json", (1, 1))
        os.utime(newest / "dataset.json", (2, 2))
        assert opened(tmp_path)[0] == newest


def test_the_default_source_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = prepare("digits", size=8, root=tmp_path / "data").path
    monkeypatch.setattr(digits, "version", lambda package: "0")
    monkeypatch.setattr(digits, "INK_LEVELS", 32)
    shutil.move(default, tmp_path / "away")
    other = prepare("digits", size=8, root=tmp_path / "data").path
    monkeypatch.undo()
    assert other != default
    shutil.move(tmp_path / "away", default)
    os.utime(default / "dataset.json", (1, 1))
    assert opened(tmp_path, "digits") == (default, "")


def test_a_default_source_that_is_not_installed(tmp_path: Path) -> None:
    made = prepare("fashion-mnist", size=8, root=tmp_path / "data", source=str(make_fashion_mnist(tmp_path / "idx")))
    check_source("fashion-mnist", size=8, root=tmp_path / "data")
    path, told = opened(tmp_path, "fashion-mnist")
    assert path == made.path
    assert told.startswith(f"fashion-mnist-8px was prepared before from {tmp_path}/idx: ")
    for size, root in ((9, tmp_path / "data"), (8, tmp_path / "other"), (None, tmp_path / "data"), (8, None)):
        with pytest.raises(BadInput, match="its package is not installed"):
            check_source("fashion-mnist", size=size, root=root)
    with pytest.raises(BadInput, match="its package is not installed"):
        prepare("fashion-mnist", size=9, root=tmp_path / "data")


def test_a_source_that_is_given_is_taken(tmp_path: Path) -> None:
    from_zip(tmp_path)
    with pytest.raises(BadInput, match=r"no\.zip' does not exist"):
        prepare("tiny-imagenet", size=8, root=tmp_path / "data", source=f"{tmp_path}/no.zip")
    with pytest.raises(BadInput, match=r"no\.zip' does not exist"):
        check_source("tiny-imagenet", f"{tmp_path}/no.zip", size=8, root=tmp_path / "data")


def test_none_prepared(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no network"):
        opened(tmp_path)


def test_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    path = from_zip(tmp_path).path
    (path / "labels.npy").unlink()
    with pytest.raises(BadInput, match="no network"):
        opened(tmp_path)
    made = prepare("fashion-mnist", size=8, root=tmp_path / "data", source=str(make_fashion_mnist(tmp_path / "idx")))
    (made.path / "labels.npy").unlink()
    with pytest.raises(BadInput, match="its package is not installed"):
        check_source("fashion-mnist", size=8, root=tmp_path / "data")


def test_one_of_an_older_preparation_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_zip(tmp_path)
    monkeypatch.setattr(prepare_module, "PREPARATION", 2)
    with pytest.raises(BadInput, match="no network"):
        opened(tmp_path)


def test_a_folder_of_images_is_known_by_its_content(tmp_path: Path) -> None:
    folder = make_tiny_imagenet(tmp_path / "mine", images_per_class=5, broken=0) / "train"
    one = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    next(folder.rglob("*.JPEG")).unlink()
    two = prepare(f"images:{folder}", size=8, root=tmp_path / "data")
    assert (len(one.images), len(two.images)) == (20, 19)
    shutil.rmtree(folder)
    for call in (lambda: prepare(f"images:{folder}", size=8, root=tmp_path / "data"), lambda: opened(tmp_path, "images-train")):
        with pytest.raises(BadInput, match=r"must name a folder|must be one of"):
            call()
    with pytest.raises(BadInput, match="must name a folder"):
        check_source(f"images:{folder}", size=8, root=tmp_path / "data")
