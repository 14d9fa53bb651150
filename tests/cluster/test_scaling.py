"""Trials that wait bring machines, as many as there is work for; when they have ended, the machines go. With Ray's own autoscaler, in namespaces of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.journal import read_state
from sweeps.core.storage import RunStorage
from tests.cluster.alone import alone
from tests.cluster.scaling import WORKERS

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scaling")


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(alone(folder, "tests.cluster.scaling", seconds=240).splitlines()[-1])
    return found


def test_from_none_to_as_many_as_there_may_be_and_back(seen: dict[str, Any], folder: Path) -> None:
    assert seen["code"] == 0, seen["shown"]
    numbers = [number for _, number in seen["workers"]]
    assert (numbers[0], max(numbers), numbers[-1]) == (0, WORKERS, 0), seen["workers"]
    assert numbers == sorted(numbers[: numbers.index(WORKERS) + 1]) + sorted(numbers[numbers.index(WORKERS) + 1 :], reverse=True), (
        "up, then down"
    )
    state = read_state(RunStorage(str(folder / "runs"), "scaled"))
    assert [trial.status for trial in state.trials.values()] == ["completed"] * 4
    assert state.moved == 0


def test_what_no_machine_that_may_come_has_is_refused(seen: dict[str, Any]) -> None:
    code, text = seen["refused"]
    where = "the largest node that there is or that may come"
    assert (code, text) == (
        2,
        f"error: a trial runs on one node, but it asks for 1 CPUs and 2 GPUs and {where} has 1 and 1: lower --cpus or --gpus\n",
    )
