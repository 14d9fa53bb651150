"""Where configurations come from: a grid, random draws, TPE, or AutoKeras. Each is a pure function of the seed and of what it has been told, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sweeps.core.space import Choice, Distribution, Integers, LogUniform, Uniform
from sweeps.core.sweep import Sweep

Point = dict[str, Any]


class Proposer(Protocol):
    """A searcher."""

    def ask(self, trial: int) -> Point:
        """The point of the space for a trial; called for 1, 2, 3, ... in order."""

    def tell(self, trial: int, accuracy: float | None) -> None:
        """The best validation accuracy of a trial that has ended; None when it has none."""


def _values(distribution: Distribution) -> Sequence[Any]:
    assert isinstance(distribution, Choice | Integers), "Sweep.check refuses other grids"
    return distribution.values


def proposer(sweep: Sweep, seed: int) -> Proposer:
    """The sweep's searcher, fresh."""
    if sweep.searcher == "autokeras":
        return AutoKeras(sweep, seed)
    if sweep.searcher == "grid" or not sweep.space:
        return Grid(sweep)
    return Random(sweep, seed) if sweep.searcher == "random" else Tpe(sweep, seed)


def trial_count(sweep: Sweep, samples: int) -> int:
    """Trials that a run with so many samples has: a grid ends when it is through."""
    if sweep.searcher == "grid" or not sweep.searches:
        return min(samples, Grid(sweep).count)
    return samples


class Grid:
    """All combinations, the last key of the space fastest. None is made before it is asked for: three ranges may have billions."""

    def __init__(self, sweep: Sweep) -> None:
        self.values = {key: _values(distribution) for key, distribution in sweep.space.items()}
        self.count = math.prod(len(values) for values in self.values.values())

    def ask(self, trial: int) -> Point:
        """The trial's combination."""
        number, point = trial - 1, {}
        for key, values in reversed(self.values.items()):
            number, place = divmod(number, len(values))
            point[key] = values[place]
        return {key: point[key] for key in self.values}

    def tell(self, trial: int, accuracy: float | None) -> None:
        """A grid does not learn."""


class Random:
    """The known points, then independent draws; trial i depends on (seed, i) alone."""

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self.sweep, self.seed = sweep, seed

    def ask(self, trial: int) -> Point:
        """A known point or a draw."""
        if trial <= len(self.sweep.known_points):
            return dict(self.sweep.known_points[trial - 1])
        generator = np.random.default_rng((self.seed, trial))
        return {key: _draw(distribution, generator) for key, distribution in self.sweep.space.items()}

    def tell(self, trial: int, accuracy: float | None) -> None:
        """Random search does not learn."""


def _draw(distribution: Distribution, generator: np.random.Generator) -> Any:
    if isinstance(distribution, Uniform):
        return float(generator.uniform(distribution.low, distribution.high))
    if isinstance(distribution, LogUniform):
        return float(np.exp(generator.uniform(np.log(distribution.low), np.log(distribution.high))))
    return distribution.values[int(generator.integers(len(distribution.values)))]


class AutoKeras:
    """AutoKeras' greedy search (Jin et al. 2023, JMLR 24:6): in a process of its own, where keras builds each network to see what it can vary."""

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self.sweep, self.seed = sweep, seed
        self.oracle: Any = None
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def ask(self, trial: int) -> Point:
        """A first network of the space, or the best so far with a part of it changed."""
        return dict(self._call("ask", trial))

    def tell(self, trial: int, accuracy: float | None) -> None:
        """Learn from a network."""
        self._call("tell", trial, accuracy)

    def _call(self, method: str, *arguments: Any) -> Any:
        # Imported here: only a run with this searcher needs that process.
        import ray

        self.calls.append((method, arguments))
        try:
            self.oracle = self.oracle or self._started()
            return ray.get(getattr(self.oracle, method).remote(*arguments))
        except ray.exceptions.RayActorError:
            # It is gone, by want of memory for one. What it was asked and told makes another the same.
            self.oracle = self._started()
            return [ray.get(getattr(self.oracle, name).remote(*given)) for name, given in self.calls][-1]

    def _started(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from trainables.core.oracle import Oracle

        # On the driver's machine, which has keras, and ends with the driver. It takes no core: it works while the driver waits for it.
        # Ray's annotations lack this strategy.
        here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        made = ray.remote(num_cpus=0, scheduling_strategy=here)(Oracle)
        return made.remote(self.sweep.config({}, self.seed).model_dump(), set(self.sweep.fixed))


class Tpe:
    """Ray's HyperOptSearch: the known points, random draws up to `startup` trials, then the tree of Parzen estimators (Bergstra et al. 2011)."""

    def __init__(self, sweep: Sweep, seed: int) -> None:
        # Imported here: only a run with this searcher pays for hyperopt and ray.
        from ray.tune.search.hyperopt import HyperOptSearch

        self.space = sweep.space
        self.search = HyperOptSearch(
            {key: _hyperopt(key, distribution) for key, distribution in sweep.space.items()},
            metric="val_accuracy",
            mode="max",
            points_to_evaluate=[dict(point) for point in sweep.known_points] or None,
            n_initial_points=sweep.startup,
            random_state_seed=seed,
        )

    def ask(self, trial: int) -> Point:
        """A known point, a random draw, or what the estimators hold for best."""
        point = self.search.suggest(str(trial))
        assert point is not None, "HyperOptSearch always has a suggestion"
        return {key: _plain(point[key], distribution) for key, distribution in self.space.items()}

    def tell(self, trial: int, accuracy: float | None) -> None:
        """Learn from a trial."""
        result = None if accuracy is None else {"val_accuracy": accuracy}
        self.search.on_trial_complete(str(trial), result=result, error=accuracy is None)


def _hyperopt(key: str, distribution: Distribution) -> Any:
    from hyperopt import hp

    if isinstance(distribution, Uniform):
        return hp.uniform(key, distribution.low, distribution.high)
    if isinstance(distribution, LogUniform):
        return hp.loguniform(key, np.log(distribution.low), np.log(distribution.high))
    if isinstance(distribution, Integers):
        return hp.uniformint(key, distribution.low, distribution.high)
    return hp.choice(key, list(distribution.values))


def _plain(value: Any, distribution: Distribution) -> Any:
    if isinstance(distribution, Choice):
        return value
    return int(value) if isinstance(distribution, Integers) else float(value)
