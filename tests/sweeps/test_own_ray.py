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

def living():
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            found.append(" ".join(child.cmdline()))
        except psutil.NoSuchProcess:
            pass
    return found

def process():
    return os.getpid()

with cluster(None, 1, 0.0) as workers:
    import ray
    elsewhere = ray.get(ray.remote(process).remote()) != os.getpid()
    words = living()
print(json.dumps([workers, elsewhere, words, len(living())]))
"""


def test_a_task_runs_and_few_processes_are_there_and_none_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", SESSION], capture_output=True, text=True, check=True, timeout=120)
    workers, elsewhere, words, left = json.loads(done.stdout)
    assert workers >= 1
    assert elsewhere
    assert left == 0
    assert done.stderr == ""
    for needed in ("gcs_server", "raylet"):
        assert any(needed in word for word in words)
    for not_needed in ("dashboard/dashboard.py", "_private/monitor.py", "log_monitor.py"):
        assert not [word for word in words if not_needed in word]


def test_ray_has_what_is_left_out() -> None:
    """Else all would be started, and nobody would notice; and it is put back."""
    for name, instead in NOT_NEEDED.items():
        assert getattr(Node, name) is not instead
