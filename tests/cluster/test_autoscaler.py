"""What Ray's own AWS autoscaler buys by the project's cluster.yaml for GPU trials that wait, and that it lets go what is idle. Amazon is moto's server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.alone import alone
from tests.cluster.aws import IDLE_SECONDS, tag
from tests.cluster.filled import PROFILES, REGION

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bought(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(alone(tmp_path_factory.mktemp("aws"), "tests.cluster.aws", seconds=400).splitlines()[-1])
    return found


def kinds(part: dict[str, Any]) -> list[str]:
    return sorted(tag(machine, "ray-user-node-type") for machine in part["machines"])


def test_the_head_trains_nothing(bought: dict[str, Any]) -> None:
    (head,) = bought["head"]
    assert (head["InstanceType"], tag(head, "ray-node-type"), tag(head, "ray-user-node-type")) == ("m7i.xlarge", "head", "head")
    assert "InstanceLifecycle" not in head, "on demand"
    assert head["IamInstanceProfile"]["Arn"].endswith(f"/{PROFILES['HEAD']}")
    assert bought["cluster"]["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_what_may_come_is_known_before_it_is_there(bought: dict[str, Any]) -> None:
    """As EC2 tells it to `ray up`: a sweep of GPU trials starts on the head alone."""
    found = [(machine["CPU"], machine["GPU"]) for machine in bought["may_come"]]
    assert sorted(found) == [(8, 1)] * 10 + [(48, 4)] * 2


@pytest.mark.parametrize(
    ("part", "types"),
    [
        ("whole", ["gpu_1_spot"] * 2),
        ("quarters", ["gpu_1_spot"]),
        ("four", ["gpu_4_spot"]),
        ("sold_out", ["gpu_1_on_demand"]),
    ],
)
def test_trials_that_wait_buy(bought: dict[str, Any], part: str, types: list[str]) -> None:
    assert kinds(bought[part]) == types


@pytest.mark.parametrize("part", ["whole", "quarters", "four", "sold_out"])
def test_each_machine_is_as_the_file_says(bought: dict[str, Any], part: str) -> None:
    for machine in bought[part]["machines"]:
        kind = tag(machine, "ray-user-node-type")
        assert machine["InstanceType"] == ("g5.12xlarge" if kind == "gpu_4_spot" else "g5.2xlarge")
        assert machine.get("InstanceLifecycle") == ("spot" if kind.endswith("_spot") else None)
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{PROFILES['WORKER']}")
        assert machine["ImageId"] == bought["image"]
        assert [group["GroupId"] for group in machine["SecurityGroups"]] == [bought["group"]]
        assert machine["Placement"]["AvailabilityZone"] in {f"{REGION}{zone}" for zone in "abc"}
        assert (tag(machine, "ray-cluster-name"), tag(machine, "Name")) == ("keras-sweeps", "ray-keras-sweeps-worker")
        assert machine["MetadataOptions"]["HttpTokens"] == "required"


@pytest.mark.parametrize("part", ["whole", "quarters", "four", "sold_out"])
def test_idle_machines_are_let_go(bought: dict[str, Any], part: str) -> None:
    assert bought[part]["gone"] >= IDLE_SECONDS
    assert bought["cluster"]["idle_timeout_minutes"] == 10


def test_all_zones_are_tried(bought: dict[str, Any]) -> None:
    subnets = {tuple(kind["node_config"]["SubnetIds"]) for kind in bought["cluster"]["available_node_types"].values()}
    ((first, *others),) = subnets
    assert [bought["zones"][subnet] for subnet in (first, *others)] == [f"{REGION}{zone}" for zone in "abc"]
