"""Whether every node of a cluster can do its share: one line each, the cure beside what fails."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import BadInput
from sweeps.core.disks import LEAST_BYTES, free, unwritable
from sweeps.core.launch import versions
from sweeps.core.runner import TRIAL_BYTES, places, room
from sweeps.core.storage import RunStorage
from trainables.core import files

# Between two nodes: a time budget is told to a worker as a moment.
CLOCK_SECONDS = 2.0
ANSWER_SECONDS = 60.0
# Of a process that imports keras.
IMPORT_SECONDS = 120
# What is looked at before each run on a cluster.
QUICK = ("answer", "versions", "storage", "data", "disk")
# Which of it does not keep a run from starting.
TOLD = ("disk",)


@dataclass(frozen=True)
class Finding:
    """What was looked at on a node, whether it is as it should be, and what was found, with the cure where it is not."""

    node: str
    what: str
    good: bool
    text: str
    # Data sets that are not there.
    missing: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """For a screen."""
        return f"{'ok  ' if self.good else 'FAIL'} {self.node}  {self.what}: {self.text}"


def look(task: dict[str, Any]) -> dict[str, Any]:
    """Facts of the node that this runs on. `task`: `storage`, `probe` (a file's name in it, which the driver has written), `data_root`, `gpus` (as Ray
    counts them; 0: keras is not imported)."""
    import psutil

    root = Path(task["data_root"])
    storage = None if "://" in task["storage"] else Path(task["storage"])
    return {
        "time": time.time(),
        "versions": versions(),
        "storage": _storage(task["storage"], task["probe"]),
        "data": prepared(root),
        "unwritable": unwritable(root),
        "gpus": _gpus_of_keras() if task["gpus"] else 0,
        "available": psutil.virtual_memory().available,
        "free": min(free(folder) for folder in (root, storage) if folder),
    }


def prepared(root: Path) -> list[str]:
    """Names of the prepared data sets in the folder."""
    return sorted(path.parent.name for path in root.glob("*/dataset.json") if not path.parent.name.startswith("."))


def _storage(storage: str, probe: str) -> str | None:
    """Why it is not that of the driver; None: it is."""
    try:
        system, base = files.resolve(storage)
        files.read(system, f"{base}/{probe}")
        # Machines that were made alike may have one name.
        own = f"{base}/{probe}-{uuid.uuid4().hex}"
        files.write(system, own, b"")
        system.delete_file(own)
    except FileNotFoundError:
        return "what the driver writes there is not seen from here"
    except (OSError, BadInput) as error:
        return " ".join(str(error).split())[:200]
    return None


def _gpus_of_keras() -> int | str:
    """How many GPUs Keras has here; why it cannot tell. In a process of its own, as the GPUs of this one are hidden or held by trials."""
    code = "import keras; print('GPUS', sum('gpu' in device or 'cuda' in device for device in keras.distribution.list_devices()))"
    hidden = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"keras did not answer within {IMPORT_SECONDS} s"
    _, found, number = done.stdout.partition("GPUS ")
    return int(number.split()[0]) if found else (done.stderr.strip().splitlines() or ["keras cannot be imported"])[-1][:200]


def check(storage: str, folders: Iterable[Path], cpus: int, gpus: float, tell: Callable[[str], Any]) -> set[Path]:
    """BadInput where a node that trials may run on cannot do its share: the part of `examine` that takes a second or two. `folders` are those of the data
    sets: gives those that a node does not have. `tell` is called with a line for each failure."""
    found: dict[Path, list[str]] = {}
    for folder in folders:
        found.setdefault(folder.parent, []).append(folder.name)
    findings = [(root, finding) for root, names in found.items() for finding in examine(storage, root, cpus, gpus, quick=names)]
    failures = [finding for _, finding in findings if finding.what in QUICK and not finding.good]
    for finding in failures:
        tell(finding.line)
    failures = [finding for finding in failures if finding.what not in TOLD]
    if failures:
        nodes = ", ".join(sorted({finding.node for finding in failures}))
        raise BadInput(
            f"every node answers, has the driver's versions and storage and can have its data, but not {nodes}: mend it as said above, then "
            "`sweeps doctor --address auto` looks at all of it"
        )
    return {root / name for root, finding in findings for name in finding.missing}


def examine(storage: str, data_root: Path, cpus: int, gpus: float, quick: list[str] | None = None) -> Iterator[Finding]:
    """All of every node that is alive, the nodes by name. To be called inside `runner.cluster`. BadInput where the driver cannot write the storage.
    `quick`: the data sets that matter; GPUs are not looked at, nor are nodes without room for a trial."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    seconds = ANSWER_SECONDS + (IMPORT_SECONDS if quick is None else 0)
    probe = f".probe-{uuid.uuid4().hex}"
    system, base = files.resolve(storage)
    RunStorage(storage, "doctor").write(f"{base}/{probe}", b"")
    try:
        nodes = [node for node in ray.nodes() if node["Alive"] and (quick is None or places(node["Resources"], cpus, gpus))]
        asked = []
        for node in sorted(nodes, key=lambda node: (node["NodeManagerHostname"], node["NodeID"])):
            task = {
                "storage": base if files.is_local(system) else storage,
                "probe": probe,
                "data_root": str(data_root.absolute()),
                "gpus": 0 if quick is not None else node["Resources"].get("GPU", 0),
            }
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked.append((node, time.time(), ray.remote(look).options(num_cpus=0, scheduling_strategy=there, max_retries=0).remote(task)))
        # Of all nodes at once, and each answer when it comes: a slow node must not make another one's clock look wrong.
        until, waiting = time.monotonic() + seconds, [answer for _, _, answer in asked]
        came: dict[Any, float] = {}
        while waiting and time.monotonic() < until:
            ready, waiting = ray.wait(waiting, timeout=until - time.monotonic())
            came |= dict.fromkeys(ready, time.time())
        for node, began, answer in asked:
            yield from _of(node, (began, came.get(answer, math.inf)), answer, prepared(data_root) if quick is None else quick, (cpus, gpus))
    finally:
        with suppress(OSError):
            system.delete_file(f"{base}/{probe}")


