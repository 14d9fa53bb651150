from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput, Dataset
from sweeps.core import doctor
from sweeps.core.doctor import Finding
from sweeps.core.launch import versions
from sweeps.core.storage import RunStorage
from tests.cluster.filled import AWS, filled
from tests.sweeps.conftest import Sweeps
from tests.sweeps.runs import spec

EIGHT = {"CPU": 8.0, "GPU": 0.0}


@pytest.mark.usefixtures("ray")
def test_a_node_in_order(sweeps: Sweeps, data_root: Path) -> None:
    code, out, err = sweeps("doctor", "--data-root", str(data_root))
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    assert [re.sub(r"^ok   \S+  (\w+): .*", r"\1", line) for line in lines] == ["versions", "storage", "data", "memory", "clock", "disk"]
    assert lines[1].endswith("storage: read and written from here")
    assert lines[2].endswith("data: 1 prepared data set, as on the driver")
    assert not list(Path("runs").iterdir()), "no probe is left"


@pytest.mark.usefixtures("ray")
def test_what_fails_is_told_with_its_cure(sweeps: Sweeps, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_BYTES", 10**18)
    code, out, _ = sweeps("doctor", "--data-root", str(data_root))
    assert code == 1
    assert re.search(r"^FAIL \S+  disk: \d+ GB free: make room for 1000000000 GB, or a run may stop$", out, re.MULTILINE)


@pytest.mark.usefixtures("ray")
def test_for_scripts(sweeps: Sweeps, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = sweeps("doctor", "--data-root", str(data_root), "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert [(row["what"], row["good"]) for row in rows] == [
        (what, True) for what in ("versions", "storage", "data", "memory", "clock", "disk")
    ]
    assert rows[1]["text"] == "read and written from here"
    assert len({row["node"] for row in rows}) == 1
    monkeypatch.setattr(doctor, "LEAST_BYTES", 10**18)
    code, out, _ = sweeps("doctor", "--data-root", str(data_root), "--json")
    assert (code, [row["what"] for row in json.loads(out) if not row["good"]]) == (1, ["disk"])


def test_a_storage_that_is_not_the_driver_s(tmp_path: Path) -> None:
    facts = doctor.look({"storage": str(tmp_path), "probe": ".probe-of-another", "data_root": str(tmp_path / "data"), "gpus": 0})
    assert facts["storage"] == "what the driver writes there is not seen from here"
    assert facts["data"] == []


def findings(**differing: Any) -> list[Finding]:
    """Of a node with these facts, and the rest in order."""
    import ray

    facts = {
        "time": differing.pop("time", None),
        "storage": None,
        "data": ["digits"],
        "gpus": 0,
        "available": 8e9,
        "free": 1e12,
        "unwritable": None,
    }
    facts |= {"versions": versions(), **differing}
    resources = {**EIGHT, "GPU": float(differing.get("gpus", 0)) and 2.0}
    began = time.time()
    facts["time"] = began if facts["time"] is None else began + facts["time"]
    node = {"NodeManagerHostname": "worker-1", "Resources": resources}
    return [found for found in doctor._of(node, (began, time.time()), ray.put(facts), ["digits"], (1, 0.0)) if not found.good]


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("differing", "what", "text"),
    [
        ({"versions": {**versions(), "keras": "3.14.0"}}, "versions", f"keras 3.14.0 instead of {versions()['keras']}: install from constraints.txt there and here"),
        ({"gpus": 1}, "GPUs", "1 in Keras, 2 in Ray: install keras' back end for GPUs there (`pip install -e '.[gpu]'`) and look at `nvidia-smi`"),
        ({"available": 4e9}, "memory", "4 GB available, 0.5 GB for each of 8 trials at a time: give each trial more --cpus, or start with --parallel 4"),
        ({"time": -30}, "clock", "30 s off: let chrony or NTP set it"),
        ({"time": 30}, "clock", "30 s off: let chrony or NTP set it"),
        ({"storage": "Access Denied"}, "storage", "Access Denied: give a --storage that all nodes have, a shared folder or s3://..."),
        ({"data": [], "unwritable": "Read-only"}, "data", "digits not there, and it cannot be copied there (Read-only): give a --data-root that can be written"),
        ({"free": 4e9}, "disk", "4 GB free: make room for 5 GB, or a run may stop"),
    ],
)  # fmt: skip
def test_each_failure(monkeypatch: pytest.MonkeyPatch, differing: dict[str, Any], what: str, text: str) -> None:
    monkeypatch.setattr(doctor, "LEAST_BYTES", 5 * 10**9)
    assert findings(**differing) == [Finding("worker-1", what, False, text)]


@pytest.mark.usefixtures("ray")
def test_memory_for_no_trial() -> None:
    text = "0 GB available; no trial of 1 CPUs and 0 GPUs fits here: stop what else runs there"
    assert doctor._memory("worker-1", 0, {**EIGHT, "memory": 1e8}, (1, 0.0)) == Finding("worker-1", "memory", False, text)
    assert doctor._memory("head", 0, {"CPU": 0.0}, (1, 0.0)).good, "none is meant to"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--cpus", "0"], "--cpus is a number of cores a trial, at least 1, but got 0: give another"),
        (["--gpus", "nan"], "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got nan: give another"),
    ],
)
def test_what_is_asked_for_is_checked_first(sweeps: Sweeps, words: list[str], text: str) -> None:
    assert sweeps("doctor", *words) == (2, "", f"error: {text}\n")


