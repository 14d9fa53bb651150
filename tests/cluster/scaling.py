"""A sweep on a head alone, whose autoscaler brings machines and lets them go: Ray's own stand-in for a cloud, whose machines are processes.

`python -m tests.cluster.scaling` in namespaces of its own (`tests.cluster.alone`); what it saw is its last line, as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

WORKERS = 2
IDLE_SECONDS = 3
# Of trials that wait for machines, which wait for a second of the autoscaler's.
ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": "fffffffffffffffffffffffffffffffffffffffffffffffffff00000",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "fffffffffffffffffffffffffffffffffffffffffffffffffff00000",
}
CLUSTER: dict[str, Any] = {
    "cluster_name": "fake",
    "max_workers": WORKERS,
    "idle_timeout_minutes": IDLE_SECONDS / 60,
    # By its class: under its own name it asks for a file that is not in Ray's wheel.
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": ENVIRONMENT["RAY_CLOUD_INSTANCE_ID"],
    },
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "gpu": {
            "resources": {"CPU": 1, "GPU": 1, "object_store_memory": 100_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": WORKERS,
        },
    },
    **{f"{who}{what}_commands": [] for who in ("", "head_", "worker_") for what in ("setup", "start_ray") if who or what == "setup"},
    "initialization_commands": [],
    "file_mounts": {},
    "cluster_synced_files": [],
    "rsync_exclude": [],
    "rsync_filter": [],
    "auth": {},
}
SWEEP = [
    "run",
    "dropout",
    "--data",
    "digits",
    "--set",
    "size=16",
    "--set",
    "filters=16",
    "--samples",
    "4",
    "--epochs",
    "2",
    "--address",
    "auto",
]


def sweeps(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    )


def main() -> None:
    file = Path("cluster.yaml").absolute()
    file.write_text(yaml.safe_dump(CLUSTER))
    words = ["--head", "--port=6379", "--num-cpus=0", "--num-gpus=0", "--object-store-memory=100000000", f"--autoscaling-config={file}"]
    subprocess.run(["ray", "start", *words], env={**os.environ, **ENVIRONMENT}, check=True, stdout=sys.stderr)

    import ray

    ray.init("auto", logging_level=logging.ERROR, log_to_driver=False)

    def workers() -> int:
        return len([node for node in ray.nodes() if node["Alive"]]) - 1

    began = time.monotonic()
    counts = [(0.0, workers())]

    def look() -> None:
        if (now := workers()) != counts[-1][1]:
            counts.append((round(time.monotonic() - began, 1), now))

    refused = sweeps(*SWEEP, "--gpus", "2", "--run-name", "too-much")
    text, _ = refused.communicate(timeout=60)
    process = sweeps(*SWEEP, "--gpus", "1", "--run-name", "scaled")
    while process.poll() is None:
        look()
        time.sleep(0.1)
    ended = round(time.monotonic() - began, 1)
    while counts[-1][1] and time.monotonic() < began + ended + 60:
        look()
        time.sleep(0.1)
    assert process.stdout
    seen = {
        "refused": [refused.returncode, text],
        "code": process.returncode,
        "shown": process.stdout.read(),
        "ended": ended,
        "workers": counts,
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
