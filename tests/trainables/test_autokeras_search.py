"""The first network of each space, counted by hand; what is too big fails; what any Keras makes of a saved one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from tests.trainables.trials import in_new_process, warm
from trainables.autokeras_search import AutoKerasConfig, bare, build
from trainables.core import normalization
from trainables.core.spaces import Space, first_networks
from trainables.core.trainable import TrialFailure

# By number of classes, at the defaults: all, trainable.
PARAMETERS = {10: (144_842, 144_842), 200: (2_528_392, 2_528_392)}

SPACES = get_args(Space)
# Side of the last map, by that of an image: two 3x3 convolutions, 2 px less each, and half of it.
SIDES = {8: 2, 28: 12, 32: 14, 64: 30}


def first(space: Space, size: int = 32, network: int = 0) -> AutoKerasConfig:
    return AutoKerasConfig(space=space, size=size, hyperparameters=first_networks(space)[network])


def counts(model: Any) -> tuple[int, int]:
    return model.count_params(), sum(math.prod(variable.shape) for variable in model.trainable_variables)


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize("space", SPACES)
def test_counts_of_the_first_network(space: Space, size: int, classes: int) -> None:
    """32 and 64 filters, then a dense layer. Stock has mean and variance of three channels, too, and the count of what they are of."""
    trained = (3 * 3 * 3 + 1) * 32 + (3 * 3 * 32 + 1) * 64 + (SIDES[size] ** 2 * 64 + 1) * classes
    expected = (trained + (7 if space == "stock" else 0), trained)
    for config in (first(space, size), AutoKerasConfig(space=space, size=size)):
        assert counts(build(config, classes)) == expected


def test_counts_at_32_px() -> None:
    assert [counts(build(first(space), 10)) for space in ("sized", "stock")] == [(144_842, 144_842), (144_849, 144_842)]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize(("space", "network"), [("sized", 0), ("sized", 1), ("stock", 0)])
def test_from_raw_images_to_probabilities(space: Space, network: int, size: int, classes: int) -> None:
    """Of two classes, too: AutoKeras' own head would give one number."""
    images = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    model = build(first(space, size, network), classes)
    normalization.adapt(model, images, np.arange(5))
    found = np.asarray(model(images))
    assert found.shape == (5, classes)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert len(np.unique(found, axis=0)) == 5


def test_too_big() -> None:
    config = first("sized")
    assert build(config.model_copy(update={"max_parameters": 144_842}), 10).count_params() == 144_842
    with pytest.raises(TrialFailure) as caught:
        build(config.model_copy(update={"max_parameters": 144_841}), 10)
    assert str(caught.value) == "too big: 144,842 parameters, and max_parameters is 144,841"


BY_KERAS_ALONE = """
import json, sys
import keras
import numpy as np

images = np.load(sys.argv[1])
found = [keras.models.load_model(path).predict_on_batch(images).tolist() for path in sys.argv[2:]]
assert not [name for name in sys.modules if name.split(".")[0] in ("autokeras", "keras_tuner", "trainables")]
print(json.dumps(found))
"""


def test_without_a_network_a_pretrained_candidate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def nothing(*words: Any, **more: Any) -> None:
        raise Exception("URL fetch failure on https://example.org/b7.h5: None -- no route")

    monkeypatch.setattr(keras.src.applications.efficientnet.file_utils, "get_file", nothing)
    values = {**first_networks("stock")[2], "image_block_1/efficient_net_block_1/version": "b0"}
    config = AutoKerasConfig(space="stock", hyperparameters=values)
    with pytest.raises(TrialFailure) as failed:
        build(config, 10)
    assert str(failed.value) == "no ImageNet weights: URL fetch failure on https://example.org/b7.h5: None -- no route"
    # Its stored weights go into the same network, which needs none of ImageNet's.
    assert bare(config, 10).count_params() == 4_049_571 + 7 + 1280 * 10 + 10


def test_keras_alone_loads_what_is_saved(tmp_path: Path) -> None:
    warm()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    models = [build(config, 3) for config in (first("sized", 8), first("sized", 8, 1), first("stock", 8))]
    for n, model in enumerate(models):
        normalization.adapt(model, images, np.arange(6))
        assert {type(layer).__module__.split(".")[0] for layer in model._flatten_layers()} == {"keras"}
        model.save(tmp_path / f"{n}.keras")
    found = in_new_process(BY_KERAS_ALONE, str(tmp_path / "images.npy"), *(str(tmp_path / f"{n}.keras") for n in range(3)))
    for model, probabilities in zip(models, found, strict=True):
        np.testing.assert_allclose(probabilities, model.predict_on_batch(images), atol=1e-6)
