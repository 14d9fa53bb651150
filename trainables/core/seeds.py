"""Random numbers of a trial: weights, dropout, augmentation."""

from __future__ import annotations

import random

import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator


def as_fresh(seed: int) -> None:
    """What Keras draws from and counts by, as in a process that has just called `keras.utils.set_random_seed`: random numbers, and names of layers.

    That call also seeds TensorFlow's own generator, which Keras 3 never uses, and TensorFlow then forgets all programs that it has made ready: a second
    for the next step of a warm worker. So does `clear_session`, which is how Keras starts the names anew."""
    random.seed(seed)
    np.random.seed(seed)
    for kept in (seed_generator.GLOBAL_SEED_GENERATOR, "object_name_uids"):
        global_state.set_global_attribute(kept, None)
