"""A real Ray of our own: it works, without the processes that nobody here asks."""

from __future__ import annotations

import json
import subprocess
import sys

from ray._private.node import Node

from sweeps.core.own_ray import NOT_NEEDED

SESSION = """
import json, os
import psutil
from sweeps.core.runner import cluster

def words_of(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""

def process():
    return os.getpid()

with cluster(None, 1, 0.0) as workers:
    import ray
    elsewhere = ray.get(ray.remote(process).remote()) != os.getpid()
    # Kept: one that outlives its parent is nobody's child any more.
    inside = psutil.Process().children(recursive=True)
    words = [words_of(one) for one in inside]
_, alive = psutil.wait_procs(inside, timeout=50)
left = [words_of(one) for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
print(json.dumps([workers, elsewhere, words, left]))
"""


def test_a_task_runs_and_few_processes_are_there_and_none_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", SESSION], capture_output=True, text=True, check=True, timeout=240)
    workers, elsewhere, words, left = json.loads(done.stdout)
    assert workers >= 1
    assert elsewhere
    assert left == []
    assert done.stderr == ""
    for needed in ("gcs_server", "raylet"):
        assert any(needed in word for word in words)
    for not_needed in ("dashboard/dashboard.py", "_private/monitor.py", "log_monitor.py"):
        assert not [word for word in words if not_needed in word]


def test_ray_has_what_is_left_out() -> None:
    """Else all would be started, and nobody would notice; and it is put back."""
    for name, instead in NOT_NEEDED.items():
        assert getattr(Node, name) is not instead
