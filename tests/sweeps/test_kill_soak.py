"""The soak in small: `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.soak import soak

pytestmark = pytest.mark.kill


def test_a_few_kills_at_random(tmp_path: Path, data_root: Path) -> None:
    """A search that learns, in trial order on two workers."""
    found = soak(tmp_path, data_root, seed=1, trials=8, epochs=8, pause=(8.0, 14.0), most=3)
    assert sum(found.kills.values()) >= 1, "it was through before anyone killed it"
