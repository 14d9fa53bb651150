"""A worker without a cluster: Ray's class is a class, and calls of `step` are all that Tune makes of it."""

from __future__ import annotations

import errno
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_prep import BadInput, Dataset
from tests.trainables.trials import TINY, assert_same_arrays, in_new_process, metrics, training, warm
from trainables import Trainable
from trainables.cnn import CnnConfig
from trainables.core import worker as worker_module
from trainables.core.checkpoint import CheckpointStore
from trainables.core.curves import NAME
from trainables.core.features import CACHE_BYTES
from trainables.core.files import StorageLost
from trainables.core.selection import best_epoch
from trainables.core.training import Training
from trainables.core.worker import Worker

if TYPE_CHECKING:
    import keras

Task = Callable[..., dict[str, Any]]


@pytest.fixture
def task(digits16: Dataset, tmp_path: Path) -> Task:
    def make(folder: str = "first", **others: Any) -> dict[str, Any]:
        return task_of(digits16, tmp_path / folder, **others)

    return make


def task_of(dataset: Dataset, folder: Path, trial: int = 0, reported: int = 0, **settings: Any) -> dict[str, Any]:
    """What the driver sends: a TINY trial but for these settings."""
    warm()
    return {
        "trial": trial,
        "config": {**TINY, **settings},
        "reported": reported,
        "trainable": "cnn",
        "dataset_folder": str(dataset.path),
        "cache_bytes": CACHE_BYTES,
        "task": "train",
        "bases": {},
        "checkpoints": str(folder),
        "final": False,
        "deadline": None,
        "cpus": 1,
        "gpus": 0,
    }


def store_of(task: dict[str, Any]) -> CheckpointStore:
    return CheckpointStore(task["checkpoints"])


def steps(worker: Worker, count: int) -> list[dict[str, Any]]:
    return [worker.step() for _ in range(count)]


def epoch_of(worker: Worker) -> dict[str, Any]:
    """The next epoch, past the stages before it."""
    while "stage" in (result := worker.step()):
        pass
    return result


