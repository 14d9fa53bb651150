"""AutoKeras' greedy search, told of results in the order in which they are known and asked for networks one by one: no files, no tuner, and nothing that
a journal of the questions and answers cannot rebuild."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from trainables.core.devices import claim
from trainables.core.spaces import first_networks, network, training_of

if TYPE_CHECKING:
    from keras_tuner import HyperParameters

# Tries to find a network that has not been proposed: first beside the best, where in the end none is left, then anywhere.
TRIES = 200
BESIDE_THE_BEST = 100
# Nothing that is varied depends on it.
CLASSES = 10


class Oracle:
    """Lives in a process of its own: it imports keras (5 s, 400 MB). Equal questions and answers in equal order give equal networks."""

    def __init__(self, settings: dict[str, Any], fixed: Collection[str]) -> None:
        """`settings`: those of a trial (space, size, seed are used); `fixed`: the names of those that are not searched."""
        claim(1, 0)
        from keras_tuner import HyperParameters

        from trainables.core.autokeras_compat import greedy_oracle

        self.space, self.size, self.seed = settings["space"], settings["size"], settings["seed"]
        self.fixed = dict.fromkeys(fixed)
        self.greedy = greedy_oracle(first_networks(self.space), self.seed)
        self.proposed: dict[int, HyperParameters] = {}
        self.asked: list[dict[str, Any]] = []
        # The space as far as a first network has it; each network adds what it is the first to have.
        hp = HyperParameters()
        self._build(hp)
        self.greedy.update_space(hp)

    def ask(self, trial: int) -> dict[str, Any]:
        """The settings of a network that was not proposed before: `hyperparameters` (AutoKeras' names -> values, the active ones), and those of its
        training that are not fixed."""
        from keras_tuner import HyperParameters

        from trainables.core.autokeras_compat import populate

        for attempt in range(TRIES):
            hp = self.greedy.get_space()
            hp.values = populate(self.greedy, self.seed, TRIES * trial + attempt, anew=attempt >= BESIDE_THE_BEST)
            if not self._was_proposed(hp.values):
                break
        # A space of its own tells what this network asks for: AutoKeras' has values for blocks that it does not have.
        own = HyperParameters()
        own.values = dict(hp.values)
        training = self._build(own)
        self.greedy.update_space(own)
        hp.merge(own)
        hp.values |= own.values
        values = {parameter.name: own.values[parameter.name] for parameter in own.space}
        self.asked.append(values)
        self.proposed[trial] = hp
        return {"hyperparameters": values, **training}

    def _was_proposed(self, values: dict[str, Any]) -> bool:
        """Whether these values make a network that was proposed before: they are that one's wherever it asks for any."""
        return any(all(values.get(name) == value for name, value in asked.items()) for asked in self.asked)

    def tell(self, trial: int, accuracy: float | None) -> None:
        """The best validation accuracy of a network; None: it has none, and is not built upon."""
        from keras_tuner.engine.trial import Trial, TrialStatus

        if accuracy is None:
            # Where none has succeeded, a failed one that the searcher knows of is its best.
            return
        ended = Trial(self.proposed[trial], trial_id=str(trial), status=TrialStatus.COMPLETED)
        ended.score = accuracy
        self.greedy.trials[ended.trial_id] = ended

    def _build(self, hp: HyperParameters) -> dict[str, Any]:
        """Build it only to see what it asks for."""
        import keras

        from trainables.core.autokeras_compat import without_downloads

        keras.utils.clear_session()
        with without_downloads():
            network(hp, self.space, self.size, CLASSES)
        return training_of(hp, self.space, self.fixed)
