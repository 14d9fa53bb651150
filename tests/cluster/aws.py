"""The project's own cluster.yaml in the hands of Ray's real `ray up` and autoscaler; Amazon is played by moto's server.

Machines that are bought are processes here, as moto's have no ssh: what `ray up` would do in them by ssh is left out, and Ray is started in them by the
file's own commands. `python -m tests.cluster.aws` in namespaces of its own (`tests.cluster.alone`); what it saw is its last line, as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import yaml
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.instances import InstanceResponse
from moto.server import ThreadedMotoServer

from tests.cluster.filled import AWS, PROFILES, REGION, filled

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "RAY_AUTH_MODE": "token",
    "RAY_UP_enable_autoscaler_v2": "0",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
# The file says ten minutes.
IDLE_SECONDS = 4
# Without a new machine, a round a second: what waits has bought all that it will.
BOUGHT_SECONDS = 4.0
PATIENCE = 90.0
# What trials ask for.
WHOLE, QUARTER, FOUR = {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 0.25}, {"CPU": 4.0, "GPU": 4.0}


class Amazon:
    """moto's server on this machine. `sold_out`: instance types of which there are no spot machines."""

    def __init__(self) -> None:
        self.sold_out: set[str] = set()
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        host, port = server.get_host_and_port()
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        self.ec2, iam = boto3.client("ec2"), boto3.client("iam")
        for name in PROFILES.values():
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            iam.create_instance_profile(InstanceProfileName=name)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        (vpc,) = self.ec2.describe_vpcs()["Vpcs"]
        self.group: str = self.ec2.create_security_group(GroupName="mine", Description="mine", VpcId=vpc["VpcId"])["GroupId"]
        self.image: str = self.ec2.describe_images()["Images"][0]["ImageId"]
        self._sell_as_amazon_does()

    def _sell_as_amazon_does(self) -> None:
        sell: Any = InstanceResponse.run_instances

        def run_instances(response: Any) -> Any:
            spot = response._get_param("InstanceMarketOptions.MarketType") == "spot"
            if spot and response._get_param("InstanceType") in self.sold_out:
                raise EC2ClientError("InsufficientInstanceCapacity", "there is no Spot capacity available that matches your request")
            # As many as it has, of which moto gives the least that is asked for.
            response.params["MinCount"] = response.params["MaxCount"]
            order = sell(response)
            name = response._get_param("IamInstanceProfile.Name")
            # To all of them; moto gives it to the first.
            for machine in order.result.instances[1:] if name else ():
                response.ec2_backend.associate_iam_instance_profile(instance_id=machine.id, iam_instance_profile_name=name)
            return order

        InstanceResponse.run_instances = run_instances  # type: ignore[method-assign, assignment]

    def machines(self) -> list[dict[str, Any]]:
        """All that was ever bought, as EC2 describes it."""
        return [machine for order in self.ec2.describe_instances()["Reservations"] for machine in order["Instances"]]

    def running(self) -> list[dict[str, Any]]:
        """Workers that cost money."""
        return [
            machine for machine in self.machines() if tag(machine, "ray-node-type") == "worker" and machine["State"]["Name"] == "running"
        ]

    def sold_after(self, before: set[str]) -> list[dict[str, Any]]:
        """What is bought while Ray runs in none of it. Once it does, Ray may buy one machine too many: for a moment it counts a trial that is being
        placed as waiting and its machine as full; that one is let go as idle."""
        found: list[dict[str, Any]] = []
        since = time.monotonic()
        until = since + PATIENCE
        while not found or time.monotonic() - since < BOUGHT_SECONDS:
            assert time.monotonic() < until, "nothing is bought"
            now = [machine for machine in self.running() if machine["InstanceId"] not in before]
            if len(now) != len(found):
                found, since = now, time.monotonic()
            time.sleep(0.5)
        return found


def tag(machine: dict[str, Any], key: str) -> str:
    return str({pair["Key"]: pair["Value"] for pair in machine["Tags"]}.get(key, ""))


