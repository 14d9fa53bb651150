"""The learning rate of each step, as a pure function: it is assigned to the optimizer, whose graph and state are those of a constant rate, so a
resumed trial goes on exactly and a saved model needs no schedule of ours."""

from __future__ import annotations

import math

from trainables.core.config import TrainConfig

# Smith 2018, "Super-convergence" (arXiv:1708.07120), with the usual numbers.
WARM_UP = 0.3  # part of the steps
START = 1 / 25  # of the highest rate
END = 1e-4  # of the highest rate


def rate(config: TrainConfig, step: int, steps: int) -> float:
    """Learning rate of the step (0 to steps - 1) of a training of so many: `learning_rate` is the highest.

    `linear` and `cosine` fall from it towards 0. `one_cycle` rises from 1/25 of it over the first 30 % of the steps, then falls along a cosine to 1/10,000.
    """
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "linear":
        return config.learning_rate * (1 - step / steps)
    if config.schedule == "cosine":
        return config.learning_rate * _fall(step / steps)
    warm_up = WARM_UP * steps
    if step < warm_up:
        return config.learning_rate * (START + (1 - START) * step / warm_up)
    return config.learning_rate * (END + (1 - END) * _fall((step - warm_up) / (steps - warm_up)))


def _fall(part: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * part)) / 2
