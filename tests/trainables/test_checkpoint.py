"""Checkpoints: what is loaded is what was saved, or the one before it, or nothing; never something else, and never a pickle."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.trials import assert_same_arrays
from trainables.core.checkpoint import CheckpointStore
from trainables.core.curves import NAME


def arrays(epoch: int) -> dict[str, np.ndarray]:
    return {
        "model/0000": np.arange(12, dtype=np.float32).reshape(3, 4) * epoch,
        "model/0001": np.array([1, 2**32 - epoch], np.uint32),
        "model/0002": np.zeros((0, 2), np.float16),
        "optimizer/0000": np.array(epoch, np.int64),
    }


def history(epoch: int) -> list[dict[str, Any]]:
    return [{"epoch": n, "val_accuracy": 0.1 + 0.2 * n, "val_loss": 1 / 3 / n} for n in range(1, epoch + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "00000"


@pytest.fixture
def store(folder: Path) -> CheckpointStore:
    return CheckpointStore(str(folder))


def fill(store: CheckpointStore, epochs: int, best: int = 1) -> None:
    for epoch in range(1, epochs + 1):
        store.save(arrays(epoch), history(epoch), min(best, epoch))


def file(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:06d}.npz"


def signed(content: bytes) -> bytes:
    """As a stranger could who knows the format."""
    return content + hashlib.sha256(content).digest()


def newest(store: CheckpointStore) -> int | None:
    """Its epoch, after a look at the whole of it."""
    found = store.load_newest()
    if not found:
        return None
    epoch = len(found[1])
    assert_same_arrays(found[0], arrays(epoch))
    assert found[1] == history(epoch)
    return epoch


def test_load_is_save(store: CheckpointStore, folder: Path) -> None:
    assert store.save(arrays(3), history(3), 3) == "epoch-000003.npz"
    loaded, told = store.load(3)
    assert_same_arrays(loaded, arrays(3))
    assert told == history(3)
    assert [path.name for path in folder.iterdir()] == ["epoch-000003.npz"]


def test_what_numpy_wrote_to_a_file_that_can_go_back_is_read(store: CheckpointStore, folder: Path) -> None:
    """As versions before 2026-11-28 did: its zip has sizes where ours says that they follow."""
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **arrays(2), history=np.frombuffer(json.dumps(history(2)).encode(), np.uint8))
    store.save(arrays(1), history(1), 1)
    file(folder, 2).write_bytes(signed(archive.getvalue()))
    assert newest(store) == 2
    store.save(arrays(2), history(2), 1)
    assert file(folder, 2).read_bytes() != signed(archive.getvalue())
    with np.load(io.BytesIO(file(folder, 2).read_bytes())) as opened:
        assert set(opened.files) == {*arrays(2), "history"}


def test_equal_state_is_equal_bytes(store: CheckpointStore, folder: Path) -> None:
    fill(store, 1)
    content = file(folder, 1).read_bytes()
    fill(store, 1)
    assert file(folder, 1).read_bytes() == content


@pytest.mark.parametrize(
    ("epochs", "best", "kept"),
    [(1, 1, [1]), (2, 2, [1, 2]), (3, 1, [1, 2, 3]), (4, 1, [1, 3, 4]), (7, 3, [3, 6, 7]), (7, 6, [5, 6, 7]), (5, 5, [3, 4, 5])],
)
def test_the_newest_two_and_the_best_are_kept(store: CheckpointStore, epochs: int, best: int, kept: list[int]) -> None:
    fill(store, epochs, best)
    assert store.epochs() == kept
    assert newest(store) == epochs


def test_a_best_that_is_no_longer_goes(store: CheckpointStore) -> None:
    fill(store, 4, best=1)
    store.save(arrays(5), history(5), 5)
    assert store.epochs() == [3, 4, 5]
    store.save(arrays(6), history(6), 5)
    assert store.epochs() == [4, 5, 6]


def test_nothing_yet(store: CheckpointStore, folder: Path) -> None:
    assert store.epochs() == []
    assert store.load_newest() is None
    assert not folder.exists()


def test_the_newest_before(store: CheckpointStore, folder: Path) -> None:
    fill(store, 5, best=2)
    found = [store.load_newest(before=epoch) for epoch in (6, 5, 4, 3, 2)]
    assert [newest and len(newest[1]) for newest in found] == [5, 4, 2, 2, None]


@pytest.mark.parametrize("left", [0, 1, 31, 32, 33, 500, -33, -32, -1])
def test_torn_falls_back(store: CheckpointStore, folder: Path, left: int) -> None:
    fill(store, 3)
    content = file(folder, 3).read_bytes()
    file(folder, 3).write_bytes(content[:left])
    assert newest(store) == 2
    file(folder, 3).write_bytes(content)
    assert newest(store) == 3


def test_any_altered_byte_falls_back(store: CheckpointStore, folder: Path) -> None:
    """One bit of every third byte: zip's own checks miss some in its directory, and raise what nobody expects at others."""
    fill(store, 2)
    content = file(folder, 2).read_bytes()
    assert len(content) > 1000
    for place in range(0, len(content), 3):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        file(folder, 2).write_bytes(altered)
        with pytest.raises(ValueError, match=r"epoch-000002\.npz is torn or altered"):
            store.load(2)
    assert newest(store) == 1


