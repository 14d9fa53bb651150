"""`sweeps status`, `export`, `best` and `resume` of runs whose run.json, study.json or journal is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.journal import Journal
from sweeps.core.storage import RunStorage
from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES
from tests.sweeps import runs

VERBS = (["status", "one"], ["export", "one"], ["best", "one"], ["resume", "one"])


def a_run(name: str = "one") -> RunStorage:
    """With a journal; a second run has no fault."""
    for run in (name, "other"):
        storage = RunStorage("runs", run)
        storage.create(runs.spec(run))
        Path(storage.folder, "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in runs.JOURNAL))
    return RunStorage("runs", name)


def all_refuse(sweeps: Outcomes) -> None:
    for words in VERBS:
        sweeps.refused(*words)


def others_are_shown(sweeps: Outcomes) -> None:
    code, out, err = sweeps.of("status")
    assert (code, err) == (0, "")
    assert "other" in out
    assert "unreadable: " in out


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(spec: Any) -> None:
        for key in path[:-1]:
            spec = spec[key]
        spec[path[-1]] = value

    return change


def _drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec.pop(key)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    **{f"without {key}": _drop(key) for key in ("run", "sweep", "samples", "seed", "dataset_folder", "versions", "created_at")},
    "another run's": _set("run", value="other"),
    "a run above": _set("run", value="../other"),
    "a run of nothing": _set("run", value=""),
    "a key more": _set("colour", value="red"),
    "a newer format": _set("format", value=2),
    "format of text": _set("format", value="one"),
    "sweep is text": _set("sweep", value="dropout"),
    "sweep is null": _set("sweep", value=None),
    "trainable is a path": _set("sweep", "trainable", value="../../cnn"),
    "trainable is unknown": _set("sweep", "trainable", value="vit"),
    "setting is unknown": _set("sweep", "fixed", value={"colour": 1}),
    "setting is out of range": _set("sweep", "fixed", value={"size": -1}),
    "space is a list": _set("sweep", "space", value=[]),
    "space of another kind": _set("sweep", "space", value={"depth": {"kind": "magic"}}),
    "space is swapped": _set("sweep", "space", value={"depth": {"kind": "integers", "low": 3, "high": 1}}),
    "searcher is unknown": _set("sweep", "searcher", value="magic"),
    "samples is text": _set("samples", value="many"),
    "samples is a fraction": _set("samples", value=2.5),
    "samples is null": _set("samples", value=None),
    "seed is nan": _set("seed", value=float("nan")),
    "seed is huge": _set("seed", value=10**30),
    "seed is negative": _set("seed", value=-1),
    "cpus is a list": _set("cpus_per_trial", value=[1]),
    "gpus is text": _set("gpus_per_trial", value="all"),
    "bases is a list": _set("bases", value=["vgg16"]),
    "base without a file": _set("bases", value={"vgg16": {"source": "x"}}),
    "machine is a list": _set("machine", value=[]),
    "versions of numbers": _set("versions", value={"keras": 3}),
    "created at a number": _set("created_at", value=3),
    "folder is null": _set("dataset_folder", value=None),
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_keys_and_types(sweeps: Outcomes, no_start: None, what: str) -> None:
    storage = a_run()
    path = Path(storage.folder, "run.json")
    spec = json.loads(path.read_text())
    CHANGES[what](spec)
    path.write_text(json.dumps(spec))
    all_refuse(sweeps)
    others_are_shown(sweeps)


CONTENTS: dict[str, bytes] = {
    "no bytes": b"",
    "zeros": bytes(4096),
    "a list": b"[]",
    "null": b"null",
    "text": b'"one"',
    "not utf-8": b'{"run": "\xff"}',
    "half a character": b'{"run": "\\ud800"}',
    "utf-16": '{"run": "one"}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "deep object": b'{"run":' * 100_000,
    "digits": b"9" * 100_000,
    "keys": b"{" + b",".join(b'"%d": 1' % n for n in range(10_000)) + b"}",
}


@pytest.mark.parametrize("what", CONTENTS)
@pytest.mark.parametrize("file", ["run.json", "study.json"])
def test_other_contents(sweeps: Outcomes, no_start: None, file: str, what: str) -> None:
    Path(a_run().folder, file).write_bytes(CONTENTS[what])
    all_refuse(sweeps)


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(sweeps: Outcomes, how: str, draw: int) -> None:
    """What still says the same in other words is read."""
    path = Path(a_run().folder, "run.json")
    path.write_bytes(DAMAGES[how](path.read_bytes(), sweeps.random))
    for words in VERBS[:2]:
        code, _, err = sweeps.of(*words)
        assert (code, err.count("\n"), err[:7]) in ((2, 1, "error: "), (0, 0, ""))


ROWS: dict[str, bytes] = {
    "no json": b"{]\n",
    "zeros": bytes(100) + b"\n",
    "not utf-8": b'{"kind": "\xff"}\n',
    "deep": b"[" * 100_000 + b"\n",
    "a list": b"[]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "an empty object": b"{}\n",
    "unknown kind": b'{"kind": "magic", "time": 1}\n',
    "kind is a list": b'{"kind": [], "time": 1}\n',
    "no time": b'{"kind": "session"}\n',
    "time is text": b'{"kind": "start", "trial": 1, "time": "now"}\n',
    "time is null": b'{"kind": "beat", "time": null}\n',
    "time is endless": b'{"kind": "beat", "time": 1e999}\n',
    "trial that is not there": b'{"kind": "start", "trial": 99, "time": 1}\n',
    "trial is a list": b'{"kind": "start", "trial": [1], "time": 1}\n',
    "end without a status": b'{"kind": "end", "trial": 4, "time": 1}\n',
    "end of another status": b'{"kind": "end", "trial": 4, "time": 1, "status": "magic", "reason": "x"}\n',
    "suggestion of text": b'{"kind": "suggest", "trial": 5, "time": 1, "config": "epochs"}\n',
    "suggestion of nothing": b'{"kind": "suggest", "trial": 5, "time": 1, "config": {}}\n',
    "suggestion of half": b'{"kind": "suggest", "trial": 5, "time": 1, "config": {"epochs": 3}}\n',
    "suggestion of a trial of text": b'{"kind": "suggest", "trial": "five", "time": 1, "config": {"epochs": 3, "seed": 1}}\n',
    "result of half": b'{"kind": "result", "trial": 4, "time": 1, "epoch": 1}\n',
    **{
        f"result, {key} {value}": json.dumps({**runs.result(4, 1, 160, 0.5), key: value}).encode() + b"\n"
        for key, value in (
            ("val_accuracy", "high"),
            ("val_accuracy", [1]),
            ("train_loss", {}),
            ("epoch", "first"),
            ("epoch", None),
            ("epoch", 0),
            ("epoch_seconds", None),
            ("images_per_second", "fast"),
            ("images_per_second", 0),
            ("finished_at", "now"),
            ("finished_at", 1e300),
            ("parameters", "many"),
            ("parameters", 10**30),
            ("checkpoint", 3),
        )
    },
    "evaluation of nothing": b'{"kind": "evaluation", "trial": 2, "epoch": 2, "time": 1}\n',
    "evaluation of lists": b'{"kind": "evaluation", "trial": 2, "epoch": 2, "time": 1, "splits": [], "test_averages": [], "classes": 3}\n',
    "resources of nothing": b'{"kind": "resources", "time": 1}\n',
    "no cores": b'{"kind": "resources", "time": 1, "cpus": 0, "gpus": 0}\n',
    "GPUs of text": b'{"kind": "resources", "time": 1, "cpus": 1, "gpus": "all"}\n',
    "extension of nothing": b'{"kind": "extend", "time": 1}\n',
    "extension of text": b'{"kind": "extend", "time": 1, "samples": "many", "epochs": "many", "more_time": 1, "time_budget_seconds": "x"}\n',
}


# What a row lacks is found by those who read it.
OF_A_TABLE = {"suggestion of half", "evaluation of nothing"}
NOT_OF_STATUS = {"evaluation of nothing"}


@pytest.mark.parametrize("what", ROWS)
def test_a_row_of_the_journal(sweeps: Outcomes, no_start: None, what: str) -> None:
    path = Path(a_run().folder, "journal.jsonl")
    path.write_bytes(path.read_bytes() + ROWS[what])
    for words in VERBS[1:3] if what in NOT_OF_STATUS else VERBS[:3]:
        sweeps.refused(*words)
    if what not in OF_A_TABLE:
        others_are_shown(sweeps)


@pytest.mark.parametrize("draw", range(2))
@pytest.mark.parametrize("how", DAMAGES)
def test_a_journal_damaged_at_random(sweeps: Outcomes, how: str, draw: int) -> None:
    """Cut in its last row it is that of a run that was killed."""
    path = Path(a_run().folder, "journal.jsonl")
    path.write_bytes(DAMAGES[how](path.read_bytes(), sweeps.random))
    for words in VERBS[:3]:
        code, _, err = sweeps.of(*words)
        assert (code, err.count("\n"), err[:7]) in ((2, 1, "error: "), (0, 0, ""))


def test_the_whole_run_is_shown(sweeps: Outcomes) -> None:
    """What the cases above start from has no fault."""
    a_run()
    assert len([*Journal(RunStorage("runs", "one")).rows()]) == len(runs.JOURNAL)
    for words in VERBS[:3]:
        sweeps.done(*words, into="results")
