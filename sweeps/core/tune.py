"""Ray Tune's three ways to ask and tell, each answered from the journal: a searcher, a scheduler, a callback. Nothing of Tune's own state is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.core.decide import Decisions, last_line, picked
from sweeps.core.state import Trial
from sweeps.core.storage import RunStorage


class JournalSearcher(Searcher):
    """Hands out the trials that a resume found open, then new suggestions."""

    def __init__(self, decisions: Decisions, storage: RunStorage) -> None:
        super().__init__(metric="val_accuracy", mode="max")
        self.decisions, self.storage = decisions, storage
        self.open = decisions.open_trials()

    def suggest(self, trial_id: str) -> Any:
        """A worker's task; None for "ask again later", FINISHED for "no more"."""
        if self.open:
            return self._task(self.open.pop(0))
        if self.decisions.exhausted:
            return Searcher.FINISHED
        return None if self.decisions.waiting() else self._task(self.decisions.suggest())

    def _task(self, trial: Trial) -> dict[str, Any]:
        checkpoints = self.storage.trial_checkpoints(trial.trial_id)
        return {"trial": trial.index, "config": trial.config, "reported": trial.last_epoch, "checkpoints": checkpoints}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The scheduler and the callback have written the end already."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""


class JournalScheduler(FIFOScheduler):
    """Writes each result, then stops or goes on as the journal says."""

    def __init__(self, decisions: Decisions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.decisions = decisions

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """An epoch of a trial, or why it cannot go on."""
        index = trial.config["trial"]
        if "diverged" in result:
            self.decisions.fail(index, result["diverged"])
            stop = True
        else:
            stop = self.decisions.report(index, picked(result))
        verdict: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return verdict


class JournalCallback(Callback):
    """Writes starts and failures."""

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also after a failure: a trial's starts less one are its restarts."""
        self.decisions.journal.append("start", trial=trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Retries are used up."""
        self.decisions.fail(trial.config["trial"], last_line(_error_text(trial)))


def _error_text(trial: Any) -> str:
    # Not `trial.get_error()`: it looks on the storage, where Tune copies the file to later.
    file = Path(trial.error_file) if trial.error_file else None
    return file.read_text() if file and file.exists() else "the worker gave no reason"
