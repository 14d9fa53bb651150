from __future__ import annotations

import pytest

from sweeps.core.runner import room

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
