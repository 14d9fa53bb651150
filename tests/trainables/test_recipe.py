"""Loss and optimizer: plain ones to the last bit where nothing is asked for, and what smoothing and decay do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import TINY, assert_same_arrays, metrics, training
from trainables.cnn import CnnConfig, build
from trainables.core.training import EVALUATION_BATCH, Arrays, Training, batches


@pytest.mark.tensorflow
def test_fused_normalisations_change_nothing_but_rounding(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = training(digits16, seed=4)
    monkeypatch.setattr("trainables.core.graphs.can_be_fused", lambda layer: False)
    plain = training(digits16, seed=4)
    assert [type(layer).__name__ for layer in fused.model.layers].count("FusedNormalization") == 3
    assert "FusedNormalization" not in [type(layer).__name__ for layer in plain.model.layers]
    for _ in range(2):
        found, expected = fused.run_epoch(), plain.run_epoch()
        # An image on the edge may fall to the other side: of 192 to train on, and 24.
        for name, most in {"train_loss": 1e-4, "val_loss": 1e-4, "train_accuracy": 1.5 / 192, "val_accuracy": 1.5 / 24}.items():
            assert found[name] == pytest.approx(expected[name], abs=most), name
    # A loss of seven digits may be equal by chance, not every weight.
    one, other = fused.state(), plain.state()
    assert any((one[key] != other[key]).any() for key in one), "the same operations"


def test_defaults_are_plain_keras(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: Adam and cross-entropy, as one would write it. (With Keras' own normalisations: the fused ones round otherwise.)"""
    import keras

    monkeypatch.setattr("trainables.core.graphs.can_be_fused", lambda layer: False)

    from trainables.core.steps import Steps

    one = training(digits16, seed=4)
    assert [one.config.schedule, one.config.label_smoothing, one.config.weight_decay, one.config.augmentation] == ["constant", 0, 0, "none"]
    keras.utils.set_random_seed(4)
    model = build(CnnConfig(**TINY), 2)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in (1, 2):
        result = one.run_epoch()
        order = np.random.default_rng((4, epoch)).permutation(one.split.train)
        trained = Steps(model).train([one.gather(rows) for rows in batches(order, 64)]).finish()
        validated = Steps(model).test([one.gather(rows) for rows in batches(one.split.validation, EVALUATION_BATCH)]).finish()
        assert (result["train_loss"], result["train_accuracy"]) == (trained["loss"], trained["accuracy"])
        assert (result["val_loss"], result["val_accuracy"]) == (validated["loss"], validated["accuracy"])
    variables = {"model": model.variables, "optimizer": model.optimizer.variables}
    by_hand: Arrays = {f"{part}/{n:04d}": keras.ops.convert_to_numpy(each) for part in variables for n, each in enumerate(variables[part])}
    assert_same_arrays(one.state(), by_hand)


def one_batch(one: Training) -> tuple[np.ndarray, np.ndarray]:
    return one.gather(one.split.validation)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_smoothing(digits16: Dataset, smoothing: float) -> None:
    """Against numpy: what is minimised; and losses are reported in plain nats."""
    one = training(digits16, classes=None, label_smoothing=smoothing)
    plain = training(digits16, classes=None)
    images, labels = one_batch(one)
    probabilities = one.model.predict_on_batch(images).astype(np.float64)
    targets = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    minimised = one.model.test_on_batch(images, labels, return_dict=True)
    assert minimised["loss"] == pytest.approx(-(targets * np.log(probabilities)).sum(axis=1).mean(), rel=1e-5)
    assert one._validate()["cross_entropy"] == pytest.approx(plain._validate()["loss"], rel=1e-6)
    own = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    result, other = one.run_epoch(), plain.run_epoch()
    assert result["train_loss"] != other["train_loss"]
    assert result["train_loss"] == pytest.approx(other["train_loss"], abs=0.3)
    probabilities = one.model.predict_on_batch(images).astype(np.float64)
    assert result["val_loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), rel=1e-5) != own


def test_smoothing_keeps_a_network_humble(digits16: Dataset) -> None:
    """Its sureness ends at the smoothed labels: 0.75 for the right one of two."""
    sure = []
    for smoothing in (0.0, 0.5):
        one = training(digits16, dropout=0, learning_rate=0.03, label_smoothing=smoothing, depth=1, filters=8)
        for _ in range(10):
            one.run_epoch()
        images, _ = one.gather(one.split.train)
        sure.append(one.model.predict_on_batch(images).max(axis=1).mean())
    assert sure[0] > 0.85
    assert sure[1] == pytest.approx(0.75, abs=0.07)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_decay_is_decoupled(digits16: Dataset, optimizer: str) -> None:
    """One step: kernels lose rate x decay of themselves, apart from the optimizer's step; biases, scales and offsets lose nothing."""
    settings: dict[str, Any] = {"optimizer": optimizer, "batch_size": 192, "learning_rate": 0.01}
    decayed, plain = (training(digits16, weight_decay=decay, **settings) for decay in (0.5, 0))
    start = plain.state()
    decayed.run_epoch()
    plain.run_epoch()
    with_decay, without = decayed.state(), plain.state()
    assert list(with_decay) == list(without)
    kernels = 0
    for n, variable in enumerate(plain.graph.state):
        key = f"model/{n:04d}"
        if not variable.trainable:
            continue
        kernel = len(variable.shape) > 1
        kernels += kernel
        expected = without[key] - (0.01 * 0.5 * start[key] if kernel else 0)
        np.testing.assert_allclose(with_decay[key], expected, atol=1e-6, err_msg=variable.path)
    assert kernels == 4


def test_without_decay_it_is_adam(digits16: Dataset) -> None:
    import keras

    assert type(training(digits16).model.optimizer) is keras.optimizers.Adam
    assert type(training(digits16, weight_decay=1e-4).model.optimizer) is keras.optimizers.AdamW


@pytest.mark.parametrize("decay", [0, 0.5])
def test_sgd_is_plain(digits16: Dataset, decay: float) -> None:
    """Without momentum: it has no slots. Its step goes with the rate, so a tenth of it is a tenth of the way."""
    import keras

    from trainables.core.recipe import plain_variables

    starts, ends = [], []
    for learning_rate in (0.01, 0.001):
        one = training(digits16, optimizer="sgd", weight_decay=decay, learning_rate=learning_rate, batch_size=192)
        assert type(one.model.optimizer) is keras.optimizers.SGD
        assert one.model.optimizer.momentum == 0
        if decay:
            assert float(keras.ops.convert_to_numpy(one.model.optimizer.weight_decay)) == decay
        else:
            assert one.model.optimizer.weight_decay is None
        assert [variable.shape for variable in plain_variables(one.model.optimizer)] == [(), ()]
        weights = one.model.trainable_variables
        starts.append([keras.ops.convert_to_numpy(variable) for variable in weights])
        one.run_epoch()
        ends.append([keras.ops.convert_to_numpy(variable) for variable in weights])
    for start, whole, tenth in zip(starts[0], *ends, strict=True):
        np.testing.assert_allclose((whole - start) / 10, tenth - start, atol=1e-6)
    assert max(abs(whole - start).max() for start, whole in zip(starts[0], ends[0], strict=True)) > 1e-3


def test_a_small_decay_is_not_nothing(digits16: Dataset) -> None:
    assert metrics(training(digits16, weight_decay=1).run_epoch()) != metrics(training(digits16).run_epoch())
