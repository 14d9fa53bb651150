"""Seeding a trial: everything that Keras draws from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from tests.trainables.trials import warm


def drawn() -> list[Any]:
    import keras

    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    dropout = keras.layers.Dropout(0.5)
    return [
        random.random(),
        np.random.random(),
        *keras.ops.convert_to_numpy(layer.kernel).ravel(),
        *keras.ops.convert_to_numpy(keras.random.uniform((3,))),
        *keras.ops.convert_to_numpy(dropout(np.ones((1, 20), np.float32), training=True)).ravel(),
    ]


def test_names_count_from_the_start() -> None:
    """What the results keep of a network is called the same whatever the worker built before."""
    warm()
    import keras

    from trainables.core.seeds import as_fresh

    names = []
    for _ in range(2):
        as_fresh(0)
        names.append([keras.layers.Dense(1).name for _ in range(2)])
    assert names == [["dense", "dense_1"]] * 2


def test_everything_is_drawn_again() -> None:
    """As Keras' own call would draw it, whatever was drawn before."""
    warm()
    import keras

    from trainables.core.seeds import as_fresh

    keras.utils.set_random_seed(5)
    expected = drawn()
    assert drawn() != expected
    as_fresh(5)
    assert drawn() == expected
    as_fresh(6)
    assert drawn() != expected
