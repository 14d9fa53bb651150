"""What a terminal shows while runs work; where it is no terminal is tested where runs are made."""

from __future__ import annotations

import io
import os
import platform
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from rich.console import Console

from sweeps.core.decide import Decisions
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.screen import (
    POLL_SECONDS,
    Screen,
    announcement,
    line,
    memory_of_workers,
    overview,
    pace,
    seconds_left,
    summary,
    trial_table,
)
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps


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
    assert lines[0] == "one"
    assert lines[1].endswith("  1/9 trials")
    assert lines[2].startswith("6 epochs in ")
    assert [line.split() for line in lines[4:]] == [
        ["run", "trials", "running", "epochs", "best", "val", "images/s"],
        ["base-digits", "0/3", "0"],
        ["cnn", "0/3", "1/20,", "1/20", "2", "0.5000", "400"],
        ["big", "1/3", "1/20", "4", "0.6000", "100"],
    ]


def test_a_study_tells_images_and_memory_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of one run: of those that train, each and all."""
    small, big = job(tmp_path, "one.cnn", "one", 8), job(tmp_path, "one.big", "one", 12)
    for at_work, trial, speed in ((small, 1, 1200.0), (small, 2, 34.6), (big, 2, 5000.0)):
        row = runs.result(trial, 2, 1, 0.3, images_per_second=speed)
        at_work.decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
    monkeypatch.setattr(
        "sweeps.core.screen.memory_of_workers", lambda state: {trial.index: 700_000_000 for trial in state.open_trials if trial.epochs}
    )
    lines = shown([job(tmp_path, "base-digits", None, 0), small, big]).splitlines()
    assert re.fullmatch(r"9 epochs in \d+ s, \d+\.\d\d epochs/s, 6,235 images/s, 2\.1 GB in memory", lines[2].rstrip())
    assert [line.rstrip() for line in lines[4:]] == [
        "run          trials     running  epochs  best val  images/s  memory",
        "base-digits     0/3                   0",
        "cnn             0/3  2/20, 2/20       4    0.5000     1,235  1.4 GB",
        "big             1/3        2/20       5    0.6000     5,000  700 MB",
    ]


def test_a_study_that_begins(tmp_path: Path) -> None:
    """As one run does."""
    assert shown([job(tmp_path, "base-digits", None, 0), job(tmp_path, "one.cnn", "one", 3)]).splitlines()[2].rstrip() == "starting"


@pytest.mark.parametrize(
    ("width", "columns"),
    [(80, ["run", "trials", "running", "epochs", "best", "val"]), (160, ["run", "trials", "running", "epochs", "best", "val", "images/s"])],
)
def test_a_studys_lines_never_wrap(tmp_path: Path, width: int, columns: list[str]) -> None:
    """Of a long name and many trials at work memory is left out first, then the images."""
    made = job(tmp_path, "one." + "transfer-with-a-long-name", "one", 8)
    for trial in range(3, 9):
        epochs = range(1, 3)
        for row in (runs.suggest(trial, 1, epochs=1000), runs.start(trial, 1), *(runs.result(trial, n, 1, 0.3) for n in epochs)):
            made.decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(Screen([made, job(tmp_path, "one.cnn", "one", 8)], console)._render())
    lines = out.getvalue().splitlines()
    assert len(lines) == 7, "a head of three, an empty line, the table"
    assert max(map(len, lines)) <= width
    assert lines[4].split() == columns


def test_one_run_is_shown_trial_by_trial(tmp_path: Path) -> None:
    text = shown([job(tmp_path, "one", None, 12)])
    assert "\n1 running, 1 completed, 0 stopped, 0 failed\n4 epochs in " in text
    assert "00002" in text


def working(*more: runs.Row) -> RunState:
    """Trial 4 is at its second epoch, in this process."""
    here = {"pid": os.getpid(), "node": platform.node()}
    return runs.state(runs.result(4, 1, 160, 0.3, **here), runs.result(4, 2, 170, 0.4, images_per_second=1234.5, **here), *more)


def test_speed_and_memory_of_those_that_train() -> None:
    state = working()
    memory = memory_of_workers(state)
    assert list(memory) == [4]
    process = psutil.Process().memory_info()
    assert memory[4] == pytest.approx(process.rss - process.shared, rel=0.1)
    told = pace(state, runs.T0 + 180, {4: 1_500_000_000})
    assert told == "8 epochs in 1 min 40 s, 0.08 epochs/s, 1,234 images/s, 1.5 GB in memory"
    assert pace(state, None) == "8 epochs in 1 min 30 s, 0.09 epochs/s", "a run that may not be working has no such figures"


def test_time_left() -> None:
    """At most, as long as no trial has ended: 2 epochs of 9 x 20 took 20 s. Then by what trials came to."""
    spec = runs.spec(samples=9)
    first = runs.state(rows=runs.JOURNAL[:7])
    assert seconds_left(spec, runs.state(rows=runs.JOURNAL[:3]), 9, runs.T0 + 5) is None, "no epoch yet"
    assert seconds_left(spec, first, 9, runs.T0 + 20) == pytest.approx((9 * 20 - 2) * 20 / 2)
    assert head(spec, first, runs.T0 + 20) == f"{'━' * 30}  0/9 trials, at most 29 min 40 s left"
    later = runs.state(rows=runs.JOURNAL[:15])
    assert head(spec, later, runs.T0 + 141) == f"{'━' * 30}  2/9 trials, about 3 min 34 s left"
    assert head(runs.spec(samples=9, time_budget_seconds=100.0), later, runs.T0 + 141).endswith("2/9 trials, about 39 s left")


def head(spec: RunSpec, state: RunState, now: float) -> str:
    """The bar and what stands at its right."""
    out = io.StringIO()
    # Without colours a bar is drawn as far as it goes.
    Console(file=out, width=80, force_terminal=True, color_system="standard").print(overview(spec, state, now)[0])
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).rstrip().replace("╸", "━").replace("╺", "━")


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"node": "elsewhere"}, {"of": 1}], ids=["ended", "elsewhere", "shared"])
def test_memory_that_is_not_known_or_another_trials(changes: dict[str, Any]) -> None:
    last = runs.result(4, 3, 180, 0.5, **{"pid": os.getpid(), "node": platform.node(), **changes})
    assert memory_of_workers(working(last)) == {}


def test_a_wide_terminal_shows_more_of_a_trial() -> None:
    out = io.StringIO()
    Console(file=out, width=160).print(trial_table(runs.spec(), working(), 2, {4: 900_000_000}))
    assert [text.rstrip() for text in out.getvalue().splitlines()] == [
        "trial  dropout  depth  status   epoch  train acc  val acc  best val  curve  images/s  memory",
        "00004      0.1      2  running   2/20     0.5000   0.4000    0.4000  ▁▃        1,234  900 MB",
        "00002      0.3      1  stopped   3/20     0.5000   0.6500    0.7000  ▅██",
    ]


def test_where_nobody_works_nothing_runs(tmp_path: Path, sweeps: Sweeps) -> None:
    """Of a run that was interrupted the trials that a resume goes on with are open."""
    made = job(tmp_path / "runs", "one", None, 20)
    code, out, _ = sweeps("status", "one")
    assert code == 0
    assert "\n1 open, 1 completed, 1 stopped, 1 failed\n" in out
    assert re.search(r"^00004 +0\.1 +2 +open +0/20", out, re.MULTILINE)
    assert out.endswith("interrupted: `sweeps resume one` goes on with it\n")
    assert "running" not in out
    with made.storage.lock():
        out = sweeps("status", "one")[1]
    assert "\n1 running, 1 completed, 1 stopped, 1 failed\n" in out
    assert re.search(r"^00004 +0\.1 +2 +running +0/20", out, re.MULTILINE)
    assert out.endswith("running now\n")


def test_of_many_trials_at_work_a_study_names_three() -> None:
    more = [row for trial in range(5, 9) for row in (runs.suggest(trial, 160 + trial), runs.start(trial, 160 + trial))]
    assert summary(runs.spec(), runs.state(*more))[2] == "0/20, 0/20, 0/20, 2 more"


def test_a_low_terminal_shows_fewer_trials(tmp_path: Path) -> None:
    for height, trials in ((24, 4), (11, 2), (5, 1)):
        console = Console(file=io.StringIO(), width=80, height=height)
        out = io.StringIO()
        Console(file=out, width=80).print(Screen([job(tmp_path / str(height), "one", None, 20)], console)._render())
        assert len(re.findall(r"^0000\d ", out.getvalue(), re.MULTILINE)) == trials


def test_a_terminal_shows_it_live(tmp_path: Path) -> None:
    out = io.StringIO()
    with Screen([job(tmp_path, "one.cnn", "one", 8)], Console(file=out, width=80, force_terminal=True)):
        pass
    assert "00001" in out.getvalue()


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, _environ={"TERM": "dumb"})
    made = job(tmp_path, "one", None, 8)
    with Screen([made], console):
        for row in runs.JOURNAL[8:12]:
            made.decisions.journal.append(**{key: value for key, value in row.items() if key != "time"})
    assert out.getvalue() == "trial 00001 completed: dropout=0.1 depth=2: val_accuracy 0.6000 at epoch 2, 3 of\n  20 epochs\n", "80 columns"


def test_the_table_of_autokeras_fits_80_columns() -> None:
    state = runs.state(rows=runs.autokeras_journal())
    assert table_of(runs.autokeras(), state) == [
        "trial   network  params  status      epoch  val acc  best val  curve  images/s",
        "00004  residual  24.11M  final fit     1/2                                 300",
        "00001  residual  24.11M  completed  3/1000   0.6000    0.7000  ▃█▆",
        "00003     plain   0.11M  stopped    1/1000   0.4000    0.4000  ▁",
        "00002     plain          failed     0/1000",
    ]


def test_it_fits_with_seeds_and_many_epochs_too() -> None:
    rows = [*runs.autokeras_journal()[:5], runs.result(1, 999, 40, 0.6)]
    _, row = table_of(runs.autokeras(seeds=3), runs.state(rows=rows))
    assert row == "00001  residual  24.11M     7  running  999/1000   0.6000    0.7000  ▁█▅▅"


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
        figure = parts.index("best so far: val_accuracy 0.7000 (epoch 2, trial 00001)")
        assert parts[figure + 1] == "  network=residual parameters=24105960 optimizer=adam_weight_decay learning_rate=0.0003"
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
