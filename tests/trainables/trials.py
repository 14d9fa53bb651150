"""Small real trials, for the tests of this folder.

from tests.trainables.trials import training
"""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import Dataset
from trainables import get_trainable

if TYPE_CHECKING:
    import keras

    from trainables.core.training import Arrays, Training

ROOT = Path(__file__).parents[2]
# Two classes are 360 images: 144 test, 24 validate and 192 train, in three batches of 64. An epoch is 30 ms; a shape of batch costs 0.4 s once.
TINY: dict[str, Any] = {
    "size": 16,
    "classes": 2,
    "train_fraction": 0.6,
    "validation_fraction": 1 / 9,
    "depth": 1,
    "filters": 4,
    "dropout": 0.3,
}
METRICS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")


@functools.cache
def warm() -> None:
    """Import what takes seconds, and leave it out of garbage collection: a new trial collects, 0.6 s each with all of TensorFlow to look at."""
    import keras
    from ray import tune

    assert keras
    assert tune
    gc.collect()
    gc.freeze()


def training(dataset: Dataset, **settings: Any) -> Training:
    """A `cnn` at its start: TINY but for these settings. (`final` is `Training`'s own.)"""
    warm()
    from trainables.core.training import Training

    cnn, final = get_trainable("cnn"), settings.pop("final", False)
    return Training(cnn, cnn.config(**{**TINY, **settings}), dataset, final=final)


def trial_of(name: str, dataset: Dataset, base: keras.Model | None = None, **settings: Any) -> Training:
    """A trial of any experiment at its start, at the data set's size."""
    warm()
    from trainables.core.bases import build_network, named_apart
    from trainables.core.training import Training, class_count

    trainable, final = get_trainable(name), settings.pop("final", False)
    config = trainable.config(size=dataset.images.shape[1], **settings)
    network = build_network(trainable, config, class_count(config, dataset), named_apart(base)) if base else None
    return Training(trainable, config, dataset, network, final=final)


def shapes(layers: list[Any]) -> list[tuple[str, tuple[int, ...], int]]:
    """As the report prints a network: layer, shape of its output without the batch, parameters."""
    return [(type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params()) for layer in layers]


def metrics(result: dict[str, Any]) -> dict[str, Any]:
    """What depends on the trial alone, not on the machine or the hour."""
    return {name: result[name] for name in METRICS}


def assert_same_arrays(one: Arrays, other: Arrays) -> None:
    """To the last bit, and of the same types."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype, key
        np.testing.assert_array_equal(value, other[key], strict=True, err_msg=key)


def in_new_process(code: str, *arguments: str, **environment: str) -> Any:
    """Run the code from the project's root in a process of its own; gives the JSON that it prints last."""
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**cached, "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
