"""Fine-tuning: a trained base whose last layers go on learning, with a new head.

Question     How many of the base's layers should go on learning on Tiny ImageNet at 32 px?
Network      a base cut to its feature maps, its early layers frozen (in inference mode); Flatten, Dense 1024 ReLU, Dropout 0.5, Dense softmax.
Parameters   1,019,112 in all with the report's base (288,800) at 32 px and 200 classes, 878,152 of them trained with 5 layers unfrozen.
Published    test accuracy 0.2071, 0.2341, 0.2659, 0.3288 with the last 5, 8, 13 and all 24 layers of the CIFAR-10 base trainable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.layers import classify
from trainables.core.pretrained import PretrainedConfig, features, network, start_from
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class FineTuneConfig(PretrainedConfig):
    """Settings of the depth of freezing and the head."""

    unfrozen_layers: int = Field(
        5,
        ge=0,
        le=1_000,
        description="last layers of the base that are trained; Conv2D, Activation, BN, pooling and dropout count one each",
    )
    dense_units: int = Field(1024, ge=1, le=65_536, description="width of the dense layer on the base's features")
    dropout: float = Field(0.5, ge=0, lt=1, description="rate after the dense layer")


def build(config: FineTuneConfig, class_count: int, base: keras.Model | None = None) -> keras.Model:
    """The head on `base` (a network with its scaling, see `features`); on None, on a base with random weights."""
    import keras
    from keras import layers

    part = start_from(base or features(network(config.base, config.size, None)), config.size, config.unfrozen_layers)
    x = layers.Flatten()(part.outputs[0])
    x = layers.Dense(config.dense_units, activation="relu")(x)
    x = layers.Dropout(config.dropout)(x)
    return keras.Model(part.inputs[0], classify(x, class_count), name="fine_tune")


TRAINABLE = Trainable(
    summary="a trained base whose last layers are trained on, and a new head: unfrozen_layers is its setting",
    config=FineTuneConfig,
    build=build,
)
