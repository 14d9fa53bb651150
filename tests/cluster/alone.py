"""A command in namespaces of its own: no other Ray is seen from there, none sees it, and whatever it started ends with it. Needs root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.machines import CannotBeMade, check, not_tested

ROOT = Path(__file__).parents[2]
# $1 its folder. Ray puts its sockets into /tmp/ray and its objects into /dev/shm, and asks the system for a route to find its own address.
ENTER = """
set -eu
mount --make-rprivate /
mkdir -p /tmp/ray "$1/home"
mount -t tmpfs ray /tmp/ray
mount -t tmpfs -o size=2g shm /dev/shm
ip link set lo up
ip address add 10.99.0.1/32 dev lo
ip route add default dev lo
cd "$1"
shift
exec "$@"
"""


def alone(folder: Path, module: str, *words: str, seconds: float) -> str:
    """`python -m module words` in the folder, with a home of its own there; what it printed. The test fails in CI, and is skipped elsewhere, where this
    process may make no namespaces."""
    try:
        check()
    except CannotBeMade as error:
        not_tested(error)
    space = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*space, "bash", "-c", ENTER, "alone", str(folder), sys.executable, "-m", module, *words]
    environment = {
        "HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{module} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    return done.stdout
