"""What every shipped sweep keeps to: tested the day its file is made."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from sweeps import Sweep
from sweeps.core.propose import trial_count
from sweeps.core.sweep import load_sweep, sweep_names
from trainables import trainable_names

SWEEPS = sweep_names()


@pytest.mark.parametrize("name", SWEEPS)
def test_it_is_a_possible_sweep(name: str) -> None:
    _, sweep = load_sweep(name)
    assert isinstance(sweep, Sweep)
    sweep.check()
    assert sweep.trainable in trainable_names()
    assert sweep.question.endswith("?")
    assert trial_count(sweep, sweep.samples) == sweep.samples, "the default number of samples is what the search has"


@pytest.mark.parametrize("name", SWEEPS)
def test_it_opens_with_its_front_page(name: str) -> None:
    page = importlib.import_module(f"sweeps.{name}").__doc__ or ""
    lines = {line.split()[0]: line for line in page.splitlines()[1:] if line and not line[0].isspace()}
    assert {"Question", "Command", "Cost", "Expected"} <= set(lines)
    assert f"sweeps run {name}" in lines["Command"]


@pytest.mark.parametrize("name", SWEEPS)
def test_it_is_data(name: str) -> None:
    """No function, class or branch: an import and SWEEP."""
    module = importlib.import_module(f"sweeps.{name}")
    own = {
        key
        for key, value in vars(module).items()
        if not key.startswith("__") and getattr(value, "__module__", "").startswith(f"sweeps.{name}")
    }
    assert own == set()
    assert Path(module.__file__ or "").stem == name
