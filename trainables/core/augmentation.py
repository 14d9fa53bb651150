"""Random changes to the images of training steps: Keras layers in front of a network, which itself stays as it is."""

from __future__ import annotations

from typing import Any

import keras

RANGE = (0, 255)


def _flip() -> list[Any]:
    return [keras.layers.RandomFlip("horizontal")]


def _shift() -> list[Any]:
    # By up to 4 px of 32, both ways. The nearest pixel, not a mean of four: sharpness would tell a moved image.
    return [keras.layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="reflect", interpolation="nearest")]


def _erase() -> list[Any]:
    # Half of the images lose a rectangle of 2 % to 33 % of their area to grey.
    return [keras.layers.RandomErasing(factor=(0.5, 0.5), fill_value=127.5, value_range=RANGE)]


def _light() -> list[Any]:
    # Each image by up to a fifth. (Of RandomContrast a single 0.2 would only raise it, and RandomSaturation draws in validation, too.)
    return [keras.layers.RandomBrightness(0.2, RANGE), keras.layers.RandomContrast((0.2, 0.2), RANGE)]


# By the names of `TrainConfig.augmentation`. Keras' RandAugment is not among them: it draws one change for a whole batch, and computes all eleven.
LAYERS = {
    "none": (),
    "flip": (_flip,),
    "shift": (_shift,),
    "flip_shift": (_flip, _shift),
    "flip_shift_erase": (_flip, _shift, _erase),
    "flip_shift_light": (_flip, _shift, _light),
}


def augmented(network: keras.Model, name: str) -> keras.Model:
    """The network behind the layers of that name, which work in training steps only; with "none" the network itself.

    It has the network's weights, and the states of the layers' seed generators in `variables`; their seeds come from Keras' global one."""
    layers = [layer for part in LAYERS[name] for layer in part()]
    if not layers:
        return network
    images = x = keras.Input(network.inputs[0].shape[1:], dtype=network.inputs[0].dtype)
    for layer in layers:
        x = layer(x)
    return keras.Model(images, network(x), name=f"augmented_{network.name}")


def network_of(model: keras.Model, name: str) -> keras.Model:
    """The network inside `augmented(network, name)`."""
    return model.layers[-1] if LAYERS[name] else model
