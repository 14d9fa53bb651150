"""The network that `transfer` and `fine_tune` start from.

Question     How good a base does a plain network make that was trained on CIFAR-10 (ten classes of 32 px photographs)?
Network      three blocks [Conv3x3 same, ReLU, BN, Conv3x3 valid, ReLU, BN, MaxPool2, dropout] of 32, 64, 128 filters, the dropout of the first two
             a SpatialDropout2D (24 layers, as the report counts); then its own head: global average pooling, Dense softmax.
Parameters   314,600 (313,704 trainable) at 200 classes, 290,090 at 10; cut after its last dropout 288,800 (287,904), as in the report.
Published    test accuracy 0.8423 on CIFAR-10 after 50 epochs (the report's base had a head that it does not print).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.config import TrainConfig
from trainables.core.layers import classify, convolve, pool
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class BaseConfig(TrainConfig):
    """Settings of the base network."""

    dropout: float = Field(0.25, ge=0, lt=1, description="rate after each of the three blocks")
    epochs: int = Field(50, ge=1, le=100_000, description="passes over the training images, at most")


def build(config: BaseConfig, class_count: int) -> keras.Model:
    """The network for images of any size from 8 px."""
    import keras
    from keras import layers

    images = x = keras.Input((config.size, config.size, 3))
    x = layers.Rescaling(1 / 255)(x)
    for filters, dropout in ((32, layers.SpatialDropout2D), (64, layers.SpatialDropout2D), (128, layers.Dropout)):
        x = convolve(convolve(x, filters, "same"), filters, "valid")
        x = dropout(config.dropout)(pool(x, 2))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, classify(x, class_count), name="base")


TRAINABLE = Trainable(
    summary="the network that transfer and fine_tune start from, once trained on CIFAR-10",
    config=BaseConfig,
    build=build,
)
