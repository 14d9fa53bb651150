"""One graph for many trials: each gets the numbers of a fresh process, to the last bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import ROOT, TINY, assert_same_arrays, in_new_process, metrics, trial_of, warm
from trainables import get_trainable
from trainables.core.checkpoint import CheckpointStore

if TYPE_CHECKING:
    from trainables.core.graphs import Graphs
    from trainables.core.training import Training


@pytest.fixture
def graphs() -> Graphs:
    warm()
    from trainables.core.graphs import Graphs

    return Graphs()


def trial(dataset: Dataset, graphs: Graphs | None, **settings: Any) -> Training:
    from trainables.core.training import Training

    cnn = get_trainable("cnn")
    return Training(cnn, cnn.config(**{**TINY, "size": dataset.size, "dropout": 0.3, **settings}), dataset, graphs=graphs)


def compiled(one: Training) -> int:
    """Identity of its programs."""
    return id(one.model)


BEFORE: dict[str, Any] = {"learning_rate": 0.01, "seed": 7}
OTHERS: list[dict[str, Any]] = [
    {"dropout": 0.5},
    {"dropout": 0.0},
    {"learning_rate": 0.02, "seed": 3},
    {"schedule": "cosine", "epochs": 2},
    {"data_fraction": 0.75},
]


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_after_another_trial_as_in_a_fresh_one(digits8: Dataset, graphs: Graphs, settings: dict[str, Any]) -> None:
    first = trial(digits8, graphs, **BEFORE)
    first.run_epoch()
    warmed, fresh = trial(digits8, graphs, **settings), trial(digits8, None, **settings)
    assert compiled(warmed) == compiled(first)
    assert_same_arrays(warmed.state(), fresh.state())
    for _ in range(2):
        assert metrics(warmed.run_epoch()) == metrics(fresh.run_epoch())
    assert_same_arrays(warmed.state(), fresh.state())


def test_after_a_trial_without_dropout(digits8: Dataset, graphs: Graphs) -> None:
    """Whose own network has no random state for it."""
    first = trial(digits8, graphs, dropout=0.0, **BEFORE)
    first.run_epoch()
    warmed, fresh = trial(digits8, graphs), trial(digits8, None)
    assert compiled(warmed) == compiled(first)
    assert metrics(warmed.run_epoch()) == metrics(fresh.run_epoch())
    assert_same_arrays(warmed.state(), fresh.state())


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_decay_is_a_variable(digits8: Dataset, graphs: Graphs, optimizer: str) -> None:
    decays = [trial(digits8, graphs, weight_decay=decay, optimizer=optimizer, augmentation="flip") for decay in (0.5, 0.01)]
    assert compiled(decays[0]) == compiled(decays[1])
    fresh = trial(digits8, None, weight_decay=0.01, optimizer=optimizer, augmentation="flip")
    assert metrics(decays[1].run_epoch()) == metrics(fresh.run_epoch())


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 2},
        {"filters": 5},
        {"classes": 3},
        {"optimizer": "sgd"},
        {"weight_decay": 0.1},
        {"label_smoothing": 0.1},
        {"augmentation": "flip"},
    ],
    ids=str,
)
def test_another_graph_is_another(digits8: Dataset, graphs: Graphs, settings: dict[str, Any]) -> None:
    assert compiled(trial(digits8, graphs)) != compiled(trial(digits8, graphs, **settings))


@pytest.mark.parametrize("settings", [{"batch_size": 32}, {"data_fraction": 0.1}], ids=str)
def test_batches_of_any_size_share_one(digits8: Dataset, graphs: Graphs, settings: dict[str, Any]) -> None:
    """With a tenth of the images an epoch has fewer than one batch."""
    before = trial(digits8, graphs)
    before.run_epoch()
    warmed, fresh = trial(digits8, graphs, **settings), trial(digits8, None, **settings)
    assert compiled(warmed) == compiled(before)
    assert metrics(warmed.run_epoch()) == metrics(fresh.run_epoch())
    assert_same_arrays(warmed.state(), fresh.state())


def test_it_goes_on_from_a_checkpoint(digits8: Dataset, graphs: Graphs) -> None:
    """Of a trial without dropout, in the graph of one with it."""
    straight = trial(digits8, None, dropout=0.0)
    straight.run_epoch()
    stored, history = straight.state(), list(straight.history)
    trial(digits8, graphs, **BEFORE).run_epoch()
    resumed = trial(digits8, graphs, dropout=0.0)
    resumed.restore(stored, history)
    assert metrics(resumed.run_epoch()) == metrics(straight.run_epoch())
    assert_same_arrays(resumed.state(), straight.state())


def test_the_last_few_are_kept(digits8: Dataset) -> None:
    warm()
    from trainables.core.graphs import Graphs

    graphs = Graphs(room=2)
    first, second = compiled(trial(digits8, graphs, filters=2)), compiled(trial(digits8, graphs, filters=3))
    # Used again, so the second is the one that goes.
    assert compiled(trial(digits8, graphs, filters=2)) == first
    third = compiled(trial(digits8, graphs, filters=4))
    assert [compiled(trial(digits8, graphs, filters=filters)) for filters in (4, 2)] == [third, first]
    assert len(graphs.kept) == 2
    assert second not in {id(graph.model) for graph in graphs.kept.values()}


@pytest.mark.tensorflow
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("kind", ["Dropout", "SpatialDropout2D"])
def test_it_drops_as_keras_does(kind: str, rate: float) -> None:
    """The same values by the same generator; their scale to the last bits of float32."""
    warm()
    import keras

    from trainables.core.stand_ins import VariableDropout

    keras.utils.set_random_seed(0)
    layer = getattr(keras.layers, kind)(rate, seed=5)
    again = getattr(keras.layers, kind)(rate, seed=5)
    ours = VariableDropout(again)
    x = np.random.default_rng(0).normal(size=(6, 4, 4, 8)).astype(np.float32)
    for _ in range(2):
        expected, found = (keras.ops.convert_to_numpy(each(x, training=True)) for each in (layer, ours))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours(x, training=False)), x)
    ours.rate.assign(0.0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(ours(x, training=True)), x)


@pytest.mark.parametrize("kind", ["Dropout", "SpatialDropout2D"])
def test_it_drops_at_its_rate(kind: str) -> None:
    """On any backend: what is kept is scaled so that its mean stays, and a map is kept or dropped whole."""
    warm()
    import keras

    from trainables.core.stand_ins import VariableDropout

    ours = VariableDropout(getattr(keras.layers, kind)(0.5, seed=5))
    ours.rate.assign(0.25)
    found = keras.ops.convert_to_numpy(ours(np.ones((50, 4, 4, 32), np.float32), training=True))
    assert np.unique(found).tolist() == pytest.approx([0.0, 4 / 3])
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.05)
    whole = (found == found[:, :1, :1, :]).all(axis=(1, 2))
    assert whole.all() == (kind == "SpatialDropout2D")


def test_a_dropout_of_another_kind_keeps_its_rate(digits8: Dataset, graphs: Graphs) -> None:
    """What has no variable for it is another graph for each value."""
    warm()
    import keras

    from trainables.core.config import TrainConfig

    def network(rate: float) -> keras.Model:
        images = keras.Input((8, 8, 3))
        x = keras.layers.GaussianDropout(rate)(keras.layers.Flatten()(images))
        return keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))

    models = [network(rate) for rate in (0.1, 0.2, 0.1)]
    taken = [id(graphs.take(model, model.variables, TrainConfig(size=8)).model) for model in models]
    assert taken[0] == taken[2] != taken[1]


def key_of_layers(*layers: Any) -> str | None:
    import keras

    from trainables.core.config import TrainConfig
    from trainables.core.graphs import _key

    x = images = keras.Input((4, 8))
    for layer in layers:
        x = layer(x)
    return _key(keras.Model(images, x), TrainConfig(size=8))


def test_a_layer_may_be_called_as_what_it_does() -> None:
    warm()
    import keras

    keys = [key_of_layers(keras.layers.Activation(name, name=name)) for name in ("relu", "tanh")]
    assert None not in keys
    assert keys[0] != keys[1]
    assert key_of_layers(keras.layers.Dense(2)) == key_of_layers(keras.layers.Dense(2))


def test_what_a_class_of_a_function_does_is_not_in_its_configuration() -> None:
    warm()
    import keras

    class Scaled(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    assert key_of_layers(Scaled()) is None


def test_a_dropout_inside_another_layer_keeps_its_rate(graphs: Graphs) -> None:
    """It has no variable, so its graph is nobody else's."""
    import keras

    from trainables.core.config import TrainConfig

    def network(rate: float) -> keras.Model:
        images = keras.Input((4, 8))
        x = keras.layers.TimeDistributed(keras.layers.Dropout(rate))(images)
        return keras.Model(images, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x)))

    models = [network(rate) for rate in (0.1, 0.5)]
    taken = [id(graphs.take(model, model.variables, TrainConfig(size=8)).model) for model in models]
    assert taken[0] != taken[1]


