"""A frozen InceptionV3 and a new head.

Question     How well do ImageNet's features carry over when their scaling and batch normalisation are right?
Network      InceptionV3 (ImageNet) without its top at 150 px, frozen, in inference mode; global average pooling, Dense 1024 ReLU, Dense softmax.
             Adam at 1e-4.
Parameters   24,105,960 (2,303,176 trainable) at 200 classes, as in the report; 23,911,210 at 10 classes.
Published    test accuracy 0.0042, below chance (0.005): the report fed unscaled images to batch normalisation in training mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from trainables.core.layers import classify
from trainables.core.pretrained import PretrainedConfig, features, network, start_from
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class InceptionConfig(PretrainedConfig):
    """Settings of the head; the base is InceptionV3."""

    base: Literal["inception"] = Field("inception", description="InceptionV3")
    size: int = Field(150, ge=75, le=1024, description="height and width of an image, px")
    dense_units: int = Field(1024, ge=1, le=65_536, description="width of the dense layer on the base's features")
    dropout: float = Field(0.0, ge=0, lt=1, description="rate after the dense layer; the report has none")
    learning_rate: float = Field(1e-4, gt=0, le=10, description="of Adam")


def build(config: InceptionConfig, class_count: int, base: keras.Model | None = None) -> keras.Model:
    """The head on `base` (InceptionV3 with its scaling); on None, on one with random weights."""
    import keras
    from keras import layers

    frozen = start_from(base or features(network(config.base, config.size, None)), config.size)
    x = layers.GlobalAveragePooling2D()(frozen.outputs[0])
    x = layers.Dense(config.dense_units, activation="relu")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout)(x)
    return keras.Model(frozen.inputs[0], classify(x, class_count), name="inception")


TRAINABLE = Trainable(
    summary="a frozen InceptionV3 (ImageNet) and a new head",
    config=InceptionConfig,
    build=build,
)
