"""Training: the same numbers after a resume, and numbers that mean what they say."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from data_prep import Dataset
from tests.trainables.trials import assert_same_arrays, metrics, training, trial_of, warm
from trainables import get_trainable
from trainables.core import training as training_module
from trainables.core.bases import opened
from trainables.core.checkpoint import CheckpointStore
from trainables.core.selection import best_epoch, without_gain
from trainables.core.training import OutOfTime, Training, batches


def epochs(one: Training, count: int) -> list[dict[str, Any]]:
    return [metrics(one.run_epoch()) for _ in range(count)]


def orders_of(one: Training, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Collects the rows that it trains on, an array an epoch; the real thing goes on."""
    orders: list[np.ndarray] = []
    gather = one.gather

    def collecting(rows: np.ndarray, epoch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        if epoch and epoch > len(orders):
            orders.append(rows)
        elif epoch:
            orders[-1] = np.concatenate([orders[-1], rows])
        return gather(rows, epoch)

    monkeypatch.setattr(one, "gather", collecting)
    return orders


def test_resume_is_exact(digits16: Dataset, tmp_path: Path) -> None:
    settings = {"classes": 4, "dropout": 0.4, "seed": 5}
    calm = training(digits16, **settings)
    expected = epochs(calm, 4)

    store = CheckpointStore(str(tmp_path / "trial"))
    first = training(digits16, **settings)
    start = first.state()
    before = epochs(first, 2)
    # The generators of the three dropout layers are in it, and have moved.
    generators = [key for key, value in start.items() if key.startswith("model") and value.dtype.kind in "iu"]
    assert len(generators) == 3
    assert all((first.state()[key] != start[key]).any() for key in generators)
    store.save(first.state(), first.history, 1)
    del first

    resumed = training(digits16, **settings)
    stored = store.load_newest()
    assert stored
    resumed.restore(*stored)
    assert resumed.epoch == 2
    assert [metrics(result) for result in resumed.history] == before
    after = epochs(resumed, 2)

    assert before + after == expected
    assert_same_arrays(resumed.state(), calm.state())
    assert len({result["train_loss"] for result in expected}) == 4


# Every setting of the recipe at once, none of them at its default.
RECIPE: dict[str, Any] = {
    "images": 1500,
    "data_fraction": 0.8,
    "schedule": "one_cycle",
    "label_smoothing": 0.1,
    "weight_decay": 0.01,
    "augmentation": "flip_shift_light",
    "epochs": 4,
    "dropout": 0.4,
    "seed": 5,
}


def test_resume_is_exact_with_every_setting(digits16: Dataset, tmp_path: Path) -> None:
    calm = training(digits16, **RECIPE)
    expected = epochs(calm, 4)
    store = CheckpointStore(str(tmp_path / "trial"))
    first = training(digits16, **RECIPE)
    before = epochs(first, 2)
    store.save(first.state(), first.history, 1)
    # In the middle of its third epoch, after two steps of three: weights, slots, generators and rate have moved on.
    steps = first._scheduled(3, batches(first.split.train, 64))
    first.graph.steps.train([next(steps), next(steps)]).finish()

    stored = store.load_newest()
    assert stored
    moved = [key for key, value in first.state().items() if (value != stored[0][key]).any()]
    assert len(moved) == len(stored[0])
    # In a new process, and where the process goes on.
    for resumed in (training(digits16, **RECIPE), first):
        resumed.restore(*stored)
        assert before + epochs(resumed, 2) == expected
        assert_same_arrays(resumed.state(), calm.state())
    # It rose and fell.
    rates = [result["learning_rate"] for result in expected]
    assert rates[0] < max(rates)
    assert rates[-1] < rates[-2] < max(rates) <= 1e-3


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base network with random weights, as a run stores it: 22 layers, as 8 px are not pooled thrice."""
    warm()
    from trainables.core.pretrained import features, network

    path = tmp_path_factory.mktemp("base") / "base.keras"
    features(network("cifar10", 8, None)).save(path)
    return str(path)


ON_A_BASE: list[tuple[str, dict[str, Any]]] = [
    ("transfer", {"schedule": "cosine", "epochs": 3}),
    ("fine_tune", {"unfrozen_layers": 8, "augmentation": "flip_shift"}),
]


@pytest.mark.parametrize(("name", "settings"), ON_A_BASE, ids=["transfer", "fine_tune"])
def test_resume_is_exact_on_a_base(digits8: Dataset, base_file: str, tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    """Also where other trials were before: the generators in a base are drawn when it is loaded, from the trial's seed."""
    settings = {**settings, "classes": 2, "images": 595, "batch_size": 25, "dense_units": 8, "seed": 5}
    config = get_trainable(name).config(size=8, **settings)

    def start() -> Training:
        keras.utils.set_random_seed(len(started))
        started.append(trial_of(name, digits8, opened(config, {"cifar10": base_file}), **settings))
        return started[-1]

    started: list[Training] = []
    calm, first = start(), start()
    assert_same_arrays(calm.state(), first.state())
    assert len(first.split.train) == 75
    generators = [key for key, value in first.state().items() if key.startswith("model") and value.dtype.kind in "iu"]
    assert len(generators) == {"transfer": 1, "fine_tune": 3 + 2}[name]
    expected = epochs(calm, 3)
    before = epochs(first, 1)
    store = CheckpointStore(str(tmp_path / "trial"))
    store.save(first.state(), first.history, 1)
    # In the middle of its second epoch.
    first.graph.steps.train([first.gather(first.split.train[:25])]).finish()
    stored = store.load_newest()
    assert stored
    resumed = start()
    resumed.restore(*stored)
    assert before + epochs(resumed, 2) == expected
    assert_same_arrays(resumed.state(), calm.state())


def test_it_trains_on_a_part(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, part = training(digits16), training(digits16, data_fraction=0.4)
    orders = orders_of(part, monkeypatch)
    epochs(part, 1)
    assert (len(whole.split.train), len(part.split.train)) == (192, 77)
    np.testing.assert_array_equal(np.sort(orders[0]), part.split.train)
    assert set(part.split.train) < set(whole.split.train)
    np.testing.assert_array_equal(part.split.validation, whole.split.validation)
    np.testing.assert_array_equal(part.split.test, whole.split.test)


def test_a_final_fit_trains_on_validation(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both splits in one order, and no figures of what it trained on; never the test split."""
    one, usual = training(digits16, final=True), training(digits16)
    orders = orders_of(one, monkeypatch)
    found = epochs(one, 2)
    rows = np.concatenate([usual.split.train, usual.split.validation])
    assert len(rows) == 192 + 24
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.sort(rows))
    assert not set(rows) & set(usual.split.test)
    assert [(result["val_loss"], result["val_accuracy"]) for result in found] == [(None, None)] * 2
    assert (best_epoch(one.history), without_gain(one.history)) == (2, 0)
    assert one.history[0]["images_per_second"] > len(rows) / one.history[0]["epoch_seconds"]
    assert found[0] != {**epochs(usual, 1)[0], "val_loss": None, "val_accuracy": None}


def test_a_final_fit_resumes_exactly(digits16: Dataset, tmp_path: Path) -> None:
    settings = {"final": True, "schedule": "linear", "epochs": 3, "seed": 5}
    calm, first, resumed = (training(digits16, **settings) for _ in range(3))
    expected = epochs(calm, 3)
    before = epochs(first, 1)
    store = CheckpointStore(str(tmp_path / "trial"))
    store.save(first.state(), first.history, 1)
    stored = store.load_newest()
    assert stored
    resumed.restore(*stored)
    assert before + epochs(resumed, 2) == expected
    assert_same_arrays(resumed.state(), calm.state())


def test_out_of_time(digits16: Dataset) -> None:
    """At the first batch after it: before any step where it has passed."""
    one = training(digits16)
    start = one.state()
    one.deadline = time.time() - 1
    with pytest.raises(OutOfTime):
        one.run_epoch()
    assert one.epoch == 0
    assert_same_arrays(one.state(), start)
    one.deadline = time.time() + 1000
    assert metrics(one.run_epoch()) == epochs(training(digits16), 1)[0]


@pytest.mark.parametrize("batch", [2, 4])
def test_out_of_time_within_an_epoch(digits16: Dataset, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Its batches are three of training and one of validation; what it did is no epoch."""
    one = training(digits16)
    epochs(one, 1)
    state, history = one.state(), list(one.history)
    hours = iter(range(100))
    monkeypatch.setattr(training_module, "time", SimpleNamespace(time=lambda: next(hours), perf_counter=time.perf_counter))
    one.deadline = batch - 1
    with pytest.raises(OutOfTime):
        one.run_epoch()
    assert next(hours) == batch
    assert one.history == history
    assert any((value != state[key]).any() for key, value in one.state().items())
    # As a worker does.
    monkeypatch.undo()
    one.deadline = time.time() + 1000
    one.restore(state, history)
    calm = training(digits16)
    assert epochs(calm, 2)[1] == epochs(one, 1)[0]


def test_all_of_the_state_is_needed(digits16: Dataset) -> None:
    """What `test_resume_is_exact` would not see if moving averages, generators or Adam's slots made no difference."""
    one = training(digits16)
    start = one.state()
    epochs(one, 1)
    state, history = one.state(), one.history
    without = [{**state, **{key: value for key, value in start.items() if key.startswith(part)}} for part in ("model", "optimizer")]
    after = []
    for restored in (state, state, *without):
        one.restore(restored, history[:1])
        after += epochs(one, 1)
    assert after[0] == after[1]
    assert after[0] not in after[2:]


def test_numbers_and_order_follow_the_seed(digits16: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [training(digits16, seed=seed) for seed in (3, 3, 4)]
    starts = [one.state() for one in trials]
    orders = [orders_of(one, monkeypatch) for one in trials]
    results = [epochs(one, 2) for one in trials]
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert_same_arrays(starts[0], starts[1])
    assert_same_arrays(trials[0].state(), trials[1].state())
    weights = next(key for key, value in starts[0].items() if value.ndim == 4)
    assert (starts[0][weights] != starts[2][weights]).any()

    rows = trials[0].split.train
    for of_one in orders:
        assert [len(order) for order in of_one] == [192, 192]
        for order in of_one:
            np.testing.assert_array_equal(np.sort(order), rows)
            assert (order != rows).any()
    for epoch in (0, 1):
        np.testing.assert_array_equal(orders[0][epoch], orders[1][epoch])
        assert (orders[0][epoch] != orders[2][epoch]).any()
    assert (orders[0][0] != orders[0][1]).any()


def test_split_seed_is_not_the_seed(digits16: Dataset) -> None:
    parts = [training(digits16, **seeds).split for seeds in ({"seed": 1}, {"seed": 2}, {"split_seed": 1})]
    np.testing.assert_array_equal(parts[0].test, parts[1].test)
    assert (parts[0].test != parts[2].test).any()


@pytest.mark.parametrize(
    ("other", "part"),
    [({"depth": 2}, "model"), ({"filters": 5}, "model"), ({"classes": 3}, "model"), ({}, "optimizer")],
)
def test_another_network_is_refused(digits16: Dataset, other: dict[str, Any], part: str) -> None:
    one = training(digits16)
    state = training(digits16, **other).state()
    if part == "optimizer":
        del state[max(key for key in state if key.startswith(part))]
    with pytest.raises(ValueError, match=r"^a checkpoint holds") as caught:
        one.restore(state, [])
    assert str(caught.value) == (
        f"a checkpoint holds the variables of its own network, but its {part} variables differ in count or shape from the trial's"
    )


def steps_of(count: int) -> Callable[[], bool]:
    """False so many times, then True."""
    given = iter([False] * count)
    return lambda: next(given, True)


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 100])
def test_an_epoch_that_was_begun_is_gone_on_with(digits16: Dataset, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """By any of its three steps, with the numbers of one in a go; what the epoch before left is what it was."""
    settings = {"epochs": 3, "schedule": "linear", "seed": 5}
    calm, one = (training(digits16, **settings) for _ in range(2))
    orders = orders_of(one, monkeypatch)
    for epoch in (1, 2, 3):
        assert metrics(one.run_epoch()) == epochs(calm, 1)[0]
        state, history = one.state(), list(one.history)
        one.run_ahead(steps_of(ahead))
        begun = 0 if epoch == 3 else min(3, ahead)
        assert sum(map(len, orders[epoch:])) == min(192, 64 * begun), "the last epoch has no next"
        assert_same_arrays(state, calm.state())
        assert (one.history, one.epoch) == (history, epoch)
        changed = int(one.model.optimizer.iterations.numpy()) - 3 * epoch
        assert changed == begun


def test_the_clock_of_an_epoch_that_was_begun_stands_still_meanwhile(digits16: Dataset) -> None:
    one = training(digits16)
    one.run_epoch()
    started = time.perf_counter()
    one.run_ahead(steps_of(2))
    time.sleep(0.5)
    result = one.run_epoch()
    assert 0 < 192 / result["images_per_second"] < result["epoch_seconds"] <= time.perf_counter() - started - 0.5


def test_a_begun_epoch_goes_with_its_state(digits16: Dataset) -> None:
    """And with what failed in it."""
    calm, one = training(digits16), training(digits16)
    expected = epochs(calm, 2)
    one.run_epoch()
    state = one.state()
    one.run_ahead(steps_of(2))
    one.restore(state, one.history)
    assert epochs(one, 1) == expected[1:]

    one.deadline = time.time() - 1
    one.run_ahead(steps_of(2))
    one.restore(state, one.history[:1])
    one.deadline = time.time() + 1000
    assert epochs(one, 1) == expected[1:]


def test_what_fails_ahead_is_raised_by_its_epoch(digits16: Dataset) -> None:
    one = training(digits16)
    one.run_epoch()
    one.deadline = time.time() - 1
    one.run_ahead(lambda: False)
    one.deadline = time.time() + 1000
    assert one.epoch == 1
    for _ in range(2):
        with pytest.raises(OutOfTime):
            one.run_epoch()


@pytest.fixture(scope="module")
def trained(digits16: Dataset) -> Training:
    """After two epochs on all ten classes, for tests that only look."""
    one = training(digits16, classes=None, learning_rate=0.02)
    epochs(one, 2)
    return one


def test_validation_does_not_train(trained: Training) -> None:
    before = trained.state()
    first, second = trained._validate(), trained._validate()
    assert first == second
    assert_same_arrays(trained.state(), before)


def test_validation_metrics(digits16: Dataset, trained: Training) -> None:
    one = trained
    rows = one.split.validation
    probabilities = one.model.predict(digits16.images[rows], verbose=0).astype(np.float64)
    labels = digits16.labels[rows]
    assert one.history[-1]["val_loss"] == pytest.approx(-np.log(probabilities[np.arange(len(rows)), labels]).mean(), rel=1e-5)
    assert one.history[-1]["val_accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=1e-6)


def test_last_partial_batch_counts_with_its_size(digits16: Dataset) -> None:
    """Against Keras' own call a batch, weighted by hand: 192 images are 150 and 42."""
    one, by_hand = (training(digits16, batch_size=150) for _ in range(2))
    result = one.run_epoch()
    order = np.random.default_rng((0, 1)).permutation(by_hand.split.train)
    parts = [order[:150], order[150:]]
    logs = [by_hand.model.train_on_batch(digits16.images[rows], digits16.labels[rows], return_dict=True) for rows in parts]
    for name in ("loss", "accuracy"):
        means = [float(log[name]) for log in logs]
        assert result[f"train_{name}"] == pytest.approx((150 * means[0] + 42 * means[1]) / 192, abs=1e-6)
        assert result[f"train_{name}"] != pytest.approx(sum(means) / 2, abs=1e-4)


def test_a_result_tells_its_time_and_rate(trained: Training) -> None:
    first, second = trained.history
    assert (first["epoch"], second["epoch"], trained.epoch) == (1, 2, 2)
    assert second["learning_rate"] == pytest.approx(0.02)
    for result in (first, second):
        assert 0 < len(trained.split.train) / result["images_per_second"] < result["epoch_seconds"] < 60
    assert second["finished_at"] - second["epoch_seconds"] >= first["finished_at"] - 0.01


@pytest.mark.parametrize(("count", "size", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 2, [1]), (0, 2, [])])
def test_batches(count: int, size: int, sizes: list[int]) -> None:
    parts = batches(np.arange(10, 10 + count), size)
    assert [len(part) for part in parts] == sizes
    assert [row for part in parts for row in part] == list(range(10, 10 + count))
