"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str, why: str) -> str:
    """Where it is. The test is skipped where it is not: who has a laptop may run the others; in CI, which installs it, that is a failure."""
    if found := shutil.which(program):
        return found
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)
