"""What every experiment keeps: tested here the day its file is born. Its twin `test_<name>.py` holds its golden counts of parameters."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from data_prep import BadInput
from trainables import TrainConfig, get_trainable, trainable_names
from trainables.core.config import checked

NAMES = trainable_names()
OTHER_SIZES = (48, 64, 96, 160, 224)


def golden(name: str) -> dict[int, tuple[int, int]]:
    """The twin's counts, all and trainable, by number of classes, at the defaults."""
    twin = importlib.import_module(f"tests.trainables.test_{name}")
    assert hasattr(twin, "PARAMETERS"), (
        f"tests/trainables/test_{name}.py needs PARAMETERS = {{10: (all, trainable), 200: (all, trainable)}}"
    )
    counts: dict[int, tuple[int, int]] = twin.PARAMETERS
    return counts


def other_config(name: str) -> TrainConfig:
    """The defaults but for the first size that is allowed and not the default."""
    model = get_trainable(name).config
    for size in OTHER_SIZES:
        if size == model().size:
            continue
        try:
            return checked(model, {"size": size}, name)
        except BadInput:
            continue
    raise AssertionError(f"{name} allows none of {OTHER_SIZES}")


def test_there_are_some() -> None:
    assert "cnn" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_twin(name: str) -> None:
    assert Path(__file__).with_name(f"test_{name}.py").is_file(), f"trainables/{name}.py needs its twin tests/trainables/test_{name}.py"
    assert {10, 200} <= set(golden(name))


@pytest.mark.parametrize("name", NAMES)
def test_front_page(name: str) -> None:
    page = importlib.import_module(f"trainables.{name}").__doc__
    assert page
    words = [line.split()[0] for line in page.splitlines() if line and not line.startswith(" ")]
    assert words[1:] == ["Question", "Network", "Parameters", "Published"]
    total, trainable = golden(name)[200]
    parameters = page[page.index("\nParameters") : page.index("\nPublished")]
    for count in (total, trainable):
        assert f"{count:,}" in parameters, f"the line Parameters of trainables/{name}.py gives the count at 200 classes, {count:,}"


@pytest.mark.parametrize("name", NAMES)
def test_summary_is_one_line(name: str) -> None:
    summary = get_trainable(name).summary
    assert summary.strip() == summary != ""
    assert len(summary.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_valid_and_fit_json(name: str) -> None:
    model = get_trainable(name).config
    assert issubclass(model, TrainConfig)
    defaults = model()
    assert model.model_validate_json(defaults.model_dump_json()) == defaults


@pytest.mark.parametrize("name", NAMES)
def test_config_is_frozen(name: str) -> None:
    config = get_trainable(name).config()
    with pytest.raises(ValidationError, match="Instance is frozen"):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_unknown_keys_are_refused(name: str) -> None:
    model = get_trainable(name).config
    with pytest.raises(BadInput) as caught:
        checked(model, {"no_such_key": 1}, f"trainable {name!r}")
    assert str(caught.value) == f"trainable {name!r} has no setting 'no_such_key': use one of {', '.join(sorted(model.model_fields))}"


@pytest.mark.parametrize("name", NAMES)
def test_fields_are_described(name: str) -> None:
    fields = get_trainable(name).config.model_fields
    assert [key for key, field in fields.items() if not (field.description or "").strip()] == []


@pytest.mark.parametrize("name", NAMES)
def test_golden_parameters(name: str) -> None:
    trainable = get_trainable(name)
    counts = {classes: parameters(trainable.build(trainable.config(), classes)) for classes in golden(name)}
    assert counts == golden(name)


def parameters(model: Any) -> tuple[int, int]:
    return model.count_params(), sum(math.prod(variable.shape) for variable in model.trainable_variables)


@pytest.mark.parametrize(("which", "classes"), [("default", 200), ("other", 10)])
@pytest.mark.parametrize("name", NAMES)
def test_from_raw_images_to_probabilities(name: str, which: str, classes: int) -> None:
    import keras

    trainable = get_trainable(name)
    config = trainable.config() if which == "default" else other_config(name)
    keras.utils.set_random_seed(0)
    model = trainable.build(config, classes)
    assert not model.compiled
    shape = (config.size, config.size, 3)
    random = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    images = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), *random])
    probabilities = model.predict_on_batch(images)
    assert probabilities.shape == (4, classes)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    # Black, white and noise are not the same to it, and a pixel of 255 is the same in whatever type it comes.
    assert len(np.unique(probabilities, axis=0)) == 4
    np.testing.assert_allclose(model.predict_on_batch(images.astype(np.float32)), probabilities, rtol=1e-4)
