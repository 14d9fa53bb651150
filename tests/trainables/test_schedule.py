"""Schedules: their shapes, and that training follows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import training
from trainables import TrainConfig
from trainables.core.schedule import rate


def rates(schedule: Any, steps: int, learning_rate: float = 0.5) -> list[float]:
    config = TrainConfig(schedule=schedule, learning_rate=learning_rate)
    return [rate(config, step, steps) for step in range(steps)]


def test_constant() -> None:
    assert rates("constant", 7) == [0.5] * 7


def test_linear() -> None:
    """From the whole rate in equal steps towards 0, which the step after the last would have."""
    assert rates("linear", 4) == pytest.approx([0.5, 0.375, 0.25, 0.125])
    assert rate(TrainConfig(schedule="linear"), 10, 10) == 0


def test_cosine() -> None:
    """From the whole rate, over the half of it in the middle, towards 0, which the step after the last would have."""
    assert rates("cosine", 4) == pytest.approx([0.5, 0.5 * (1 + 0.5**0.5) / 2, 0.25, 0.5 * (1 - 0.5**0.5) / 2])
    assert rate(TrainConfig(schedule="cosine"), 10, 10) == 0
    assert (np.diff(rates("cosine", 1000)) < 0).all()


def test_one_cycle() -> None:
    """Up in a straight line from 1/25 to the whole rate at 30 %, and down along a cosine to 1/10,000."""
    found = rates("one_cycle", 1000)
    np.testing.assert_allclose(found[:301], np.linspace(0.5 / 25, 0.5, 301))
    assert found[650] == pytest.approx(0.5 * (1 + 1e-4) / 2)
    assert (np.diff(found[300:]) < 0).all()
    assert max(found) == 0.5
    assert rate(TrainConfig(schedule="one_cycle", learning_rate=0.5), 1000, 1000) == pytest.approx(0.5e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "one_cycle"])
def test_few_steps(schedule: str, steps: int) -> None:
    found = rates(schedule, steps)
    assert len(found) == steps
    assert all(0 < each <= 0.5 for each in found)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one_cycle"])
def test_training_follows_it(digits16: Dataset, schedule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the 2 x 3 steps has its own rate, and the epoch tells that of its last."""
    import keras

    one = training(digits16, schedule=schedule, epochs=2, learning_rate=0.01)
    used: list[float] = []
    gather = one.gather

    def gathering(rows: np.ndarray, epoch: int | None = None) -> Any:
        used.append(float(keras.ops.convert_to_numpy(one.model.optimizer.learning_rate)))
        return gather(rows, epoch)

    monkeypatch.setattr(one, "gather", gathering)
    told = [one.run_epoch()["learning_rate"] for _ in range(2)]
    # A batch of validation ends each epoch.
    trained = [*used[:3], *used[4:7]]
    assert trained == pytest.approx(rates(schedule, 6, 0.01))
    assert told == pytest.approx([trained[2], trained[5]])
    if schedule == "constant":
        assert told == [0.01, 0.01]


def test_a_rate_of_zero_would_not_train(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled step reads the rate that was assigned: it is no constant of the graph."""
    from trainables.core import training as module

    one = training(digits16, schedule="cosine")
    one.run_epoch()
    before = one.state()
    monkeypatch.setattr(module, "rate", lambda *_: 0.0)
    one.run_epoch()
    weights = [f"model/{n:04d}" for n, variable in enumerate(one.graph.state) if variable.trainable]
    after = one.state()
    assert len(weights) == 14
    for key in weights:
        np.testing.assert_array_equal(after[key], before[key])
