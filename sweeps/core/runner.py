"""One session of a run: from the start or a resume to the end or an interruption."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from data_prep import BadInput
from sweeps.core import token
from sweeps.core.autoscaler import Machines, machines
from sweeps.core.decide import last_line
from sweeps.core.job import Job
from sweeps.core.lease import RunTaken
from sweeps.core.own_ray import of_few_processes
from sweeps.core.standing import finished
from trainables.core.files import StorageLost

if TYPE_CHECKING:
    from sweeps.core.tune import Ending

CONNECT_SECONDS = 5
LOOK_SECONDS = 2.0
# A worker with TensorFlow, a small network and its graphs; what images take is mapped, and shared by all.
TRIAL_BYTES = 1_000_000_000
# Without an answer of Ray, which itself ends the process after 60; and after a notice, that a kill may follow in 30.
SILENT_SECONDS = 45.0
NOTICE_SECONDS = 10.0


def run_session(jobs: list[Job], workers: int, tell: Callable[[str], Any], give_up: Callable[[], Any]) -> bool:
    """Search until the end, in all of these runs side by side, then measure the best model of each (all seeds of its configuration) on all splits.
    False when interrupted: everything reported is kept. BadInput when a best model could not be measured; StorageLost when a storage cannot be used any
    more: then, too. ClusterLost when no node is left. `tell` is called with what a user should know meanwhile; `give_up`, in another thread, when Ray does
    not answer any more and this call may never come back: it should end the process.

    To be called inside `cluster`, which gives `workers`, the trials at a time. The runs ask for equal resources a trial."""
    for job in jobs:
        job.decisions.journal.append("session", host=socket.gethostname(), pid=os.getpid(), workers=workers)
        job.decisions.settle()
    _work(jobs, workers, tell, give_up)
    for job in jobs:
        if job.decisions.state.open_trials:
            # Interrupted: each worker was through with its epoch.
            job.decisions.journal.append("pause")
    return all(finished(job.spec, job.state) for job in jobs)


@contextmanager
def cluster(address: str | None, cpus: int, gpus: float) -> Iterator[int]:
    """Ray, on a running cluster ("auto", host:port) or on this machine alone (None); gives the number of trials of so many cores and GPUs that it
    has room for, or will have when its autoscaler has brought what it may. BadInput when there is no such cluster, Ray does not start, or no node has room for
    one trial."""
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
        yield room([node["Resources"] for node in ray.nodes() if node["Alive"]], cpus, gpus, machines())
        return
    own = address in (None, "local")
    if own:
        token.keep_to_us()
    try:
        with of_few_processes() if own else nullcontext():
            ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        # Of every kind: a node that does not come up in time raises a bare Exception.
        raise BadInput(_no_cluster(address, f"{type(error).__name__}: {last_line(str(error))}" if own else last_line(str(error)))) from None
    try:
        # A spot machine or a job queue ends us by SIGTERM: as by Ctrl-C.
        with _handling(signal.SIGTERM, _interrupt):
            # To look for an autoscaler takes a task, and so a process: seconds.
            coming = None if own else machines()
            yield room([node["Resources"] for node in ray.nodes() if node["Alive"]], cpus, gpus, coming)
    finally:
        ray.shutdown()


def check_address(address: str | None) -> None:
    """BadInput for an address that no cluster answers at. Ray itself would try for a minute, in a log of its own."""
    if address in (None, "local") or ("ray" in sys.modules and sys.modules["ray"].is_initialized()):
        return
    if address == "auto":
        # The file in which Ray on this machine notes its cluster, and which a killed one leaves behind.
        from ray._private.utils import read_ray_address

        address = os.environ.get("RAY_ADDRESS", "auto")
        # As our cluster files set it.
        if address == "auto":
            address = read_ray_address()
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
    if address in (None, "local"):
        return (
            f"a run without --address starts Ray on this machine, but that failed ({reason}): try again, or see what `sweeps doctor` finds"
        )
    return f"--address is that of a running Ray cluster, but {address!r} is not ({reason}): start one, or leave --address out"


def room(nodes: list[dict[str, float]], cpus: int, gpus: float, coming: Machines | None = None) -> int:
    """Trials at a time that fit on nodes with these resources (`CPU`, `GPU`, `memory` in bytes), or on those that an autoscaler may bring, whichever are
    more; BadInput when no node has room for one, and none can come that has."""
    coming = coming or Machines()
    may_come = coming.resources if coming.most else []
    in_all = sorted((places(node, cpus, gpus) for node in may_come), reverse=True)
    fitting = max(sum(places(node, cpus, gpus) for node in nodes), sum(in_all[: coming.most]))
    if fitting:
        return fitting
    most = max([*nodes, *may_come], key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
    where = "the largest node that there is or that may come" if may_come else "the largest node"
    if places({**most, "memory": math.inf}, cpus, gpus):
        raise BadInput(
            f"a trial takes about {TRIAL_BYTES / 1e9:g} GB of memory, but {where} has {most['memory'] / 1e9:.1f} GB for Ray: use a larger machine"
        )
    raise BadInput(
        f"a trial runs on one node, but it asks for {cpus} CPUs and {gpus:g} GPUs and {where} has {most.get('CPU', 0):g} and "
        f"{most.get('GPU', 0):g}: lower --cpus or --gpus"
    )


def places(node: dict[str, float], cpus: int, gpus: float) -> int:
    """Trials at a time that fit on a node with these resources."""
    if node.get("memory", math.inf) < TRIAL_BYTES:
        return 0
    return min(int(node.get("CPU", 0) // cpus), _gpu_places(node.get("GPU", 0), gpus))


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


@contextmanager
def _watched(ending: Ending, give_up: Callable[[], Any]) -> Iterator[None]:
    """Call `give_up` where Ray has been silent for long. Tune waits inside it, where no signal is heard, until Ray ends the process after a minute, with
    nothing exported and nothing said."""
    import ray

    done, answered = threading.Event(), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            # It may hang, too.
            with suppress(Exception):
                if any(node["Alive"] for node in ray.nodes()):
                    answered.set()

    def watch() -> None:
        # Counted, not read off a clock, which goes on while this process is stopped.
        silent = 0.0
        while not done.wait(LOOK_SECONDS):
            silent = 0.0 if answered.is_set() else silent + LOOK_SECONDS
            answered.clear()
            if silent > (NOTICE_SECONDS if ending.interrupted else SILENT_SECONDS):
                give_up()
                return

    for work in (look, watch):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _work(jobs: list[Job], workers: int, tell: Callable[[str], Any], give_up: Callable[[], Any]) -> None:
    from ray import tune

    from sweeps.core.tune import (
        ClusterLost,
        Ending,
        JournalCallback,
        JournalScheduler,
        JournalSearcher,
        NoProgress,
        NothingAtWork,
        memory_kills_as_losses,
    )
    from trainables.core.worker import Worker

    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ending = Ending()

    def finish(number: int, frame: FrameType | None) -> None:
        if ending.interrupted:
            raise KeyboardInterrupt
        ending.interrupted = True
        tell("interrupted: ending the epochs that are being trained; Ctrl-C again gives them up")

    spec, searcher = jobs[0].spec, JournalSearcher(jobs, ending)
    callback = JournalCallback(jobs, ending, searcher)
    with tempfile.TemporaryDirectory(prefix="sweeps-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(Worker, {"cpu": spec.cpus_per_trial, "gpu": spec.gpus_per_trial}),
            param_space={"cpus": spec.cpus_per_trial, "gpus": spec.gpus_per_trial},
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=JournalScheduler(jobs, ending),
                # The searcher says when it is through: a trial that changes machines is another one to Tune.
                num_samples=-1,
                max_concurrent_trials=workers,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"session-{len(jobs[0].state.sessions):03d}",
                # Nothing reads Tune's own files.
                storage_path=scratch,
                verbose=0,
                callbacks=[callback, NoProgress()],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        # Tune's own end gives an epoch ten seconds, then kills its worker. It takes SIGUSR1 over and keeps it.
        handled = (_handling(signal.SIGINT, finish), _handling(signal.SIGTERM, finish), _handling(signal.SIGUSR1, _interrupt))
        with handled[0], handled[1], handled[2], _watched(ending, give_up), memory_kills_as_losses(), suppress(NothingAtWork):
            try:
                tuner.fit()
            except tune.TuneError:
                # What a callback raises of a trial's error comes in one of Tune's own.
                if ending.no_node is None:
                    raise
    if ending.no_node:
        raise ClusterLost(ending.no_node)
    if ending.reason:
        raise (RunTaken if ending.taken else StorageLost)(ending.reason)
    # An interrupted session is told as one; a resume measures again.
    if callback.problems and not ending.interrupted:
        raise BadInput(callback.problems[0])
