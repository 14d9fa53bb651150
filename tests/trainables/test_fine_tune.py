"""Which layers of the base go on learning, and the report's head."""

from __future__ import annotations

import math

import pytest

from tests.trainables.test_base import REPORTED as BASE
from tests.trainables.trials import shapes
from trainables.core.pretrained import counted_layers, features, network
from trainables.fine_tune import FineTuneConfig, build

# By number of classes, at the defaults: all, trainable.
PARAMETERS = {10: (824_362, 683_402), 200: (1_019_112, 878_152)}

HEAD = [("Flatten", (512,), 0), ("Dense", (1024,), 525_312), ("Dropout", (1024,), 0), ("Dense", (200,), 205_000), ("Activation", (200,), 0)]

# Of the base, by unfrozen layers: kernels and biases, scales and offsets; moving averages are never trained.
TRAINED = {0: 0, 5: 147_840, 8: 221_952, 13: 259_008, 16: 277_632, 21: 286_944, 24: 287_904}


def test_head_is_the_reports() -> None:
    layers = build(FineTuneConfig(dropout=0.37), 200).layers[-len(HEAD) :]
    assert shapes(layers) == HEAD
    assert [layer.activation.__name__ for layer in layers if hasattr(layer, "activation")] == ["relu", "linear", "softmax"]
    assert layers[2].rate == 0.37
    assert FineTuneConfig().dropout == 0.5


@pytest.mark.parametrize("unfrozen", TRAINED)
def test_the_last_layers_are_trained(unfrozen: int) -> None:
    base = features(network("cifar10", 32, None))
    counted = counted_layers(base)
    model = build(FineTuneConfig(unfrozen_layers=unfrozen), 200, base)
    assert [layer.trainable for layer in counted] == [False] * (24 - unfrozen) + [True] * unfrozen
    assert sum(math.prod(variable.shape) for variable in model.trainable_variables) == TRAINED[unfrozen] + 730_312
    assert model.count_params() == PARAMETERS[200][0]
    # What is unfrozen keeps its dropout, and what is frozen loses it.
    parts = [layer for layer in BASE[: 24 - unfrozen] if "Dropout" not in layer[0]] + BASE[24 - unfrozen :]
    assert shapes(model.layers[2:]) == parts + HEAD


def test_five_layers_are_those_of_the_report() -> None:
    """As it prints them: Conv2D, Activation, BatchNormalization, MaxPooling2D, Dropout are True."""
    base = features(network("cifar10", 32, None))
    build(FineTuneConfig(), 10, base)
    trained = [type(layer).__name__ for layer in counted_layers(base) if layer.trainable]
    assert trained == ["Conv2D", "Activation", "BatchNormalization", "MaxPooling2D", "Dropout"]


@pytest.mark.parametrize(("base", "layers"), [("cifar10", 24), ("vgg16", 18)])
def test_no_more_than_there_are(base: str, layers: int) -> None:
    build(FineTuneConfig(base=base, unfrozen_layers=layers), 10)
    with pytest.raises(ValueError, match=r"^unfrozen_layers") as caught:
        build(FineTuneConfig(base=base, unfrozen_layers=layers + 1), 10)
    assert str(caught.value) == f"unfrozen_layers is at most the {layers} layers of the base, but got {layers + 1}"
