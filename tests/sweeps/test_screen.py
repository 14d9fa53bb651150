"""What a terminal shows while runs work; where it is no terminal is tested where runs are made."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from sweeps.core.decide import Decisions
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.screen import Screen
from sweeps.core.storage import RunStorage
from tests.sweeps import runs


def job(root: Path, name: str, study: str | None, rows: int) -> Job:
    spec = runs.spec(name, study=study, part=name.partition(".")[2] or None)
    storage = RunStorage(str(root), name)
    storage.create(spec)
    decisions = Decisions(spec, Journal(storage))
    for row in runs.JOURNAL[:rows]:
        decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
    return Job(storage, decisions, "data")


def shown(jobs: list[Job]) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80)
    console.print(Screen(jobs, console)._render())
    return out.getvalue()


def test_a_study_is_a_row_a_run_and_its_sum(tmp_path: Path) -> None:
    # The base comes first, and is of no study.
    text = shown([job(tmp_path, "base-digits", None, 0), job(tmp_path, "one.cnn", "one", 8), job(tmp_path, "one.big", "one", 12)])
    lines = text.splitlines()
    assert lines[0].startswith("one ")
    assert lines[0].endswith("1/9 trials")
    assert lines[1].startswith("6 epochs in ")
    assert [line.split() for line in lines[2:]] == [
        ["run", "trials", "running", "epochs", "best", "val"],
        ["base-digits", "0/3", "0"],
        ["cnn", "0/3", "1/20,", "1/20", "2", "0.5000"],
        ["big", "1/3", "1/20", "4", "0.6000"],
    ]


def test_one_run_is_shown_trial_by_trial(tmp_path: Path) -> None:
    text = shown([job(tmp_path, "one", None, 12)])
    assert "1 running, 1 completed, 0 stopped, 0 failed; 4 epochs in " in text
    assert "00002" in text


def test_a_terminal_shows_it_live(tmp_path: Path) -> None:
    out = io.StringIO()
    with Screen([job(tmp_path, "one.cnn", "one", 8)], Console(file=out, width=80, force_terminal=True)):
        pass
    assert "00001" in out.getvalue()
