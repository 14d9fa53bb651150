"""One session of a run: from the start or a resume to the end or an interruption."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from data_prep import BadInput
from sweeps.core.decide import last_line
from sweeps.core.job import Job
from sweeps.core.standing import finished
from trainables.core.files import StorageLost

RETRIES = 3
CONNECT_SECONDS = 5


def run_session(jobs: list[Job], workers: int, tell: Callable[[str], Any]) -> bool:
    """Search until the end, in all of these runs side by side, then measure the best model of each (all seeds of its configuration) on all splits.
    False when interrupted: everything reported is kept. BadInput when a best model could not be measured; StorageLost when a storage cannot be used any
    more: then, too. ClusterLost when no node is left. `tell` is called with what a user should know meanwhile.

    To be called inside `cluster`, which gives `workers`, the trials at a time. The runs ask for equal resources a trial."""
    for job in jobs:
        job.decisions.journal.append("session", host=socket.gethostname(), pid=os.getpid(), workers=workers)
        job.decisions.settle()
    _work(jobs, workers, tell)
    for job in jobs:
        if job.decisions.open_trials():
            # Interrupted: each worker was through with its epoch.
            job.decisions.journal.append("pause")
    return all(finished(job.spec, job.state) for job in jobs)


@contextmanager
def cluster(address: str | None, cpus: int, gpus: float) -> Iterator[int]:
    """Ray, on a running cluster ("auto", host:port) or on this machine alone (None); gives the number of trials of so many cores and GPUs that it
    has room for. BadInput when there is no such cluster, or no node with room for one trial."""
    # Before ray is imported. Tune's loggers write files that nobody reads here: 23 of 60 ms a trial.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray does from now on by default, said so that it does not warn: `claim` hides the GPUs of a worker that has none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    check_address(address)
    import ray

    if ray.is_initialized():
        # A notebook's or a test's: used as it is and left running.
        yield room([node["Resources"] for node in ray.nodes() if node["Alive"]], cpus, gpus)
        return
    try:
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadInput(_no_cluster(address, last_line(str(error)))) from None
    try:
        # A spot machine or a job queue ends us by SIGTERM: as by Ctrl-C.
        with _handling(signal.SIGTERM, _interrupt):
            yield room([node["Resources"] for node in ray.nodes() if node["Alive"]], cpus, gpus)
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """BadInput for an address that no cluster answers at. Ray itself would try for a minute, in a log of its own."""
    if address in (None, "local") or ("ray" in sys.modules and sys.modules["ray"].is_initialized()):
        return
    if address == "auto":
        # The file in which Ray on this machine notes its cluster, and which a killed one leaves behind.
        from ray._private.utils import read_ray_address

        address = os.environ.get("RAY_ADDRESS") or read_ray_address()
        if not address:
            raise BadInput(
                "--address auto is a Ray cluster that this machine is part of, but there is none: start one, or leave --address out"
            )
    host, colon, port = str(address).removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        raise BadInput(
            f"--address is auto or the host:port of a running Ray cluster, but got {address!r}: give one of these, or leave it out"
        )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BadInput(_no_cluster(address, str(error))) from None


def _no_cluster(address: str | None, reason: str) -> str:
    return f"--address is that of a running Ray cluster, but {address!r} is not ({reason}): start one, or leave --address out"


def room(nodes: list[dict[str, float]], cpus: int, gpus: float) -> int:
    """Trials that fit on nodes with these resources (`CPU`, `GPU`); BadInput when no node has room for one."""
    fitting = sum(min(int(node.get("CPU", 0) // cpus), _gpu_places(node.get("GPU", 0), gpus)) for node in nodes)
    if not fitting:
        most: dict[str, float] = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise BadInput(
            f"a trial runs on one node, but it asks for {cpus} CPUs and {gpus:g} GPUs and the largest node has {most.get('CPU', 0):g} and "
            f"{most.get('GPU', 0):g}: lower --cpus or --gpus"
        )
    return fitting


def _gpu_places(available: float, wanted: float) -> int:
    if wanted == 0:
        return sys.maxsize
    # A part of a GPU is of one GPU: two of them hold two trials of 0.6. The small term is for 1 / 0.2 = 4.999...
    return int(available) * int(1 / wanted + 1e-9) if wanted < 1 else int(available // wanted)


Handler = Callable[[int, FrameType | None], Any] | int | None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _handling(number: signal.Signals, handler: Handler) -> Iterator[None]:
    """Handle a signal this way for a while; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


def _work(jobs: list[Job], workers: int, tell: Callable[[str], Any]) -> None:
    from ray import tune

    from sweeps.core.tune import Ending, JournalCallback, JournalScheduler, JournalSearcher
    from trainables.core.worker import Worker

    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ending = Ending()

    def finish(number: int, frame: FrameType | None) -> None:
        if ending.interrupted:
            raise KeyboardInterrupt
        ending.interrupted = True
        tell("interrupted: ending the epochs that are being trained; Ctrl-C again gives them up")

    spec, callback = jobs[0].spec, JournalCallback(jobs, ending)
    with tempfile.TemporaryDirectory(prefix="sweeps-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(Worker, {"cpu": spec.cpus_per_trial, "gpu": spec.gpus_per_trial}),
            param_space={"cpus": spec.cpus_per_trial, "gpus": spec.gpus_per_trial},
            tune_config=tune.TuneConfig(
                search_alg=JournalSearcher(jobs, ending),
                scheduler=JournalScheduler(jobs, ending),
                # At most: the searcher says when it is through.
                num_samples=sum(job.decisions.left + job.spec.seeds for job in jobs),
                max_concurrent_trials=workers,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"session-{len(jobs[0].state.sessions):03d}",
                # Nothing reads Tune's own files.
                storage_path=scratch,
                verbose=0,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        # Tune's own end gives an epoch ten seconds, then kills its worker. It takes SIGUSR1 over and keeps it.
        with _handling(signal.SIGINT, finish), _handling(signal.SIGTERM, finish), _handling(signal.SIGUSR1, _interrupt):
            tuner.fit()
    if ending.reason:
        raise StorageLost(ending.reason)
    if callback.problems:
        raise BadInput(callback.problems[0])
