"""What features a sweep's trials will be trained on, told before anything starts: it builds the networks."""

from __future__ import annotations

from typing import Any

from trainables.core.features import OFF
from trainables.core.trainable import get_trainable


def forecast(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The cut of each trial's network. `task`: `trainable`, `points`: a list of `config` (the settings) and `source` (of the base: see
    `trainables.core.bases.store`).

    Gives for each point `shape` (of an image's features) and `bytes` (of an image), or None for both where its frozen part runs in every epoch: it
    has none, or features would not pay."""
    from trainables.core.bases import base_of
    from trainables.core.cut import cut

    trainable = get_trainable(task["trainable"])
    found: list[dict[str, Any]] = []
    for point in task["points"]:
        config = trainable.config(**point["config"])
        # Ten classes: what the head gives has no part in where the network is cut.
        place = cut(trainable.build(config, 10, base_of(point["source"])))
        kind = str(getattr(config, "features", OFF))
        if place is None or kind == OFF or not place.pays(kind):
            found.append({"shape": None, "bytes": None})
        else:
            found.append({"shape": place.shape, "bytes": place.bytes(kind)})
    return found
