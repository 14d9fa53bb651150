"""Data sets on their way from the storage to a machine's own disk: a folder and a real S3 server, and processes that come at once."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from data_prep import BadInput, Dataset
from tests.sweeps.s3 import store
from trainables.core import datasets
from trainables.core.datasets import at_hand, publish, published
from trainables.core.files import StorageLost

COPY = """
import json, sys
from pathlib import Path
from trainables.core import datasets

fetched, fetch = [], datasets._fetch
datasets._fetch = lambda *words: (fetched.append(1), fetch(*words))
dataset = datasets.at_hand(Path(sys.argv[1]), sys.argv[2])
print(json.dumps([len(fetched), int(dataset.images[-1].sum()), type(dataset.images).__name__]))
"""


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """What a place on it begins and ends with."""
    if request.param == "folder":
        yield str(tmp_path / "storage/.data"), ""
        return
    with store() as made:
        uri, _, options = made.uri("runs/.data").partition("?")
        yield uri, f"?{options}"


def test_each_machine_copies_it_once(storage: tuple[str, str], digits8: Dataset, tmp_path: Path) -> None:
    name = digits8.path.name
    place = f"{storage[0]}/{name}{storage[1]}"
    assert not published(place)
    with pytest.raises(BadInput, match=f"a prepared data set must have a dataset.json, but '.*{name}' has none"):
        at_hand(tmp_path / "a" / name, place)
    publish(digits8, place)
    assert published(place)
    publish(digits8, place)
    words = [sys.executable, "-c", COPY, str(tmp_path / "a" / name), place]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert sorted(answers) == [[0, int(digits8.images[-1].sum()), "memmap"], [1, int(digits8.images[-1].sum()), "memmap"]]
    assert np.array_equal(at_hand(tmp_path / "a" / name, None).images, digits8.images)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f".{name}.lock", name], "no draft is left"


def test_what_is_there_is_left_as_it_is(digits8: Dataset, tmp_path: Path) -> None:
    assert at_hand(digits8.path, str(tmp_path / "nowhere")).path == digits8.path


def test_a_copy_that_was_altered_is_refused(digits8: Dataset, tmp_path: Path) -> None:
    place = tmp_path / "storage" / digits8.path.name
    publish(digits8, str(place))
    images = np.load(place / "images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(place / "images.npy", images)
    with pytest.raises(BadInput, match=r"a prepared data set must be whole, but '.*' is damaged \(its SHA-256 is not the one noted\)"):
        at_hand(tmp_path / "own" / digits8.path.name, str(place))
    publish(digits8, str(tmp_path / "other"))
    with pytest.raises(
        BadInput, match=rf"a data set's folder ends in its fingerprint, but what .* holds has {digits8.fingerprint}: delete"
    ):
        at_hand(tmp_path / "own" / "digits-8px-000000000000", str(tmp_path / "other"))
    assert not [path for path in (tmp_path / "own").iterdir() if path.is_dir()], "no draft is left"


def test_a_process_that_died_leaves_nothing(digits8: Dataset, tmp_path: Path) -> None:
    name = digits8.path.name
    publish(digits8, str(tmp_path / "storage" / name))
    stale = tmp_path / "own" / f".{name}.tmp-01234567"
    stale.mkdir(parents=True)
    (stale / "images.npy").write_bytes(b"a part")
    at_hand(tmp_path / "own" / name, str(tmp_path / "storage" / name))
    assert not stale.exists()


def test_a_copy_that_fails_is_the_storage_s_fault(digits8: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a trial's: the session ends, and a resume goes on. No part of a copy is left behind."""

    def full(source: fs.FileSystem, path: str, target: fs.FileSystem, to: str) -> None:
        Path(to).write_bytes(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    place, own = tmp_path / "storage" / digits8.path.name, tmp_path / "own" / digits8.path.name
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "_copy", full)
        with pytest.raises(StorageLost, match=r"^a data set cannot be written to the storage \(No space left on device\)$"):
            publish(digits8, str(place))
        assert list(place.iterdir()) == []
    publish(digits8, str(place))
    monkeypatch.setattr(datasets, "_copy", full)
    with pytest.raises(StorageLost, match=rf"^the data set cannot be copied to '{own.parent}' of .* \(No space left on device\)$"):
        at_hand(own, str(place))
    assert not [path for path in own.parent.iterdir() if path.is_dir()]
    with pytest.raises(StorageLost, match=r"^the data set cannot be copied to '/dev/null/data' of .* \(Not a directory\)$"):
        at_hand(Path("/dev/null/data") / digits8.path.name, str(place))
