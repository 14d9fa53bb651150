"""The base network as the report prints it, cut; any size fits."""

from __future__ import annotations

import math

import pytest

from data_prep import Dataset
from tests.trainables.trials import shapes, trial_of
from trainables.base import BaseConfig, build
from trainables.core.pretrained import counted_layers, features

# By number of classes, at the defaults: all, trainable.
PARAMETERS = {10: (290_090, 289_194), 200: (314_600, 313_704)}

# At 32 px, cut, as the report prints it: its 24 layers, 288,800 parameters.
REPORTED = [
    ("Conv2D", (32, 32, 32), 896),
    ("Activation", (32, 32, 32), 0),
    ("BatchNormalization", (32, 32, 32), 128),
    ("Conv2D", (30, 30, 32), 9_248),
    ("Activation", (30, 30, 32), 0),
    ("BatchNormalization", (30, 30, 32), 128),
    ("MaxPooling2D", (15, 15, 32), 0),
    ("SpatialDropout2D", (15, 15, 32), 0),
    ("Conv2D", (15, 15, 64), 18_496),
    ("Activation", (15, 15, 64), 0),
    ("BatchNormalization", (15, 15, 64), 256),
    ("Conv2D", (13, 13, 64), 36_928),
    ("Activation", (13, 13, 64), 0),
    ("BatchNormalization", (13, 13, 64), 256),
    ("MaxPooling2D", (6, 6, 64), 0),
    ("SpatialDropout2D", (6, 6, 64), 0),
    ("Conv2D", (6, 6, 128), 73_856),
    ("Activation", (6, 6, 128), 0),
    ("BatchNormalization", (6, 6, 128), 512),
    ("Conv2D", (4, 4, 128), 147_584),
    ("Activation", (4, 4, 128), 0),
    ("BatchNormalization", (4, 4, 128), 512),
    ("MaxPooling2D", (2, 2, 128), 0),
    ("Dropout", (2, 2, 128), 0),
]


def test_layers_are_the_reports() -> None:
    layers = build(BaseConfig(dropout=0.37), 10).layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["InputLayer", "Rescaling"]
    assert (layers[1].scale, layers[1].offset) == (1 / 255, 0)
    assert shapes(layers[2:26]) == REPORTED
    assert shapes(layers[26:]) == [("GlobalAveragePooling2D", (128,), 0), ("Dense", (10,), 1_290), ("Activation", (10,), 0)]
    activations = [layer.activation.__name__ for layer in layers if type(layer).__name__ == "Activation"]
    assert activations == ["relu"] * 6 + ["softmax"]
    assert [layer.rate for layer in layers if hasattr(layer, "rate")] == [0.37] * 3


def test_cut_after_its_last_dropout() -> None:
    cut = features(build(BaseConfig(), 10))
    assert shapes(counted_layers(cut)) == REPORTED
    assert len(REPORTED) == 24
    assert cut.output_shape == (None, 2, 2, 128)
    trainable = sum(math.prod(variable.shape) for variable in cut.trainable_variables)
    assert (cut.count_params(), trainable) == (288_800, 287_904)


@pytest.mark.parametrize(
    ("size", "sides"),
    [(64, [64, 62, 31, 29, 14, 12, 6]), (12, [12, 10, 5, 3, 1, 1, 1]), (9, [9, 7, 3, 1, 1, 1, 1]), (8, [8, 6, 3, 1, 1, 1, 1])],
)
def test_any_size_fits(size: int, sides: list[int]) -> None:
    network = build(BaseConfig(size=size), 3)
    convolutions = [layer.output.shape[1] for layer in network.layers if type(layer).__name__ == "Conv2D"]
    assert [*convolutions, features(network).output_shape[1]] == sides
    assert network.count_params() == PARAMETERS[10][0] - 7 * 129


def test_it_learns(digits16: Dataset) -> None:
    """Chance is 0.1."""
    one = trial_of("base", digits16, images=600, batch_size=16, seed=1)
    one.run_epoch()
    assert one.run_epoch()["val_accuracy"] > 0.4
