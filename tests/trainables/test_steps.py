"""Steps: the compiled path of TensorFlow is the public path of every backend, only faster; and JAX trains."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import assert_same_arrays, in_new_process, training
from trainables.core.steps import Batch, Pass, Steps, on_batch
from trainables.core.training import Training, batches

# Compiling is most of this test: without optimization, and once for both networks.
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
# Train on JAX: an epoch, its state through a file to a fresh network, an epoch there; and two epochs in one go.
ON_JAX = """
import json, sys
from pathlib import Path

import keras

from data_prep import open_dataset
from tests.trainables.trials import metrics, training
from trainables.core.checkpoint import CheckpointStore

dataset = open_dataset(Path(sys.argv[1]))
settings = {"size": 8, "classes": None, "filters": 8, "dropout": 0.1, "learning_rate": 0.02, "seed": 1}
calm, store = training(dataset, **settings), CheckpointStore(sys.argv[2])
calm.run_epoch()
store.save(calm.state(), calm.history, 1)
calm.run_epoch()
resumed = training(dataset, **settings)
resumed.restore(*store.load(1))
resumed.run_epoch()
print(json.dumps([keras.backend.backend(), *([metrics(result) for result in each.history] for each in (calm, resumed))]))
"""


def in_batches(one: Training, rows: np.ndarray, size: int = 64) -> list[Batch]:
    return [one.gather(part) for part in batches(rows, size)]


def weights(one: Training) -> list[np.ndarray]:
    return [value for value in one.state().values() if value.dtype == np.float32]


def test_compiled_steps_are_keras_own(digits16: Dataset) -> None:
    compiled, public = (training(digits16, seed=2) for _ in range(2))
    rows = compiled.split.train
    for _ in range(2):
        one = compiled.graph.steps.train(in_batches(compiled, rows)).finish()
        other = Pass(on_batch(public.model.train_on_batch, in_batches(public, rows))).finish()
        assert one == pytest.approx(other, abs=1e-6)
        assert set(one) == {"loss", "accuracy"}
    for mine, theirs in zip(weights(compiled), weights(public), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    rows = compiled.split.test
    one = compiled.graph.steps.test(in_batches(compiled, rows)).finish()
    other = Pass(on_batch(compiled.model.test_on_batch, in_batches(compiled, rows))).finish()
    assert one == pytest.approx(other, abs=1e-6)


@pytest.fixture(scope="module")
def trained(digits16: Dataset) -> Training:
    """After an epoch of three batches."""
    one = training(digits16)
    one.run_epoch()
    return one


@pytest.mark.parametrize(
    "path", [lambda model, given: Steps(model).test(given), lambda model, given: Pass(on_batch(model.test_on_batch, given))]
)
def test_means_are_over_images(trained: Training, digits16: Dataset, path: Callable[..., Pass]) -> None:
    """Against numpy, and whatever the batches: 144 images at once, or in two parts or three; no call sees the one before."""
    one = trained
    rows = one.split.test
    probabilities, labels = one.model.predict(digits16.images[rows], verbose=0), digits16.labels[rows]
    own = probabilities[np.arange(len(rows)), labels]
    expected = {"loss": -np.log(own).mean(), "accuracy": (probabilities.argmax(axis=1) == labels).mean()}
    before = one.state()
    for size in (64, 143, 144):
        assert path(one.model, in_batches(one, rows, size)).finish() == pytest.approx(expected, abs=1e-5)
    assert_same_arrays(one.state(), before)


def test_batches_are_taken_one_by_one(trained: Training) -> None:
    """From a generator, with no batch gathered before the one before it is trained on."""
    steps_before = []

    def given() -> Iterator[Batch]:
        for batch in in_batches(trained, trained.split.train):
            steps_before.append(int(trained.model.optimizer.iterations.numpy()))
            yield batch

    trained.graph.steps.train(given()).finish()
    assert steps_before == [3, 4, 5]


def test_a_pass_can_be_left_and_gone_on_with(trained: Training, digits16: Dataset) -> None:
    """Between any two of its steps, with the means of one in a go."""
    given = in_batches(trained, trained.split.test, 50)
    whole = trained.graph.steps.test(given).finish()
    one = trained.graph.steps.test(given)
    for steps in (0, 1, 2):
        calls = iter([False] * steps)
        one.go_on(lambda calls=calls: next(calls, True))  # type: ignore[misc]
        assert one.means is None
    assert one.finish() == one.finish() == whole
    assert one.means == whole
    before = one.seconds
    time.sleep(0.1)
    one.go_on()
    assert 0 < one.seconds < before + 0.1, "time between two calls is not counted"


@pytest.mark.tensorflow
def test_a_step_is_traced_once(digits16: Dataset) -> None:
    """Whatever the batches: the last of an epoch has fewer images."""
    one = training(digits16)
    steps, traced = one.graph.steps, Counter[str]()

    def counted(name: str, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda data: traced.update([name]) or step(data)

    for name in ("train_step", "test_step", "predict_step"):
        setattr(one.model, name, counted(name, getattr(one.model, name)))
    for size in (64, 50, 144):
        given = in_batches(one, one.split.test, size)
        steps.train(given).finish()
        steps.test(given).finish()
        steps.predict(images for images, _ in given)
    assert traced == {"train_step": 1, "test_step": 1, "predict_step": 1}


def test_predictions_are_keras_own(trained: Training, digits16: Dataset) -> None:
    rows = trained.split.test
    found = trained.graph.steps.predict(images for images, _ in in_batches(trained, rows))
    assert found.shape == (144, 2)
    np.testing.assert_allclose(found, trained.model.predict(digits16.images[rows], verbose=0), atol=1e-6)


def test_jax(digits8: Dataset, tmp_path: Path) -> None:
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), **QUICK}
    backend, calm, resumed = in_new_process(ON_JAX, str(digits8.path), str(tmp_path / "trial"), **environment)
    assert backend == "jax"
    # Chance is 0.1.
    assert calm[0]["train_accuracy"] > 0.2
    assert calm[1]["train_loss"] < calm[0]["train_loss"]
    assert resumed == calm
