"""The machines that a cluster's autoscaler may bring: a sweep starts before any of them is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

# Of Ray, on its head alone.
HEAD_RESOURCE = "node:__internal_head__"
OPTION = "--autoscaling-config="
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Machines:
    """The resources (`CPU`, `GPU`, `memory` in bytes) of each machine that an autoscaler may have, of every type so many as that may have, and how many
    of all these it may have at a time. Those that run are among them."""

    resources: list[dict[str, float]] = field(default_factory=list)
    most: int = 0


def machines() -> Machines:
    """Those of this cluster; none where it has no autoscaler. To be called inside Ray."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    head = next((node for node in ray.nodes() if node["Alive"] and HEAD_RESOURCE in node["Resources"]), None)
    if head is None:
        return Machines()
    context = ray.get_runtime_context()
    if head["NodeID"] == context.get_node_id():
        return of_monitor(context.gcs_address)
    there = NodeAffinitySchedulingStrategy(head["NodeID"], soft=False)
    try:
        return ray.get(
            ray.remote(of_monitor).options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote(context.gcs_address),
            timeout=ANSWER_SECONDS,
        )
    except ray.exceptions.RayError:
        # `sweeps doctor` says what is wrong with a head that gives no answer.
        return Machines()


def of_monitor(gcs_address: str) -> Machines:
    """The same, on the head of the cluster whose GCS is there. Ray tells nobody; but its monitor was given the file."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if f"--gcs-address={gcs_address}" in words:
            for word in words:
                if word.startswith(OPTION):
                    return of_file(Path(word.removeprefix(OPTION)).expanduser())
    return Machines()


def of_file(file: Path) -> Machines:
    """The same by what `ray up` makes of a cluster file: the types' resources are filled in. None where that cannot be read."""
    try:
        cluster = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return Machines()
    if not isinstance(cluster, dict):
        return Machines()
    most = cluster.get("max_workers", 0)
    kinds = [kind for name, kind in cluster.get("available_node_types", {}).items() if name != cluster.get("head_node_type")]
    return Machines([kind.get("resources", {}) for kind in kinds for _ in range(min(kind.get("max_workers", most), most))], most)
