"""A run that a session works on; a study's session works on several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.core.bases import base_files, stored_model
from sweeps.core.decide import Decisions
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage, dataset_place, features_place
from trainables.core.features import CACHE_BYTES
from trainables.core.trainable import EVALUATE, HELP, TRAIN


@dataclass(frozen=True)
class Job:
    """`dataset_folder` is where this machine has the run's data set, `cache_bytes` the most that features of frozen layers may take beside it."""

    storage: RunStorage
    decisions: Decisions
    dataset_folder: str
    cache_bytes: int = CACHE_BYTES

    @property
    def run(self) -> str:
        """The run's name."""
        return self.storage.run

    @property
    def spec(self) -> RunSpec:
        """What the run is."""
        return self.decisions.spec

    @property
    def state(self) -> RunState:
        """What has happened."""
        return self.decisions.state

    @property
    def data(self) -> dict[str, Any]:
        """Where a worker has the data set, where on the storage it is copied from where that may be on another machine, and the same of its features."""
        return {
            "dataset_folder": self.dataset_folder,
            "dataset_place": dataset_place(self.storage.root, Path(self.dataset_folder).name),
            "features_place": features_place(self.storage.root),
            "cache_bytes": self.cache_bytes,
        }

    def training(self, trial: Trial) -> dict[str, Any]:
        """A worker's configuration (see `trainables.core.worker`); `run` is for the session itself."""
        return {
            "run": self.run,
            "task": TRAIN,
            "trainable": self.spec.sweep.trainable,
            **self.data,
            "bases": base_files(self.spec, self.storage),
            "trial": trial.index,
            "config": trial.config,
            "reported": trial.last_epoch,
            "final": trial.final_of is not None,
            "deadline": self.decisions.deadline(trial),
            "checkpoints": self.storage.trial_checkpoints(trial.folder_id),
            "prefixes": self._prefixes(trial),
        }

    def _prefixes(self, trial: Trial) -> list[int]:
        """Where its mates end, or have ended: any of them may be the best of the run."""
        mates = [mate for mate in self.state.mates(trial.trajectory) if mate is not trial]
        return sorted({mate.last_epoch if mate.end else mate.config["epochs"] for mate in mates} - {0})

    def evaluation(self, trial: Trial) -> dict[str, Any]:
        """A worker's configuration to measure a trial's best model."""
        return {"run": self.run, "task": EVALUATE, "trial": trial.index, **stored_model(self.spec, self.storage, trial), **self.data}

    def help(self, trial: Trial) -> dict[str, Any]:
        """The same to compute features that this takes."""
        return {**self.evaluation(trial), "task": HELP}
