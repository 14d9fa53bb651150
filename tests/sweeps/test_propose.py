from __future__ import annotations

import itertools
from typing import Any

import pytest

from sweeps import Sweep, choice, integers, log_uniform, uniform
from sweeps.core.propose import AutoKeras, Point, proposer, trial_count
from tests.sweeps import runs
from tests.sweeps.sessions import Place

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


class Scripted(AutoKeras):
    """AutoKeras' own process played by a list of what it was asked and told."""

    def __init__(self, made: Sweep, seed: int) -> None:
        super().__init__(made, seed)
        self.heard: list[tuple[Any, ...]] = []

    def _call(self, method: str, *arguments: Any) -> Any:
        self.heard.append((method, *arguments))
        return {"hyperparameters": {"n": len(self.heard)}, "learning_rate": 1e-3} if method == "ask" else None


AUTOKERAS = Sweep(question="q?", trainable="autokeras_search", space={}, searcher="autokeras", scheduler="none", samples=4, parallel=1)


def test_autokeras_is_a_searcher_without_a_space() -> None:
    made = proposer(AUTOKERAS, 3)
    assert isinstance(made, AutoKeras)
    assert made.oracle is None, "its process begins with the first question"
    assert trial_count(AUTOKERAS, 100) == 100, "not one trial, as where nothing is searched"


def test_autokeras_hears_the_journal_in_its_order_after_a_kill_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks depend on what it was asked and told, in order; a failed one has no accuracy, and a final fit is not told at all."""
    monkeypatch.setattr("sweeps.core.decide.proposer", Scripted)
    spec = runs.spec("run", sweep=AUTOKERAS.with_settings({"epochs": 2}), samples=4, parallel=1)

    def place(rows: list[Any]) -> Place:
        return Place(monkeypatch, spec, rows=rows, accuracy=lambda trial, epoch: trial.index / 10, failing={2})

    calm = place([])
    decisions = calm.work()
    heard: list[tuple[Any, ...]] = [("ask", 1), ("tell", 1, 0.1), ("ask", 2), ("tell", 2, None), ("ask", 3), ("tell", 3, 0.3), ("ask", 4)]
    assert decisions.proposer.heard == heard  # type: ignore[attr-defined]
    assert [trial.config["hyperparameters"] for trial in decisions.state.trials.values()] == [{"n": n} for n in (1, 3, 5, 7, 7)]
    assert decisions.state.trials[5].final_of == 4
    for rows in range(len(calm.rows)):
        here = place(calm.rows[:rows])
        again = here.work()
        assert again.proposer.heard == heard, rows  # type: ignore[attr-defined]
        assert here.outcome() == calm.outcome()


@pytest.mark.usefixtures("ray")
def test_autokeras_goes_on_when_its_process_is_gone() -> None:
    import ray

    made = Sweep(question="q", trainable="autokeras_search", searcher="autokeras", space={}, fixed={"size": 8})
    calm, killed = proposer(made, 1), proposer(made, 1)
    found = []
    for each in (calm, killed):
        assert isinstance(each, AutoKeras)
        points = [each.ask(1), each.ask(2)]
        each.tell(1, 0.5)
        each.tell(2, None)
        if each is killed:
            ray.kill(each.oracle)
        found.append([*points, each.ask(3), each.ask(4)])
    assert found[0] == found[1]
    assert found[0][2] != found[0][0]
