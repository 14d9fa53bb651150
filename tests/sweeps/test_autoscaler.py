from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sweeps.core.autoscaler import Machines, machines, of_file
from tests.cluster.filled import AWS, ONPREM, filled, filled_onprem


def test_every_type_so_many_as_there_may_be(tmp_path: Path) -> None:
    """Of what `ray up` has filled in, so of the head's file: the types of one's own have no resources yet."""
    cluster = yaml.safe_load(filled(AWS.read_text()))
    cluster["max_workers"] = 5
    for kind, gpus in (("gpu_1_spot", 1), ("gpu_4_spot", 4), ("gpu_1_on_demand", 1)):
        cluster["available_node_types"][kind]["resources"] = {"CPU": 8, "GPU": gpus}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster, sort_keys=False))
    one, four = {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 4.0}
    assert of_file(tmp_path / "cluster.yaml") == Machines([*[one] * 5, *[four] * 2, *[one] * 2], most=5)


@pytest.mark.parametrize("content", [None, "", "- 1", "{", filled_onprem(ONPREM.read_text())])
def test_no_machine_is_known(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    if content is not None:
        file.write_text(content)
    assert of_file(file).resources == []


@pytest.mark.usefixtures("ray")
def test_this_machine_alone_has_no_autoscaler() -> None:
    assert machines() == Machines()
