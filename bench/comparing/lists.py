"""The lists of trials that are compared: one searched setting each, as a user's sweep file and as settings of single trials."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

DATA = "fashion-mnist"
Settings = dict[str, Any]


@dataclass(frozen=True)
class TrialList:
    """Trials that differ in one setting, `key`. `images`: of the data set, at most; `size`: px; `base`: whether they start from a .keras file;
    `cpus`: cores a trial of ours has."""

    name: str
    trainable: str
    key: str
    values: tuple[float, ...]
    fixed: Settings = field(default_factory=dict)
    images: int | None = None
    size: int = 32
    base: bool = False
    cpus: int = 1

    def limited(self, images: int) -> int:
        """So many images, or as many as this list takes."""
        return min(images, self.images or images)

    def settings(self, base_file: str) -> Settings:
        """What all trials have, as the trainable names it."""
        return {**self.fixed, "size": self.size, **({"base": base_file} if self.base else {})}

    def trials(self, base_file: str, images: int) -> list[Settings]:
        """All settings of each trial that are not the trainable's defaults."""
        return [{**self.settings(base_file), "images": self.limited(images), self.key: value} for value in self.values]

    def sweep_file(self, base_file: str) -> str:
        """The file that a user of ours writes."""
        return SWEEP.format(list=self, values=", ".join(map(repr, self.values)), fixed=self.settings(base_file), count=len(self.values))


SWEEP = """from sweeps import Sweep, choice

SWEEP = Sweep(
    question="Which {list.key}?",
    trainable="{list.trainable}",
    space={{"{list.key}": choice({values})}},
    fixed={fixed!r},
    searcher="grid",
    scheduler="none",
    samples={count},
)
"""

LISTS = (
    TrialList("dropout", "cnn", "dropout", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), {"epochs": 3}),
    # One training, as `sweeps plan` says, so it has the whole machine. (Plain Ray Tune's trials have that anyway: nothing holds TensorFlow to a core.)
    TrialList("epochs", "cnn", "epochs", (2, 5, 10, 20), cpus=os.cpu_count() or 1),
    TrialList("freeze_depth", "fine_tune", "unfrozen_layers", (13, 8, 5, 0), {"epochs": 5}, base=True),
    # Random weights: ImageNet's cannot be had everywhere, and what a frozen network costs does not depend on them.
    TrialList("transfer", "transfer", "dropout", (0.0, 0.25, 0.5, 0.75), {"base": "vgg16", "weights": "random", "epochs": 5}),
    TrialList("inception", "inception", "dense_units", (128, 256, 512, 1024), {"weights": "random", "epochs": 5}, images=2000, size=75),
)
# Run once before the clock on both sides: byte code is cached, and a broken side is seen within a minute.
WARM_UP = TrialList("warm_up", "cnn", "dropout", (0.0,), {"epochs": 1}, images=600)


def unique(trials: list[Settings]) -> list[Settings]:
    """Without those that are the first epochs of another: of trials that are equal but for `epochs`, the longest."""
    longest: dict[str, Settings] = {}
    for trial in trials:
        others = repr({key: trial[key] for key in sorted(trial) if key != "epochs"})
        if others not in longest or trial["epochs"] > longest[others]["epochs"]:
            longest[others] = trial
    return list(longest.values())
