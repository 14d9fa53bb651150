"""Which of the settings that were searched decided about the outcome: by a random forest that learns validation accuracy from them.

scikit-learn's forest and permutation importance: Optuna's fANOVA is made of that forest, too, and would bring a database with it. How much the forest
explains of trials that it has not seen stands beside: where that is little, so is what its importances mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

# Fewer trials tell nothing about several settings.
FEWEST: Final = 10
# Of more, some: a forest of 10,000 takes a minute and says the same.
MOST: Final = 2_000
TREES: Final = 100
SHUFFLES: Final = 10


@dataclass(frozen=True)
class Importance:
    """`parts`: setting -> what shuffling it takes from the R² of the forest, mean over SHUFFLES, the most important first. `explained`: R² on trials that a
    tree has not seen (its out-of-bag ones), at most 1; 0 or less: nothing. `trials`: how many it learned from."""

    parts: dict[str, float]
    explained: float
    trials: int


def importance(params: Mapping[str, list[Any]], accuracy: list[float | None]) -> Importance | None:
    """Of settings that differ (name -> a value a trial) for the validation accuracy of each trial; None where there are fewer than two or too few
    trials. Equal input gives equal numbers."""
    # One of trials with equal settings: the forest is asked about those that a tree has not seen, and a twin would have told it.
    first = {tuple(str(values[n]) for values in params.values()): n for n in reversed(range(len(accuracy))) if accuracy[n] is not None}
    able = sorted(first.values())
    if len(params) < 2 or len(able) < FEWEST or len({accuracy[n] for n in able}) < 2:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    if len(able) > MOST:
        able = sorted(np.random.default_rng(0).choice(able, MOST, replace=False).tolist())
    inputs = np.column_stack([_numbers([values[n] for n in able]) for values in params.values()])
    outcome = np.array([accuracy[n] for n in able], float)
    # A leaf of one trial would learn its noise by heart.
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, oob_score=True, random_state=0).fit(inputs, outcome)
    means = permutation_importance(forest, inputs, outcome, n_repeats=SHUFFLES, random_state=0).importances_mean
    order = np.argsort(-means, kind="stable").tolist()
    names = list(params)
    return Importance({names[n]: max(0.0, float(means[n])) for n in order}, float(forest.oob_score_), len(able))


def _numbers(values: list[Any]) -> np.ndarray:
    """Numbers as they are, words by their place in the alphabet; what a trial does not have is below them all."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool | int | float) for value in known):
        least = min(known) - 1.0 if known else 0.0
        return np.array([least if value is None else float(value) for value in values])
    place = {word: n for n, word in enumerate(sorted({str(value) for value in known}))}
    return np.array([-1.0 if value is None else float(place[str(value)]) for value in values])
