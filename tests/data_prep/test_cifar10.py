"""cifar10: made archives in the published layout."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data_prep import BadInput, cifar10, open_dataset, prepare
from tests.data_prep.archives import CIFAR10_NAMES, make_cifar10, py2_pickle, write_files


def test_tar_and_folder(tmp_path: Path) -> None:
    tar = prepare("cifar10", size=32, root=tmp_path / "data", source=str(make_cifar10(tmp_path / "cifar-10-python.tar.gz")))
    folder = prepare("cifar10", size=32, root=tmp_path / "data", source=str(make_cifar10(tmp_path / "cifar-10-batches-py")))
    assert tar.path == folder.path
    assert tar.images.shape == (120, 32, 32, 3)
    assert tar.classes == CIFAR10_NAMES
    assert np.bincount(tar.labels).tolist() == [12] * 10


def test_planes_become_channels(tmp_path: Path) -> None:
    dataset = prepare("cifar10", size=32, root=tmp_path / "data", source=str(make_cifar10(tmp_path / "c.tar.gz")))
    rows = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)  # data_batch_1
    np.testing.assert_array_equal(dataset.images[0, 0, :, 0], rows[0, :32])  # the top row's reds come first
    np.testing.assert_array_equal(dataset.images[19, 1, :, 2], rows[19, 2048 + 32 : 2048 + 64])


def test_another_size(tmp_path: Path) -> None:
    dataset = prepare("cifar10", size=16, root=tmp_path / "data", source=str(make_cifar10(tmp_path / "c.tar.gz")))
    assert open_dataset(dataset.path, verify=True).images.shape == (120, 16, 16, 3)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("what", [Evil(), eval, {"x": getattr}])
def test_a_pickle_that_calls_something_is_refused(tmp_path: Path, what: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"cifar-10-batches-py/batches.meta": pickle.dumps(what, protocol=2)}
    with pytest.raises(BadInput, match=r"is damaged \(it names .*, which an array does not need\): fetch it again"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(write_files(tmp_path / "c.tar.gz", files)))
    assert not (tmp_path / "evil").exists()


def test_members_that_want_out_stay_in(tmp_path: Path) -> None:
    archive = write_files(tmp_path / "c.tar.gz", {"../../data_batch_1": py2_pickle({"data": 1})})
    with pytest.raises(BadInput, match="lacks data_batch_2: give the whole archive"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(archive))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.tar.gz", "data"]


def test_truncated_and_no_archive(tmp_path: Path) -> None:
    archive = make_cifar10(tmp_path / "c.tar.gz")
    archive.write_bytes(archive.read_bytes()[:100_000])
    with pytest.raises(BadInput, match=r"CIFAR-10's archive must be whole, but .* is damaged \(.*\): fetch it again"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(archive))
    archive.write_bytes(b"<html>not found</html>")
    with pytest.raises(BadInput, match="must be whole"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(archive))


def test_wrong_content(tmp_path: Path) -> None:
    folder = make_cifar10(tmp_path / "cifar-10-batches-py")
    (folder / "test_batch").write_bytes(py2_pickle({"data": [1, 2], "labels": [1, 2]}))
    with pytest.raises(BadInput, match=r"is damaged \(data is not an array of bytes\)"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(folder))
    (folder / "test_batch").write_bytes(py2_pickle({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}))
    with pytest.raises(BadInput, match=r"\(101 images, 101 labels of 10 classes\)"):
        prepare("cifar10", size=32, root=tmp_path / "data", source=str(folder))


def test_the_official_archive_is_known_by_its_checksum(tmp_path: Path) -> None:
    assert cifar10.SOURCE.summary.startswith("60,000")
    assert cifar10.OFFICIAL.checksum == "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