def numbers(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [metrics(result) for result in results]


@pytest.fixture(scope="module")
def expected(digits16: Dataset) -> list[dict[str, Any]]:
    """The first three epochs of the task, without a worker."""
    one = training(digits16)
    return [metrics(one.run_epoch()) for _ in range(3)]


@pytest.fixture(scope="module")
def interrupted(digits16: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The checkpoints of a worker that ended after two epochs, and what it reported."""
    folder = tmp_path_factory.mktemp("interrupted") / "first"
    return folder, steps(Worker(config=task_of(digits16, folder)), 2)


@pytest.fixture
def stored(interrupted: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> list[dict[str, Any]]:
    """A copy of them where `task` has its own; gives what was reported."""
    shutil.copytree(interrupted[0], tmp_path / "first")
    return interrupted[1]


def test_a_step_is_an_epoch_and_its_checkpoint_is_stored(task: Task, digits16: Dataset, expected: list[dict[str, Any]]) -> None:
    given = task(trial=7)
    worker, direct = Worker(config=given), training(digits16)
    for epoch in (1, 2):
        result = worker.step()
        assert metrics(result) == expected[epoch - 1]
        assert result["checkpoint"] == f"epoch-{epoch:06d}.npz"
        assert (Path(given["checkpoints"]) / result["checkpoint"]).is_file()
        arrays, history = store_of(given).load(epoch)
        direct.run_epoch()
        assert_same_arrays(arrays, direct.state())
        assert {key: result[key] for key in history[-1]} == history[-1]
    assert set(result) - set(history[-1]) == {"parameters", "trainable_parameters", "setup_seconds", "node", "device", "pid", "checkpoint"}
    assert (result["parameters"], result["trainable_parameters"], result["device"]) == (466, 442, "cpu")
    assert json.loads(json.dumps(result)) == result

    # No result without its checkpoint.
    shutil.rmtree(given["checkpoints"])
    Path(given["checkpoints"]).write_text("a file where the folder was")
    assert worker.step() == {"lost": "a checkpoint cannot be written (File exists)"}


def on_a_slow_disk(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Its checkpoints are written when two steps of three of the next epoch are taken, not before; collects how many were."""
    ahead: list[int] = []
    save = CheckpointStore.save

    def slow(store: CheckpointStore, arrays: dict[str, np.ndarray], history: list[dict[str, Any]], *kept: int) -> str:
        assert worker.training
        iterations, until = worker.training.model.optimizer.iterations, time.monotonic() + 20
        while iterations.numpy() < 3 * len(history) + 2 and time.monotonic() < until:
            time.sleep(0.001)
        ahead.append(int(iterations.numpy()) - 3 * len(history))
        return save(store, arrays, history, *kept)

    monkeypatch.setattr(CheckpointStore, "save", slow)
    return ahead


def test_the_next_epoch_begins_while_a_checkpoint_is_written(
    task: Task, digits16: Dataset, expected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No number depends on it, nor on where it was left."""
    given = task()
    worker, direct = Worker(config=given), training(digits16)
    ahead = on_a_slow_disk(worker, monkeypatch)
    for epoch in (1, 2):
        assert metrics(worker.step()) == expected[epoch - 1]
        assert store_of(given).epochs()[-1] == epoch, "it is told when it is stored"
        direct.run_epoch()
        assert_same_arrays(store_of(given).load(epoch)[0], direct.state())
    assert len(ahead) == 2
    assert set(ahead) <= {2, 3}
    # Its third epoch has begun: the next trial sees nothing of it, nor who goes on with this one.
    worker.reset_config(task("second", trial=1))
    assert metrics(worker.step()) == expected[0]
    monkeypatch.undo()
    assert metrics(Worker(config=task(reported=2)).step()) == expected[2]


def test_the_last_epoch_begins_no_other(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(config=task(epochs=2))
    ahead = on_a_slow_disk(worker, monkeypatch)
    worker.step()
    assert ahead[0] > 0
    monkeypatch.undo()
    save = CheckpointStore.save

    def slow(*given: Any) -> str:
        time.sleep(0.3)
        return save(*given)

    monkeypatch.setattr(CheckpointStore, "save", slow)
    worker.step()
    assert worker.training
    assert worker.training.model.optimizer.iterations.numpy() == 6


def test_what_fails_in_the_next_epoch_costs_no_stored_one(
    task: Task, expected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(config=task())
    gather, save, failed = Training.gather, CheckpointStore.save, threading.Event()

    def failing(one: Training, rows: np.ndarray, epoch: int | None = None) -> Any:
        if epoch == 2:
            failed.set()
            raise MemoryError("no room")
        return gather(one, rows, epoch)

    def slow(*given: Any) -> str:
        assert failed.wait(timeout=20), "it did not begin"
        return save(*given)

    monkeypatch.setattr(Training, "gather", failing)
    monkeypatch.setattr(CheckpointStore, "save", slow)
    assert metrics(worker.step()) == expected[0]
    assert store_of(task()).epochs() == [1]
    assert worker.step() == {"failed": f"out of memory: no room; {NO_MEMORY}"}


def curve(task: dict[str, Any], tag: str = "loss/train") -> list[tuple[int, float]]:
    """What TensorBoard shows of the folder of its checkpoints."""
    accumulator = EventAccumulator(task["checkpoints"])
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def as_curve(results: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(result["epoch"], float(np.float32(result["train_loss"]))) for result in results]


def test_its_curves_stand_beside_its_checkpoints(task: Task, stored: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Each epoch once, also when it is begun again."""
    assert curve(task()) == as_curve(stored) == as_curve(expected[:2])
    names = {path.name for path in Path(task()["checkpoints"]).iterdir()}
    assert names == {NAME, "epoch-000001.npz", "epoch-000002.npz"}
    worker = Worker(config=task(reported=1))
    worker.step()
    assert curve(task()) == as_curve(expected[:2]), "sent again, and not written again"
    worker.step()
    assert curve(task()) == as_curve(expected)
    assert curve(task(), "images_per_second")[1][0] == 2
    assert store_of(task()).epochs() == [1, 2, 3], "the best, and the newest two"


def test_curves_that_are_behind_catch_up_without_an_epoch(task: Task, stored: list[dict[str, Any]]) -> None:
    """Killed between a checkpoint and its curves."""
    file = Path(task()["checkpoints"]) / NAME
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    Worker(config=task(reported=1)).step()
    assert file.read_bytes() == whole


@pytest.mark.parametrize("lost", [[2], [1, 2]])
def test_curves_of_an_epoch_that_is_trained_again(
    task: Task, stored: list[dict[str, Any]], expected: list[dict[str, Any]], lost: list[int]
) -> None:
    for epoch in lost:
        (Path(task()["checkpoints"]) / f"epoch-{epoch:06d}.npz").unlink()
    worker = Worker(config=task(reported=2))
    worker.step()
    assert worker.training
    assert curve(task()) == as_curve(expected)
    seconds = [(row["epoch"], float(np.float32(row["epoch_seconds"]))) for row in worker.training.history]
    assert curve(task(), "epoch_seconds") == seconds, "of the later training"


def test_no_trouble_with_curves_costs_an_epoch(task: Task, expected: list[dict[str, Any]]) -> None:
    (Path(task()["checkpoints"]) / NAME).mkdir(parents=True)
    assert numbers(steps(Worker(config=task()), 2)) == expected[:2]
    assert numbers(steps(Worker(config=task(reported=1)), 2)) == expected[1:3]


def test_its_share_is_claimed_before_keras_comes(task: Task) -> None:
    code = """
import json, os, sys
import trainables.core.evaluation
from trainables.core.worker import Worker

Worker(config=json.loads(sys.argv[1]))
print(json.dumps(["keras" in sys.modules, os.environ["TF_NUM_INTRAOP_THREADS"], os.environ["CUDA_VISIBLE_DEVICES"]]))
"""
    assert in_new_process(code, json.dumps({**task(), "cpus": 3})) == [False, "3", "-1"]


def test_the_best_epoch_is_kept(task: Task) -> None:
    """And the one that was the best before the newest, which the journal may not know yet."""
    worker = Worker(config=task(learning_rate=0.01, classes=4))
    for epoch in range(1, 8):
        worker.step()
        assert worker.training
        history = worker.training.history
        best, before = best_epoch(history), best_epoch(history[:-1] or history)
        others = [n for n in range(1, epoch + 1) if n not in (best, before)]
        assert store_of(task()).epochs() == sorted({best, before, *others[-2:]})
    assert best > 1


def test_the_best_epochs_of_what_ends_before_are_kept(task: Task) -> None:
    """Of trials that are the same training up to there, once it has come so far."""
    prefixes = [2, 4, 9]
    worker = Worker(config={**task(learning_rate=0.01, classes=4), "prefixes": prefixes})
    for epoch in range(1, 8):
        worker.step()
        assert worker.training
        history = worker.training.history
        bests = {best_epoch(history), best_epoch(history[:-1] or history), *(best_epoch(history[:p]) for p in prefixes if p <= epoch)}
        others = [n for n in range(1, epoch + 1) if n not in bests]
        assert store_of(task()).epochs() == sorted({*bests, *others[-2:]})
    assert best_epoch(history[:4]) < best_epoch(history), "or nothing more is kept"


def test_tune_trains_it(task: Task, expected: list[dict[str, Any]]) -> None:
    """By `train`, and the save that Tune asks for when a worker changes trials."""
    worker: Any = Worker(config=task())
    result = worker.train()
    assert (metrics(result), result["training_iteration"]) == (expected[0], 1)
    worker.restore(worker.save())
    assert metrics(worker.train()) == expected[1]
    assert worker.reset(task("second", trial=1))
    worker.stop()


@pytest.mark.parametrize("reported", [0, 1, 2])
def test_what_was_stored_but_not_reported_is_sent_again(
    task: Task, stored: list[dict[str, Any]], expected: list[dict[str, Any]], reported: int
) -> None:
    """Not trained anew: even the time it ended at is that of the first. After the last it goes on."""
    worker = Worker(config=task(reported=reported))
    for result in stored[reported:]:
        assert {**worker.step(), "setup_seconds": result["setup_seconds"]} == result
    if reported:
        assert metrics(worker.step()) == expected[2]


@pytest.mark.parametrize(("lost", "reported"), [([2], 1), ([1, 2], 2)])
def test_a_lost_checkpoint_is_trained_again(
    task: Task, stored: list[dict[str, Any]], expected: list[dict[str, Any]], lost: list[int], reported: int
) -> None:
    folder = Path(store_of(task()).folder)
    for epoch in lost:
        (folder / f"epoch-{epoch:06d}.npz").unlink()
    worker = Worker(config=task(reported=reported))
    assert numbers(steps(worker, 3 - reported)) == expected[reported:]
    assert worker.training
    times = [result["finished_at"] for result in worker.training.history]
    assert [times[n] == stored[n]["finished_at"] for n in (0, 1)] == [1 not in lost, False]
    assert store_of(task()).epochs()[-1] == 3


def test_the_next_trial_is_as_in_a_new_worker(task: Task) -> None:
    others: dict[str, Any] = {"trial": 1, "seed": 9, "filters": 5, "learning_rate": 0.01, "dropout": 0.5}
    used = Worker(config=task())
    used.step()
    assert used.reset_config(task("second", **others)) is True
    results = steps(used, 2)
    assert numbers(results) == numbers(steps(Worker(config=task("elsewhere", **others)), 2))
    # Not the states that the workers hold: each may have begun its third epoch by another count of steps.
    assert_same_arrays(store_of(task("second")).load(2)[0], store_of(task("elsewhere")).load(2)[0])
    assert (store_of(task()).epochs(), store_of(task("second")).epochs()) == ([1], [1, 2])


def test_machines_that_come_later_exchange_features(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoscaler buys them one by one, and the first worker serves trials from the first to the last."""
    there = False
    place = {"features_place": str(tmp_path / "storage")}
    monkeypatch.setattr(worker_module, "several_machines", lambda: there)
    worker = Worker(config=task() | place)
    worker.step()
    assert worker.shared
    assert worker.shared.cache
    assert worker.shared.cache.shelf is None
    opened = SimpleNamespace(shared=[])
    opened.share = opened.shared.append
    worker.shared.cache.opened["of a trial before"] = opened  # type: ignore[assignment]
    there = True
    for _ in range(2):
        worker.reset_config(task("second", trial=1) | place)
        worker.step()
        shelf = worker.shared.cache.shelf
        assert shelf
        assert (shelf.place, shelf.limit) == (str(tmp_path / "storage"), CACHE_BYTES)
    assert opened.shared == [shelf]


def test_one_that_has_grown_retires_before_it_trains(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in the first trial once, in the second twice, then once each."""
    sizes = iter([10**9, 10**9, 10**9, 10**9 + worker_module.MOST_GROWTH_BYTES + 1])
    monkeypatch.setattr(worker_module, "resident_bytes", lambda: next(sizes))
    worker = Worker(config=task())
    worker.step()
    worker.reset_config(task("second", trial=1))
    worker.step()
    third = task("third", trial=2)
    worker.reset_config(third)
    with pytest.raises(worker_module.Retires, match=r"^2 trials have left 3\.0 GB in the memory of this worker$"):
        worker.step()
    assert store_of(third).epochs() == []


def test_it_opens_the_base_of_its_run(digits16: Dataset, task: Task, tmp_path: Path) -> None:
    """As every trial of the run does, in whatever process: what it trains on the base is its own."""
    warm()
    from trainables.core.pretrained import features, network

    path = tmp_path / "base.keras"
    base = features(network("cifar10", 16, None))
    base.save(path)
    settings = {"size": 16, "classes": 2, "images": 500, "dense_units": 8, "unfrozen_layers": 2}
    fine_tune = {"trainable": "fine_tune", "config": settings, "bases": {"cifar10": str(path)}}
    used = Worker(config={**task(), **fine_tune})
    first = epoch_of(used)
    assert (first["parameters"], first["trainable_parameters"]) == (288_800 + 8 * 129 + 9 * 2, 8 * 129 + 9 * 2)
    assert used.training
    found = [np.asarray(variable) for variable in used.training.network.variables]
    for weight in base.get_weights():
        assert any(weight.shape == value.shape and (weight == value).all() for value in found)
    assert used.reset_config({**task("second", trial=1), **fine_tune}) is True
    assert metrics(epoch_of(used)) == metrics(first)

    path.unlink()
    assert used.reset_config({**task("third", trial=2), **fine_tune}) is True
    with pytest.raises(FileNotFoundError, match=r"base\.keras"):
        used.step()


@pytest.fixture
def helper(task: Task) -> dict[str, Any]:
    """What the driver sends to have the features of a trained trial's best epoch computed; its frozen base is nobody else's."""
    settings = {"size": 16, "classes": 2, "images": 300, "dense_units": 8, "seed": 77, "epochs": 1}
    given = {**task(), "trainable": "transfer", "config": settings}
    assert metrics(epoch_of(Worker(config=given)))
    return {**given, "run": "run", "task": "help", "trial": 1, "class_count": 2, "epoch": 1}


def features_of(task: dict[str, Any]) -> dict[str, str]:
    """Folder -> part of the split, of all that are beside the data set."""
    files = Path(task["dataset_folder"]).parent.glob("features/*/features.json")
    return {file.parent.name: json.loads(file.read_text())["part"] for file in files}


def test_help_deletes_nobodys_features(helper: dict[str, Any]) -> None:
    """Not even where the test split's would fit if the others went."""
    folder = Path(helper["dataset_folder"]).parent / "features"
    before, taken = features_of(helper), sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert Worker(config={**helper, "cache_bytes": taken + 1}).step() == {"helped": True}
    assert features_of(helper) == before


def test_it_helps_to_measure(helper: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All features that an evaluation reads: it computes none, and gives what it gives without."""
    alone = {**helper, "task": "evaluate", "cache_bytes": 0}
    expected = json.loads(Worker(config=alone).step()["evaluation"])["splits"]
    worker, before = Worker(config=helper), features_of(helper)
    told = [worker.step()["helped"]]
    while not told[-1]:
        told.append(worker.step()["helped"])
    assert told[0] is False, "it looks first"
    assert [part for folder, part in features_of(helper).items() if folder not in before] == ["test"], "training had the others"
    monkeypatch.setattr("trainables.core.inputs.StoredInputs._compute", None)
    found = json.loads(Worker(config={**helper, "task": "evaluate"}).step()["evaluation"])["splits"]
    assert found.keys() == {"train", "validation", "test"}
    for part, measured in found.items():
        assert measured["loss"] == pytest.approx(expected[part]["loss"], rel=1e-2)
        assert measured["images"] == expected[part]["images"]


def test_help_that_fails_is_done(helper: dict[str, Any], task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it stumbles over is told by the evaluation itself. Where the trial reads images there is nothing to do."""
    assert Worker(config={**helper, "config": {**helper["config"], "features": "off"}}).step() == {"helped": True}
    assert Worker(config={**helper, "cache_bytes": 0}).step() == {"helped": True}

    def failing(*given: Any) -> None:
        raise errors.pop()

    errors = [StorageLost("the storage is away"), ValueError("no")]
    monkeypatch.setattr(worker_module, "inputs_of", failing)
    assert Worker(config=helper).step() == {"helped": True}
    assert Worker(config=helper).step() == {"lost": "the storage is away"}


def test_a_disk_that_fills_while_features_are_computed_fails_no_trial(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is frozen then runs in every epoch, of the next trial, too."""
    warm()
    from trainables.core.pretrained import features, network

    features(network("cifar10", 16, None)).save(tmp_path / "base.keras")
    settings = {"size": 16, "classes": 2, "images": 500, "dense_units": 8, "unfrozen_layers": 2, "seed": 77}
    fine_tune = {"trainable": "fine_tune", "config": settings, "bases": {"cifar10": str(tmp_path / "base.keras")}}
    full = OSError(errno.ENOSPC, "No space left on device")

    def write(*words: object) -> None:
        raise full

    with monkeypatch.context() as disk:
        disk.setattr("trainables.core.features._write", write)
        worker = Worker(config={**task(), **fine_tune})
        results = steps(worker, 2)
        assert worker.reset_config({**task("second"), **fine_tune})
        results += steps(worker, 2)
    assert [result.get("epoch") for result in results] == [1, 2, 1, 2]
    assert "stage" in Worker(config={**task("third"), **fine_tune}).step(), "there were some to compute"


def test_what_fails_waits_for_a_step(task: Task) -> None:
    """A `reset_config` that raises ends its trial in spite of `max_failures`."""
    worker = Worker(config=task())
    given = {**task(trial=1), "checkpoints": "nope://bucket"}
    assert worker.reset_config(given) is True
    with pytest.raises(BadInput) as caught:
        worker.step()
    assert str(caught.value) == (
        "a storage is a folder or a URI that pyarrow reads (s3://...), but 'nope://bucket' is not: "
        "Unrecognized filesystem type in URI: nope://bucket"
    )
    given = {**task(trial=1), "dataset_folder": "none"}
    assert worker.reset_config(given) is True
    with pytest.raises(BadInput) as caught:
        worker.step()
    assert str(caught.value) == "a prepared data set must have a dataset.json, but 'none' has none: make it by `sweeps data`"


AUTOKERAS: dict[str, Any] = {
    "trainable": "autokeras_search",
    "config": {"size": 16, "classes": 2, "images": 500, "max_parameters": 1000},
}


def test_what_is_too_big_is_told_and_not_stored(task: Task) -> None:
    """The worker lives: it takes the next trial."""
    given = {**task(), **AUTOKERAS}
    worker = Worker(config=given)
    # Two dense units for 6 x 6 x 64 numbers.
    assert worker.step() == {"failed": "too big: 24,002 parameters, and max_parameters is 1,000"}
    assert store_of(given).epochs() == []
    assert worker.reset_config(task("second", trial=1)) is True
    assert worker.step()["epoch"] == 1


class ResourceExhaustedError(Exception):
    """As TensorFlow names its own."""


NO_MEMORY = "a smaller batch_size, or more memory a trial, may help"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError("no room"), f"out of memory: no room; {NO_MEMORY}"),
        (ResourceExhaustedError("OOM when allocating\n  tensor  [[3]]"), f"out of memory: OOM when allocating tensor [[3]]; {NO_MEMORY}"),
        (RuntimeError("RESOURCE_EXHAUSTED: of XLA's"), f"out of memory: RESOURCE_EXHAUSTED: of XLA's; {NO_MEMORY}"),
        (MemoryError("x" * 1000), f"out of memory: {'x' * 200}; {NO_MEMORY}"),
    ],
    ids=["python", "tensorflow", "xla", "long"],
)
@pytest.mark.parametrize("method", ["__init__", "run_epoch"])
def test_too_little_memory_is_told(task: Task, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str, method: str) -> None:
    def failing(*arguments: Any, **others: Any) -> Any:
        raise error

    monkeypatch.setattr(f"trainables.core.training.Training.{method}", failing)
    worker = Worker(config=task())
    assert worker.step() == {"failed": text}
    assert worker.training is None
    assert store_of(task()).epochs() == []


def test_tensorflows_own_error_is_known_by_its_name() -> None:
    import tensorflow as tf

    error = tf.errors.ResourceExhaustedError(None, None, "OOM")
    assert worker_module.failure(error) == f"out of memory: OOM; {NO_MEMORY}"
    assert worker_module.failure(tf.errors.InternalError(None, None, "OOM")) is None


@pytest.mark.parametrize("error", [RuntimeError("another try may help"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_other_errors_are_the_workers(task: Task, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def failing(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr("trainables.core.training.Training.run_epoch", failing)
    with pytest.raises(type(error)) as caught:
        Worker(config=task()).step()
    assert caught.value is error


def test_out_of_time(task: Task, expected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the second epoch: what it did of it is forgotten, and a later worker trains it whole."""
    hours = iter(range(1, 100))
    monkeypatch.setattr("trainables.core.training.time", SimpleNamespace(time=lambda: next(hours), perf_counter=time.perf_counter))
    # Four batches and the time of its end are the first epoch's.
    worker = Worker(config={**task(), "deadline": 7})
    assert metrics(worker.step()) == expected[0]
    assert worker.step() == {"out_of_time": True}
    assert next(hours) == 8
    assert worker.step() == {"out_of_time": True}
    assert store_of(task()).epochs() == [1]
    monkeypatch.undo()
    later = Worker(config={**task(reported=1), "deadline": time.time() + 1000})
    assert numbers(steps(later, 2)) == expected[1:]


def test_without_a_deadline_no_time_is_too_late(task: Task, expected: list[dict[str, Any]]) -> None:
    worker = Worker(config=task())
    assert metrics(worker.step()) == expected[0]
    assert worker.training
    assert worker.training.deadline == float("inf")


def test_a_final_fit(task: Task, digits16: Dataset) -> None:
    """Its results have no figures of validation, and its best epoch is the newest: two more are kept beside it and the one before."""
    given = {**task(), "final": True}
    worker = Worker(config=given)
    results = steps(worker, 5)
    direct = training(digits16, final=True)
    assert numbers(results) == [metrics(direct.run_epoch()) for _ in range(5)]
    assert [(result["val_loss"], result["val_accuracy"]) for result in results] == [(None, None)] * 5
    assert json.loads(json.dumps(results)) == results
    assert store_of(given).epochs() == [2, 3, 4, 5]
    assert best_epoch(results) == 5
    # Interrupted, and its last epoch not reported.
    again = Worker(config={**given, "reported": 4})
    assert metrics(again.step()) == metrics(results[-1])
    assert metrics(again.step()) == metrics(direct.run_epoch())


def explosive(config: CnnConfig, class_count: int) -> keras.Model:
    """One step at a high rate, and e to the power of its outputs is more than float32 holds."""
    import keras
    from keras import layers

    images = keras.Input((config.size, config.size, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(images))
    x = layers.Dense(class_count, "exponential")(x)
    return keras.Model(images, layers.Softmax()(x))


@pytest.mark.parametrize(
    ("batch_size", "problem"),
    [
        (64, "diverged: train_loss is nan in epoch 1; a lower learning_rate may help"),
        # The only batch of the epoch is still finite, as its loss is taken before its step.
        (65_536, "diverged: val_loss is nan in epoch 1; a lower learning_rate may help"),
    ],
)
def test_divergence_is_told_and_not_stored(task: Task, monkeypatch: pytest.MonkeyPatch, batch_size: int, problem: str) -> None:
    trainable = Trainable(summary="it explodes", config=CnnConfig, build=explosive)
    monkeypatch.setattr(worker_module, "get_trainable", {"cnn": trainable}.__getitem__)
    given = task(learning_rate=10, batch_size=batch_size)
    assert Worker(config=given).step() == {"failed": problem}
    assert store_of(given).epochs() == []


def test_a_lost_storage_is_told_and_costs_no_trial(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: the trial goes on from its last checkpoint when there is room."""
    calm = Worker({**task("calm"), "trial": 1})
    expected = [epoch_of(calm) for _ in range(3)]
    worker = Worker(task())
    first = epoch_of(worker)

    def full(*given: object) -> None:
        assert worker.training
        # Meanwhile the third epoch is begun.
        until = time.monotonic() + 20
        while worker.training.model.optimizer.iterations.numpy() <= 6 and time.monotonic() < until:
            time.sleep(0.001)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("trainables.core.files.write", full)
        assert worker.step() == {"lost": "a checkpoint cannot be written (No space left on device)"}
    assert numbers([first, epoch_of(worker), epoch_of(worker)]) == numbers(expected)
