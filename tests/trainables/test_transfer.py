"""The report's head on frozen features."""

from __future__ import annotations

import math

import pytest

from tests.trainables.test_base import REPORTED as BASE
from tests.trainables.trials import shapes
from trainables.core.pretrained import counted_layers, features, network
from trainables.transfer import TransferConfig, build

# By number of classes, at the defaults: all, trainable.
PARAMETERS = {10: (556_586, 267_786), 200: (654_056, 365_256)}

# The report prints 3,072 inputs, where its base gives 2 x 2 x 128.
HEAD = [
    ("Flatten", (512,), 0),
    ("Dense", (512,), 262_656),
    ("Activation", (512,), 0),
    ("Dropout", (512,), 0),
    ("Dense", (200,), 102_600),
    ("Activation", (200,), 0),
]


def test_layers_are_the_reports() -> None:
    """All of the base but its dropouts: frozen layers run in inference mode."""
    layers = build(TransferConfig(dropout=0.37), 200).layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["InputLayer", "Rescaling"]
    assert shapes(layers[2:]) == [layer for layer in BASE if "Dropout" not in layer[0]] + HEAD
    head = layers[-len(HEAD) :]
    assert [layer.activation.__name__ for layer in head if hasattr(layer, "activation")] == ["linear", "relu", "linear", "softmax"]
    assert [layer.rate for layer in layers if hasattr(layer, "rate")] == [0.37]
    assert [layer for layer in layers if layer.trainable and layer.weights] == [head[1], head[4]]


@pytest.mark.parametrize(("dense_units", "trainable"), [(1, 513 + 2 * 3), (64, 513 * 64 + 65 * 3)])
def test_width_of_the_head(dense_units: int, trainable: int) -> None:
    model = build(TransferConfig(dense_units=dense_units), 3)
    assert sum(math.prod(variable.shape) for variable in model.trainable_variables) == trainable


def test_on_vgg16() -> None:
    """Its 18 layers, as Keras has them, and their scaling: a base that is given counts, not the setting's own."""
    base = features(network("vgg16", 32, None))
    assert len(counted_layers(base)) == 18
    model = build(TransferConfig(base="vgg16"), 200, base)
    assert model.count_params() == 14_714_688 + 262_656 + 102_600
    assert build(TransferConfig(base="vgg16"), 200).count_params() == model.count_params()
    assert model.layers[1] is base.layers[1]
