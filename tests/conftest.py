from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that of two at a time none is left alone at the end."""
    items.sort(key=lambda item: item.path.parent.name != "sweeps")


@pytest.fixture(scope="session", autouse=True)
def no_gpus() -> Iterator[None]:
    """Numbers are compared to the last bit, and workers counted: on a machine with GPUs as on one without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C works, in this process and those that it starts, also where a shell started the tests in the background and so made them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
