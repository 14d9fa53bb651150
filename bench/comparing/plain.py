"""The same trials as a user of Ray Tune and Keras writes them today: a function trainable around `fit`, after the guides of both.

    python -m comparing.plain TASK.json OUT.json

The task: `trainable`, `trials` (settings of each), `key` (the searched one), `dataset` (its folder), `storage` (of Ray's results). The networks are
built by our `trainables`, so that they are equal on both sides, and the rows are those of our split; all else is Ray's and Keras' own. As in the
guides, Ray holds back one core a trial and nobody tells TensorFlow, which starts a thread per core of the machine in each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray import tune

from data_prep import open_dataset
from trainables import TrainConfig, get_trainable
from trainables.core.bases import opened
from trainables.core.config import split_of

if TYPE_CHECKING:
    import keras

Settings = dict[str, Any]
SCORE = "val_accuracy"


def base_of(file: str) -> keras.Model:
    """The trained network of a .keras file, cut to its feature maps."""
    import keras

    from trainables.core.pretrained import features

    base = features(keras.models.load_model(file, compile=False))
    for operation in base.operations:
        # A head's `dropout` may be the base's, too.
        operation.name = f"base_{operation.name}"
    return base


def compiled(trainable: str, config: TrainConfig, class_count: int) -> keras.Model:
    """The trial's network."""
    import keras

    file = getattr(config, "base", "")
    # Random weights are drawn as ours are, or one side would have a better network than the other.
    base = base_of(file) if file.endswith(".keras") else opened(config, {})
    keras.utils.set_random_seed(config.seed)
    model = get_trainable(trainable).build(config, class_count, *([base] if base else []))
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def load(folder: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of these rows, in memory. Through a map, so that no more than these are read."""
    return np.load(f"{folder}/images.npy", mmap_mode="r")[rows], np.load(f"{folder}/labels.npy")[rows]


def train(settings: Settings, task: Settings, train_rows: np.ndarray, validation_rows: np.ndarray, class_count: int) -> None:
    """One trial."""
    # Of the three classes in Ray's Keras integration the one that works in 2.60: it reports an epoch's metrics with the saved model.
    from ray.tune.integration.keras import TuneReportCheckpointCallback

    config = get_trainable(task["trainable"]).config(**settings)
    model = compiled(task["trainable"], config, class_count)
    model.fit(
        *load(task["dataset"], train_rows),
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=load(task["dataset"], validation_rows),
        callbacks=[TuneReportCheckpointCallback()],
        verbose=0,
    )


def curve(result: tune.Result) -> list[float]:
    """A trial's validation accuracy by epoch."""
    frame = result.metrics_dataframe
    assert frame is not None
    return [float(accuracy) for accuracy in frame[SCORE]]


def main() -> None:
    """Search, then measure the best model on all splits."""
    task = json.loads(Path(sys.argv[1]).read_text())
    key, first = task["key"], task["trials"][0]
    dataset = open_dataset(Path(task["dataset"]))
    rows = split_of(get_trainable(task["trainable"]).config(**first), dataset)
    ray.init(address="local")
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                train, task=task, train_rows=rows.train, validation_rows=rows.validation, class_count=len(dataset.classes)
            ),
            {"cpu": 1},
        ),
        param_space={**first, key: tune.grid_search([trial[key] for trial in task["trials"]])},
        tune_config=tune.TuneConfig(metric=SCORE, mode="max"),
        run_config=tune.RunConfig(
            name="plain",
            storage_path=task["storage"],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=SCORE, checkpoint_score_order="max"),
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    best = results.get_best_result(scope="all").get_best_checkpoint(SCORE, "max")
    assert best, "every epoch has left one"
    import keras

    with best.as_directory() as folder:
        model = keras.models.load_model(f"{folder}/model.keras")
    splits = {"train": rows.train, "validation": rows.validation, "test": rows.test}
    measured = {name: model.evaluate(*load(task["dataset"], part), verbose=0, return_dict=True) for name, part in splits.items()}
    curves = [curve(results[n]) for n in range(len(results))]
    Path(sys.argv[2]).write_text(json.dumps({"curves": curves, "best_model": measured}))


if __name__ == "__main__":
    main()
