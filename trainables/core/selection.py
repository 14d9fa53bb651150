"""Which epoch, and which trial, is the best: written once, for workers, search and results. Only validation counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def rank(result: Mapping[str, Any]) -> tuple[float, float]:
    """Sort key of an epoch's result, the best first: highest validation accuracy, then lowest validation loss."""
    return -result["val_accuracy"], result["val_loss"]


def best_epoch(results: Iterable[Mapping[str, Any]]) -> int:
    """The epoch (from 1) of the best result, the earliest of equals; ValueError when there are none. Where the validation images are trained on,
    nothing tells the epochs apart: then the last."""
    found = list(results)
    if any(result["val_accuracy"] is None for result in found):
        return _last(found)
    epoch: int = min(found, key=lambda result: (*rank(result), result["epoch"]))["epoch"]
    return epoch


def without_gain(results: Iterable[Mapping[str, Any]]) -> int:
    """Epochs since the best one."""
    found = list(results)
    return _last(found) - best_epoch(found)


def _last(results: list[Mapping[str, Any]]) -> int:
    epoch: int = max(result["epoch"] for result in results)
    return epoch