def ray_up(file: Path) -> tuple[dict[str, Any], list[str], dict[str, float]]:
    """Buy a head: (what it is told of the cluster, the commands that start Ray on it, its resources)."""
    from ray.autoscaler._private import commands

    told: dict[str, Any] = {}

    class NoSsh:
        exitcode = 0

        def __init__(self, **words: Any) -> None:
            told.update(words, cluster=yaml.safe_load(Path(words["file_mounts"]["~/ray_bootstrap_config.yaml"]).read_text()))

        def start(self) -> None: ...

        def join(self) -> None: ...

    vars(commands)["NodeUpdaterThread"] = NoSsh
    commands.create_or_update_cluster(str(file), None, None, False, False, True, None, True, None)
    return told["cluster"], told["ray_start_commands"], told["node_resources"]


def start_ray(commands: list[str], address: str, resources: dict[str, float], **environment: str) -> None:
    """By the command of the file that does it."""
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    (command,) = [command for command in commands if "ray start" in command]
    # They share this machine's ports.
    assert command.count("--object-manager-port=8076") == 1
    command = command.replace("--object-manager-port=8076", "--dashboard-agent-listen-port=0 --object-store-memory=100000000")
    command = command.replace("ray start", f"ray start --node-ip-address={address}")
    environment = {**os.environ, "RAY_OVERRIDE_RESOURCES": json.dumps(resources), **environment}
    subprocess.run(["bash", "-c", f"ulimit() {{ :; }}; {command}"], env=environment, check=True, stdout=sys.stderr)


def main() -> None:
    os.environ |= ENVIRONMENT
    home = Path.home()
    for folder, content in ((".ray/auth_token", "0" * 64), (".ssh/known_hosts", "")):
        (home / folder).parent.mkdir(parents=True)
        (home / folder).write_text(content)
    amazon = Amazon()
    file = Path("cluster.yaml")
    file.write_text(filled(AWS.read_text(), amazon.image, amazon.group))
    cluster, commands, resources = ray_up(file)
    bought = {"cluster": cluster, "image": amazon.image, "group": amazon.group, "head": amazon.machines()}
    bought["zones"] = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in amazon.ec2.describe_subnets()["Subnets"]}
    mine = {**cluster, "idle_timeout_minutes": IDLE_SECONDS / 60, "file_mounts": {}}
    mine["provider"] = {**cluster["provider"], "disable_node_updaters": True}
    (home / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(mine))
    (home / "ray_bootstrap_key.pem").write_text("of no machine")
    address = amazon.machines()[0]["PrivateIpAddress"]
    start_ray(commands, address, resources)

    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    from sweeps.core.autoscaler import machines

    ray.init(f"{address}:6379", logging_level=logging.ERROR, log_to_driver=False)
    bought["may_come"] = machines().resources
    began: set[str] = set()

    def wait(condition: Callable[[], Any], what: str) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, f"{what}: {[(tag(m, 'ray-user-node-type'), m['State']['Name']) for m in amazon.machines()]}"
            for machine in amazon.running():
                if machine["InstanceId"] not in began:
                    began.add(machine["InstanceId"])
                    kind = tag(machine, "ray-user-node-type")
                    told = {"RAY_HEAD_IP": address, "RAY_CLOUD_INSTANCE_ID": machine["InstanceId"], "RAY_NODE_TYPE_NAME": kind}
                    start_ray(
                        cluster["worker_start_ray_commands"],
                        machine["PrivateIpAddress"],
                        cluster["available_node_types"][kind]["resources"],
                        **told,
                    )
            time.sleep(0.5)

    def trials(*asked: dict[str, float]) -> dict[str, Any]:
        """As Tune asks for them; until all are placed, have ended, and their machines are gone."""
        before = {machine["InstanceId"] for machine in amazon.machines()}
        started = time.monotonic()
        groups = [placement_group([dict(bundle)]) for bundle in asked]
        machines = amazon.sold_after(before)
        wait(lambda: all(group.wait(0.01) for group in groups), "trials are not placed")
        placed = time.monotonic()
        for group in groups:
            remove_placement_group(group)
        wait(lambda: not amazon.running(), "machines are not let go")
        return {"machines": machines, "placed": placed - started, "gone": time.monotonic() - placed}

    bought["whole"] = trials(WHOLE, WHOLE)
    bought["quarters"] = trials(*[QUARTER] * 4)
    bought["four"] = trials(FOUR)
    amazon.sold_out = {"g5.2xlarge", "g5.12xlarge"}
    bought["sold_out"] = trials(WHOLE)
    ray.shutdown()
    sys.stdout.write(json.dumps(bought, default=str) + "\n")


if __name__ == "__main__":
    main()
