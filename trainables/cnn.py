"""The report's own small network.

Question     How far does a small plain convolutional network get on Tiny ImageNet at 32 px, and how do dropout and depth move it?
Network      `depth` blocks [Conv3x3 same, ReLU, BN, Conv3x3 valid, ReLU, BN, MaxPool2, Dropout] of 16, 32, 64, ... filters, a block
             [Conv3x3 same, ReLU, BN, MaxPool2, Dropout] of as many filters as the last, global average pooling, ReLU, Dropout, Dense softmax.
Parameters   123,160 (122,584 trainable) at depth 3 and 200 classes, as in the report; 110,810 at 10 classes.
Published    test accuracy 0.1535, with another setting 0.1756 (200 classes, 70,000 training and 30,000 test images; the report does not give
             its dropout rates, optimizer or epochs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.config import TrainConfig
from trainables.core.layers import classify, convolve, pool
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class CnnConfig(TrainConfig):
    """Settings of the small network."""

    depth: int = Field(3, ge=1, le=6, description="double-convolution blocks; the report has 3")
    dropout: float = Field(0.25, ge=0, lt=1, description="rate of every dropout layer")
    filters: int = Field(16, ge=1, le=512, description="filters of the first block; each next block has twice as many")


def build(config: CnnConfig, class_count: int) -> keras.Model:
    """The network. Where a feature map has become smaller than 3 px the second convolution of a block pads, and 1 px is not pooled, so that
    any depth fits any image size."""
    import keras
    from keras import layers

    images = x = keras.Input((config.size, config.size, 3))
    x = layers.Rescaling(1 / 255)(x)
    for block in range(config.depth):
        filters = config.filters * 2**block
        x = convolve(convolve(x, filters, "same"), filters, "valid")
        x = layers.Dropout(config.dropout)(pool(x, 2))
    x = convolve(x, config.filters * 2 ** (config.depth - 1), "same")
    x = layers.Dropout(config.dropout)(pool(x, 2))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Activation("relu")(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(images, classify(x, class_count), name="cnn")


TRAINABLE = Trainable(
    summary="the report's small plain CNN: dropout and depth are its settings",
    config=CnnConfig,
    build=build,
)
