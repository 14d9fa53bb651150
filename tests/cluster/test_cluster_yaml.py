"""cluster.yaml is one that Ray accepts and that keeps our rules. What AWS would say of `node_config` needs AWS, or moto."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[2] / "cluster.yaml"
TEXT = FILE.read_text()
CLUSTER: dict[str, Any] = yaml.safe_load(TEXT)
HEAD = CLUSTER["head_node_type"]
TYPES: dict[str, dict[str, Any]] = CLUSTER["available_node_types"]
WORKERS = sorted(set(TYPES) - {HEAD})


def check(cluster: dict[str, Any]) -> None:
    """What `ray up` does before it starts a machine; EC2's answer to "what has this type?" is played by `setdefault`."""
    prepared = prepare_config(copy.deepcopy(cluster))
    for kind in prepared.get("available_node_types", {}).values():
        kind.setdefault("resources", {"CPU": 8, "GPU": 1})
    validate_config(prepared)


def places(value: Any, key: str) -> list[Any]:
    """What stands under `key`, at any depth."""
    if isinstance(value, dict):
        return [*([value[key]] if key in value else []), *(found for part in value.values() for found in places(part, key))]
    return [found for part in value for found in places(part, key)] if isinstance(value, list) else []


def test_ray_accepts_it() -> None:
    check(CLUSTER)


@pytest.mark.parametrize("key", sorted(set(CLUSTER) - {"provider"}))
def test_a_typo_in_a_key_is_refused(key: str) -> None:
    typo = {f"{name}_" if name == key else name: value for name, value in CLUSTER.items()}
    with pytest.raises(jsonschema.ValidationError, match=f"'{key}_' was unexpected"):
        check(typo)


def test_a_typo_in_provider_is_refused() -> None:
    # Ray asks for it before it looks at its schema.
    typo = {f"{name}_" if name == "provider" else name: value for name, value in CLUSTER.items()}
    with pytest.raises(KeyError, match="provider"):
        check(typo)


@pytest.mark.parametrize(("kind", "key"), [(kind, key) for kind in TYPES for key in TYPES[kind]])
def test_a_typo_in_a_node_type_is_refused(kind: str, key: str) -> None:
    typo = copy.deepcopy(CLUSTER)
    typo["available_node_types"][kind][f"{key}_"] = typo["available_node_types"][kind].pop(key)
    with pytest.raises(jsonschema.ValidationError, match=f"'{key}_' was unexpected|'{key}' is a required property"):
        check(typo)


def test_no_trial_lands_on_the_head() -> None:
    assert TYPES[HEAD]["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in TYPES[HEAD]["node_config"], "a reclaimed head ends every session"


@pytest.mark.parametrize("kind", WORKERS)
def test_workers_are_spot_and_none_waits_idle(kind: str) -> None:
    assert TYPES[kind]["min_workers"] == 0
    assert TYPES[kind]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "resources" not in TYPES[kind], "Ray reads them from EC2; written here they go stale"


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_machine_has_its_role_its_image_and_a_closed_group(kind: str) -> None:
    node = TYPES[kind]["node_config"]
    assert node["IamInstanceProfile"]["Name"], "Ray gives workers none, and s3:// fails without"
    assert node["ImageId"].startswith("ami-"), "Ray's own default image is years old"
    assert node["SecurityGroupIds"], "without one Ray makes a group of its own, with port 22 open to the world"
    assert node["MetadataOptions"] == {"HttpTokens": "required"}


def test_workers_do_not_have_the_head_s_role() -> None:
    head = TYPES[HEAD]["node_config"]["IamInstanceProfile"]
    assert all(TYPES[kind]["node_config"]["IamInstanceProfile"] != head for kind in WORKERS), "it may start machines"


def test_nothing_is_open_to_the_world() -> None:
    # Ray adds 22 from 0.0.0.0/0 to each group that it makes (aws/config.py, _create_default_ssh_inbound_rules), so it may make none.
    assert "security_group" not in CLUSTER["provider"]
    assert not {"0.0.0.0/0", "::/0"} & {*places(CLUSTER, "CidrIp"), *places(CLUSTER, "CidrIpv6")}
    head = " ".join(CLUSTER["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--ray-client-server-port" not in head


def test_tokens_are_on_everywhere() -> None:
    assert CLUSTER["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("RAY_AUTH_MODE=token" in command for command in CLUSTER["setup_commands"])


def test_machines_run_what_was_tested() -> None:
    folder = next(target for target, source in CLUSTER["file_mounts"].items() if source == ".")
    install = next(command for command in CLUSTER["setup_commands"] if "pip install" in command)
    assert install.startswith(f"cd {folder} && ")
    assert install.endswith("pip install --quiet -c constraints.txt -e '.[gpu,cluster]'")


def test_what_a_user_must_fill_in_says_so() -> None:
    stand_ins = [line for line in TEXT.splitlines() if re.search(r"0123456789abcdef0|Name: keras|region:|availability_zone:", line)]
    assert stand_ins
    assert all("FILL_IN" in line for line in stand_ins), stand_ins
