"""AlexNet as the report prints it; any size fits."""

from __future__ import annotations

import pytest

from tests.trainables.trials import shapes
from trainables.alexnet import AlexNetConfig, build

# By number of classes, at the defaults: all, trainable. The report gives those of 200.
PARAMETERS = {10: (21_592_330, 21_591_114), 200: (22_370_760, 22_369_544)}

# Tiny ImageNet at 32 px, as the report prints it; its last layer's softmax is a layer of its own here.
REPORTED = [
    ("Conv2D", (16, 16, 96), 2_688),
    ("MaxPooling2D", (8, 8, 96), 0),
    ("BatchNormalization", (8, 8, 96), 384),
    ("Conv2D", (8, 8, 256), 614_656),
    ("MaxPooling2D", (3, 3, 256), 0),
    ("BatchNormalization", (3, 3, 256), 1_024),
    ("Conv2D", (3, 3, 384), 885_120),
    ("Conv2D", (3, 3, 384), 1_327_488),
    ("Conv2D", (3, 3, 256), 884_992),
    ("MaxPooling2D", (1, 1, 256), 0),
    ("BatchNormalization", (1, 1, 256), 1_024),
    ("Flatten", (256,), 0),
    ("Dense", (4096,), 1_052_672),
    ("Dropout", (4096,), 0),
    ("Dense", (4096,), 16_781_312),
    ("Dropout", (4096,), 0),
    ("Dense", (200,), 819_400),
    ("Activation", (200,), 0),
]


def test_layers_are_the_reports() -> None:
    layers = build(AlexNetConfig(dropout=0.37), 200).layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["InputLayer", "Rescaling"]
    assert (layers[1].scale, layers[1].offset) == (1 / 255, 0)
    assert shapes(layers[2:]) == REPORTED
    activations = [layer.activation.__name__ for layer in layers if hasattr(layer, "activation")]
    assert activations == ["relu"] * 5 + ["tanh"] * 2 + ["linear", "softmax"]
    kernels = [(layer.kernel_size, layer.strides, layer.padding) for layer in layers if type(layer).__name__ == "Conv2D"]
    assert kernels == [((3, 3), (2, 2), "same"), ((5, 5), (1, 1), "same")] + [((3, 3), (1, 1), "same")] * 3
    pools = [(layer.pool_size, layer.strides) for layer in layers if type(layer).__name__ == "MaxPooling2D"]
    assert pools == [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 3), (2, 2))]
    assert [layer.rate for layer in layers if type(layer).__name__ == "Dropout"] == [0.37, 0.37]


def test_defaults_are_the_reports() -> None:
    config = AlexNetConfig()
    assert (config.epochs, config.batch_size, config.dropout) == (50, 64, 0.5)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        # Of the convolutions, and what goes to the dense layers.
        (8, [4, 2, 1, 1, 1, 1]),
        (9, [5, 2, 1, 1, 1, 1]),
        (16, [8, 4, 1, 1, 1, 1]),
        (64, [32, 16, 7, 7, 7, 3]),
    ],
)
def test_any_size_fits(size: int, sides: list[int]) -> None:
    layers = build(AlexNetConfig(size=size), 2).layers
    convolutions = [layer.output.shape[1] for layer in layers if type(layer).__name__ == "Conv2D"]
    flattened = next(layer.input.shape[1] for layer in layers if type(layer).__name__ == "Flatten")
    assert [*convolutions, flattened] == sides
    assert layers[-1].output.shape == (None, 2)
