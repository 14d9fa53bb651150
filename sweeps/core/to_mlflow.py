"""A run for MLflow: an experiment a run, an MLflow run a trial, with its settings, its curves and its figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from data_prep import BadInput
from sweeps.core.rows import settings_of
from sweeps.core.spec import RunSpec
from sweeps.core.tables import BEST_MODELS, EPOCHS, METRICS, TRIALS, columns
from trainables.core.files import shown

Row = Mapping[str, Any]

# Where it is written unless --out or MLFLOW_TRACKING_URI says so: what MLflow itself takes.
DEFAULT: Final = "sqlite:///mlflow.db"
KEY: Final = "sweeps.trial_id"
CREATED: Final = "sweeps.created_at"
STATUS: Final = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "running": "RUNNING"}
CURVES: Final = (*(column.name for column in METRICS), "learning_rate", "epoch_seconds", "images_per_second")
# Of the best epoch. What a curve has the name of, too, is told apart by `best_`.
FIGURES: Final = (
    "best_epoch",
    *(column.name for column in METRICS),
    "parameters",
    "trainable_parameters",
    "train_seconds",
    "total_seconds",
)
TAGS: Final = (
    "trial_id",
    "trainable",
    "dataset",
    "dataset_fingerprint",
    "status",
    "error",
    "repeat_of",
    "final_of",
    "shared_with",
    "node",
    "device",
)
OF_STORES: Final = ("mlflow", "sqlalchemy", "alembic", "requests", "urllib3")
# MLflow takes no more at once.
MOST_METRICS, MOST_PARAMS, MOST_TEXT = 1000, 100, 6000


def write(spec: RunSpec, tables: Mapping[str, Iterable[Row]], uri: str | None) -> tuple[int, str]:
    """Write the run to the tracking store at `uri`; gives (trials written, the store). `tables`: as `rows` gives them. Again: what is there stays, what has come
    since is added. BadInput where MLflow is not installed, or the store does not take it."""
    # It reports its use to its makers, and waits minutes for a server that is not there, unless it is told.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise BadInput("--to mlflow needs MLflow, but it is not installed: pip install 'keras-sweeps[mlflow]'") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    store = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    try:
        return _write(MlflowClient(tracking_uri=store), spec, tables), store
    except Exception as error:
        # A store is a file, a data base or a server: each library on the way has errors of its own.
        if type(error).__module__.partition(".")[0] not in OF_STORES and not isinstance(error, OSError):
            raise
        # A URI may hold a password.
        reason = " ".join(str(error).replace(store, shown(store)).split())[:200]
        raise BadInput(
            f"--out is an MLflow tracking store that takes runs, but {shown(store)!r} does not ({reason}): give another"
        ) from None


def _write(client: Any, spec: RunSpec, tables: Mapping[str, Iterable[Row]]) -> int:
    experiment = client.get_experiment_by_name(spec.run)
    then = experiment.tags.get(CREATED, spec.created_at) if experiment else spec.created_at
    if then != spec.created_at:
        raise BadInput(
            f"an MLflow experiment is of one run, but {spec.run!r} there is of another of that name, begun {then} and not {spec.created_at}: "
            "give another --out, or rename the experiment"
        )
    number = experiment.experiment_id if experiment else client.create_experiment(spec.run, tags={CREATED: spec.created_at})
    epochs: dict[str, list[Row]] = {}
    for row in tables[EPOCHS]:
        epochs.setdefault(row["trial_id"], []).append(row)
    best = {row["trial_id"]: row for row in tables[BEST_MODELS]}
    there = dict(_runs(client, number))
    written = 0
    for trial in tables[TRIALS]:
        name = trial["trial_id"]
        run = there.get(name) or client.create_run(
            number, start_time=_milliseconds(trial["started_at"]) if trial["started_at"] else None, run_name=name, tags={KEY: name}
        )
        _fill(client, run, spec, trial, [*_curves(epochs.get(name, [])), *_figures(trial, best.get(name))])
        written += 1
    return written


def _runs(client: Any, experiment: str) -> Iterator[tuple[str, Any]]:
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], page_token=token or None)
        yield from ((run.data.tags[KEY], run) for run in page if KEY in run.data.tags)
        token = page.token or None


def _fill(client: Any, run: Any, spec: RunSpec, trial: Row, metrics: list[tuple[str, float, int, int]]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    run_id = run.info.run_id
    settings = {name: str(value)[:MOST_TEXT] for name, value in settings_of(trial).items()}
    # A store keeps a parameter as it was first: what a resume has raised since is told beside it.
    changed = {name: value for name, value in settings.items() if run.data.params.get(name, value) != value}
    tags = {f"sweeps.{name}": trial[name] for name in TAGS} | {f"sweeps.now.{name}": value for name, value in changed.items()}
    tags |= {"sweeps.sweep": spec.sweep_name, "sweeps.git_commit": spec.git_commit}
    found = [RunTag(name, str(value)[:MOST_TEXT]) for name, value in tags.items() if value is not None]
    params = [Param(name, value) for name, value in settings.items() if name not in run.data.params]
    for part in _parts(params, MOST_PARAMS):
        client.log_batch(run_id, params=part)
    # A store adds what it is given: a step that it has would be there twice. (Seconds of a trial that went on are others at the same best epoch.)
    has = {(name, metric.step, metric.value) for name in run.data.metrics for metric in client.get_metric_history(run_id, name)}
    new = [Metric(name, value, moment, step) for name, value, moment, step in metrics if (name, step, value) not in has]
    for some in _parts(new, MOST_METRICS):
        client.log_batch(run_id, metrics=some)
    client.log_batch(run_id, tags=found)
    if trial["finished_at"] is None:
        client.update_run(run_id, STATUS[trial["status"]])
    else:
        client.set_terminated(run_id, STATUS[trial["status"]], end_time=_milliseconds(trial["finished_at"]))


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _curves(epochs: list[Row]) -> Iterator[tuple[str, float, int, int]]:
    """(name, value, moment, step)."""
    for row in epochs:
        for name in CURVES:
            if row[name] is not None:
                yield name, row[name], _milliseconds(row["finished_at"]), row["epoch"]


def _figures(trial: Row, best: Row | None) -> Iterator[tuple[str, float, int, int]]:
    """Of its best epoch, once it has ended: a run that goes on may have another."""
    if trial["finished_at"] is None or trial["best_epoch"] is None:
        return
    test = [column.name for column in columns()[BEST_MODELS] if column.split == "test" and column.name.startswith("test_")]
    figures = {f"best_{name}" if name in CURVES else name: trial[name] for name in FIGURES} | {
        name: (best or {}).get(name) for name in test
    }
    for name, value in figures.items():
        if value is not None:
            yield name, value, _milliseconds(trial["finished_at"]), trial["best_epoch"]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