@pytest.mark.usefixtures("ray")
def test_data_that_is_not_there_is_no_failure() -> None:
    import ray

    facts: dict[str, Any] = {
        "time": time.time(),
        "storage": None,
        "data": [],
        "gpus": 0,
        "available": 8e12,
        "free": 1e12,
        "unwritable": None,
        "versions": versions(),
    }
    node = {"NodeManagerHostname": "worker-1", "Resources": EIGHT}
    (found,) = [one for one in doctor._of(node, (time.time(), math.inf), ray.put(facts), ["digits"], (1, 0.0)) if one.what == "data"]
    assert found == Finding("worker-1", "data", True, "digits not there yet: a run copies it, once, from the storage", ("digits",))


def test_data_on_a_disk_that_cannot_be_written_is_no_failure() -> None:
    text = "1 prepared data set, as on the driver; features of frozen layers cannot be kept beside them (Read-only file system)"
    assert doctor._data("worker-1", (), 1, "Read-only file system") == Finding("worker-1", "data", True, text)


def test_a_node_looks_at_the_disks_of_data_and_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(doctor, "free", {tmp_path / "file": 2 * 10**9, tmp_path: 10**9}.__getitem__)
    task = {"storage": str(tmp_path), "probe": "none", "data_root": str(tmp_path / "file"), "gpus": 0}
    facts = doctor.look(task)
    assert (facts["free"], facts["unwritable"]) == (10**9, "Not a directory")


