"""One session of a run: from the start or a resume to the end or an interruption."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from data_prep import BadInput
from sweeps.core.decide import Decisions, measured
from sweeps.core.journal import Journal
from sweeps.core.spec import RunSpec
from sweeps.core.storage import RunStorage

RETRIES = 3


def run_session(spec: RunSpec, storage: RunStorage, journal: Journal, address: str | None, dataset_folder: str) -> bool:
    """Search until the end, then measure the best model on all splits. False when interrupted: everything reported is kept.

    `dataset_folder` is where this machine has the data set; `address` is a cluster's ("auto"), or None for one of this machine's own."""
    with _ray(address):
        concurrent = concurrent_trials(spec)
        journal.append("session", host=socket.gethostname(), pid=os.getpid(), workers=concurrent)
        decisions = Decisions(spec, journal)
        if not decisions.searched:
            _search(spec, storage, decisions, concurrent, dataset_folder)
        if not decisions.searched:
            return False
        if not measured(journal.state):
            _evaluate(spec, storage, journal, dataset_folder)
    return True


@contextmanager
def _ray(address: str | None) -> Iterator[None]:
    # Before ray is imported. Tune's loggers write files that nobody reads here: 23 of 60 ms a trial.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        # A notebook's or a test's: used as it is and left running.
        yield
        return
    try:
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise BadInput(
            f"--address is that of a running Ray cluster, but {address!r} is not ({error}): start one, or leave --address out"
        ) from None
    # Tune ends cleanly on SIGUSR1; a spot machine or a job queue sends SIGTERM.
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGUSR1)) if _in_main_thread() else None
    try:
        yield
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
        ray.shutdown()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def concurrent_trials(spec: RunSpec) -> int:
    """Trials that the cluster has room for; BadInput when no node has room for one."""
    import ray

    cpus, gpus = spec.cpus_per_trial, spec.gpus_per_trial
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = [int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else float("inf"))) for node in nodes]
    if not any(fitting):
        most: dict[str, float] = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise BadInput(
            f"a trial runs on one node, but it asks for {cpus} CPUs and {gpus:g} GPUs and the largest node has {most.get('CPU', 0):g} and "
            f"{most.get('GPU', 0):g}: lower --cpus or --gpus"
        )
    return sum(fitting)


def _search(spec: RunSpec, storage: RunStorage, decisions: Decisions, concurrent: int, dataset_folder: str) -> None:
    from ray import tune

    from sweeps.core.tune import JournalCallback, JournalScheduler, JournalSearcher
    from trainables.core.worker import Worker

    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    left = len(decisions.open_trials()) + decisions.count - len(decisions.state.trials)
    with tempfile.TemporaryDirectory(prefix="sweeps-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(Worker, {"cpu": spec.cpus_per_trial, "gpu": spec.gpus_per_trial}),
            param_space={
                "trainable": spec.sweep.trainable,
                "dataset_folder": dataset_folder,
                "cpus": spec.cpus_per_trial,
                "gpus": spec.gpus_per_trial,
            },
            tune_config=tune.TuneConfig(
                search_alg=JournalSearcher(decisions, storage),
                scheduler=JournalScheduler(decisions),
                num_samples=left,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name=f"session-{len(decisions.state.sessions):03d}",
                storage_path=storage.tune_folder or scratch,
                verbose=0,
                callbacks=[JournalCallback(decisions)],
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def _evaluate(spec: RunSpec, storage: RunStorage, journal: Journal, dataset_folder: str) -> None:
    import ray

    from sweeps.core.tune import last_line
    from trainables.core.evaluation import evaluate

    best = journal.state.best_trial
    assert best is not None
    task = {
        "trainable": spec.sweep.trainable,
        "config": best.config,
        "dataset_folder": dataset_folder,
        "checkpoints": storage.trial_checkpoints(best.trial_id),
        "epoch": best.best_epoch,
        "cpus": spec.cpus_per_trial,
        "gpus": spec.gpus_per_trial,
    }
    remote = ray.remote(num_cpus=spec.cpus_per_trial, num_gpus=spec.gpus_per_trial, max_retries=RETRIES)(evaluate)
    try:
        figures: dict[str, Any] = ray.get(remote.remote(task))
    except ray.exceptions.RayError as error:
        raise BadInput(
            f"the best model is measured from the checkpoint of epoch {best.best_epoch} of trial {best.trial_id}, but that failed "
            f"({last_line(str(error))}): mend it, then `sweeps resume {spec.run}`"
        ) from None
    journal.append("evaluation", trial=best.index, epoch=best.best_epoch, **figures)
