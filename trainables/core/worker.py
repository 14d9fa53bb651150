"""The Ray trainable: a worker process that trains one trial after another, an epoch a step.

A result is reported only when its checkpoint is on the storage. After any interruption the worker goes on from the newest whole checkpoint and
reports again what the journal may not have received; the driver drops what it has.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from data_prep import Dataset
from trainables.core.bases import KeptBase
from trainables.core.checkpoint import CheckpointStore
from trainables.core.curves import Curves
from trainables.core.datasets import at_hand
from trainables.core.devices import claim, import_keras, name_of_device
from trainables.core.evaluation import evaluate, inputs_of
from trainables.core.features import NoRoom, feature_folder
from trainables.core.files import StorageLost
from trainables.core.selection import best_epoch
from trainables.core.shelf import Shelf
from trainables.core.trainable import EVALUATE, HELP, TrialFailure, get_trainable

if TYPE_CHECKING:
    from trainables.core.graphs import Graphs
    from trainables.core.inputs import FeatureCache, StoredInputs
    from trainables.core.training import Training


# Of a stage before the first epoch, between two reports.
STAGE_SECONDS = 2.0
# Of a worker after its first trial: four graphs of AlexNet take 1.1 GB with their optimizers' slots.
MOST_GROWTH_BYTES = 3 * 10**9


class Retires(Exception):
    """The trials of this process have left so much in its memory that a fresh one should take this trial, which has not begun."""


class NodeLeaving(Exception):
    """This machine is being taken away (a spot notice, `ray drain-node`): the trial goes on elsewhere, from the checkpoint that it has."""


@dataclass
class Shared:
    """What a worker's trials share."""

    graphs: Graphs
    cache: FeatureCache | None
    base: KeptBase


