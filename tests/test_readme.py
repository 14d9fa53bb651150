"""What README shows runs. (Its own-sweep file is run in tests/sweeps/test_run.py.)"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from sweeps.core.results import export
from sweeps.core.sweep import sweep_names
from tests.sweeps import runs

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    export(runs.spec(), runs.evaluated(), tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.usefixtures("results")
def test_the_cookbook() -> None:
    code = README.partition("### Cookbook")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    steps = [step for step in re.split(r"\n\n(?=#)", code) if step.strip()]
    assert len(steps) >= 6
    for step in steps:
        *before, last = step.strip().splitlines()
        exec("\n".join(before), names)
        # An assignment ends the first step; the others end in what a notebook would show.
        shown = None if re.match(r"\w+ = ", last) else eval(last, names)
        exec(last, names)
        assert shown is None or len(shown) > 0, step
    assert isinstance(names["trials"], pd.DataFrame)


@pytest.mark.usefixtures("results")
def test_duckdb() -> None:
    query = re.findall(r"`(select [^`]*)`", README)[0]
    assert len(duckdb.connect().execute(query).df()) == 4


def test_the_reference_study_is_what_its_results_say() -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "readme_table.py"))
    assert script["with_table"](README) == README, "run `python docs/readme_table.py`"


def test_its_sweeps_are_there() -> None:
    table = README.partition("| sweep | question |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert {"dropout", "depth"} <= set(named) <= set(sweep_names())
