"""AlexNet, cut to small images as the report cuts it.

Question     Does a large network with dense layers (22 million parameters) do better than a small one on Tiny ImageNet at 32 px, and for how long
             does it pay to train it?
Network      Conv3x3 96 stride 2, MaxPool2, BN; Conv5x5 256, MaxPool 3/2, BN; Conv3x3 384, 384, 256, MaxPool 3/2, BN, ReLU after each convolution;
             flatten; two [Dense 4096 tanh, Dropout 0.5]; Dense softmax. Batches of 64.
Parameters   22,370,760 (22,369,544 trainable) at 32 px and 200 classes, as in the report; 21,592,330 at 10 classes.
Published    test accuracy 0.1251 after 50 epochs, 0.1037 after 100; 0.996 on two classes after 500 epochs with batches of 46. (The report does
             not give its optimizer or rate.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.config import TrainConfig
from trainables.core.layers import classify, normalize, pool
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class AlexNetConfig(TrainConfig):
    """Settings of AlexNet."""

    dropout: float = Field(0.5, ge=0, lt=1, description="rate after each of the two dense layers")
    epochs: int = Field(50, ge=1, le=100_000, description="passes over the training images, at most")
    learning_rate: float = Field(1e-4, gt=0, le=10, description="of Adam")


def build(config: AlexNetConfig, class_count: int) -> keras.Model:
    """The network for images of any size from 8 px: a map that is smaller than its pooling window is padded."""
    import keras
    from keras import layers

    images = x = keras.Input((config.size, config.size, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Conv2D(96, 3, strides=2, padding="same", activation="relu")(x)
    x = normalize(pool(x, 2))
    x = layers.Conv2D(256, 5, padding="same", activation="relu")(x)
    x = normalize(pool(x, 3))
    for filters in (384, 384, 256):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = normalize(pool(x, 3))
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(4096, activation="tanh")(x)
        x = layers.Dropout(config.dropout)(x)
    return keras.Model(images, classify(x, class_count), name="alexnet")


TRAINABLE = Trainable(
    summary="AlexNet at small images: two dense layers of 4,096",
    config=AlexNetConfig,
    build=build,
)
