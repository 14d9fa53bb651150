"""Hears that AWS is about to take this spot machine back, and drains it: Ray places nothing more on it, and its workers give up their trials between
two epochs. Started on each worker by cluster.yaml: `python -m sweeps.core.notice`.

A notice comes two minutes before the end, at an address that every machine of EC2 has for itself (instance metadata, IMDSv2).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import requests
from filelock import FileLock, Timeout

METADATA = "http://169.254.169.254"
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 2.0
NOTICE_SECONDS = 110
LOCK = Path.home() / ".sweeps-notice.lock"


def noticed(metadata: str) -> bool:
    """Whether this machine will be stopped or terminated within two minutes. False where nobody answers: it is no machine of EC2's."""
    try:
        token = requests.put(f"{metadata}/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}, timeout=ANSWER_SECONDS)
        answer = requests.get(
            f"{metadata}/latest/meta-data/spot/instance-action",
            headers={"X-aws-ec2-metadata-token": token.text},
            timeout=ANSWER_SECONDS,
        )
    except requests.RequestException:
        return False
    return token.ok and answer.status_code == requests.codes.ok


def drain() -> int:
    """Tell Ray; its exit code."""
    words = ["drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot notice"]
    ray = Path(sys.executable).with_name("ray")
    return subprocess.run([str(ray), *words, "--deadline-remaining-seconds", str(NOTICE_SECONDS)], check=False).returncode


def watch(metadata: str) -> None:
    """Until Ray has been told of a notice; or nothing, where another process does this on this machine already."""
    try:
        with FileLock(LOCK, timeout=0):
            while not (noticed(metadata) and drain() == 0):
                time.sleep(LOOK_SECONDS)
    except Timeout:
        return


if __name__ == "__main__":
    watch(sys.argv[1] if len(sys.argv) > 1 else METADATA)
