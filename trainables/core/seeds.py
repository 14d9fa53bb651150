"""Random numbers of a trial: weights, dropout, augmentation."""

from __future__ import annotations

import random

import numpy as np
from keras.src.backend.common import global_state
from keras.src.random import seed_generator


def seed_all(seed: int) -> None:
    """What `keras.utils.set_random_seed` does, as far as Keras draws from it.

    That also seeds TensorFlow's own generator, which Keras 3 never uses, and TensorFlow then forgets all programs that it has made ready: a second for
    the next step of a warm worker. Keras has no other call that starts its global generator anew."""
    random.seed(seed)
    np.random.seed(seed)
    global_state.set_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR, None)
