"""What the networks of a space look like, and what says how they are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.trainables.trials import shapes, warm
from trainables.core.spaces import IMAGES, RATES, Space, first_networks, network, training_of

# He et al. 2016, section 4.2, at 32 px: a 3x3 stem, then a block of 16 filters at 32 px and one of 32 at 16 px, which has a 1x1 convolution beside it.
RESIDUAL = [
    ("Conv2D", (32, 32, 16), 3 * 3 * 3 * 16),
    ("BatchNormalization", (32, 32, 16), 4 * 16),
    ("Activation", (32, 32, 16), 0),
    ("Conv2D", (32, 32, 16), 3 * 3 * 16 * 16),
    ("BatchNormalization", (32, 32, 16), 4 * 16),
    ("Activation", (32, 32, 16), 0),
    ("Conv2D", (32, 32, 16), 3 * 3 * 16 * 16),
    ("BatchNormalization", (32, 32, 16), 4 * 16),
    ("Add", (32, 32, 16), 0),
    ("Activation", (32, 32, 16), 0),
    ("Conv2D", (16, 16, 32), 3 * 3 * 16 * 32),
    ("BatchNormalization", (16, 16, 32), 4 * 32),
    ("Activation", (16, 16, 32), 0),
    ("Conv2D", (16, 16, 32), 3 * 3 * 32 * 32),
    ("BatchNormalization", (16, 16, 32), 4 * 32),
    ("Conv2D", (16, 16, 32), 16 * 32),
    ("BatchNormalization", (16, 16, 32), 4 * 32),
    ("Add", (16, 16, 32), 0),
    ("Activation", (16, 16, 32), 0),
    ("GlobalAveragePooling2D", (32,), 0),
    ("Dense", (10,), 33 * 10),
    ("Softmax", (10,), 0),
]
AUGMENTED = {
    f"{IMAGES}/augment": True,
    f"{IMAGES}/image_augmentation_1/translation_factor": 0.1,
    f"{IMAGES}/image_augmentation_1/rotation_factor": 0.1,
}


def hyper(**values: Any) -> Any:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.values = values
    return hp


def built(hp: Any, size: int = 32, space: Space = "sized") -> Any:
    warm()
    return network(hp, space, size, 10)


def test_residual_network() -> None:
    layers = built(hyper(**first_networks("sized")[1])).layers
    assert [type(layer).__name__ for layer in layers[:2]] == ["InputLayer", "Rescaling"]
    # Of the two parallel convolutions Keras lists now one first, now the other.
    assert sorted(shapes(layers[2:])) == sorted(RESIDUAL)
    assert {layer.use_bias for layer in layers if type(layer).__name__ == "Conv2D"} == {False}
    for add in (layer for layer in layers if type(layer).__name__ == "Add"):
        assert len({tuple(each.shape) for each in add.input}) == 1


def test_residual_stages_and_blocks() -> None:
    """The first of a stage's blocks halves the map and doubles the filters, but for the first stage's."""
    values = {**first_networks("sized")[1], f"{IMAGES}/filters": 32, f"{IMAGES}/stages": 3, f"{IMAGES}/blocks": 3}
    layers = built(hyper(**values)).layers
    ends = [tuple(layer.output.shape[1:]) for layer in layers if type(layer).__name__ == "Add"]
    assert ends == [(32, 32, 32)] * 3 + [(16, 16, 64)] * 3 + [(8, 8, 128)] * 3
    kernels = [layer.kernel_size for layer in layers if type(layer).__name__ == "Conv2D"]
    assert (len(kernels), kernels.count((1, 1))) == (1 + 3 * 3 * 2 + 2, 2)


@pytest.mark.parametrize(
    ("size", "blocks", "stages"),
    [(8, [1], [1, 2]), (16, [1, 2], [1, 2, 3]), (32, [1, 2, 3], [1, 2, 3, 4]), (64, [1, 2, 3, 4], [1, 2, 3, 4])],
)
def test_no_map_is_halved_below_4_px(size: int, blocks: list[int], stages: list[int]) -> None:
    spaces = [hyper(**first_networks("sized")[number]) for number in (0, 1)]
    for hp in spaces:
        built(hp, size)
    offered = {parameter.name: parameter for hp in spaces for parameter in hp.space}
    assert offered[f"{IMAGES}/conv_block_1/num_blocks"].values == blocks
    assert offered[f"{IMAGES}/stages"].values == stages
    deepest = built(hyper(**{**first_networks("sized")[1], f"{IMAGES}/stages": stages[-1]}), size)
    assert min(layer.output.shape[1] for layer in deepest.layers if type(layer).__name__ == "Add") >= 4


def test_augmentation_is_of_training_alone() -> None:
    """It shifts, flips left and right and rotates, never upside down."""
    plain = first_networks("sized")[0]
    model = built(hyper(**{**plain, **AUGMENTED}))
    assert [type(layer).__name__ for layer in model.layers[:6]] == [
        "InputLayer",
        "Rescaling",
        "RandomTranslation",
        "RandomFlip",
        "RandomRotation",
        "Conv2D",
    ]
    assert model.layers[3].mode == "horizontal"
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    one, other, trained = (np.asarray(model(images, training=training)) for training in (False, False, True))
    np.testing.assert_array_equal(one, other)
    assert (one != trained).any()


def test_stock_is_what_autokeras_begins_with() -> None:
    """And a list of our own, so that nothing we do to it is done to AutoKeras'."""
    from autokeras.tuners.task_specific import IMAGE_CLASSIFIER

    found = first_networks("stock")
    assert found == IMAGE_CLASSIFIER
    found[0].clear()
    assert first_networks("stock") == IMAGE_CLASSIFIER
    layers = built(hyper(**first_networks("stock")[0]), space="stock").layers
    assert [type(layer).__name__ for layer in layers] == [
        "InputLayer",
        "Normalization",
        "Conv2D",
        "Conv2D",
        "MaxPooling2D",
        "Dropout",
        "Flatten",
        "Dropout",
        "Dense",
        "Softmax",
    ]