@pytest.mark.parametrize("added", [b"\0", b"epoch"])
def test_anything_added_falls_back(store: CheckpointStore, folder: Path, added: bytes) -> None:
    fill(store, 2)
    file(folder, 2).write_bytes(file(folder, 2).read_bytes() + added)
    assert newest(store) == 1


def test_all_torn_is_none(store: CheckpointStore, folder: Path) -> None:
    fill(store, 5, best=2)
    for epoch in (2, 4, 5):
        file(folder, epoch).write_bytes(file(folder, epoch).read_bytes()[:-7])
    assert store.load_newest() is None
    assert store.epochs() == [2, 4, 5]


def test_torn_later_ones_do_not_push_out_a_whole_one(store: CheckpointStore, folder: Path) -> None:
    """After a fall back to epoch 1: the state after 2 and 3 stays while the torn 6 and 7 are still there."""
    fill(store, 7)
    for epoch in (6, 7):
        file(folder, epoch).write_bytes(b"torn")
    for epoch in (2, 3, 4):
        store.save(arrays(epoch), history(epoch), 1)
        assert newest(store) == epoch
    assert store.epochs() == [1, 3, 4, 6, 7]
    for epoch in (5, 6, 7, 8):
        store.save(arrays(epoch), history(epoch), 1)
    assert store.epochs() == [1, 7, 8]
    assert newest(store) == 8


def test_text_of_a_damaged_one(store: CheckpointStore, folder: Path) -> None:
    fill(store, 2)
    file(folder, 2).write_bytes(file(folder, 2).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"^a checkpoint must") as caught:
        store.load(2)
    assert str(caught.value) == (
        f"a checkpoint must end in the SHA-256 of the rest, but {folder}/epoch-000002.npz is torn or altered: use another epoch's"
    )


def test_a_missing_one(store: CheckpointStore) -> None:
    fill(store, 1)
    with pytest.raises(FileNotFoundError, match=r"epoch-000002\.npz"):
        store.load(2)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def object_array(trap: Trap) -> bytes:
    content = io.BytesIO()
    np.savez(content, model=np.array([trap], object))
    return content.getvalue()


def read_object_array(content: bytes) -> Any:
    with np.load(io.BytesIO(content), allow_pickle=True) as archive:
        return archive["model"]


@pytest.mark.parametrize(
    ("make", "read", "text"),
    [
        (object_array, read_object_array, "Object arrays cannot be loaded when allow_pickle=False"),
        (
            pickle.dumps,
            pickle.loads,
            "This file contains pickled (object) data. If you trust the file you can load it unsafely using the `allow_pickle=` keyword "
            "argument or `pickle.load()`.",
        ),
    ],
)
def test_pickles_are_refused(
    store: CheckpointStore, folder: Path, tmp_path: Path, make: Callable[[Trap], bytes], read: Callable[[bytes], Any], text: str
) -> None:
    fill(store, 1)
    sprung = tmp_path / "sprung"
    content = make(Trap(sprung))
    file(folder, 2).write_bytes(signed(content))
    with pytest.raises(ValueError, match=r"pickle") as caught:
        store.load(2)
    assert str(caught.value) == text
    assert newest(store) == 1
    assert not sprung.exists()
    # The trap is a trap: it springs where pickles are read.
    read(content)
    assert sprung.exists()


def test_objects_are_not_saved(store: CheckpointStore) -> None:
    with pytest.raises(ValueError, match=r"^Object arrays cannot be saved when allow_pickle=False$"):
        store.save({"model/0000": np.array([print], object)}, history(1), 1)
    assert store.epochs() == []


def test_other_files_are_ignored(store: CheckpointStore, folder: Path) -> None:
    fill(store, 2)
    others = [".epoch-000003.npz.123.tmp", "epoch-000003.npz.tmp", "epoch-3.npz", "epoch-000003.npy", "xepoch-000003.npz", NAME]
    for name in others:
        (folder / name).write_bytes(b"half of it")
    (folder / "epoch-000004.npz").mkdir()
    assert store.epochs() == [1, 2]
    assert newest(store) == 2
    for epoch in (3, 5, 6):
        store.save(arrays(epoch), history(epoch), 1)
    assert store.epochs() == [1, 5, 6]
    assert {path.name for path in folder.iterdir()} >= set(others)


def test_drafts_of_writers_that_were_killed_go(store: CheckpointStore, folder: Path) -> None:
    """Of a large network each is hundreds of megabytes, on the disk that must not fill."""
    fill(store, 2)
    for name in (".epoch-000003.npz.123.tmp", ".epoch-000002.npz.45.tmp", ".of-a-user"):
        (folder / name).write_bytes(b"half of it")
    before = {path.name for path in folder.iterdir()}
    store.clear_drafts()
    assert before - {path.name for path in folder.iterdir()} == {".epoch-000003.npz.123.tmp", ".epoch-000002.npz.45.tmp"}
    assert newest(store) == 2


def test_a_million_epochs_sort_by_number(store: CheckpointStore, folder: Path) -> None:
    fill(store, 1)
    for epoch in (999_999, 1_000_000):
        file(folder, epoch).write_bytes(b"")
    assert store.epochs() == [1, 999_999, 1_000_000]
