"""A run's journal as rows of the result tables: pure functions of what the run is (`RunSpec`) and what happened (`RunState`)."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from sweeps.core import published
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState, Trial
from sweeps.core.tables import (
    AVERAGES,
    BEST_MODELS,
    CLASS_REPORTS,
    CONFUSIONS,
    EPOCHS,
    FIGURES,
    LAYERS,
    METRICS,
    MISTAKES,
    PARAMS,
    SCORES,
    SPLITS,
    TRIALS,
    columns,
    params_fields,
)
from trainables import get_trainable
from trainables.core.pretrained import LEAST_SIZE

Row = dict[str, Any]


def rows(spec: RunSpec, state: RunState) -> dict[str, Iterator[Row]]:
    """Table -> its rows of this run, made as they are asked for. A column that is not in a row is null."""
    trials = [state.trials[index] for index in sorted(state.trials)]
    return {
        TRIALS: (_trial(spec, state, trial) for trial in trials),
        EPOCHS: (row for trial in trials for row in _epochs(state, trial)),
        BEST_MODELS: _best_model(spec, state),
        CLASS_REPORTS: _class_report(state),
        LAYERS: _layers(state),
        CONFUSIONS: _confusions(state),
        MISTAKES: _mistakes(state),
    }


def settings_of(trial: Mapping[str, Any]) -> Row:
    """Of a row of `trials`: all that it was trained with, and none that is null; of a network that is searched its own hyper-parameters, too."""
    config = json.loads(trial["config_json"])
    settings = {name: value for name, value in config.items() if not isinstance(value, dict)}
    for own in config.values():
        settings |= own if isinstance(own, dict) else {}
    return {name: value for name, value in settings.items() if value is not None}


def _what(spec: RunSpec, trial: Trial) -> Row:
    return {
        "trial_id": trial.trial_id,
        "trainable": spec.sweep.trainable,
        "dataset": spec.dataset,
        "dataset_fingerprint": spec.dataset_fingerprint,
        "seed": trial.config["seed"],
        **{column.name: trial.config.get(column.name.removeprefix(PARAMS)) for column in params_fields()},
        **({} if trial.config.get("base") in LEAST_SIZE else {f"{PARAMS}weights": None}),
    }


def _of_best_epoch(trial: Trial) -> Row:
    best = trial.best or {}
    return {
        "best_epoch": trial.best_epoch,
        **_metrics(best),
        "parameters": best.get("parameters"),
        "trainable_parameters": best.get("trainable_parameters"),
        "train_seconds": math.fsum(result["epoch_seconds"] for result in trial.epochs.values()),
        "checkpoint": _checkpoint(trial, best),
    }


def _checkpoint(trial: Trial, best: Mapping[str, Any]) -> str | None:
    name: str | None = best.get("checkpoint")
    return name if name is None or trial.mate_of is None else f"../{trial.folder_id}/{name}"


def _metrics(result: Mapping[str, Any]) -> Row:
    return {column.name: result.get(column.name) for column in METRICS}


def _trial(spec: RunSpec, state: RunState, trial: Trial) -> Row:
    last: Mapping[str, Any] = trial.epochs.get(trial.last_epoch) or {}
    return {
        **_what(spec, trial),
        "status": trial.status,
        "error": trial.error,
        "repeat_of": _trial_id(state, trial.repeat_of),
        "final_of": _trial_id(state, trial.final_of),
        "config_json": json.dumps(trial.config, sort_keys=True),
        "epochs_trained": len(trial.epochs),
        **_of_best_epoch(trial),
        "total_seconds": _total_seconds(trial),
        "images_per_second": _images_per_second(trial),
        "shared_with": _trial_id(state, trial.shared_with),
        "restarts": trial.restarts,
        "node": last.get("node"),
        "device": last.get("device"),
        "started_at": _started_at(trial),
        "finished_at": _time(trial.end["time"]) if trial.end else None,
    }


def _trial_id(state: RunState, index: int | None) -> str | None:
    return state.trials[index].trial_id if index else None


def _started_at(trial: Trial) -> datetime | None:
    """One that only shares has no start of its own."""
    if trial.starts:
        return _time(trial.starts[0]["time"])
    return _time(trial.suggested_at) if trial.suggested_at and trial.shared_with else None


def _total_seconds(trial: Trial) -> float:
    """Of each start, the time to the trial's last row before the next start: 100 to 130, then 500 to 560 is 90 s. What a mate did is not its own."""
    starts = [row["time"] for row in trial.starts]
    moments = [row["time"] for row in trial.own_epochs]
    # After a copy it ended as its mate went on.
    if trial.end and not any(starts and row["time"] >= starts[-1] for row in trial.epochs.values() if row.get("of")):
        moments.append(trial.end["time"])
    seconds = 0.0
    for start, following in pairwise([*starts, math.inf]):
        seconds += max((moment for moment in moments if start <= moment < following), default=start) - start
    return seconds


def _images_per_second(trial: Trial) -> float | None:
    # Every epoch has as many images, so the whole is the harmonic mean: 100/s, then 50/s is 2 n images in n/100 + n/50 s, or 66.7/s.
    speeds = [result["images_per_second"] for result in trial.epochs.values()]
    return len(speeds) / math.fsum(1 / speed for speed in speeds) if speeds else None


# Of an epoch's row, those that are the result's own. A long run has a million.
COPIED = tuple(column.name for column in columns()[EPOCHS] if column.name not in ("trial_id", "finished_at", "shared_with", "repeated"))


def _epochs(state: RunState, trial: Trial) -> Iterator[Row]:
    trial_id, repeated = trial.trial_id, trial.repeated
    for epoch in sorted(trial.epochs):
        result = trial.epochs[epoch]
        row = dict(zip(COPIED, result.pick(COPIED), strict=True))
        row["trial_id"] = trial_id
        row["finished_at"] = _time(result["finished_at"])
        row["shared_with"] = _trial_id(state, result.get("of"))
        row["repeated"] = epoch in repeated
        yield row


