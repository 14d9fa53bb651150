"""A run told to a script: `--json` writes a JSON object a line, and nothing else, to standard output."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TextIO

from sweeps.core.spec import RunSpec
from sweeps.core.state import Trial

Row = dict[str, Any]


class Events:
    """`event` says what a line is: `trial`, one that has ended; `end`, a run that has, with its best model; `done`: of the whole command."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def trial(self, spec: RunSpec, trial: Trial, params: Row) -> None:
        """`params`: the searched settings."""
        best = trial.best or {}
        self._write(
            event="trial",
            run=spec.run,
            trial_id=trial.trial_id,
            status=trial.status,
            error=trial.error,
            params=params,
            seed=trial.config["seed"],
            epochs_trained=len(trial.epochs),
            best_epoch=trial.best_epoch,
            val_accuracy=best.get("val_accuracy"),
            val_loss=best.get("val_loss"),
        )

    def end(self, run: str, outcome: str, best: Row | None) -> None:
        """`best`: its row of best_models; None where there is none."""
        self._write(event="end", run=run, outcome=outcome, best=best)

    def done(self, outcome: str, results: str) -> None:
        """Of the command."""
        self._write(event="done", outcome=outcome, results=results)

    def _write(self, **fields: Any) -> None:
        # A script reads a line when it is there.
        print(as_json(fields), file=self.out, flush=True)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON of rows: moments as ISO 8601."""
    return json.dumps(value, indent=indent, default=_moment)


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"JSON has no {type(value).__name__}")
