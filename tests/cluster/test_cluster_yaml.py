"""cluster.yaml is one that Ray and AWS accept and that keeps our rules, and a typo in any of its keys is found. What Ray's autoscaler buys by it:
test_autoscaler.py."""

from __future__ import annotations

import copy
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from data_prep import BadInput
from sweeps.core.cluster_file import METADATA, check, problems
from tests.cluster.filled import AWS, ONPREM, filled, filled_onprem

TEXT = filled(AWS.read_text())
CLUSTER: dict[str, Any] = yaml.safe_load(TEXT)
HEAD = CLUSTER["head_node_type"]
TYPES: dict[str, dict[str, Any]] = CLUSTER["available_node_types"]
WORKERS = sorted(set(TYPES) - {HEAD})
SPOT = sorted(name for name in WORKERS if name.endswith("_spot"))
NAMES = {"head", "gpu_1_spot", "gpu_4_spot", "gpu_1_on_demand"}
# A key, on a line of its own or in braces. Not the merge key, which is YAML's.
KEY = re.compile(r"""(?:^\s*(?:- )?|[{,]\s*)"?([\w~/.-]+)"?:(?=\s|$)""", re.MULTILINE)


def keys(text: str) -> list[tuple[int, str]]:
    """(place, name) of every key."""
    found = []
    offset = 0
    for line in text.splitlines(keepends=True):
        if not line.lstrip().startswith("#"):
            found += [(offset + match.start(1), match[1]) for match in KEY.finditer(line.split(" #")[0]) if "RAY_" not in line]
        offset += len(line)
    return found


def typo(text: str, place: int, name: str) -> str:
    """`name` at that place with two letters for one."""
    return f"{text[:place]}{name}{name[-1]}{text[place + len(name) :]}"


def places(value: Any, key: str) -> list[Any]:
    """What stands under `key`, at any depth."""
    if isinstance(value, dict):
        return [*([value[key]] if key in value else []), *(found for part in value.values() for found in places(part, key))]
    return [found for part in value for found in places(part, key)] if isinstance(value, list) else []


@pytest.mark.parametrize("cluster", [CLUSTER, yaml.safe_load(filled_onprem(ONPREM.read_text()))], ids=["aws", "onprem"])
def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    """As `ray up` does before it starts a machine; EC2's answer to "what has this type?" is played by `setdefault`."""
    prepared = prepare_config(copy.deepcopy(cluster))
    for kind in prepared.get("available_node_types", {}).values():
        kind.setdefault("resources", {"CPU": 8, "GPU": 1})
    validate_config(prepared)


@pytest.mark.parametrize("text", [TEXT, filled_onprem(ONPREM.read_text())], ids=["aws", "onprem"])
def test_our_own_check_accepts_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    assert list(problems(file)) == []


ALL_KEYS = [
    *(pytest.param(TEXT, place, name, id=f"aws-{name}-{number}") for number, (place, name) in enumerate(keys(TEXT))),
    *(
        pytest.param(filled_onprem(ONPREM.read_text()), place, name, id=f"onprem-{name}-{number}")
        for number, (place, name) in enumerate(keys(filled_onprem(ONPREM.read_text())))
    ),
]


def test_no_key_is_left_out() -> None:
    """By YAML's own account: each is on a line of the file, a merged one on one line for several places."""

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {*value, *(name for part in value.values() for name in names(part))}
        return {name for part in value for name in names(part)} if isinstance(value, list) else set()

    assert {name for _, name in keys(TEXT)} == names(CLUSTER)
    onprem = filled_onprem(ONPREM.read_text())
    assert {name for _, name in keys(onprem)} == names(yaml.safe_load(onprem))


