"""Real images to train on, and an environment that `claim` may change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import Dataset, prepare


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
