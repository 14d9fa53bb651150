"""What a terminal shows while runs work; where it is no terminal is tested where runs are made."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweeps.core.decide import Decisions
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.screen import POLL_SECONDS, Screen, announcement, line, overview, summary, trial_table
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
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


def autokeras_job(root: Path, rows: list[runs.Row], **changes: object) -> Job:
    """Its searcher, a process of its own, is not asked here."""
    spec = runs.autokeras(**changes)
    storage = RunStorage(str(root), spec.run)
    storage.create(spec)
    decisions = Decisions(spec, Journal(storage))
    for row in rows:
        decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
    return Job(storage, decisions, "data")


def table_of(spec: RunSpec, state: RunState) -> list[str]:
    """As on a terminal of 80 columns."""
    out = io.StringIO()
    Console(file=out, width=80).print(trial_table(spec, state, 12))
    return [text.rstrip() for text in out.getvalue().splitlines()]


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


def test_the_table_of_autokeras_fits_80_columns() -> None:
    state = runs.state(rows=runs.autokeras_journal())
    assert table_of(runs.autokeras(), state) == [
        "trial   network  params  status      epoch  train acc  val acc  best val",
        "00004  residual  24.11M  final fit     1/2     0.5000",
        "00001  residual  24.11M  completed  3/1000     0.5000   0.6000    0.7000",
        "00003     plain   0.11M  stopped    1/1000     0.5000   0.4000    0.4000",
        "00002     plain          failed     0/1000",
    ]


def test_it_fits_with_seeds_and_many_epochs_too() -> None:
    rows = [*runs.autokeras_journal()[:5], runs.result(1, 999, 40, 0.6)]
    _, row = table_of(runs.autokeras(seeds=3), runs.state(rows=rows))
    assert row == "00001  residual  24.11M     7  running  999/1000     0.5000   0.6000    0.7000"


def test_a_final_fit_in_the_table_of_another_sweep() -> None:
    state = runs.state({**runs.suggest(5, 160, dropout=0.3, depth=1, epochs=2), "final_of": 2}, runs.end(4, 155, "failed", "no"))
    header, first, *_ = table_of(runs.spec(), state)
    assert header.split()[:3] == ["trial", "dropout", "depth"]
    assert first.split() == ["00005", "0.3", "1", "final", "fit", "0/2"]


def test_lines_of_autokeras_trials() -> None:
    spec, state = runs.autokeras(), runs.state(runs.fitted(2, 60), runs.end(4, 61), rows=runs.autokeras_journal())
    assert [line(spec, trial) for trial in state.trials.values()] == [
        "trial 00001 completed: network=residual parameters=24105960 optimizer=adam_weight_decay learning_rate=0.0003: "
        "val_accuracy 0.7000 at epoch 2, 3 of 1000 epochs",
        "trial 00002 failed: network=plain optimizer=adam learning_rate=0.01: "
        "too big: 24,105,960 parameters, and max_parameters is 1,000,000",
        "trial 00003 stopped (time budget): network=plain parameters=110810 optimizer=adam learning_rate=0.01: val_accuracy 0.4000 at epoch 1, 1 of 1000 epochs",
        "trial 00004 completed: final fit of trial 00001, 2 of 2 epochs",
    ]


def test_a_fixed_rate_is_not_among_the_searched_settings() -> None:
    rows = runs.autokeras_journal()[:3]
    del rows[1]["config"]["hyperparameters"]["learning_rate"]
    (trial,) = runs.state(rows=rows).trials.values()
    assert line(runs.autokeras(), trial).startswith(
        "trial 00001 running: network=residual parameters=24105960 optimizer=adam_weight_decay: val_accuracy"
    )


def test_the_best_so_far_is_the_one_with_a_validation_figure() -> None:
    """Not the final fit, before and after its end."""
    for more in ([], [runs.fitted(2, 60), runs.end(4, 61)]):
        state = runs.state(*more, rows=runs.autokeras_journal())
        parts = [str(part) for part in overview(runs.autokeras(), state, runs.T0 + 100)]
        text = "best so far: val_accuracy 0.7000 (network=residual parameters=24105960 optimizer=adam_weight_decay learning_rate=0.0003, epoch 2, trial 00001)"
        assert text in parts
        assert any(part.startswith("final fit of trial 00001") for part in parts) == (not more), "while it runs"
        assert summary(runs.autokeras(), state)[-1] == "0.7000"


def test_the_announcement_of_a_final_fit() -> None:
    """4 s an epoch; a tenth of the training images were held out, so that all of them take 4 / 0.9 s."""
    trials = runs.state(rows=runs.autokeras_journal()).trials
    assert announcement(trials[4], trials[1]) == "final fit of trial 00001 on train and validation: 2 epochs, about 9 s"
    trials[4].config["epochs"] = 1
    assert announcement(trials[4], trials[1]) == "final fit of trial 00001 on train and validation: 1 epoch, about 4 s"
    trials[4].config |= {"epochs": 90, "validation_fraction": 0.2}
    assert announcement(trials[4], trials[1]) == "final fit of trial 00001 on train and validation: 90 epochs, about 7 min 30 s"


class Rounds:
    """Waits of 5 ms instead of half a second, and counts them."""

    def __init__(self, wait: Callable[[float], bool]) -> None:
        self.wait, self.done = wait, threading.Semaphore(0)

    def __call__(self, seconds: float) -> bool:
        self.done.release()
        return self.wait(0.005)

    def pass_by(self, rounds: int) -> None:
        """Return after so many more."""
        for _ in range(rounds):
            assert self.done.acquire(timeout=10)


def lines_shown(jobs: list[Job], later: list[runs.Row], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where the output is no terminal: what is printed while the first run goes on with these rows."""
    out = io.StringIO()
    screen = Screen(jobs, Console(file=out, width=80))
    rounds = Rounds(screen.stop.wait)
    monkeypatch.setattr(screen.stop, "wait", rounds)
    with screen:
        rounds.pass_by(1)
        for row in later:
            jobs[0].decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
        rounds.pass_by(3)
    return out.getvalue().splitlines()