@pytest.mark.parametrize(("text", "place", "name"), ALL_KEYS)
def test_a_typo_in_a_key_is_found(text: str, place: int, name: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(typo(text, place, name))
    if name in WORKERS:
        # A name that anyone may choose.
        assert {*yaml.safe_load(file.read_text())["available_node_types"]} != NAMES
        return
    with pytest.raises(BadInput) as caught:
        check(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", [AWS, ONPREM], ids=["aws", "onprem"])
def test_every_key_has_a_comment_above_it(file: Path) -> None:
    lines = file.read_text().splitlines()
    bare = [line for before, line in itertools.pairwise(lines) if re.match(r'\s*[\w"~/<.-]+:(\s|$)', line) and "#" not in before]
    assert bare == []


def test_what_is_not_filled_in_is_told_in_one_place() -> None:
    told = list(problems(AWS))
    assert told == [
        "metadata.region is a region, but it is 'FILL_IN_REGION': fill it in",
        "metadata.zones is zones of the region, with commas, but it is 'FILL_IN_ZONES': fill it in",
        "metadata.image is an image's id, but it is 'ami-FILL_IN': fill it in",
        "metadata.group is a security group's id, but it is 'sg-FILL_IN': fill it in",
        "metadata.head_profile is the name of an instance profile, but it is 'FILL_IN_HEAD_PROFILE': fill it in",
        "metadata.worker_profile is the name of an instance profile, but it is 'FILL_IN_WORKER_PROFILE': fill it in",
    ]
    stand_ins = [line for line in AWS.read_text().splitlines() if "FILL_IN" in line]
    assert len(stand_ins) == len(METADATA), "nowhere but in metadata"


def test_what_is_not_filled_in_of_your_own_machines_is_told() -> None:
    told = list(problems(ONPREM))
    assert "every FILL_IN is to be filled in, but provider.head_ip is 'FILL_IN_HEAD': put yours there" in told


def test_no_trial_lands_on_the_head() -> None:
    assert TYPES[HEAD]["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in TYPES[HEAD]["node_config"], "a reclaimed head ends every session"
    onprem = yaml.safe_load(ONPREM.read_text())
    assert "--num-cpus=0 --num-gpus=0" in " ".join(onprem["head_start_ray_commands"])


def test_types() -> None:
    assert {*TYPES} == NAMES


def test_workers_are_spot_of_two_sizes_and_fall_back_on_demand() -> None:
    assert len({TYPES[kind]["node_config"]["InstanceType"] for kind in SPOT}) == 2
    (other,) = set(WORKERS) - set(SPOT)
    assert TYPES[other]["node_config"]["InstanceType"] in {TYPES[kind]["node_config"]["InstanceType"] for kind in SPOT}
    assert TYPES[other]["priority"] < min(TYPES[kind]["priority"] for kind in SPOT)
    assert [TYPES[kind]["node_config"].get("InstanceMarketOptions") for kind in (*SPOT, other)] == [*[{"MarketType": "spot"}] * 2, None]
    assert "," in CLUSTER["provider"]["availability_zone"], "several zones"


@pytest.mark.parametrize("kind", WORKERS)
def test_no_worker_waits_idle(kind: str) -> None:
    assert TYPES[kind]["min_workers"] == 0
    assert "resources" not in TYPES[kind], "Ray reads them from EC2; written here they go stale"


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_machine_has_its_role_its_image_and_a_closed_group(kind: str) -> None:
    node, mine = TYPES[kind]["node_config"], CLUSTER["metadata"]
    assert node["IamInstanceProfile"] == {"Name": mine["head_profile" if kind == HEAD else "worker_profile"]}
    assert node["ImageId"] == mine["image"], "Ray's own default image is years old"
    assert node["SecurityGroupIds"] == [mine["group"]], "without one Ray makes a group of its own, with port 22 open to the world"
    assert node["MetadataOptions"] == {"HttpTokens": "required"}
    assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]


def test_nothing_is_open_to_the_world() -> None:
    # Ray adds 22 from 0.0.0.0/0 to each group that it makes (aws/config.py, _create_default_ssh_inbound_rules), so it may make none.
    assert "security_group" not in CLUSTER["provider"]
    assert not {"0.0.0.0/0", "::/0"} & {*places(CLUSTER, "CidrIp"), *places(CLUSTER, "CidrIpv6")}


@pytest.mark.parametrize("file", [AWS, ONPREM], ids=["aws", "onprem"])
def test_a_cluster_is_closed_and_finds_lost_machines_in_seconds(file: Path) -> None:
    cluster = yaml.safe_load(file.read_text())
    head = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--ray-client-server-port" not in head
    assert any("RAY_AUTH_MODE=token" in command for command in cluster["setup_commands"])
    settings = {key: int(value) for key, value in re.findall(r"RAY_health_check_(\w+)=(\d+)", head)}
    assert (settings["period_ms"] + settings["timeout_ms"]) * settings["failure_threshold"] <= 10_000


@pytest.mark.parametrize("file", [AWS, ONPREM], ids=["aws", "onprem"])
def test_machines_run_what_was_tested(file: Path) -> None:
    cluster = yaml.safe_load(file.read_text())
    folder = next(target for target, source in cluster["file_mounts"].items() if source == ".")
    (install,) = [command for command in cluster["setup_commands"] if "pip install" in command]
    assert install.startswith(f"cd {folder} && ")
    assert " -c constraints.txt -e " in install


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"a cluster file is a file that can be read, but '.*nowhere\.yaml' is not \(No such file or directory\): "
    ):
        check(tmp_path / "nowhere.yaml")
    (tmp_path / "half.yaml").write_text("a: [1")
    with pytest.raises(BadInput, match=r"a cluster file is YAML, but .* is not .*: mend it, or give another"):
        check(tmp_path / "half.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(BadInput, match=r"has no `provider`: start from the project's cluster\.yaml"):
        check(tmp_path / "list.yaml")
