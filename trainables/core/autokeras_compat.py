"""What AutoKeras 3.0 and KerasTuner 1.4 need beside Keras 3.15 and this project: each function says what it cures, and how to see that it may go.

Not needed here, since neither AutoKeras' tuner nor its pipelines run: ints for the hypergraph's numpy shapes, TensorBoard, `import autokeras` before a
model is read, labels that come back as strings, and what its tuner keeps in files (see docs/decisions/0010-autokeras.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from autokeras.tuners.greedy import GreedyOracle


@contextmanager
def numbered_from_one() -> Iterator[None]:
    """Blocks that AutoKeras makes here are `conv_block_1`, ... in any process and however many were made before: their names are those of the
    hyper-parameters, and of its list of first networks.

    It numbers them by `keras.backend.get_uid`, which counts in the process. May go when two `ConvBlock()` in a row have one name."""
    from autokeras.engine import named_hypermodel

    counts: Counter[str] = Counter()

    def get_uid(prefix: str) -> int:
        counts[prefix] += 1
        return counts[prefix]

    kept = named_hypermodel.keras
    named_hypermodel.keras = SimpleNamespace(backend=SimpleNamespace(get_uid=get_uid))
    try:
        yield
    finally:
        named_hypermodel.keras = kept


def greedy_oracle(first: list[dict[str, Any]], seed: int) -> GreedyOracle:
    """AutoKeras' searcher with these first networks, without files and without a screen.

    The seed is shifted by one: KerasTuner takes 0 for "none given" and draws one. May go when `Oracle(seed=0).seed` is 0."""
    from autokeras.tuners.greedy import GreedyOracle

    oracle = GreedyOracle(initial_hps=first, seed=seed + 1, objective=_objective())
    oracle.verbose = 0
    return oracle


def _objective() -> Any:
    from keras_tuner import Objective

    return Objective("val_accuracy", "max")


def populate(oracle: GreedyOracle, seed: int, trial: int, anew: bool = False) -> dict[str, Any]:
    """The values of the next network. Where the searcher finds none that is new beside the best, and if `anew`, all of them are drawn.

    It draws the part of the best network to change from NumPy's global generator, whatever its seed: seeded here by (seed, trial). May go when
    `_select_hps` reads no `np.random`."""
    np.random.seed(np.random.SeedSequence((seed, trial)).generate_state(1)[0])
    values = None if anew else oracle.populate_space(str(trial))["values"]
    if values is None:
        values = oracle._generate_hp_values([parameter.name for parameter in oracle.hyperparameters.space])
    return values or {}


@contextmanager
def without_downloads() -> Iterator[None]:
    """Networks that AutoKeras builds here have random weights where it would download ImageNet's: to see what they ask for, or before their weights are
    read from elsewhere.

    May go when its application blocks take the weights as an argument."""
    from autokeras.blocks.basic import KerasApplicationBlock

    build = KerasApplicationBlock.build

    def bare(self: Any, hp: Any, inputs: Any = None) -> Any:
        kept = self.models
        self.models = {name: partial(_made, make) for name, make in kept.items()}
        try:
            return build(self, hp, inputs)
        finally:
            self.models = kept

    KerasApplicationBlock.build = bare
    try:
        yield
    finally:
        KerasApplicationBlock.build = build


def _made(make: Callable[..., Any], **arguments: Any) -> Any:
    return make(**{**arguments, "weights": None})
