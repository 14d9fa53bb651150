"""What an experiment is, and the registry: every file of `trainables/` is one, under the file's name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep import BadInput
from trainables.core.config import TrainConfig

if TYPE_CHECKING:
    import keras

# What a worker is asked for: to train a trial, to measure a stored model, or to help with that.
TRAIN, EVALUATE, HELP = "train", "evaluate", "help"

FOLDER = Path(__file__).parents[1]


class TrialFailure(Exception):
    """A trial that no worker can train; its text, one line, says why. (Any other exception is the worker's, and another one tries again.)"""


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """One experiment: its settings and its network.

    `build(config, class_count)` gives an uncompiled model from raw images (uint8 values 0..255, N x size x size x 3) to class probabilities
    (N x class_count). Where the settings are a `PretrainedConfig` it takes a third argument, the base: None is one with random weights. It imports
    keras itself: listing, planning and checking sweeps never pay for that import (5 s, 400 MB). TrialFailure where these settings give no network
    that can be trained.
    """

    summary: str
    config: type[TrainConfig]
    build: Callable[..., keras.Model]
    # The same network where its weights are then read from elsewhere, if `build` would fetch some.
    bare: Callable[..., keras.Model] | None = None


def trainable_names() -> list[str]:
    """Names of all experiments, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


# Asked for several times a trial.
@cache
def get_trainable(name: str) -> Trainable:
    """The experiment of that name; BadInput when there is none."""
    if name not in trainable_names():
        raise BadInput(f"there is no trainable {name!r}: use one of {', '.join(trainable_names())}")
    trainable = importlib.import_module(f"trainables.{name}").TRAINABLE
    assert isinstance(trainable, Trainable), name
    return trainable