@pytest.mark.usefixtures("ray")
def test_little_room_is_told_and_keeps_no_run_from_starting(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_BYTES", 10**18)
    told: list[str] = []
    assert doctor.check(str(tmp_path), [digits.path], 1, 0.0, told.append) == set()
    assert [re.sub(r"\S+  disk: \d+ GB", "node  disk: N GB", line) for line in told] == [
        "FAIL node  disk: N GB free: make room for 1000000000 GB, or a run may stop"
    ]


@pytest.mark.usefixtures("ray")
def test_a_data_root_that_a_node_cannot_write_keeps_a_run_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    with pytest.raises(BadInput, match="every node answers, has the driver's versions and storage and can have its data, but not "):
        doctor.check(str(tmp_path / "runs"), [tmp_path / "file" / "digits"], 1, 0.0, told.append)
    assert [re.sub(r"\S+  data", "node  data", line) for line in told] == [
        "FAIL node  data: digits not there, and it cannot be copied there (Not a directory): give a --data-root that can be written"
    ]


@pytest.mark.usefixtures("ray")
def test_a_node_that_gives_no_answer() -> None:
    import ray

    @ray.remote
    def never() -> None:
        raise ModuleNotFoundError("No module named 'sweeps'")

    node = {"NodeManagerHostname": "worker-1", "Resources": EIGHT}
    answer = never.remote()
    assert ray.wait([answer], timeout=600)[0]
    (found,) = doctor._of(node, (0, 0), answer, [], (1, 0.0))
    assert (found.what, found.good) == ("answer", False)
    assert found.text == (
        "none (ModuleNotFoundError: No module named 'sweeps'): see that the project is installed there as it is here, and that it has a free core"
    )


@pytest.mark.usefixtures("ray")
def test_before_a_run_every_node_is_looked_at(digits: Dataset, tmp_path: Path) -> None:
    told: list[str] = []
    assert doctor.check(str(tmp_path), [digits.path], 1, 0.0, told.append) == set()
    # Nothing is asked of a node that no trial fits on, as the head of a cluster.
    assert doctor.check(str(tmp_path), [tmp_path / "nowhere"], 64, 0.0, told.append) == set()
    others = {digits.path.parent / "others", tmp_path / "nowhere"}
    assert doctor.check(str(tmp_path), [digits.path, *others], 1, 0.0, told.append) == others
    assert told == []
    assert list(tmp_path.iterdir()) == [], "no probe is left"


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("words", [["run", "dropout", "--data", "digits", "--set", "size=16"], ["resume", "begun"]])
def test_a_run_does_not_start_on_nodes_of_other_versions(
    sweeps: Sweeps, digits: Dataset, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = ["--data-root", str(digits.path.parent)]
    if words[0] == "resume":
        RunStorage("runs", "begun").create(spec("begun", dataset_folder=str(digits.path), dataset_fingerprint=digits.fingerprint))
    monkeypatch.setattr(doctor, "versions", lambda: {**versions(), "keras": "3.14.0"})
    code, out, err = sweeps(*words, *fresh, "--address", "auto")
    assert code == 2
    assert f"versions: keras {versions()['keras']} instead of 3.14.0: install from constraints.txt there and here\n" in out
    assert err.startswith("error: every node answers, has the driver's versions and storage and can have its data, but not ")
    assert [path.name for path in Path("runs").iterdir()] == (["begun"] if words[0] == "resume" else []), "none is new"


def test_a_cluster_file(sweeps: Sweeps, tmp_path: Path) -> None:
    code, out, _ = sweeps("doctor", "--cluster", str(AWS))
    assert code == 1
    assert out.splitlines()[0] == "FAIL metadata.region is a region, but it is 'FILL_IN_REGION': fill it in"
    (tmp_path / "mine.yaml").write_text(filled(AWS.read_text()))
    assert sweeps("doctor", "--cluster", "mine.yaml")[:2] == (
        0, "ok   mine.yaml: all filled in, and every key is one that is read: `RAY_UP_enable_autoscaler_v2=0 ray up mine.yaml`\n"
    )  # fmt: skip


def test_a_cluster_file_for_scripts(sweeps: Sweeps, tmp_path: Path) -> None:
    code, out, _ = sweeps("doctor", "--cluster", str(AWS), "--json")
    (row,) = json.loads(out)
    assert (code, row["file"], row["good"]) == (1, str(AWS), False)
    assert row["problems"][0] == "metadata.region is a region, but it is 'FILL_IN_REGION': fill it in"
    (tmp_path / "mine.yaml").write_text(filled(AWS.read_text()))
    code, out, _ = sweeps("doctor", "--cluster", "mine.yaml", "--json")
    assert (code, json.loads(out)) == (0, [{"file": "mine.yaml", "good": True, "problems": []}])
