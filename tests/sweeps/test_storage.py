from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_prep import BadInput
from sweeps.core.storage import RunStorage, run_names
from tests.sweeps import runs


def test_run_json_is_read_back(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "one")
    storage.create(runs.spec("one"))
    assert RunStorage(str(tmp_path), "one").spec() == runs.spec("one")
    assert run_names(str(tmp_path)) == ["one"]


@pytest.mark.parametrize(
    ("storage", "folder", "checkpoints"),
    [
        ("{here}/runs", "{here}/runs/one", "{here}/runs/one/checkpoints/00001"),
        ("s3://bucket/runs/?region=eu-west-1", "bucket/runs/one", "s3://bucket/runs/one/checkpoints/00001?region=eu-west-1"),
    ],
)
def test_paths_and_uris(tmp_path: Path, storage: str, folder: str, checkpoints: str) -> None:
    made = RunStorage(storage.format(here=tmp_path), "one")
    assert made.folder == folder.format(here=tmp_path)
    assert made.trial_checkpoints("00001") == checkpoints.format(here=tmp_path)


def test_names_are_by_age(tmp_path: Path) -> None:
    for age, name in ((3, "b"), (2, "a"), (1, "c")):
        RunStorage(str(tmp_path), name).create(runs.spec(name))
        os.utime(tmp_path / name / "run.json", (1e9 - age, 1e9 - age))
    (tmp_path / "no-run").mkdir()
    (tmp_path / "2024-old").mkdir()
    (tmp_path / "2024-old" / "run.json").write_text("{}")
    assert run_names(str(tmp_path)) == ["b", "a", "c"]
    assert run_names(str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("name", ["", "5", "20261123", "-x", ".x", "a/b", "../x", "a b", "a=b", "a\n", "a" * 121])
def test_a_name_that_a_partition_could_not_bear(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput) as refused:
        RunStorage(str(tmp_path), name)
    rule = "a run's name starts with a letter and has at most 120 letters, digits, '.', '_' and '-'"
    assert str(refused.value) == " ".join(f"{rule}, but got {name!r}: give another name".split())


def test_a_name_is_given_once(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "one")
    storage.create(runs.spec("one"))
    with pytest.raises(BadInput) as refused:
        storage.create(runs.spec("one"))
    text = f"a new run needs a new name, but there is a run 'one' in {tmp_path}: resume it, or give another --run-name"
    assert str(refused.value) == text


def test_no_such_run_says_which_there_are(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "two")
    with pytest.raises(BadInput) as refused:
        storage.spec()
    assert str(refused.value) == f"there is no run 'two' in {tmp_path}: it holds no runs; give --storage, or start one by `sweeps run`"
    RunStorage(str(tmp_path), "one").create(runs.spec("one"))
    with pytest.raises(BadInput) as refused:
        storage.spec()
    assert str(refused.value) == f"there is no run 'two' in {tmp_path}: there is one"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": "one"}', '{"format": 99}'])
def test_a_damaged_run_json(tmp_path: Path, content: str) -> None:
    storage = RunStorage(str(tmp_path), "one")
    storage.create(runs.spec("one"))
    Path(storage.folder, "run.json").write_text(content)
    with pytest.raises(BadInput, match=r"^run\.json must be one that this version wrote, but that of one is not \(.*\): restore it$"):
        storage.spec()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "one")
    storage.create(runs.spec("one"))
    with storage.lock(), pytest.raises(BadInput) as refused:
        RunStorage(str(tmp_path), "one").lock()
    assert str(refused.value) == "one process at a time runs a run, but one is running already: watch it with `sweeps status one`"
    with storage.lock():
        pass


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    RunStorage(str(tmp_path / "runs"), "new").check_writable()
    assert list((tmp_path / "runs").iterdir()) == []


def test_many_checks_at_once(tmp_path: Path) -> None:
    def check(_: int) -> None:
        RunStorage(str(tmp_path / "runs"), "new").check_writable()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(check, range(200)))
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput) as refused:
        RunStorage(str(tmp_path / "file"), "new").check_writable()
    assert str(refused.value) == f"the storage must be writable, but '{tmp_path / 'file'}' is not (File exists): give another --storage"