class Worker(tune.Trainable):
    """Trains trials, measures stored models and helps others to. Its configuration: `task` (TRAIN; or EVALUATE or HELP: then what `evaluate` takes), `trial` (index), `config`
    (the trainable's settings), `reported` (epochs that the journal has), `checkpoints` (its folder, or URI), `prefixes` (epochs at which other trials
    of the same training end), `final` (it trains on validation, too), `deadline` (Unix time, s, after which it stops within an epoch, or None); and of
    the run: `trainable`, `dataset_folder` (copied from `dataset_place` on the storage where it is not there), `bases` (see `bases.opened`), `cache_bytes`
    (of stored features), `features_place` (where machines exchange them), `cpus`, `gpus`.

    It keeps what later trials share: the compiled networks and the stored features of the last ones."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first trial."""
        claim(config["cpus"], config["gpus"])
        self.shared: Shared | None = None
        # The run and trial that it helps to measure, and the features that this takes.
        self.helping: tuple[tuple[str, int], StoredInputs | None] | None = None
        self.served = 0
        self.first_bytes: int | None = None
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same process. What can fail waits for `step`: an exception here would end the trial in spite of its retries."""
        self._take(new_config)
        return True

    def _take(self, task: dict[str, Any]) -> None:
        self.task = task
        self.training: Training | None = None
        self.sent = task.get("reported", 0)

    def step(self) -> dict[str, Any]:
        """One epoch, or the report of one that was checkpointed but perhaps never reported; or a part of a stage before the first: `stage` (features),
        `images_done`, `images_total`, `seconds` that it took. `failed`: why no worker can train this trial; `out_of_time`: the run's budget ended before
        the epoch did; `lost`: why the storage cannot be used. Of EVALUATE: `evaluation`, what `evaluate` gives, as JSON; of HELP: `helped`, whether
        nothing is left to do. NodeLeaving where the machine is being drained: what was trained is reported, and this process is given nothing more."""
        if drained():
            raise NodeLeaving(f"{platform.node()} is being taken away")
        try:
            return self._step()
        except StorageLost as error:
            self.training = None
            return {"lost": str(error)}

    def _step(self) -> dict[str, Any]:
        import_keras()
        if self.task["task"] == HELP:
            return {"helped": self._help(self._shared(self._dataset()))}
        self.helping = None
        if self.task["task"] == EVALUATE:
            shared = self._shared(self._dataset())
            # As text: Tune takes a dictionary apart.
            return {"evaluation": json.dumps(evaluate(self.task, shared.cache, shared.base))}
        return self._next()

    def _next(self) -> dict[str, Any]:
        from trainables.core.training import OutOfTime

        try:
            training = self.training or self._begin()
            if training.stored and training.stored.missing and training.epoch <= self.sent:
                return self._prepare(training.stored)
            while training.epoch <= self.sent:
                # The checkpoint of a reported epoch is lost: train up to it again. Equal state gives equal numbers.
                self._train(training)
        except OutOfTime:
            self.training = None
            return {"out_of_time": True}
        except StorageLost:
            raise
        except NoRoom:
            # As where there was none from the start: what is frozen runs in every epoch, in this process from now on.
            assert self.shared is not None
            self.training, self.shared.cache = None, None
            return self._next()
        except Exception as error:
            self.training = None
            if reason := failure(error, shared_gpu=0 < self.task["gpus"] < 1):
                return {"failed": reason}
            raise
        self.sent += 1
        return {**training.history[self.sent - 1], **self.facts, "checkpoint": self.store.name(self.sent)}

    def _help(self, shared: Shared) -> bool:
        """Compute features that an `evaluate` reads, for a while; whether there are no more. What fails here fails there, and is told by that."""
        leader = self.task["run"], self.task["trial"]
        try:
            if self.helping is None or self.helping[0] != leader:
                # Nobody's features make room for it. That is a part of its own: it may take as long as the others.
                cache = shared.cache and replace(shared.cache, deletes=False)
                self.helping = leader, inputs_of(self.task, cache, shared.base)
                stored = self.helping[1]
            elif stored := self.helping[1]:
                self._meet()
                stored.prepare(STAGE_SECONDS)
        except StorageLost:
            raise
        except Exception:  # whatever it is
            stored = None
        return not (stored and stored.missing)

    def _prepare(self, stored: StoredInputs) -> dict[str, Any]:
        from trainables.core.training import OutOfTime

        if time.time() >= (self.task["deadline"] or math.inf):
            raise OutOfTime
        self._meet()
        started, before = time.perf_counter(), stored.computed
        stored.prepare(STAGE_SECONDS)
        return {
            "stage": "features",
            "images_done": stored.total - stored.missing,
            "images_total": stored.total,
            "computed": stored.computed - before,
            "bytes": stored.bytes,
            "seconds": time.perf_counter() - started,
        }

    def _begin(self) -> Training:
        started = time.perf_counter()
        self._retire_if_grown()
        # Imported here: `claim` must come before keras is.
        from trainables.core.training import Training, class_count

        trainable = get_trainable(self.task["trainable"])
        config = trainable.config(**self.task["config"])
        dataset = self._dataset()
        shared = self._shared(dataset)
        # The network of the trial before refers to itself: else it would stay for many trials.
        gc.collect()
        network = shared.base.network(trainable, config, class_count(config, dataset), self.task["bases"])
        training = Training(trainable, config, dataset, network, final=self.task["final"], graphs=shared.graphs, cache=shared.cache)
        self.store = CheckpointStore(self.task["checkpoints"])
        self.store.clear_drafts()
        self.curves = Curves(self.store.system, self.store.folder)
        newest = self.store.load_newest()
        if newest:
            training.restore(*newest)
        # A kill between a checkpoint and its curves has left an epoch out.
        self.curves.write(training.history)
        training.deadline = self.task["deadline"] or math.inf
        trainable_parameters = sum(math.prod(variable.shape) for variable in training.network.trainable_variables)
        self.facts = {
            "parameters": training.network.count_params(),
            "trainable_parameters": trainable_parameters,
            "setup_seconds": time.perf_counter() - started,
            "node": platform.node(),
            "device": name_of_device(self.task["gpus"]),
            "pid": os.getpid(),
        }
        self.training = training
        return training

    def _dataset(self) -> Dataset:
        return at_hand(Path(self.task["dataset_folder"]), self.task.get("dataset_place"))

    def _shared(self, dataset: Dataset) -> Shared:
        from trainables.core.graphs import Graphs
        from trainables.core.inputs import FeatureCache

        if self.shared is None:
            # What is imported by now is never garbage. Left out, a collection takes milliseconds.
            gc.freeze()
            self.shared = Shared(Graphs(), FeatureCache(feature_folder(dataset), self.task["cache_bytes"]), KeptBase())
        self._meet()
        return self.shared

    def _meet(self) -> None:
        """Exchange features with other machines, which may come at any time."""
        cache = self.shared and self.shared.cache
        if cache and cache.shelf is None and several_machines():
            cache.share(Shelf(self.task["features_place"], self.task["cache_bytes"]))

    def _retire_if_grown(self) -> None:
        """Retires: Tune ends the process, and the trial is given to another."""
        self.served += 1
        if self.served == 2:
            self.first_bytes = resident_bytes()
        now = resident_bytes()
        if self.first_bytes is not None and now is not None and (grown := now - self.first_bytes) > MOST_GROWTH_BYTES:
            raise Retires(f"{self.served - 1} trials have left {grown / 1e9:.1f} GB in the memory of this worker")

    def _train(self, training: Training) -> None:
        metrics = training.run_epoch()
        for name in ("train_loss", "val_loss"):
            if metrics[name] is not None and not math.isfinite(metrics[name]):
                raise TrialFailure(f"diverged: {name} is {metrics[name]} in epoch {metrics['epoch']}; a lower learning_rate may help")
        # The best before this epoch, too: until this one is reported, it is the one that the journal knows.
        history = training.history
        # And those of trials that are this training up to there.
        prefixes = [best_epoch(history[:count]) for count in self.task.get("prefixes", ()) if count <= len(history)]
        kept = (best_epoch(history), best_epoch(history[:-1] or history), *prefixes)
        # The store may be far and the network large: the next epoch is begun meanwhile. This one is reported when it is stored, as ever.
        with ThreadPoolExecutor(1) as writer:
            saved = writer.submit(self.store.save, training.state(), list(history), *kept)
            training.run_ahead(saved.done)
        saved.result()
        self.curves.write(history)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Ray to keep: the checkpoints are on the run storage. (Ray calls this when a worker changes trials.)"""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see `save_checkpoint`."""


def failure(error: Exception, shared_gpu: bool = False) -> str | None:
    """Why no worker can train the trial, in one line; None when another try may help, as where other trials hold memory of the same GPU."""
    if isinstance(error, TrialFailure):
        return str(error)
    if shared_gpu:
        return None
    # By name: the back ends have exceptions of their own, TensorFlow's and XLA's are not to be imported for this.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory: {' '.join(str(error).split())[:200]}; a smaller batch_size, or more memory a trial, may help"
    return None


def drained() -> bool:
    """Whether the machine of this worker takes no more work: it is about to go."""
    import ray
    from ray._private.state import state

    # Of a worker of Ray's alone; asked between two epochs, for less than a millisecond.
    return ray.is_initialized() and ray.get_runtime_context().get_node_id() in state.get_draining_nodes()


def several_machines() -> bool:
    """Whether this process is a worker of a cluster of more than one machine."""
    import ray

    return ray.is_initialized() and sum(node["Alive"] for node in ray.nodes()) > 1


def resident_bytes() -> int | None:
    """Memory of this process that is its own: mapped files are not counted, the page cache has them. None where that cannot be told (macOS)."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
