"""Checkpoints that are damaged, or written by somebody who knows the format: the one before is used, and none is a pickle that runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES
from trainables.core.checkpoint import CheckpointStore


@pytest.fixture
def store(sweeps: Outcomes) -> CheckpointStore:
    """Three epochs."""
    made = CheckpointStore(str(sweeps.here / "run"))
    for epoch in (1, 2, 3):
        arrays = {"model/0000": np.arange(12, dtype=np.float32), "optimizer/0000": np.array(epoch)}
        made.save(arrays, [{"epoch": n, "val_accuracy": 0.5} for n in range(1, epoch + 1)], 1)
    return made


def falls_back(store: CheckpointStore, sweeps: Outcomes, content: bytes) -> str:
    """Why the third is refused; the second is taken, and nothing runs."""
    path = sweeps.here / "run" / "epoch-000003.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as refused:
        store.load(3)
    found = store.load_newest()
    assert found is not None
    assert len(found[1]) == 2
    assert path.read_bytes() == content
    assert [path.name for path in sweeps.here.iterdir()] == ["run"]
    return str(refused.value)


def whole(sweeps: Outcomes) -> bytes:
    return (sweeps.here / "run" / "epoch-000003.npz").read_bytes()


def signed(archive: bytes) -> bytes:
    return archive + hashlib.sha256(archive).digest()


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(store: CheckpointStore, sweeps: Outcomes, how: str, draw: int) -> None:
    content = whole(sweeps)
    while (damaged := DAMAGES[how](content, sweeps.random)) == content:
        pass
    assert "is torn or altered: use another epoch's" in falls_back(store, sweeps, damaged)


@pytest.mark.parametrize("draw", range(5))
def test_altered_and_signed(store: CheckpointStore, sweeps: Outcomes, draw: int) -> None:
    """Cut, so that no archive is whole."""
    archive = whole(sweeps)[:-32]
    falls_back(store, sweeps, signed(archive[: sweeps.random.randrange(len(archive) - 30)]))


class Trap:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def history(text: str) -> bytes:
    return npz(history=np.frombuffer(text.encode(), np.uint8))


def zipped(content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose history is this."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("history.npy", content)
    return file.getvalue()


def with_shape(shape: str) -> bytes:
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


STRANGE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "text": lambda: b"a checkpoint",
    "a pickle": lambda: pickle.dumps(Trap()),
    "objects": lambda: npz(history=np.array([Trap()], object)),
    "objects for weights": lambda: npz(history=np.zeros(2, np.uint8), model=np.array([Trap()], object)),
    "an array": lambda: npy(np.zeros(3)),
    "an array of objects": lambda: npy(np.array([Trap()], object)),
    "an empty archive": npz,
    "no history": lambda: npz(model=np.zeros(3)),
    "history of numbers": lambda: npz(history=np.zeros(3)),
    "history is no json": lambda: history("{"),
    "history is a number": lambda: history("3"),
    "history is an object": lambda: history('{"epoch": 3}'),
    "history of numbers in a list": lambda: history("[1, 2, 3]"),
    "history without epochs": lambda: history('[{"val_accuracy": 1}]'),
    "history of another epoch": lambda: history(json.dumps([{"epoch": n} for n in range(1, 9)])),
    "history of no epoch": lambda: history("[]"),
    "deep history": lambda: history("[" * 100_000),
    "not utf-8": lambda: npz(history=np.full(5, 255, np.uint8)),
    "head of no array": lambda: zipped(b"\x93NUMPY\x01\x00\xff\xff"),
    "version 9": lambda: zipped(b"\x93NUMPY\x09\x00" + bytes(100)),
    "a terabyte": lambda: zipped(with_shape("(1000000000000,)")),
    "negative": lambda: zipped(with_shape("(-1,)")),
    "shape of code": lambda: zipped(with_shape("(__import__('os').system('touch sprung'),)")),
    "unknown method": lambda: zipped(npy(np.zeros(1)), zipfile.ZIP_DEFLATED).replace(b"\x08\x00", b"\x63\x00"),
    "a member is cut": lambda: zipped(npy(np.zeros(100))[:200]),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "end of an archive alone": lambda: b"PK\x05\x06" + bytes(18),
    "begins as one": lambda: b"PK\x03\x04" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGE)
def test_signed_by_somebody_else(store: CheckpointStore, sweeps: Outcomes, what: str) -> None:
    falls_back(store, sweeps, signed(STRANGE[what]()))


def test_all_damaged_is_none(store: CheckpointStore, sweeps: Outcomes) -> None:
    for path in Path("run").iterdir():
        path.write_bytes(b"torn")
    assert store.load_newest() is None
    assert len(list(Path("run").iterdir())) == 3