@pytest.mark.parametrize("space", ["sized", "stock"])
def test_the_first_networks_have_all_that_they_ask_for(space: Space) -> None:
    """None is left to a default, and no value is of another network. (Of stock, those that fit a small machine.)"""
    for values in first_networks(space)[: 2 if space == "sized" else 1]:
        hp = hyper(**values)
        built(hp, space=space)
        training_of(hp, space, {})
        assert hp.values == values
        assert {parameter.name for parameter in hp.space} == set(values)


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("adam", {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant"}),
        ("sgd", {"optimizer": "sgd", "weight_decay": 0.0, "schedule": "constant"}),
        ("adam_weight_decay", {"optimizer": "adam", "weight_decay": 0.01, "schedule": "linear"}),
    ],
)
def test_training(name: str, training: dict[str, Any]) -> None:
    """AutoKeras' adam_weight_decay is AdamW whose rate falls to 0."""
    given = {"optimizer": name, "learning_rate": 1e-2}
    assert training_of(hyper(**given), "stock", {}) == {**training, "learning_rate": 1e-2}
    for fixed in training:
        found = training_of(hyper(**given), "stock", {fixed: None})
        expected = {key: value for key, value in training.items() if fixed not in (key, "optimizer")}
        assert found == {**expected, "learning_rate": 1e-2}
    hp = hyper(**given)
    assert training_of(hp, "stock", {"learning_rate": None, "optimizer": None}) == {}
    assert hp.space == []


@pytest.mark.parametrize(
    ("space", "optimizers", "rates"),
    [
        ("sized", ["adam", "adam_weight_decay"], list(RATES)),
        ("stock", ["adam", "sgd", "adam_weight_decay"], [0.1, 0.01, 1e-3, 1e-4, 2e-5, 1e-5]),
    ],
)
def test_training_that_is_searched(space: Space, optimizers: list[str], rates: list[float]) -> None:
    hp = hyper()
    assert training_of(hp, space, {}) == {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "learning_rate": 1e-3}
    assert {parameter.name: parameter.values for parameter in hp.space} == {"optimizer": optimizers, "learning_rate": rates}
