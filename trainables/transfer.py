"""Transfer: a trained base, frozen, and a new head on its features.

Question     How much do features that were learnt elsewhere (CIFAR-10, ImageNet) help on Tiny ImageNet at 32 px?
Network      a base cut to its feature maps, frozen, in inference mode; Flatten, Dense 512, ReLU, Dropout, Dense softmax.
Parameters   654,056 (365,256 trainable) with the report's base (288,800) at 32 px and 200 classes; 556,586 at 10 classes.
Published    test accuracy 0.1806 on a base trained on CIFAR-10, 0.1950 with 90 % of the images for training; 0.1260 on VGG16. (The report does not
             give its dropout rate; its own print of the head has 3,072 inputs where the base gives 512.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.layers import classify
from trainables.core.pretrained import PretrainedConfig, features, network, start_from
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class TransferConfig(PretrainedConfig):
    """Settings of the head."""

    dense_units: int = Field(512, ge=1, le=65_536, description="width of the dense layer on the base's features")
    dropout: float = Field(0.5, ge=0, lt=1, description="rate after the dense layer")


def build(config: TransferConfig, class_count: int, base: keras.Model | None = None) -> keras.Model:
    """The head on `base` (a network with its scaling, see `features`); on None, on a base with random weights."""
    import keras
    from keras import layers

    frozen = start_from(base or features(network(config.base, config.size, None)), config.size)
    x = layers.Flatten()(frozen.outputs[0])
    x = layers.Dense(config.dense_units)(x)
    x = layers.Activation("relu")(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(frozen.inputs[0], classify(x, class_count), name="transfer")


TRAINABLE = Trainable(
    summary="a new head on the frozen features of a trained base (CIFAR-10's, VGG16, InceptionV3, your own)",
    config=TransferConfig,
    build=build,
)
