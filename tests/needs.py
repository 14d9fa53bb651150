"""What some tests need of the machine that they run on."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def cannot(why: str) -> NoReturn:
    """End a test that this machine cannot run. The one place that skips: a contributor without root, tmux or a browser may run the others; in CI, which
    has them all, nothing is skipped, but fails."""
    if "CI" in os.environ:
        pytest.fail(why)
    # Not a pass: the run's summary counts it and gives this reason, and CI, on which a landing depends, never comes here.
    pytest.skip(why)


def needed(program: str, why: str) -> str:
    """Where it is; else see `cannot`."""
    return shutil.which(program) or cannot(why)
