from __future__ import annotations

import sys
import threading
import time

import pytest

from data_prep import BadInput
from sweeps.core import runner, token
from sweeps.core.autoscaler import Machines
from sweeps.core.runner import check_address, room
from sweeps.core.tune import Ending

GIB = 2.0**30


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "trials"),
    [
        ([{"CPU": 2}], 1, 0, 2),
        ([{"CPU": 5}, {"CPU": 3}], 2, 0, 3),
        ([{"CPU": 0}, {"CPU": 8, "GPU": 1}], 1, 0.2, 5),
        ([{"CPU": 16, "GPU": 1}], 1, 0.1, 10),
        ([{"CPU": 16, "GPU": 1}], 1, 0.3, 3),
        ([{"CPU": 8, "GPU": 2}], 1, 0.6, 2),
        ([{"CPU": 8, "GPU": 4}], 1, 2, 2),
        ([{"CPU": 2, "GPU": 4}], 2, 1, 1),
        ([{"CPU": 8}, {"CPU": 8, "GPU": 1}], 1, 1, 1),
    ],
)
def test_room(nodes: list[dict[str, float]], cpus: int, gpus: float, trials: int) -> None:
    assert room([{**node, "memory": GIB} for node in nodes], cpus, gpus) == trials


ONE, FOUR = {"CPU": 8.0, "GPU": 1.0}, {"CPU": 48.0, "GPU": 4.0}
HEAD = {"CPU": 0.0, "memory": GIB}


@pytest.mark.parametrize(
    ("nodes", "gpus", "most", "trials"),
    [
        ([HEAD], 1, 8, 12),
        ([HEAD], 0.25, 8, 48),
        ([HEAD], 4, 8, 2),
        ([HEAD], 1, 1, 4),
        ([HEAD, ONE], 1, 8, 12),
        ([HEAD, *[ONE] * 20], 1, 8, 20),
    ],
)
def test_room_on_machines_that_may_come(nodes: list[dict[str, float]], gpus: float, most: int, trials: int) -> None:
    assert room(nodes, 1, gpus, Machines([*[ONE] * 4, *[FOUR] * 2], most)) == trials


@pytest.mark.parametrize(
    ("cpus", "gpus", "coming", "text"),
    [
        (
            1,
            8,
            Machines([ONE, FOUR], 2),
            "asks for 1 CPUs and 8 GPUs and the largest node that there is or that may come has 48 and 4: lower",
        ),
        (1, 1, Machines(), "asks for 1 CPUs and 1 GPUs and the largest node has 0 and 0: lower"),
        (1, 1, Machines([ONE], 0), "asks for 1 CPUs and 1 GPUs and the largest node has 0 and 0: lower"),
        (
            1,
            0,
            Machines([{"CPU": 2.0, "memory": GIB / 2}], 2),
            "takes about 1 GB of memory, but the largest node that there is or that may come has 0.5 GB",
        ),
    ],
)
def test_what_no_node_has_is_refused(cpus: int, gpus: float, coming: Machines, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        room([HEAD], cpus, gpus, coming)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_that_our_cluster_files_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`RAY_ADDRESS=auto`: then Ray's own note says where."""
    import ray._private.utils

    monkeypatch.delitem(sys.modules, "ray")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray._private.utils, "read_ray_address", lambda: "127.0.0.1:1")
    with pytest.raises(BadInput, match=r"^--address is that of a running Ray cluster, but '127\.0\.0\.1:1' is not \("):
        check_address("auto")


@pytest.mark.parametrize("silent", [True, False])
def test_a_ray_that_is_silent(monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    import ray

    monkeypatch.setattr(runner, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(runner, "SILENT_SECONDS", 0.3 if silent else 3.0)
    looks: list[bool] = []

    def nodes() -> list[dict[str, bool]]:
        looks.append(True)
        return [] if silent else [{"Alive": True}]

    monkeypatch.setattr(ray, "nodes", nodes)
    given_up, until = threading.Event(), time.monotonic() + 60
    with runner._watched(Ending(), given_up.set):
        while len(looks) < 100 and not given_up.is_set():
            assert time.monotonic() < until
            time.sleep(0.05)
    assert given_up.is_set() == silent


def test_a_ray_of_our_own_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fails(**given: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(token, "keep_to_us", lambda: None)
    with pytest.raises(BadInput) as caught, runner.cluster(None, 1, 0.0):
        pass
    assert str(caught.value) == (
        "a run without --address starts Ray on this machine, but that failed (Exception: The current node timed out during startup.): try again, or "
        "see what `sweeps doctor` finds"
    )