def _of(node: dict[str, Any], asked: tuple[float, float], answer: Any, data: list[str], trial: tuple[int, float]) -> Iterator[Finding]:
    """`asked`: when it was, and when the answer came (Unix time, s)."""
    import ray

    name, resources = node["NodeManagerHostname"], node["Resources"]
    try:
        facts = ray.get(answer, timeout=0)
    except ray.exceptions.RayError as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        yield Finding(
            name,
            "answer",
            False,
            f"none ({text[:200]}): see that the project is installed there as it is here, and that it has a free core",
        )
        return
    yield _versions(name, facts["versions"])
    yield (
        Finding(name, "storage", False, f"{facts['storage']}: give a --storage that all nodes have, a shared folder or s3://...")
        if facts["storage"]
        else Finding(name, "storage", True, "read and written from here")
    )
    yield _data(name, tuple(one for one in data if one not in facts["data"]), len(data), facts["unwritable"])
    if resources.get("GPU", 0):
        same = facts["gpus"] == int(resources["GPU"])
        cure = "" if same else ": install keras' back end for GPUs there (`pip install -e '.[gpu]'`) and look at `nvidia-smi`"
        yield Finding(name, "GPUs", same, f"{facts['gpus']} in Keras, {resources['GPU']:g} in Ray{cure}")
    yield _memory(name, facts["available"], resources, trial)
    # Of a clock that is right the answer is from between the two: the task may have waited.
    wrong = max(asked[0] - facts["time"], facts["time"] - asked[1])
    yield (
        Finding(name, "clock", False, f"{wrong:.0f} s off: let chrony or NTP set it")
        if wrong > CLOCK_SECONDS
        else Finding(name, "clock", True, "as the driver's")
    )
    cure = "" if facts["free"] >= LEAST_BYTES else f": make room for {LEAST_BYTES / 1e9:.0f} GB, or a run may stop"
    yield Finding(name, "disk", not cure, f"{facts['free'] / 1e9:.0f} GB free{cure}")


def _versions(name: str, found: dict[str, str]) -> Finding:
    own = versions()
    differing = [
        f"{package} {found.get(package)} instead of {own.get(package)}"
        for package in sorted(own | found)
        if found.get(package) != own.get(package)
    ]
    if differing:
        return Finding(name, "versions", False, f"{', '.join(differing)}: install from constraints.txt there and here")
    return Finding(name, "versions", True, f"python {found['python']}, ray {found.get('ray')}, keras {found.get('keras')}, as the driver's")


def _data(name: str, missing: tuple[str, ...], wanted: int, unwritable: str | None) -> Finding:
    if missing and unwritable:
        text = f"{', '.join(missing)} not there, and it cannot be copied there ({unwritable}): give a --data-root that can be written"
        return Finding(name, "data", False, text)
    if missing:
        return Finding(name, "data", True, f"{', '.join(missing)} not there yet: a run copies it, once, from the storage", missing)
    kept = f"; features of frozen layers cannot be kept beside them ({unwritable})" if unwritable else ""
    return Finding(name, "data", True, f"{wanted} prepared data set{'s' * (wanted != 1)}, as on the driver{kept}")


def _memory(name: str, available: int, resources: dict[str, float], trial: tuple[int, float]) -> Finding:
    try:
        trials = room([resources], *trial)
    except BadInput:
        elsewhere = not places({**resources, "memory": math.inf}, *trial)
        cure = "" if elsewhere else ": stop what else runs there"
        return Finding(
            name,
            "memory",
            elsewhere,
            f"{available / 1e9:.0f} GB available; no trial of {trial[0]} CPUs and {trial[1]:g} GPUs fits here{cure}",
        )
    each = available / trials
    cure = "" if each >= TRIAL_BYTES else f": give each trial more --cpus, or start with --parallel {max(1, int(available // TRIAL_BYTES))}"
    return Finding(
        name, "memory", not cure, f"{available / 1e9:.0f} GB available, {each / 1e9:.1f} GB for each of {trials} trials at a time{cure}"
    )
