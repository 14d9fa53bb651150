"""Which setting decided."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sweeps.core.importance import importance


def trials(count: int, noise: float = 0.0) -> tuple[dict[str, list[Any]], list[float | None]]:
    """Accuracy goes by the rate above all, a little by the optimizer, by the width not at all."""
    draw = random.Random(0)
    params: dict[str, list[Any]] = {
        "width": [draw.choice([16, 32, 64]) for _ in range(count)],
        "optimizer": [draw.choice(["adam", "sgd", None]) for _ in range(count)],
        "rate": [draw.random() for _ in range(count)],
    }
    pairs = zip(params["rate"], params["optimizer"], strict=True)
    return params, [1 - rate + 0.1 * (optimizer == "adam") + noise * draw.random() for rate, optimizer in pairs]


def test_the_setting_that_decides_comes_first() -> None:
    params, accuracy = trials(200)
    found = importance(params, accuracy)
    assert found
    assert list(found.parts) == ["rate", "optimizer", "width"]
    assert found.parts["rate"] > 1 > found.parts["optimizer"] > 0.01 > found.parts["width"] >= 0
    assert 0.9 < found.explained <= 1
    assert found.trials == 200


def test_noise_is_told_from_an_answer() -> None:
    params, accuracy = trials(30)
    shuffled = accuracy[:]
    random.Random(1).shuffle(shuffled)
    found = importance(params, shuffled)
    assert found
    assert found.explained < 0.1


def test_trials_without_a_result_are_left_out() -> None:
    params, accuracy = trials(40)
    accuracy[3] = None
    found = importance(params, accuracy)
    assert found
    assert found.trials == 39


def test_equal_trials_are_one() -> None:
    """A tree that has not seen a trial may have seen its twin: noise would be explained."""
    params, accuracy = trials(30)
    random.Random(1).shuffle(accuracy)
    twins = {name: values * 4 for name, values in params.items()}
    assert importance(twins, accuracy * 4) == importance(params, accuracy)


def test_again_is_the_same() -> None:
    params, accuracy = trials(40)
    assert importance(params, accuracy) == importance(params, accuracy)


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_trials(count: int) -> None:
    assert importance(*trials(count)) is None


def test_one_setting_is_no_question() -> None:
    params, accuracy = trials(40)
    assert importance({"rate": params["rate"]}, accuracy) is None


def test_equal_outcomes_are_no_question() -> None:
    params, _ = trials(40)
    assert importance(params, [0.5] * 40) is None


def test_of_very_many_trials_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.core.importance.MOST", 50)
    found = importance(*trials(200))
    assert found
    assert found.trials == 50
    assert next(iter(found.parts)) == "rate"
