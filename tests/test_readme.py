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
from trainables import TrainConfig, get_trainable, trainable_names
from trainables.core.pretrained import PretrainedConfig

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    export(runs.spec(), runs.evaluated(), tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.usefixtures("results")
def test_the_notebook() -> None:
    code = README.partition("### In a notebook")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    steps = [step for step in re.split(r"\n\n(?=#)", code) if step.strip()]
    assert len(steps) >= 4
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


def test_the_trainables_own_settings_and_their_defaults() -> None:
    common = TrainConfig.model_fields.keys() | PretrainedConfig.model_fields.keys()
    for name in trainable_names():
        fields = get_trainable(name).config.model_fields
        own = {key: field.default for key, field in fields.items() if key not in common and isinstance(field.default, int | float)}
        (line,) = (line for line in README.splitlines() if line.startswith(f"| `{name}` | `"))
        assert dict(re.findall(r"`(\w+)` ([\d.]+)", line)) == {key: f"{value:g}" for key, value in own.items()}
        assert re.findall(r"`(\w+)`", line)[1:] == sorted(fields.keys() - common) or name == "autokeras_search"


def test_every_copy_of_the_published_figures_is_one() -> None:
    root = Path(__file__).parents[1]
    copies = list((root / "results").rglob("published.csv"))
    assert len(copies) == 3
    for copy in copies:
        assert copy.read_bytes() == (root / "sweeps" / "core" / "published.csv").read_bytes()


def test_the_reference_study_is_what_its_results_say() -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "readme_table.py"))
    assert script["with_table"](README) == README, "run `python docs/readme_table.py`"


def test_the_cookbook_shows_what_its_code_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten questions, each answered twice and equally, on the results in the repository."""
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root)
    page = (root / "docs" / "cookbook.md").read_text()
    questions = re.split(r"^## ", page, flags=re.MULTILINE)[1:-1]
    assert len(questions) == 10
    for question in questions:
        assert re.findall(r"```(\w+)", question) == ["python", "sql", "text"], question
    with_answers = runpy.run_path(str(root / "docs" / "cookbook_answers.py"))["with_answers"]
    assert with_answers(page) == page, "run `python docs/cookbook_answers.py`"
    with pytest.raises(ValueError, match="both answers to a question are equal, but pandas says"):
        with_answers(page.replace("order by params_depth", "order by params_depth desc"))


def test_what_there_is_to_read_is_linked() -> None:
    root = Path(__file__).parents[1]
    links = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    assert {*(f"docs/{path.name}" for path in (root / "docs").glob("*.md")), "CONTRIBUTING.md", "CHANGELOG.md", "docs/decisions"} <= links
    assert [link for link in links if not (root / link).exists()] == []


def test_pictures_are_there_and_small() -> None:
    """And ask the network for nothing."""
    root = Path(__file__).parents[1]
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert "docs/terminal.svg" in pictures
    for picture in pictures:
        assert (root / picture).stat().st_size < 500_000
    assert not re.search(r"url\(['\"]?http|@import|href=['\"]http", (root / "docs" / "terminal.svg").read_text())


def test_its_sweeps_are_there() -> None:
    table = README.partition("| sweep | question |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert {"dropout", "depth"} <= set(named) <= set(sweep_names())
