"""Notes on the disks of a run: each is made true by a number or a place, and is not there otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data_prep import Dataset
from sweeps.core import disks
from sweeps.core.disks import free, notes, unwritable
from sweeps.core.storage import RunStorage
from sweeps.core.sweep import Sweep, load_sweep
from tests.sweeps.conftest import Sweeps
from tests.sweeps.runs import spec


def sweep(name: str, **settings: object) -> Sweep:
    found = load_sweep(name)[1]
    assert isinstance(found, Sweep)
    return found.with_settings(settings)


FREEZES = sweep("freeze_depth")


def test_a_folder_that_is_to_come_is_where_its_parent_is(tmp_path: Path) -> None:
    assert free(tmp_path / "a" / "b") == pytest.approx(free(tmp_path), rel=0.2)
    assert unwritable(tmp_path / "a" / "b") is None
    assert list(tmp_path.iterdir()) == [], "nothing is left"
    (tmp_path / "file").touch()
    assert unwritable(tmp_path / "file" / "data") == "Not a directory"


def test_all_in_order_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "LEAST_BYTES", 1)
    assert list(notes(str(tmp_path), [tmp_path], [FREEZES])) == []
    assert list(notes("s3://bucket/runs?region=eu-west-1", [tmp_path], [FREEZES])) == []


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "LEAST_BYTES", 5 * 10**9)
    monkeypatch.setattr(disks, "free", lambda folder: 4_900_000_000)
    of_storage = (
        f"a run stops where its checkpoints have no room, but the storage {str(tmp_path)!r} has 4.9 GB free: "
        "make room for 5 GB, or give another --storage"
    )
    of_data = (
        f"features of frozen layers are kept beside the data sets, but '{tmp_path}' has 4.9 GB free: without room these layers "
        "run in every epoch; make room for 5 GB, or give another --data-root"
    )
    assert list(notes(str(tmp_path), [tmp_path, tmp_path], [FREEZES])) == [of_storage, of_data]
    assert list(notes(str(tmp_path), [tmp_path], [sweep("dropout")])) == [of_storage], "it freezes nothing"
    assert list(notes(str(tmp_path), [tmp_path], [sweep("freeze_depth", features="off")])) == [of_storage], "it keeps none"
    monkeypatch.setattr(disks, "free", lambda folder: 5_000_000_000)
    assert list(notes(str(tmp_path), [tmp_path], [FREEZES])) == []


def test_a_data_root_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "LEAST_BYTES", 1)
    (tmp_path / "file").touch()
    assert list(notes(str(tmp_path), [tmp_path / "file"], [sweep("dropout"), FREEZES])) == [
        f"features of frozen layers are kept beside the data sets, but '{tmp_path / 'file'}' cannot be written (Not a directory): without them "
        "these layers run in every epoch; give another --data-root"
    ]
    assert list(notes(str(tmp_path), [tmp_path / "file"], [sweep("dropout")])) == []


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("words", [["run", "dropout", "--data", "digits", "--set", "size=16"], ["resume", "begun"]])
def test_they_are_told_and_refuse_nothing(sweeps: Sweeps, digits: Dataset, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The session itself is left out: it would train."""
    if words[0] == "resume":
        RunStorage("runs", "begun").create(spec("begun", dataset_folder=str(digits.path), dataset_fingerprint=digits.fingerprint))
    monkeypatch.setattr(disks, "LEAST_BYTES", 10**18)
    monkeypatch.setattr("sweeps.core.runner.run_session", lambda *given: False)
    code, out, err = sweeps(*words, "--data-root", str(digits.path.parent))
    assert (code, err) == (130, "")
    assert re.search(
        r"^a run stops where its checkpoints have no room, but the storage 'runs' has \d+\.\d GB free: make room for 1e\+09 GB, ",
        out,
        re.MULTILINE,
    )
