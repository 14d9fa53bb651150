"""The report's network, layer by layer; any depth fits any size."""

from __future__ import annotations

import pytest

from data_prep import Dataset
from tests.trainables.trials import training
from trainables.cnn import CnnConfig, build

# By number of classes, at the defaults: all, trainable. The report gives those of 200.
PARAMETERS = {10: (110_810, 110_234), 200: (123_160, 122_584)}

# Tiny ImageNet at 32 px, as the report prints it: layer, shape of its output without the batch, parameters.
REPORTED = [
    ("Conv2D", (32, 32, 16), 448),
    ("Activation", (32, 32, 16), 0),
    ("BatchNormalization", (32, 32, 16), 64),
    ("Conv2D", (30, 30, 16), 2_320),
    ("Activation", (30, 30, 16), 0),
    ("BatchNormalization", (30, 30, 16), 64),
    ("MaxPooling2D", (15, 15, 16), 0),
    ("Dropout", (15, 15, 16), 0),
    ("Conv2D", (15, 15, 32), 4_640),
    ("Activation", (15, 15, 32), 0),
    ("BatchNormalization", (15, 15, 32), 128),
    ("Conv2D", (13, 13, 32), 9_248),
    ("Activation", (13, 13, 32), 0),
    ("BatchNormalization", (13, 13, 32), 128),
    ("MaxPooling2D", (6, 6, 32), 0),
    ("Dropout", (6, 6, 32), 0),
    ("Conv2D", (6, 6, 64), 18_496),
    ("Activation", (6, 6, 64), 0),
    ("BatchNormalization", (6, 6, 64), 256),
    ("Conv2D", (4, 4, 64), 36_928),
    ("Activation", (4, 4, 64), 0),
    ("BatchNormalization", (4, 4, 64), 256),
    ("MaxPooling2D", (2, 2, 64), 0),
    ("Dropout", (2, 2, 64), 0),
    ("Conv2D", (2, 2, 64), 36_928),
    ("Activation", (2, 2, 64), 0),
    ("BatchNormalization", (2, 2, 64), 256),
    ("MaxPooling2D", (1, 1, 64), 0),
    ("Dropout", (1, 1, 64), 0),
    ("GlobalAveragePooling2D", (64,), 0),
    ("Activation", (64,), 0),
    ("Dropout", (64,), 0),
    ("Dense", (200,), 13_000),
    ("Activation", (200,), 0),
]


def test_layers_are_the_reports() -> None:
    layers = build(CnnConfig(), 200).layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["InputLayer", "Rescaling"]
    assert (layers[1].scale, layers[1].offset) == (1 / 255, 0)
    assert [(type(layer).__name__, tuple(layer.output.shape[1:]), layer.count_params()) for layer in layers[2:]] == REPORTED
    activations = [layer.activation.__name__ for layer in layers if type(layer).__name__ == "Activation"]
    assert activations == ["relu"] * 8 + ["softmax"]


def test_any_depth_fits_any_size() -> None:
    counts = {
        (depth, size): build(CnnConfig(depth=depth, size=size, filters=2), 10).count_params()
        for depth in range(1, 7)
        for size in (8, 32, 64)
    }
    by_depth = [{counts[depth, size] for size in (8, 32, 64)} for depth in range(1, 7)]
    # Depth changes the count, size does not: no layer is left out where an image is small.
    assert [len(of_one_depth) for of_one_depth in by_depth] == [1] * 6
    assert sorted(set.union(*by_depth)) == [count for (count,) in by_depth]


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_dropout_reaches_every_layer(depth: int) -> None:
    layers = build(CnnConfig(depth=depth, dropout=0.37, filters=2), 10).layers
    assert [layer.rate for layer in layers if type(layer).__name__ == "Dropout"] == [0.37] * (depth + 2)


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        # Convolutions same, valid, same, valid, ... and the last; half of it, rounded down, goes on.
        (64, [64, 62, 31, 29, 14, 12, 6]),
        (32, [32, 30, 15, 13, 6, 4, 2]),
        # 3 px are enough for a valid one; less is padded, and 1 px not pooled.
        (8, [8, 6, 3, 1, 1, 1, 1]),
        (9, [9, 7, 3, 1, 1, 1, 1]),
        (11, [11, 9, 4, 2, 1, 1, 1]),
        (12, [12, 10, 5, 3, 1, 1, 1]),
        (14, [14, 12, 6, 4, 2, 2, 1]),
    ],
)
def test_small_maps_are_padded(size: int, sides: list[int]) -> None:
    layers = build(CnnConfig(size=size, filters=2), 10).layers
    assert [layer.output.shape[1] for layer in layers if type(layer).__name__ == "Conv2D"] == sides


def test_filters_double() -> None:
    layers = build(CnnConfig(depth=4, filters=3), 10).layers
    assert [layer.filters for layer in layers if type(layer).__name__ == "Conv2D"] == [3, 3, 6, 6, 12, 12, 24, 24, 24]


def test_validation_follows_from_the_first_epochs(digits16: Dataset) -> None:
    """Moving averages that forget their start in time. With Keras' own momentum this is at chance, 0.1."""
    one = training(digits16, classes=None, filters=8, batch_size=32, learning_rate=0.02, seed=2)
    one.run_epoch()
    assert one.run_epoch()["val_accuracy"] > 0.35
