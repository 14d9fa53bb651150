"""open_dataset trusts nothing that does not fit together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep import BadInput, open_dataset, prepare


def test_open(tmp_path: Path) -> None:
    made = prepare("digits", size=8, root=tmp_path)
    dataset = open_dataset(made.path, verify=True)
    assert isinstance(dataset.images, np.memmap)
    assert (dataset.name, dataset.size, dataset.fingerprint, dataset.skipped) == ("digits", 8, made.path.name[-12:], 0)
    assert dataset.info["images_per_class"] == np.bincount(dataset.labels).tolist()
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 0


def cut(name: str, keep: int) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:keep])


def change_info(**values: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        file = path / "dataset.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def remove_key(path: Path) -> None:
    file = path / "dataset.json"
    info = json.loads(file.read_text())
    del info["class_names"]
    file.write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(cut("dataset.json", 100), "Expecting|Unterminated", id="torn dataset.json"),
        pytest.param(cut("dataset.json", 0), "Expecting value", id="empty dataset.json"),
        pytest.param(lambda path: (path / "dataset.json").write_text("[]"), "indices must be", id="another JSON"),
        pytest.param(remove_key, "KeyError: 'class_names'", id="a key is missing"),
        pytest.param(cut("images.npy", 5000), "mmap length is greater than file size", id="torn images"),
        pytest.param(cut("images.npy", 0), "[Nn]o data left in file|empty|EOF", id="empty images"),
        pytest.param(cut("labels.npy", 500), "cannot reshape|EOF|read", id="torn labels"),
        pytest.param(lambda path: (path / "labels.npy").unlink(), "No such file", id="no labels"),
        pytest.param(lambda path: np.save(path / "labels.npy", np.zeros(1797)), r"labels.npy is float64 \(1797,\), not int32", id="dtype"),
        pytest.param(lambda path: np.save(path / "labels.npy", np.zeros(9, np.int32)), r"\(9,\), not int32 \(1797,\)", id="shape"),
        pytest.param(lambda path: np.save(path / "labels.npy", np.full(1797, 10, np.int32)), "10 to 10 for 10 classes", id="labels beyond"),
        pytest.param(change_info(size_px=9), r"\(1797, 8, 8, 3\), not uint8 \(1797, 9, 9, 3\)", id="another size"),
        pytest.param(change_info(images=5), r"not int32 \(5,\)", id="another count"),
    ],
)
def test_damaged(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    path = prepare("digits", size=8, root=tmp_path).path
    damage(path)
    with pytest.raises(BadInput, match=rf"must be whole, but '.*' is damaged \(.*({reason}).*\): delete that folder and run"):
        open_dataset(path)
    # A later call trusts it no more than this one, and puts it right.
    assert prepare("digits", size=8, root=tmp_path).path == path
    open_dataset(path, verify=True)


def test_one_bit_is_seen_by_verify(tmp_path: Path) -> None:
    path = prepare("digits", size=8, root=tmp_path).path
    with (path / "images.npy").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xaa")
    open_dataset(path)
    with pytest.raises(BadInput, match="its SHA-256 is not the one noted"):
        open_dataset(path, verify=True)


def test_a_prepared_folder_can_be_moved(tmp_path: Path) -> None:
    path = prepare("digits", size=8, root=tmp_path / "one").path
    shutil.move(path, tmp_path / "two")
    assert len(open_dataset(tmp_path / "two", verify=True).labels) == 1797
