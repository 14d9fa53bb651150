"""The base that one trial of a process leaves to the next: the same networks as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.trials import warm
from trainables import get_trainable
from trainables.core.bases import KeptBase
from trainables.core.config import TrainConfig

FINE_TUNE = get_trainable("fine_tune")


def config(**settings: Any) -> TrainConfig:
    return FINE_TUNE.config(**{"size": 16, "dense_units": 4, "base": "cifar10", **settings})


def network(kept: KeptBase, bases: dict[str, str], **settings: Any) -> Any:
    return kept.network(FINE_TUNE, config(**settings), 2, bases)


def assert_same(one: Any, other: Any) -> None:
    assert [layer.trainable for layer in one.layers] == [layer.trainable for layer in other.layers]
    for ours, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(params=["random weights", "a file"])
def bases(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    warm()
    if request.param == "random weights":
        return {}
    from trainables.core.bases import opened

    base = opened(config(seed=9), {})
    assert base
    base.save(tmp_path / "base.keras")
    return {"cifar10": str(tmp_path / "base.keras")}


def test_trials_on_a_kept_base_have_the_networks_of_trials_alone(bases: dict[str, str]) -> None:
    kept, networks = KeptBase(), []
    for settings in ({"unfrozen_layers": 0}, {"unfrozen_layers": 0, "dropout": 0.1}, {"unfrozen_layers": 5}, {"unfrozen_layers": 0}):
        networks.append(network(kept, bases, **settings))
        assert_same(networks[-1], network(KeptBase(), bases, **settings))
    first, second, third, fourth = ({id(variable) for variable in one.variables} for one in networks)
    assert first & second, "the second has the first one's base"
    assert not (first | second) & third, "the third trains its own"
    assert not third & fourth
    assert not any(layer.trainable for layer in networks[0].layers if layer.name.startswith("base_")), "the first is as it was"


def test_another_seed_has_other_random_weights() -> None:
    warm()
    kept = KeptBase()
    one, other = (network(kept, {}, unfrozen_layers=0, seed=seed) for seed in (0, 1))
    assert not {id(variable) for variable in one.variables} & {id(variable) for variable in other.variables}
    assert_same(other, network(KeptBase(), {}, unfrozen_layers=0, seed=1))


def test_one_of_a_file_is_for_all_seeds(tmp_path: Path) -> None:
    warm()
    from trainables.core.bases import opened

    base = opened(config(), {})
    assert base
    base.save(tmp_path / "base.keras")
    kept, bases = KeptBase(), {"cifar10": str(tmp_path / "base.keras")}
    one, other = (network(kept, bases, unfrozen_layers=0, seed=seed) for seed in (0, 1))
    assert {id(variable) for variable in one.variables} & {id(variable) for variable in other.variables}
    assert_same(other, network(KeptBase(), bases, unfrozen_layers=0, seed=1))