def _best_model(spec: RunSpec, state: RunState) -> Iterator[Row]:
    best = state.best_trial
    if best is None:
        return
    evaluation = state.current_evaluation
    yield {
        **_what(spec, best),
        **_of_best_epoch(best),
        **(_evaluated(evaluation) if evaluation else {}),
        **_over_seeds(state),
        **_published(spec, state, best),
        "study": spec.study,
        "part": spec.part,
        "fit_on": "train+validation" if best.final_of else "train",
        "final_of": _trial_id(state, best.final_of),
        "config_json": json.dumps(best.config, sort_keys=True),
        "trials": len(state.trials),
        "run_seconds": state.elapsed_seconds,
        "git_commit": spec.git_commit,
        "evaluated": evaluation is not None,
    }


def _published(spec: RunSpec, state: RunState, best: Trial) -> Row:
    sweep = spec.sweep
    if sweep.published is not None:
        result: published.Result | None = published.named(sweep.trainable, sweep.published)
    else:
        defaults = {name: field.default for name, field in get_trainable(sweep.trainable).config.model_fields.items()}
        # Of a final fit the trial that it is of: its own epochs are those of that one's best.
        of = state.trials[best.final_of] if best.final_of else best
        result = published.closest(sweep.trainable, {**of.config, "data": spec.dataset}, defaults)
    return {"published_test_accuracy": result.test_accuracy, "published_setting": result.setting} if result else {}


def _evaluated(evaluation: Row) -> Row:
    splits, averages = evaluation["splits"], evaluation["test_averages"]
    return {
        **{f"{prefix}_{figure}": splits[split][figure] for prefix, split in SPLITS.items() for figure in FIGURES},
        **{f"{prefix}_images": splits[split]["images"] for prefix, split in SPLITS.items()},
        **{f"test_{score}_{average}": averages[average][score] for score in SCORES for average in AVERAGES},
    }


def _over_seeds(state: RunState) -> Row:
    runs = state.best_runs
    if state.unmeasured:
        return {"seeds": len(runs)}
    evaluations = [state.evaluation_of(trial) or {} for trial in runs]
    figures: Row = {"seeds": len(runs)}
    for prefix, split in SPLITS.items():
        accuracies = [evaluation["splits"][split]["accuracy"] for evaluation in evaluations]
        figures[f"{prefix}_accuracy_mean"] = fmean(accuracies)
        figures[f"{prefix}_accuracy_std"] = stdev(accuracies) if len(runs) > 1 else None
    return figures


def _class_report(state: RunState) -> Iterator[Row]:
    evaluation = state.current_evaluation
    if evaluation is None:
        return
    trial_id = state.trials[evaluation["trial"]].trial_id
    for row in evaluation["classes"]:
        scores = {score: row[score] for score in SCORES}
        yield {"trial_id": trial_id, "class_index": row["class"], "class_name": row["name"], **scores, "support": row["support"]}


def _layers(state: RunState) -> Iterator[Row]:
    evaluation = state.current_evaluation
    if evaluation is None:
        return
    trial_id = state.trials[evaluation["trial"]].trial_id
    # A journal of an older version has none.
    for number, row in enumerate(evaluation.get("layers", ()), 1):
        yield {"trial_id": trial_id, "number": number, **row, "inputs": ", ".join(row["inputs"])}


def _confusions(state: RunState) -> Iterator[Row]:
    evaluation = state.current_evaluation
    if evaluation is None:
        return
    trial_id, names = state.trials[evaluation["trial"]].trial_id, _names(evaluation)
    for own, predicted, images in evaluation.get("confusion", ()):
        yield {"trial_id": trial_id, **_predicted(names, own, predicted), "images": images}


def _mistakes(state: RunState) -> Iterator[Row]:
    evaluation = state.current_evaluation
    if evaluation is None:
        return
    trial_id, names = state.trials[evaluation["trial"]].trial_id, _names(evaluation)
    for number, row in enumerate(evaluation.get("mistakes", ()), 1):
        yield {
            "trial_id": trial_id,
            "number": number,
            "image": row["image"],
            **_predicted(names, row["class"], row["predicted"]),
            "class_probability": row["own"],
            "predicted_probability": row["probability"],
            "png": b64decode(row["png"]),
        }


def _names(evaluation: Row) -> list[str]:
    return [row["name"] for row in evaluation["classes"]]


def _predicted(names: list[str], own: int, predicted: int) -> Row:
    return {"class_index": own, "class_name": names[own], "predicted_index": predicted, "predicted_name": names[predicted]}


def totals(state: RunState) -> Row:
    """What a run has cost and come to so far; part of the exported run.json. `epochs` are those of all trials, of which `epochs_shared` are another
    trial's training; `train_seconds` are of those trained."""
    trials = state.trials.values()
    machines = {(result.get("node"), result.get("device")) for trial in trials for result in trial.epochs.values()}
    return {
        "trials": {"all": len(trials), **{status: state.count(status) for status in ("completed", "stopped", "failed", "running")}},
        "epochs": sum(len(trial.epochs) for trial in trials),
        "epochs_trained": state.trained_epochs,
        "epochs_shared": state.shared_epochs,
        "elapsed_seconds": state.elapsed_seconds,
        "train_seconds": math.fsum(result["epoch_seconds"] for trial in trials for result in trial.own_epochs),
        "sessions": len(state.sessions),
        "restarts": sum(trial.restarts for trial in trials),
        "machines": [{"node": node, "device": device} for node, device in sorted(machines, key=str)],
    }


def _time(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
