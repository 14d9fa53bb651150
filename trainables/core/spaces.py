"""The networks that an AutoKeras search chooses from, as functions of KerasTuner's hyper-parameters.

`stock` is what AutoKeras' ImageClassifier searches. `sized` has blocks for images of the data's own size: AutoKeras' plain convolutions and a residual
network with a 3x3 stem (He et al. 2016, section 4.2), no network is made for 224 px or downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from trainables.core.autokeras_compat import numbered_from_one
from trainables.core.layers import normalize

if TYPE_CHECKING:
    import keras
    from keras_tuner import HyperParameters

Space = Literal["sized", "stock"]
IMAGES, HEAD = "image_block_1", "classification_head_1"
# What AutoKeras' adam_weight_decay is: AdamW whose rate falls to 0 over all steps.
WEIGHT_DECAY = 0.01
RATES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)


def first_networks(space: Space) -> list[dict[str, Any]]:
    """The values of the networks that a search begins with."""
    if space == "stock":
        from autokeras.tuners.task_specific import IMAGE_CLASSIFIER

        return [dict(values) for values in IMAGE_CLASSIFIER]
    plain = f"{IMAGES}/conv_block_1"
    head = {f"{HEAD}/spatial_reduction_1/reduction_type": "flatten", f"{HEAD}/dropout": 0.5}
    recipe = {f"{IMAGES}/augment": False, "optimizer": "adam", "learning_rate": 1e-3}
    return [
        {
            f"{IMAGES}/block_type": "plain",
            f"{plain}/kernel_size": 3,
            f"{plain}/separable": False,
            f"{plain}/max_pooling": True,
            f"{plain}/num_blocks": 1,
            f"{plain}/num_layers": 2,
            f"{plain}/filters_0_0": 32,
            f"{plain}/filters_0_1": 64,
            f"{plain}/dropout": 0.25,
            **head,
            **recipe,
        },
        {
            f"{IMAGES}/block_type": "residual",
            f"{IMAGES}/filters": 16,
            f"{IMAGES}/stages": 2,
            f"{IMAGES}/blocks": 1,
            f"{HEAD}/spatial_reduction_1/reduction_type": "global_avg",
            f"{HEAD}/dropout": 0.0,
            **recipe,
        },
    ]


def network(hp: HyperParameters, space: Space, size: int, class_count: int) -> keras.Model:
    """The uncompiled network of these hyper-parameters, raw images (N x size x size x 3, values 0..255) to class probabilities (N x class_count).
    What it asks for and `hp` does not have yet is added to `hp` with its default."""
    import autokeras
    import keras

    images = keras.Input((size, size, 3))
    with numbered_from_one():
        head = autokeras.ClassificationHead(name=HEAD)
        # Not by `num_classes`: with two, it makes one sigmoid.
        head.shape = (class_count,)
        if space == "stock":
            features = autokeras.ImageBlock(name=IMAGES).build(hp, [images])
        else:
            with hp.name_scope(IMAGES):
                features = _sized(hp, images, size)
        return keras.Model(images, head.build(hp, [features]), name="autokeras")


def training_of(hp: HyperParameters, space: Space, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say how this network is trained; those in `fixed` are not searched."""
    stock = space == "stock"
    optimizers, rates = (
        (["adam", "sgd", "adam_weight_decay"], [1e-1, 1e-2, 1e-3, 1e-4, 2e-5, 1e-5]) if stock else (["adam", "adam_weight_decay"], RATES)
    )
    found: dict[str, Any] = {}
    if "optimizer" not in fixed:
        name = hp.Choice("optimizer", optimizers, default="adam")
        found["optimizer"] = "sgd" if name == "sgd" else "adam"
        decay = name == "adam_weight_decay"
        found |= {"weight_decay": WEIGHT_DECAY if decay else 0.0, "schedule": "linear" if decay else "constant"}
    if "learning_rate" not in fixed:
        found["learning_rate"] = hp.Choice("learning_rate", list(rates), default=1e-3)
    return {key: value for key, value in found.items() if key not in fixed}


def _sized(hp: HyperParameters, images: Any, size: int) -> Any:
    from autokeras.blocks import ConvBlock, ImageAugmentation
    from keras import layers
    from keras_tuner.engine.hyperparameters import Choice

    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    if hp.Boolean("augment", default=False):
        with hp.conditional_scope("augment", [True]):
            # Upside down an image is seldom of its class; zoom does nothing in AutoKeras 3.0.
            x = ImageAugmentation(vertical_flip=False, contrast_factor=0.0, zoom_factor=0.0).build(hp, [x])
    # Halvings that leave at least 4 px.
    halvings = max(1, int(math.log2(size)) - 2)
    kind = hp.Choice("block_type", ["plain", "residual"])
    with hp.conditional_scope("block_type", [kind]):
        if kind == "residual":
            return _residual(hp, x, halvings)
        blocks = Choice("num_blocks", list(range(1, min(halvings, 4) + 1)), default=1)
        filters = Choice("filters", [16, 32, 64, 128], default=32)
        return ConvBlock(kernel_size=Choice("kernel_size", [3, 5], default=3), num_blocks=blocks, filters=filters).build(hp, [x])


def _residual(hp: HyperParameters, x: Any, halvings: int) -> Any:
    filters = hp.Choice("filters", [16, 32, 64], default=16)
    stages = hp.Choice("stages", list(range(1, min(halvings + 1, 4) + 1)), default=min(halvings + 1, 2))
    blocks = hp.Choice("blocks", [1, 2, 3], default=1)
    x = _normed(_convolved(x, filters))
    for stage in range(stages):
        for block in range(blocks):
            x = _residual_block(x, filters * 2**stage, stride=2 if stage and not block else 1)
    return x


def _residual_block(x: Any, filters: int, stride: int) -> Any:
    from keras import layers

    inner = normalize(_convolved(_normed(_convolved(x, filters, stride=stride)), filters))
    if stride > 1 or x.shape[-1] != filters:
        x = normalize(_convolved(x, filters, kernel=1, stride=stride))
    return layers.Activation("relu")(layers.Add()([x, inner]))


def _convolved(x: Any, filters: int, kernel: int = 3, stride: int = 1) -> Any:
    from keras import layers

    return layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal")(x)


def _normed(x: Any) -> Any:
    from keras import layers

    return layers.Activation("relu")(normalize(x))
