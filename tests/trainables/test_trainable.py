"""The registry: a file is an experiment."""

from __future__ import annotations

import dataclasses

import pytest

from data_prep import BadInput
from trainables import cnn, get_trainable, trainable_names
from trainables.core.trainable import FOLDER


def test_a_file_is_an_experiment() -> None:
    assert trainable_names() == sorted(path.stem for path in FOLDER.iterdir() if path.suffix == ".py" and path.name != "__init__.py")
    assert get_trainable("cnn") is cnn.TRAINABLE


@pytest.mark.parametrize("name", ["nope", "core", "__init__", "", "../cnn", "core.worker"])
def test_unknown(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        get_trainable(name)
    assert str(caught.value) == f"there is no trainable {name!r}: use one of {', '.join(trainable_names())}"


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        cnn.TRAINABLE.summary = "another"  # type: ignore[misc]
