"""Runs to export, made as a real one is: by applying journal rows."""

from __future__ import annotations

from typing import Any

from sweeps.core.space import choice, uniform
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
from sweeps.core.sweep import Sweep, load_sweep

RUN = "dropout-digits-20261123T070211"
T0 = 1_795_000_000.0

Row = dict[str, Any]


def spec(run: str = RUN, sweep_name: str = "dropout", **changes: Any) -> RunSpec:
    """A dropout sweep over `cnn` on the digits."""
    sweep = Sweep(question="How much?", trainable="cnn", space={"dropout": uniform(0, 0.6), "depth": choice(1, 2)}, fixed={"size": 8})
    values: Row = {
        "run": run,
        "sweep_name": sweep_name,
        "sweep": sweep,
        "samples": 3,
        "seed": 7,
        "deterministic": False,
        "time_budget_seconds": None,
        "cpus_per_trial": 1,
        "gpus_per_trial": 0.0,
        "dataset": "digits",
        "dataset_source": None,
        "dataset_folder": "data/digits-8px-0123456789ab",
        "dataset_fingerprint": "0123456789ab",
        "class_count": 10,
        "created_at": "2026-11-23T07:02:11+00:00",
        "git_commit": "0" * 40,
        "versions": {"keras": "3.15.1"},
        "machine": {"node": "here", "cpus": 2},
    }
    return RunSpec(**{**values, **changes})


def suggest(trial: int, time: float, **settings: Any) -> Row:
    config = spec().sweep.config({"dropout": 0.1, "depth": 2, **settings}, seed=7).model_dump()
    return {"kind": "suggest", "trial": trial, "time": T0 + time, "config": config}


def start(trial: int, time: float) -> Row:
    return {"kind": "start", "trial": trial, "time": T0 + time}


def result(trial: int, epoch: int, time: float, val_accuracy: float, **more: Any) -> Row:
    return {
        "kind": "result",
        "trial": trial,
        "time": T0 + time,
        "epoch": epoch,
        "train_loss": 1.5,
        "train_accuracy": 0.5,
        "val_loss": 1.25,
        "val_accuracy": val_accuracy,
        "learning_rate": 1e-3,
        "epoch_seconds": 4.0,
        "images_per_second": 300.0,
        "finished_at": T0 + time - 0.5,
        "node": "here",
        "device": "CPU",
        "parameters": 110_810,
        "trainable_parameters": 110_234,
        "checkpoint": f"epoch-{epoch:06d}.npz",
        "setup_seconds": 1.0,
        "stop": None,
        **more,
    }


def end(trial: int, time: float, status: str = "completed", error: str | None = None) -> Row:
    return {"kind": "end", "trial": trial, "time": T0 + time, "status": status, "reason": "epochs", "error": error}


def layer(name: str, kind: str, output_shape: str, parameters: int, *inputs: str) -> Row:
    """All of its parameters are trained."""
    return {
        "name": name,
        "kind": kind,
        "output_shape": output_shape,
        "parameters": parameters,
        "trainable_parameters": parameters,
        "inputs": list(inputs),
    }


# A residual network.
LAYERS = [
    layer("images", "InputLayer", "8 x 8 x 3", 0),
    layer("stem", "Conv2D", "8 x 8 x 16", 448, "images"),
    layer("first", "Conv2D", "8 x 8 x 16", 2320, "stem"),
    layer("second", "Conv2D", "8 x 8 x 16", 2320, "first"),
    layer("sum", "Add", "8 x 8 x 16", 0, "stem", "second"),
    layer("pool", "GlobalAveragePooling2D", "16", 0, "sum"),
    layer("head", "Dense", "10", 170, "pool"),
]


# A PNG of one red pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


def evaluation(trial: int, epoch: int, time: float) -> Row:
    def figures(loss: float, accuracy: float, images: int) -> Row:
        return {"loss": loss, "accuracy": accuracy, "top5_accuracy": accuracy + 0.05, "images": images}

    scores = {"precision": 0.875, "recall": 0.8, "f1": 0.825}
    return {
        "kind": "evaluation",
        "trial": trial,
        "epoch": epoch,
        "time": T0 + time,
        "splits": {"train": figures(0.1, 0.95, 1131), "validation": figures(0.3, 0.9, 126), "test": figures(0.4, 0.85, 540)},
        "test_averages": {average: {**scores, "f1": 0.8 + n / 100} for n, average in enumerate(("micro", "macro", "weighted"))},
        "classes": [{"class": n, "name": str(n), **scores, "support": 54} for n in range(10)],
        # Of 54 images of each class; those of the last are taken for the one before.
        "confusion": [*([n, n, 54] for n in range(9)), [9, 8, 30], [9, 9, 24]],
        "mistakes": [{"image": 7, "class": 9, "predicted": 8, "own": 0.01, "probability": 0.99, "png": PIXEL}],
        "layers": [dict(row) for row in LAYERS],
    }


