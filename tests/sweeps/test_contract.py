"""What every shipped sweep keeps to: tested the day its file is made."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from sweeps import Study, Sweep
from sweeps.core.propose import trial_count
from sweeps.core.sweep import load_sweep, sweep_names
from trainables import trainable_names

SWEEPS = sweep_names()


def sweeps_of(name: str) -> list[Sweep]:
    """The sweep, or those of a study's parts with its own settings."""
    _, found = load_sweep(name)
    return [found] if isinstance(found, Sweep) else [sweep for _, sweep in found.sweeps({})]


@pytest.mark.parametrize("name", SWEEPS)
def test_it_is_a_possible_sweep(name: str) -> None:
    assert load_sweep(name)[1].question.endswith("?")
    for sweep in sweeps_of(name):
        sweep.check()
        assert sweep.trainable in trainable_names()
        assert sweep.question.endswith("?")
        assert trial_count(sweep, sweep.samples) == sweep.samples, "the default number of samples is what the search has"


@pytest.mark.parametrize("name", SWEEPS)
def test_parts_of_a_study_have_names_of_their_own(name: str) -> None:
    _, found = load_sweep(name)
    names = [part.name for part in found.parts] if isinstance(found, Study) else []
    assert len(names) == len(set(names))


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