def test_counts_are_the_networks_own(digits16: Dataset) -> None:
    """What makes a rate a variable is no parameter of the network."""
    one = trial_of("cnn", digits16)
    assert (one.network.count_params(), one.model.count_params() - one.network.count_params()) == (110_810, 5)


WORKER = """
import json, sys
from trainables.core.devices import claim
claim(1, 0)
from trainables.core.worker import Worker
first, *others = json.loads(sys.argv[1])
worker = Worker(config=first)
results = [worker.step() for _ in range(2)]
for task in others:
    worker.reset_config(task)
    results = [worker.step() for _ in range(2)]
print(json.dumps([results, len(worker.shared.graphs.kept)]))
"""


@pytest.mark.tensorflow
def test_a_worker_after_other_trials_as_in_a_process_of_its_own(digits16: Dataset, tmp_path: Any) -> None:
    """The whole way: the same results, and the same bytes of state in the checkpoint."""

    def task(folder: str, **settings: Any) -> dict[str, Any]:
        given = {
            "task": "train",
            "trial": 1,
            "reported": 0,
            "trainable": "cnn",
            "dataset_folder": str(digits16.path),
            "bases": {},
            "final": False,
        }
        rest = {"deadline": None, "cpus": 1, "gpus": 0, "cache_bytes": 10**9, "checkpoints": str(tmp_path / folder)}
        return {**given, **rest, "config": {**TINY, **settings}}

    settings: dict[str, Any] = {"dropout": 0.4, "seed": 5}
    before = [task("first", dropout=0.0, learning_rate=0.05), task("second", dropout=0.2, depth=2)]
    warmed, graphs = in_new_process(WORKER, json.dumps([*before, task("warm", **settings)]), PYTHONPATH=str(ROOT))
    fresh, _ = in_new_process(WORKER, json.dumps([task("fresh", **settings)]), PYTHONPATH=str(ROOT))
    assert graphs == 2
    assert [metrics(result) for result in warmed] == [metrics(result) for result in fresh]
    states = [CheckpointStore(str(tmp_path / folder)).load(2)[0] for folder in ("warm", "fresh")]
    assert_same_arrays(*states)
