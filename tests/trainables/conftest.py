"""Real images to train on, and an environment that `claim` may change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import Dataset, prepare


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Other back ends than TensorFlow: what is marked as TensorFlow's is deselected, and counted as such."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        return
    own = [item for item in items if item.get_closest_marker("tensorflow")]
    config.hook.pytest_deselected(items=own)
    items[:] = [item for item in items if item not in own]


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def digits(data_root: Path) -> Dataset:
    """1,797 images of ten classes at 32 px."""
    return prepare("digits", size=32, root=data_root)


@pytest.fixture(scope="session")
def digits16(data_root: Path) -> Dataset:
    """The same at 16 px."""
    return prepare("digits", size=16, root=data_root)


@pytest.fixture(scope="session")
def digits8(data_root: Path) -> Dataset:
    """As they come, at 8 px: for JAX, whose convolutions are slow on a CPU."""
    return prepare("digits", size=8, root=data_root)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """`claim` sets variables for its own process, which here is everybody's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
