"""The search as questions and answers: rebuilt from them, and told of what its networks came to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pytest

from tests.trainables.trials import shapes, warm
from trainables.autokeras_search import AutoKerasConfig, build
from trainables.core import oracle as module
from trainables.core.oracle import Oracle
from trainables.core.spaces import IMAGES, first_networks, network, training_of

SIZE = 16
COUNT = 30
TRAINING = {"optimizer", "weight_decay", "schedule", "learning_rate"}


def oracle_of(seed: int = 0, fixed: Collection[str] = (), **settings: Any) -> Oracle:
    warm()
    return Oracle(AutoKerasConfig(size=SIZE, seed=seed, **settings).model_dump(), fixed)


def asked(oracle: Oracle, trials: Collection[int], accuracies: Sequence[float | None]) -> list[dict[str, Any]]:
    """The networks of these trials, each told of before the next."""
    found = []
    for trial in trials:
        found.append(oracle.ask(trial))
        oracle.tell(trial, accuracies[trial - 1])
    return found


def layers_of(model: Any) -> list[Any]:
    """What tells networks apart: of each layer its sizes and settings, and not its name."""
    return [
        (*shape, getattr(layer, "rate", None), getattr(layer, "strides", None), getattr(layer, "factor", None))
        for layer, shape in zip(model.layers[1:], shapes(model.layers[1:]), strict=True)
    ]


@pytest.fixture(scope="module")
def answers() -> list[float | None]:
    return list(np.random.default_rng(0).random(COUNT))


@pytest.fixture(scope="module")
def proposed(answers: list[float | None]) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """Thirty proposals, and the layers of the networks that the search built for them."""
    oracle = oracle_of()
    built: list[list[Any]] = []

    def building(*arguments: Any) -> Any:
        model = network(*arguments)
        built[-1] = layers_of(model)
        return model

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "network", building)
        for trial in range(1, COUNT + 1):
            built.append([])
            found += asked(oracle, [trial], answers)
    return found, built


def test_proposals_are_settings_of_a_trial(proposed: tuple[list[dict[str, Any]], list[list[Any]]]) -> None:
    """And say all: what is built from them is what the search built, and asks for nothing else."""
    from keras_tuner import HyperParameters

    for given, layers in zip(*proposed, strict=True):
        assert set(given) == {"hyperparameters", *TRAINING}
        config = AutoKerasConfig(size=SIZE, **given)
        assert layers_of(build(config, module.CLASSES)) == layers
        hp = HyperParameters()
        hp.values = dict(config.hyperparameters)
        network(hp, "sized", SIZE, module.CLASSES)
        assert training_of(hp, "sized", {}) == {key: given[key] for key in TRAINING}
        assert {parameter.name for parameter in hp.space} == set(given["hyperparameters"])


def test_no_network_comes_twice(proposed: tuple[list[dict[str, Any]], list[list[Any]]]) -> None:
    found = [tuple(sorted(each["hyperparameters"].items())) for each in proposed[0]]
    assert len(set(found)) == COUNT
    # Of both kinds, and not all alike.
    assert {dict(each)[f"{IMAGES}/block_type"] for each in found} == {"plain", "residual"}


def test_the_first_networks_come_first(proposed: tuple[list[dict[str, Any]], list[list[Any]]]) -> None:
    assert [each["hyperparameters"] for each in proposed[0][:2]] == first_networks("sized")


def test_a_network_comes_once_when_none_is_left_beside_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing beats the first, and of it only the dropout, of three rates, is changed: the search is soon through with it."""
    oracle = oracle_of()
    name = "classification_head_1/dropout"
    monkeypatch.setattr(oracle.greedy, "_select_hps", lambda: [name])
    found = [each["hyperparameters"] for each in asked(oracle, range(1, 8), [0.9, *[0.1] * 6])]
    assert len({tuple(sorted(each.items())) for each in found}) == 7


@pytest.mark.parametrize("end", [1, 4, 8])
def test_replayed_it_goes_on_as_before(
    proposed: tuple[list[dict[str, Any]], list[list[Any]]], answers: list[float | None], end: int
) -> None:
    """In another object, whatever else was built or drawn in the process."""
    from autokeras.blocks import ConvBlock

    ConvBlock()
    np.random.seed(end)
    again = oracle_of()
    assert asked(again, range(1, end + 1), answers) == proposed[0][:end]
    ConvBlock()
    np.random.seed(0)
    assert asked(again, range(end + 1, end + 3), answers) == proposed[0][end : end + 2]


