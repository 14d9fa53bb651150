from __future__ import annotations

import itertools

import pytest

from sweeps import Sweep, choice, integers, log_uniform, uniform
from sweeps.core.propose import Point, proposer, trial_count

SPACE = {
    "dropout": uniform(0.0, 0.7),
    "learning_rate": log_uniform(1e-4, 1e-2),
    "depth": integers(1, 5),
    "batch_size": choice(32, 64, 128),
}
KNOWN = (
    {"dropout": 0.25, "learning_rate": 1e-3, "depth": 3, "batch_size": 64},
    {"dropout": 0.0, "learning_rate": 1e-3, "depth": 2, "batch_size": 32},
)


def sweep(searcher: str, **changes: object) -> Sweep:
    return Sweep.model_validate(
        {"question": "q", "trainable": "cnn", "space": SPACE, "searcher": searcher, "known_points": KNOWN, **changes}
    )


def goodness(point: Point) -> float:
    return 1 - (float(point["dropout"]) - 0.6) ** 2


def asked(searcher: str, seed: int, count: int = 30) -> list[Point]:
    source = proposer(sweep(searcher), seed)
    points = []
    for trial in range(1, count + 1):
        points.append(source.ask(trial))
        source.tell(trial, goodness(points[-1]))
    return points


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_known_points_first_then_points_of_the_space(searcher: str) -> None:
    points = asked(searcher, 1)
    assert tuple(points[:2]) == KNOWN
    for point in points[2:]:
        assert 0 <= point["dropout"] < 0.7
        assert 1e-4 <= point["learning_rate"] < 1e-2
        assert type(point["depth"]) is int
        assert point["batch_size"] in (32, 64, 128)
    assert {point["depth"] for point in asked(searcher, 1, 60)} == {1, 2, 3, 4, 5}, "both ends are drawn"


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_the_seed_decides(searcher: str) -> None:
    assert asked(searcher, 1) == asked(searcher, 1)
    assert asked(searcher, 1)[2:] != asked(searcher, 2)[2:]


def test_tpe_learns() -> None:
    def late(searcher: str) -> float:
        return sum(goodness(point) for seed in range(3) for point in asked(searcher, seed, 40)[20:])

    assert late("tpe") > late("random")


def test_tpe_goes_on_when_a_trial_fails() -> None:
    source = proposer(sweep("tpe"), 1)
    for trial in range(1, 12):
        source.ask(trial)
        source.tell(trial, None if trial % 2 else 0.5)


def test_a_grid_is_every_combination_once() -> None:
    made = sweep("grid", space={"depth": integers(1, 3), "batch_size": choice(32, 64)}, known_points=())
    source = proposer(made, 0)
    points = [source.ask(trial) for trial in range(1, 7)]
    assert points == [{"depth": depth, "batch_size": size} for depth, size in itertools.product((1, 2, 3), (32, 64))]
    assert trial_count(made, 100) == 6
    assert trial_count(made, 4) == 4


def test_nothing_to_search_is_one_trial() -> None:
    made = sweep("tpe", space={}, known_points=())
    assert trial_count(made, 8) == 1
    assert proposer(made, 0).ask(1) == {}
