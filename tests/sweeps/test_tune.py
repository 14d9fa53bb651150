"""What Ray Tune is told; how it then behaves is tested where runs are made."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps.core.decide import RESULT_KEYS, Decisions, last_line
from sweeps.core.journal import Journal
from sweeps.core.storage import RunStorage
from sweeps.core.tune import JournalCallback, JournalScheduler, JournalSearcher
from tests.sweeps import runs

SPEC = runs.spec("run", samples=2)


@pytest.fixture
def storage(tmp_path: Path) -> RunStorage:
    made = RunStorage(str(tmp_path), "run")
    made.create(SPEC)
    return made


@pytest.fixture
def decisions(storage: RunStorage) -> Decisions:
    journal = Journal(storage)
    journal.append("session", workers=1)
    return Decisions(SPEC, journal)


def a_result(epoch: int) -> dict[str, object]:
    full = {**runs.result(1, epoch, 0.0, 0.5), "pid": 1}
    return {key: full[key] for key in RESULT_KEYS} | {"training_iteration": epoch, "time_total_s": 1.0}


def test_open_trials_first_then_new_ones_then_no_more(decisions: Decisions, storage: RunStorage) -> None:
    known = decisions.suggest()
    searcher = JournalSearcher(decisions, storage)
    task = {"trial": 1, "config": known.config, "reported": 0, "checkpoints": f"{storage.folder}/checkpoints/00001"}
    assert searcher.suggest("a") == task
    assert searcher.suggest("b")["trial"] == 2
    assert searcher.suggest("c") == Searcher.FINISHED
    assert [row["kind"] for row in decisions.journal.rows] == ["session", "suggest", "suggest"]


def test_a_result_is_written_before_the_verdict(decisions: Decisions) -> None:
    decisions.suggest()
    trial = SimpleNamespace(config={"trial": 1})
    scheduler = JournalScheduler(decisions)
    last = decisions.state.trials[1].config["epochs"]
    assert scheduler.on_trial_result(None, trial, a_result(1)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial, a_result(last)) == TrialScheduler.STOP
    assert [row["kind"] for row in decisions.journal.rows] == ["session", "suggest", "result", "result", "end"]
    assert "training_iteration" not in decisions.journal.rows[2]


def test_a_diverged_trial_stops_as_failed(decisions: Decisions) -> None:
    decisions.suggest()
    trial = SimpleNamespace(config={"trial": 1})
    told = {"diverged": "diverged: train_loss is nan in epoch 1; a lower learning_rate may help"}
    assert JournalScheduler(decisions).on_trial_result(None, trial, told) == TrialScheduler.STOP
    assert (decisions.state.trials[1].status, decisions.state.trials[1].error) == ("failed", told["diverged"])


def test_a_worker_that_never_started_has_a_reason(decisions: Decisions, tmp_path: Path) -> None:
    decisions.suggest()
    file = tmp_path / "error.txt"
    file.write_text("Failure # 1\nTraceback\n  ...\nValueError: no\n\n")
    JournalCallback(decisions).on_trial_error(1, [], SimpleNamespace(config={"trial": 1}, error_file=str(file)))
    assert decisions.state.trials[1].error == "ValueError: no"


def test_what_tune_pickles_is_nothing(decisions: Decisions, storage: RunStorage) -> None:
    for part in (JournalSearcher(decisions, storage), JournalScheduler(decisions), JournalCallback(decisions)):
        assert b"journal.jsonl" not in pickle.dumps(part)


def test_last_line() -> None:
    assert last_line("a\n b \n\n") == "b"
    assert last_line("\n") == "unknown error"
