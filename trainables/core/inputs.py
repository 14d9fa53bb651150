"""What the trained part of a network reads: the images themselves, or stored features of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from data_prep import Dataset, Split
from trainables.core.augmentation import augmented
from trainables.core.config import TrainConfig, split_of
from trainables.core.cut import Cut, cut
from trainables.core.features import BLOCK, CACHE_BYTES, OFF, Features, TooLarge, key_of, make_room
from trainables.core.graphs import general_config
from trainables.core.shelf import Shelf

TOO_LARGE = "too-large"
# Of features that no trial at hand needs.
KEPT_OPEN = 8


@dataclass
class FeatureCache:
    """Where features are kept, how many bytes of them, and those that this process has open."""

    root: Path
    limit: int = CACHE_BYTES
    # Of the machines of a cluster.
    shelf: Shelf | None = None
    # Whether others make room for new ones.
    deletes: bool = True
    opened: dict[str, Features] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    # The frozen part that computed the last of them: its program is made ready.
    frozen: keras.Model | None = None

    def get(self, key: str, rows: np.ndarray, shape: tuple[int, ...], dtype: str, about: dict[str, Any]) -> Features:
        """The features of that key, which then count as those of the trial at hand; NoRoom when they are more than may be kept, another OSError where
        their folder cannot be written."""
        self.current.add(key)
        if key not in self.opened:
            folder = self.root / key
            if not folder.exists():
                kept = self.current if self.deletes else {folder.name for folder in self.root.glob("*")}
                make_room(self.root, len(rows) * math.prod(shape) * np.dtype(dtype).itemsize, self.limit, kept)
            self.opened[key] = Features(folder, rows, shape, dtype, about, self.shelf)
        return self.opened[key]

    def share(self, shelf: Shelf) -> None:
        """Exchange features with other machines from now on, those that are open, too."""
        self.shelf = shelf
        for features in self.opened.values():
            features.share(shelf)

    def begin(self) -> None:
        """Another trial: what only the ones before it needed may go, but the last few stay open, with their digests compared."""
        for key in [key for key in self.opened if key not in self.current][:-KEPT_OPEN]:
            del self.opened[key]
        self.current.clear()


def usable_cut(network: keras.Model, config: TrainConfig, cache: FeatureCache | None) -> Cut | None:
    """Where to cut the network so that its tail is trained on stored features; None where these do not pay, are not asked for, or would be others in
    every epoch, as with augmentation (unless the settings name a number of `views`)."""
    dtype = getattr(config, "features", OFF)
    if cache is None or dtype == OFF or (config.augmentation != "none" and not views_of(config)):
        return None
    found = cut(network)
    if found is None or not found.pays(dtype) or general_config(found.frozen) is None:
        return None
    # The optimizer's slots are stored in the network's order.
    same = [id(variable) for variable in found.tail.trainable_variables] == [id(variable) for variable in network.trainable_variables]
    return found if same else None


def views_of(config: TrainConfig) -> int:
    """Augmented views of each training image that features are stored of; 0: of the images as they are."""
    return (getattr(config, "views", None) or 0) if config.augmentation != "none" else 0


def stored_inputs(found: Cut | None, config: TrainConfig, dataset: Dataset, cache: FeatureCache | None) -> StoredInputs | None:
    """Of a trial whose network is cut there; None without a cut, or a place to keep them."""
    if found is None or cache is None:
        return None
    cache.begin()
    return StoredInputs(found, config, dataset, cache)


def _identity(frozen: keras.Model) -> list[bytes]:
    """What its features depend on, next to the images."""
    return [
        json.dumps(general_config(frozen), default=str).encode(),
        *(hashlib.sha256(keras.ops.convert_to_numpy(weight).tobytes()).digest() for weight in frozen.weights),
    ]


def _equal(kept: keras.Model, own: keras.Model, identity: list[bytes]) -> bool:
    """Whether one computes what the other does, whose identity that is. (To digest InceptionV3's weights takes half a second.)"""
    if [id(weight) for weight in kept.weights] == [id(weight) for weight in own.weights]:
        return bool(general_config(kept) == general_config(own))
    return _identity(kept) == identity


class StoredInputs:
    """Features of the parts of a split, in the order in which they are computed."""

    def __init__(self, found: Cut, config: TrainConfig, dataset: Dataset, cache: FeatureCache) -> None:
        self.cut, self.config, self.dataset, self.cache = found, config, dataset, cache
        # Of all training images, so that trials with another `data_fraction` share them.
        self.split: Split = split_of(config.model_copy(update={"data_fraction": 1.0}), dataset)
        self.dtype = str(getattr(config, "features", OFF))
        self.identity = _identity(found.frozen)
        self.parts: dict[tuple[str, int], Features] = {}
        self.views: keras.Model | None = None
        # Images whose features this process has computed.
        self.computed = 0

    def want(self, part: str, view: int = 0) -> None:
        """Have `prepare` compute the features of `part` (train, validation, test): view 0 of the images as they are, 1, 2, ... of augmented ones. OSError
        where they cannot be kept."""
        rows = getattr(self.split, part)
        about = {"dataset": self.dataset.path.name, "part": part, "view": view, "augmentation": self.config.augmentation if view else None}
        drawn = json.dumps([self.config.augmentation, self.config.seed, view]).encode() if view else b""
        key = key_of([*self.identity, self.dataset.fingerprint.encode(), self.dtype.encode(), rows.tobytes(), drawn])
        if self.dtype == "float16" and (self.cache.root / key / TOO_LARGE).exists():
            self._widen()
            self.want(part, view)
            return
        self.parts[part, view] = self.cache.get(key, rows, self.cut.shape, self.dtype, about)

    def _widen(self) -> None:
        """Features that float16 cannot hold are float32, all of them."""
        self.dtype = "float32"
        wanted, self.parts = list(self.parts), {}
        for part, view in wanted:
            self.want(part, view)

    @property
    def total(self) -> int:
        """Images and views whose features are wanted."""
        return sum(len(features.rows) for features in self.parts.values())

    @property
    def bytes(self) -> int:
        """Of all of them on the disk."""
        return sum(len(features.rows) * features.row_bytes for features in self.parts.values())

    @property
    def missing(self) -> int:
        """Those whose features are still to be computed."""
        return sum(features.missing for features in self.parts.values())

    def prepare(self, seconds: float = math.inf) -> None:
        """Compute missing features of one part for about so long, together with other processes that want the same. NoRoom on a full disk."""
        for (_, view), features in self.parts.items():
            if not features.missing:
                continue
            try:
                features.work(self._compute(view), seconds)
            except TooLarge:
                (features.folder / TOO_LARGE).touch()
                self._widen()
            return

    def _compute(self, view: int) -> Callable[[np.ndarray], np.ndarray]:
        frozen = self._frozen()

        def features(rows: np.ndarray) -> np.ndarray:
            # Always of BLOCK images: another number is another program, and that takes longer than some images too many.
            images = self.dataset.images[np.resize(rows, BLOCK)]
            self.computed += len(rows)
            found: np.ndarray = frozen.predict_on_batch(self._view(images, rows, view) if view else images)
            return found[: len(rows)]

        return features

    def _frozen(self) -> keras.Model:
        """The frozen part, or an equal one that has computed features already. Its weights are compared: others of its trial's networks may have them."""
        kept = self.cache.frozen
        if kept is None or not _equal(kept, self.cut.frozen, self.identity):
            self.cache.frozen = self.cut.frozen
        return self.cache.frozen

    def _view(self, images: np.ndarray, rows: np.ndarray, view: int) -> Any:
        if self.views is None:
            same = keras.Input(images.shape[1:], dtype="uint8")
            self.views = augmented(keras.Model(same, keras.layers.Rescaling(1.0)(same)), self.config.augmentation)
        # Its variables are the states of its layers' generators. A block's are its own, whoever computes it and when.
        draw = np.random.default_rng((self.config.seed, view, int(rows[0])))
        for state in self.views.variables:
            state.assign(np.array([draw.integers(2**32), 0], state.dtype))
        return keras.ops.convert_to_numpy(self.views(images, training=True))

    def gather(self, rows: np.ndarray, parts: tuple[str, ...], view: int = 0) -> np.ndarray:
        """Features of these rows of the data set, which are in these parts of the split."""
        held = [self.parts[part, view] for part in parts]
        if len(held) == 1:
            return held[0].gather(rows)
        found = np.empty((len(rows), *self.cut.shape), self.dtype)
        for features in held:
            own = features.has(rows)
            found[own] = features.gather(rows[own])
        return found