NETWORK = {
    "image_block_1/block_type": "residual",
    "classification_head_1/dropout": 0.25,
    "optimizer": "adam_weight_decay",
    "learning_rate": 3e-4,
}


def autokeras(**changes: Any) -> RunSpec:
    """The shipped sweep of AutoKeras' networks, on the digits."""
    _, sweep = load_sweep("autokeras")
    assert isinstance(sweep, Sweep)
    return spec(
        **{
            "run": "autokeras-1",
            "sweep_name": "autokeras",
            "sweep": sweep,
            "samples": 100,
            "time_budget_seconds": 10_800.0,
            "parallel": 1,
            **changes,
        }
    )


def autokeras_journal() -> list[Row]:
    """Trial 1 came no further after its second epoch, trial 2 was too big, the budget ended trial 3; trial 4, the final fit of trial 1, has its first
    epoch of two."""
    config = (
        autokeras()
        .sweep.config({"hyperparameters": NETWORK, "learning_rate": 3e-4, "weight_decay": 0.01, "schedule": "linear"}, 7)
        .model_dump()
    )
    big = {**config, "hyperparameters": {**NETWORK, "image_block_1/block_type": "plain", "optimizer": "adam", "learning_rate": 0.01}}

    def a_suggestion(trial: int, time: float, config: Row, final_of: int | None = None) -> Row:
        return {"kind": "suggest", "trial": trial, "time": T0 + time, "config": config, "final_of": final_of}

    more = {"parameters": 24_105_960, "trainable_parameters": 24_000_000}
    return [
        {"kind": "session", "time": T0},
        a_suggestion(1, 1, config),
        *(result(1, epoch, 10 * epoch, accuracy, **more) for epoch, accuracy in ((1, 0.5), (2, 0.7), (3, 0.6))),
        {**end(1, 31), "reason": "patience"},
        a_suggestion(2, 32, big),
        end(2, 33, "failed", "too big: 24,105,960 parameters, and max_parameters is 1,000,000"),
        a_suggestion(3, 34, big),
        result(3, 1, 40, 0.4),
        {**end(3, 41, "stopped"), "reason": "time budget"},
        a_suggestion(4, 42, {**config, "epochs": 2}, final_of=1),
        start(4, 43),
        fitted(1, 50),
    ]


def fitted(epoch: int, time: float) -> Row:
    """An epoch of that final fit: there are no validation figures."""
    return {**result(4, epoch, time, 0.0, parameters=24_105_960, trainable_parameters=24_000_000), "val_loss": None, "val_accuracy": None}


# Trial 1 is lost with a machine after 30 s and goes on at 100 s, trial 2 is the best, trial 3 fails, trial 4 is running and has no result yet.
JOURNAL: list[Row] = [
    {"kind": "session", "time": T0},
    suggest(1, 1),
    start(1, 2),
    result(1, 1, 10, 0.4),
    suggest(2, 11, dropout=0.3, depth=1),
    start(2, 12),
    result(2, 1, 20, 0.5, images_per_second=100.0),
    {"kind": "session", "time": T0 + 100},
    start(1, 102),
    result(1, 2, 112, 0.6, node="there"),
    result(1, 3, 122, 0.6),
    end(1, 123),
    result(2, 2, 130, 0.7, images_per_second=50.0),
    result(2, 3, 140, 0.65, images_per_second=50.0),
    end(2, 141, status="stopped"),
    suggest(3, 142),
    start(3, 143),
    end(3, 150, status="failed", error="ValueError: no"),
    suggest(4, 151),
    start(4, 152),
]


def state(*more: Row, rows: list[Row] = JOURNAL) -> RunState:
    """What these rows tell."""
    made = RunState()
    for row in [*rows, *more]:
        made.apply(row)
    return made


def evaluated() -> RunState:
    """The run after the evaluation of its best trial."""
    return state(evaluation(2, 2, 160))
