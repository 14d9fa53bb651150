"""The bases of a run as files in its storage: made once, before its first trial; every worker opens them from there, on any machine."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.core import files
from trainables.core.config import TrainConfig
from trainables.core.pretrained import IMAGENET, LEAST_SIZE, PretrainedConfig, counted_layers, features, network, start_from, undrawn

if TYPE_CHECKING:
    import keras

    from trainables.core.trainable import Trainable


def store(task: dict[str, Any]) -> dict[str, Any]:
    """Cut a base to its feature maps and write it into the run's storage. `task`: `base` (as in the settings), `size` (px), `folder` (of the run's
    bases: a path or URI; None: only to see whether it fits) and one source: `model` (a trial's, for `evaluation.load_model`), `file` (a .keras file),
    `weights` (imagenet or a file, of vgg16 and inception), or none of these: random weights, nothing is written.

    Gives `file` (its name, or None), `sha256` of it, `layers` (as the report counts), `parameters`; or `error`, one line: why there is no such base."""
    try:
        base = base_of(task)
        start_from(base, task["size"])
    except Exception as error:  # Keras raises a bare Exception where a download fails
        return {"error": _one_line(error)}
    facts = {"file": None, "sha256": None, "layers": len(counted_layers(base)), "parameters": base.count_params()}
    if task["folder"] is None or not {"model", "file", "weights"} & task.keys():
        return facts
    content = _as_file(base)
    digest = hashlib.sha256(content).hexdigest()
    system, folder = files.resolve(task["folder"])
    name = f"{digest[:12]}.keras"
    files.write(system, f"{folder}/{name}", content)
    return {**facts, "file": name, "sha256": digest}


def base_of(task: dict[str, Any]) -> keras.Model:
    """The base from its source, cut to its feature maps: see `store`. Any exception where it cannot be had."""
    return features(_source(task))


def _source(task: dict[str, Any]) -> keras.Model:
    if "model" in task:
        from trainables.core.evaluation import load_model

        return load_model(task["model"])
    if "file" in task:
        return _read(task["file"])
    size = max(task["size"], LEAST_SIZE.get(task["base"], 0))
    return network(task["base"], size, task.get("weights"))


def _as_file(model: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory(prefix="sweeps-") as folder:
        path = Path(folder) / "base.keras"
        model.save(path)
        return path.read_bytes()


def build_network(trainable: Trainable, config: TrainConfig, classes: int, base: keras.Model | None = None) -> keras.Model:
    """A trial's network; its weights and generators are drawn from the trial's seed, those of a `base` kept."""
    from trainables.core.seeds import as_fresh

    as_fresh(config.seed)
    return trainable.build(config, classes, base) if base is not None else trainable.build(config, classes)


def opened(config: TrainConfig, bases: Mapping[str, str]) -> keras.Model | None:
    """The base of a trial: from the files of its run (`base` in the settings -> path or URI), else with random weights; None: it starts from none.

    What is random in it, the generators of its dropouts too, is drawn from the trial's seed."""
    if not isinstance(config, PretrainedConfig):
        return None
    from trainables.core.seeds import as_fresh

    content = _stored(bases[config.base]) if config.base in bases else None
    # Not from the seed itself, as the head's own are drawn from that. (A file does not hold the generators: Keras draws new ones while it loads.)
    as_fresh((config.seed + 1) % 2**32)
    return named_apart(features(network(config.base, config.size, None)) if content is None else _loaded(content))


def _stored(location: str) -> bytes:
    patience = files.patience()
    return files.read(*files.resolve(location, patience), patience)


def named_apart(base: keras.Model) -> keras.Model:
    """The same, with names of layers that no head's have: Keras numbers them by process, so that a head's `dropout_5` may be the base's, too, and a model
    has each name once."""
    for operation in base.operations:
        operation.name = f"base_{operation.name}"
    return base


def _loaded(content: bytes) -> keras.Model:
    with tempfile.TemporaryDirectory(prefix="sweeps-") as folder:
        path = Path(folder) / "base.keras"
        path.write_bytes(content)
        return _read(path)


def _read(path: str | Path) -> keras.Model:
    import keras

    with undrawn():
        return keras.models.load_model(path, compile=False, safe_mode=True)


# Trials on one base: each leaves half a MB of nodes in the graph of its layers.
MOST_TRIALS = 100


class KeptBase:
    """The base of the trial before, for the next one on the same: to build an InceptionV3 takes two seconds. It stays as it is as long as all of it is
    frozen."""

    def __init__(self) -> None:
        self.key: tuple[Any, ...] | None = None
        self.base: keras.Model | None = None
        self.trials = 0

    def network(self, trainable: Trainable, config: TrainConfig, classes: int, bases: Mapping[str, str]) -> keras.Model:
        """A trial's network, as it is in a process of its own; `bases`: see `opened`."""
        key = _key(config, bases)
        kept = key is not None and key == self.key and self.trials < MOST_TRIALS
        if not kept:
            self.key, self.base, self.trials = key, opened(config, bases), 0
        self.trials += 1
        network = build_network(trainable, config, classes, self.base)
        if self.base is None or not any(layer.trainable for layer in self.base.layers):
            return network
        if kept:
            # Compiled networks of earlier trials have these layers.
            for layer in self.base.layers:
                layer.trainable = False
            network = build_network(trainable, config, classes, opened(config, bases))
        self.key = self.base = None
        return network


def _key(config: TrainConfig, bases: Mapping[str, str]) -> tuple[Any, ...] | None:
    """Equal for trials whose bases have the same weights."""
    if not isinstance(config, PretrainedConfig):
        return None
    return (bases[config.base],) if config.base in bases else (config.base, config.size, config.seed)


def fetch_imagenet(names: list[str]) -> str | None:
    """Have Keras download the ImageNet weights of these networks into its cache, where they are not yet; why that failed, in one line, or None."""
    try:
        for name in names:
            network(name, LEAST_SIZE[name], IMAGENET)
    except Exception as error:  # as Keras raises it
        return _one_line(error)
    return None


def _one_line(error: Exception) -> str:
    """Its text without Keras' colours, and what was handed to the layer that raised it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("Arguments received by")[0]
    # What is left out tells how to have a file's code run, which nothing here does.
    why, unsafe, _ = " ".join(text.split()).partition("If you trust the source")
    return why.rstrip(" .") if unsafe else why