ANNOUNCED = "final fit of trial 00001 on train and validation: 2 epochs, about 9 s"
ENDED = "trial 00004 completed: final fit of trial 00001, 2 of 2 epochs"


def test_a_final_fit_is_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = runs.autokeras_journal()
    job = autokeras_job(tmp_path, rows[:-1])
    assert lines_shown([job], rows[-1:], monkeypatch) == [ANNOUNCED], "also where it was begun before, and a resume goes on with it"
    assert lines_shown([job], [runs.fitted(2, 60), runs.end(4, 61)], monkeypatch)[-1] == ENDED
    assert lines_shown([job], [], monkeypatch) == []


def test_in_a_study_it_says_of_which_part_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"run": "one.autokeras", "study": "one", "part": "autokeras"}
    spec_job = autokeras_job(tmp_path, runs.autokeras_journal(), **named)
    assert lines_shown([spec_job, job(tmp_path, "one.cnn", "one", 8)], [], monkeypatch) == [f"autokeras: {ANNOUNCED}"]


def test_a_terminal_keeps_what_failed_and_what_follows(tmp_path: Path) -> None:
    """The live table goes; these lines stay above it."""
    made = runs.autokeras()
    storage = RunStorage(str(tmp_path), made.run)
    storage.create(made)
    journal = Journal(storage)
    one: Any = SimpleNamespace(spec=made, decisions=SimpleNamespace(journal=journal))
    console = Console(file=io.StringIO(), force_terminal=True, width=200, markup=False, highlight=False)
    with Screen([one], console):
        for row in runs.autokeras_journal():
            journal.append(**{key: value for key, value in row.items() if key != "time"})
        time.sleep(3 * POLL_SECONDS)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "trial 00002 failed: network=plain optimizer=adam learning_rate=0.01: too big: " in text
    assert "final fit of trial 00001 on train and validation: 2 epochs" in text
    assert "trial 00001 completed: " not in text, "it is in the table while that is shown"
