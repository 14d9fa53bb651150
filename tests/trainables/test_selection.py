"""Best is highest validation accuracy, then lowest validation loss, then earliest. Nothing else counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from trainables.core.selection import best_epoch, rank, without_gain


def result(epoch: int, accuracy: float | None, loss: float | None, **others: float) -> dict[str, Any]:
    return {"epoch": epoch, "val_accuracy": accuracy, "val_loss": loss, "train_accuracy": 0.5, "train_loss": 1.0, **others}


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([result(1, 0.5, 1.0)], 1),
        ([result(1, 0.5, 1.0), result(2, 0.6, 2.0), result(3, 0.4, 0.1)], 2),
        ([result(1, 0.5, 1.0), result(2, 0.5, 0.9), result(3, 0.5, 1.1)], 2),
        ([result(1, 0.4, 1.0), result(2, 0.5, 0.9), result(3, 0.5, 0.9)], 2),
        ([result(3, 0.5, 0.9), result(2, 0.5, 0.9)], 2),
        ([result(1, 0.5, 1.0), result(2, 0.4, 0.1, train_accuracy=1.0, train_loss=0.0, test_accuracy=1.0)], 1),
        ([result(1, 0.0, 50.0), result(2, 0.0, 49.0)], 2),
    ],
)
def test_best_epoch(results: list[Mapping[str, Any]], best: int) -> None:
    assert best_epoch(results) == best
    assert best_epoch(iter(results)) == best
    assert best_epoch(reversed(results)) == best


@pytest.mark.parametrize("count", [1, 3])
def test_without_validation_the_last_is_the_best(count: int) -> None:
    """Its figures of training do not count."""
    results = [result(epoch, None, None, train_accuracy=1 / epoch, train_loss=float(epoch)) for epoch in range(1, count + 1)]
    for each in (results, iter(results), reversed(results)):
        assert best_epoch(each) == count
    assert without_gain(iter(results)) == without_gain(results[::-1]) == 0


@pytest.mark.parametrize(
    ("results", "epochs"),
    [
        ([result(1, 0.5, 1.0)], 0),
        ([result(1, 0.5, 1.0), result(2, 0.4, 0.9), result(3, 0.4, 0.8)], 2),
        ([result(1, 0.5, 1.0), result(2, 0.6, 2.0), result(3, 0.4, 0.1)], 1),
        # As accurate and of a lower loss is a gain, a repetition none.
        ([result(1, 0.5, 1.0), result(2, 0.5, 0.9)], 0),
        ([result(1, 0.5, 1.0), result(2, 0.5, 1.0)], 1),
    ],
)
def test_without_gain(results: list[Mapping[str, Any]], epochs: int) -> None:
    assert without_gain(results) == epochs
    assert without_gain(iter(results)) == epochs
    assert without_gain(reversed(results)) == epochs


def test_rank_sorts_the_best_first() -> None:
    results = [result(1, 0.5, 1.0), result(2, 0.6, 3.0), result(3, 0.6, 2.0), result(4, 0.1, 0.0)]
    assert [each["epoch"] for each in sorted(results, key=rank)] == [3, 2, 1, 4]


def test_there_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"^min\(\) (arg|iterable argument) is (an empty sequence|empty)$"):
        best_epoch([])
