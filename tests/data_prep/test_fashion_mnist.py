"""fashion-mnist: the real package where it is installed, and made IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_prep import BadInput, fashion_mnist, prepare
from tests.needs import cannot


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def make(folder: Path, *, packed: bool = True) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        for kind, array in (("images-idx3", random.integers(0, 256, (count, 28, 28))), ("labels-idx1", np.arange(count) % 10)):
            data = idx(array.astype(np.uint8))
            (folder / f"{part}-{kind}-ubyte{'.gz' if packed else ''}").write_bytes(gzip.compress(data) if packed else data)
    return folder


def test_the_real_one(tmp_path: Path) -> None:
    if not fashion_mnist.DEBIAN_FOLDER.is_dir():
        cannot("the images are read where Debian puts them: `apt-get install dataset-fashion-mnist`")
    dataset = prepare("fashion-mnist", size=28, root=tmp_path)
    assert dataset.images.shape == (70_000, 28, 28, 3)
    assert np.bincount(dataset.labels).tolist() == [7000] * 10
    # The first image of the training files is an ankle boot, and so is the first of the test files.
    assert [dataset.classes[dataset.labels[row]] for row in (0, 1, 60_000)] == ["Ankle boot", "T-shirt/top", "Ankle boot"]
    assert dataset.fingerprint == "9b33e1cf5f92"


def test_gzipped_and_plain_are_the_same(tmp_path: Path) -> None:
    one = prepare("fashion-mnist", size=28, root=tmp_path / "data", source=str(make(tmp_path / "gz")))
    two = prepare("fashion-mnist", size=28, root=tmp_path / "data", source=str(make(tmp_path / "plain", packed=False)))
    assert len(one.images) == 40
    assert (one.path, one.fingerprint) == (two.path, two.fingerprint)
    assert len(two.info["source_identities"]) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "must begin with 00 00 08, but '{}' begins with : fetch it again"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "must begin with 00 00 08, but '{}' begins with 00 00 0d 01: fetch it again"),
        (idx(np.zeros((10, 28, 28), np.uint8))[:-1], "of shape (10, 28, 28) must have 7856 bytes, but '{}' has 7855: fetch it again"),
        (idx(np.zeros((10, 28, 28), np.uint8)) + b"x", "of shape (10, 28, 28) must have 7856 bytes, but '{}' has 7857: fetch it again"),
    ],
)
def test_damaged_idx(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "x-images-idx3-ubyte"
    file.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        fashion_mnist.read_idx(file)
    assert str(caught.value).endswith(reason.format(file))


def test_truncated_gzip(tmp_path: Path) -> None:
    folder = make(tmp_path / "gz")
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"an IDX file must be readable, but .* \(Compressed file ended before .*\): fetch it again"):
        prepare("fashion-mnist", size=28, root=tmp_path / "data", source=str(folder))


@pytest.mark.parametrize("shape", [(10, 27, 28), (10, 784), (0, 28, 28)])
def test_images_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = make(tmp_path / "plain", packed=False)
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(idx(np.zeros(shape, np.uint8)))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(shape[0], np.uint8)))
    with pytest.raises(BadInput) as caught:
        prepare("fashion-mnist", size=28, root=tmp_path / "data", source=str(folder))
    assert str(caught.value) == (
        f"Fashion-MNIST images must be 28 x 28 pixels and at least one, but '{file}' has the shape {shape}: fetch the files again"
    )


def test_a_folder_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "gz")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(prepare("fashion-mnist", size=28, root=tmp_path / "data", source="~/gz").images) == 40


def test_images_and_labels_of_different_number(tmp_path: Path) -> None:
    folder = make(tmp_path / "gz")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(BadInput, match=r"of equal number, but .* has \(10, 28, 28\) for \(30,\) labels"):
        prepare("fashion-mnist", size=28, root=tmp_path / "data", source=str(folder))