def test_answers_matter_and_come_in_any_order() -> None:
    """Several at a time, as several workers have them."""

    def run(accuracies: list[float]) -> list[dict[str, Any]]:
        oracle = oracle_of()
        found = [oracle.ask(trial) for trial in (1, 2, 3)]
        for trial in (2, 3, 1):
            oracle.tell(trial, accuracies[trial - 1])
            found.append(oracle.ask(trial + 3))
        return found

    one, same, other = run([0.1, 0.2, 0.3]), run([0.1, 0.2, 0.3]), run([0.9, 0.2, 0.3])
    assert one == same
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


def test_another_seed_other_networks(proposed: tuple[list[dict[str, Any]], list[list[Any]]], answers: list[float | None]) -> None:
    """Seed 0 is a seed."""
    found = [proposed[0][:6], *(asked(oracle_of(seed), range(1, 7), answers) for seed in (1, 2))]
    assert found[0][:2] == found[1][:2] == found[2][:2]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert found[one][2:] != found[other][2:]


def selections(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collects the groups that the search chooses to change; it goes on with them."""
    chosen: list[list[str]] = []
    select = oracle.greedy._select_hps

    def selecting() -> list[str]:
        chosen.append(select())
        return chosen[-1]

    monkeypatch.setattr(oracle.greedy, "_select_hps", selecting)
    return chosen


def assert_beside(best: dict[str, Any], new: dict[str, Any], group: list[str]) -> None:
    """Of what both networks have, no more is different than the group."""
    one, other = best["hyperparameters"], new["hyperparameters"]
    assert one != other
    assert {name for name in one.keys() & other.keys() if one[name] != other[name]} <= set(group)


def test_the_best_is_changed_in_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = oracle_of(seed=3)
    chosen = selections(oracle, monkeypatch)
    answers = [0.3, 0.5, 0.1, 0.6, 0.2, 0.2, 0.7, 0.1, 0.1]
    found = asked(oracle, [1, 2], answers)
    assert chosen == []
    sizes = []
    for trial in range(3, 10):
        found += asked(oracle, [trial], answers)
        best = int(np.argmax(answers[: trial - 1]))
        assert_beside(found[best], found[-1], chosen[-1])
        sizes.append(len(chosen[-1]))
    assert min(sizes) == 1


@pytest.mark.parametrize("failed", [1, 2])
def test_a_failed_network_is_not_built_upon(monkeypatch: pytest.MonkeyPatch, failed: int) -> None:
    oracle = oracle_of(seed=3)
    answers: list[float | None] = [0.0 if trial != failed else None for trial in (1, 2)] + [None] * 4
    chosen = selections(oracle, monkeypatch)
    found = asked(oracle, range(1, 7), answers)
    for new in found[2:]:
        assert new != found[failed - 1]
    # The other first network stays the best, and the only one.
    assert [trial.trial_id for trial in oracle.greedy.get_best_trials(6)] == [str(3 - failed)]
    assert_beside(found[2 - failed], found[-1], chosen[-1])


def test_it_goes_on_when_all_failed() -> None:
    """From its defaults, and not from one that failed."""
    oracle = oracle_of()
    found = asked(oracle, range(1, 6), [None] * 5)
    assert oracle.greedy.get_best_trials() == []
    assert len({tuple(sorted(each["hyperparameters"].items())) for each in found}) == 5


@pytest.mark.parametrize(
    ("fixed", "searched"),
    [
        (["learning_rate"], TRAINING - {"learning_rate"}),
        (["optimizer"], {"learning_rate"}),
        (["weight_decay"], TRAINING - {"weight_decay"}),
        (["learning_rate", "optimizer", "weight_decay"], set()),
    ],
)
def test_what_is_fixed_is_not_searched(fixed: list[str], searched: set[str], answers: list[float | None]) -> None:
    for given in asked(oracle_of(fixed=fixed), range(1, 5), answers):
        assert set(given) == {"hyperparameters", *searched}
        assert {"learning_rate", "optimizer"} & set(given["hyperparameters"]) == {"learning_rate", "optimizer"} - set(fixed)


def test_weight_decay_comes_with_a_falling_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    # All of each network is drawn, so that both optimizers come soon.
    monkeypatch.setattr(module, "BESIDE_THE_BEST", 0)
    oracle = oracle_of()
    networks = [oracle.ask(trial) for trial in range(1, 13)]
    kinds = {each["hyperparameters"]["optimizer"]: (each["optimizer"], each["weight_decay"], each["schedule"]) for each in networks}
    assert kinds == {"adam": ("adam", 0.0, "constant"), "adam_weight_decay": ("adam", 0.01, "linear")}


def test_stock() -> None:
    """Its first network; the others are made for 224 px."""
    given = oracle_of(space="stock").ask(1)
    assert given["hyperparameters"] == first_networks("stock")[0]
