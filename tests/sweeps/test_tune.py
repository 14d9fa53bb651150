"""What Ray Tune is told; how it then behaves is tested where runs are made."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from sweeps.core import state
from sweeps.core.decide import RESULT_KEYS, Decisions, last_line
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.screen import account
from sweeps.core.storage import RunStorage
from sweeps.core.tune import BEAT_SECONDS, RETRIES, Ending, JournalCallback, JournalScheduler, JournalSearcher, NothingAtWork
from tests.sweeps import runs
from trainables.core import worker
from trainables.core.features import CACHE_BYTES
from trainables.core.files import StorageLost
from trainables.core.trainable import EVALUATE, TRAIN


def a_job(folder: Path, run: str, **changes: Any) -> Job:
    """A run in a session that has just begun."""
    storage = RunStorage(str(folder), run)
    spec = runs.spec(run, **{"samples": 2, **changes})
    storage.create(spec)
    journal = Journal(storage)
    journal.append("session", workers=1)
    return Job(storage, Decisions(spec, journal), f"/data/of-{run}")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return a_job(tmp_path, "run")


def kinds(job: Job) -> list[str]:
    return [row["kind"] for row in job.decisions.journal.rows()]


def tune_trial(run: str, index: int, **more: Any) -> SimpleNamespace:
    """What Tune hands over; of its configuration the session reads the run, the task and the trial."""
    return SimpleNamespace(**{"config": {"run": run, "task": TRAIN, "trial": index}, "trial_id": "any", **more})


def given_back(searcher: JournalSearcher, *trial_ids: str) -> None:
    """Tune's word that these are through."""
    for trial_id in trial_ids:
        searcher.on_trial_complete(trial_id)


def a_result(epoch: int) -> dict[str, object]:
    full = {**runs.result(1, epoch, 0.0, 0.5), "pid": 1}
    return {key: full[key] for key in RESULT_KEYS} | {"training_iteration": epoch, "time_total_s": 1.0}


def test_open_trials_first_then_new_ones_then_no_more(job: Job) -> None:
    known = job.decisions.suggest()
    searcher = JournalSearcher([job])
    task = {
        "run": "run",
        "task": TRAIN,
        "trainable": "cnn",
        "dataset_folder": "/data/of-run",
        "dataset_place": f"{job.storage.root}/.data/of-run",
        "features_place": f"{job.storage.root}/.features",
        "cache_bytes": CACHE_BYTES,
        "bases": {},
        "trial": 1,
        "config": known.config,
        "reported": 0,
        "final": False,
        "deadline": None,
        "checkpoints": f"{job.storage.folder}/checkpoints/00001",
        "prefixes": [],
    }
    assert searcher.suggest("a") == task
    assert searcher.suggest("b")["trial"] == 2
    assert searcher.suggest("c") is None, "the best is to be measured when they are through"
    given_back(searcher, "a", "b")
    assert searcher.suggest("c") == Searcher.FINISHED
    assert kinds(job) == ["session", "suggest", "suggest"]


def test_a_result_is_written_before_the_verdict(job: Job) -> None:
    job.decisions.suggest()
    scheduler = JournalScheduler([job])
    last = job.state.trials[1].config["epochs"]
    assert scheduler.on_trial_result(None, tune_trial("run", 1), a_result(1)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, tune_trial("run", 1), a_result(last)) == TrialScheduler.STOP
    assert kinds(job) == ["session", "suggest", "result", "result", "end"]
    assert "training_iteration" not in [*job.decisions.journal.rows()][2]


def test_a_trial_that_no_worker_can_train_stops_as_failed(job: Job) -> None:
    job.decisions.suggest()
    told = {"failed": "diverged: train_loss is nan in epoch 1; a lower learning_rate may help"}
    assert JournalScheduler([job]).on_trial_result(None, tune_trial("run", 1), told) == TrialScheduler.STOP
    assert (job.state.trials[1].status, job.state.trials[1].error) == ("failed", told["failed"])


def test_a_trial_whose_epoch_the_budget_ended_in_stops(job: Job) -> None:
    """What it had reported before is kept; one without an epoch has no result."""
    job.decisions.suggest()
    job.decisions.suggest()
    scheduler = JournalScheduler([job])
    scheduler.on_trial_result(None, tune_trial("run", 1), a_result(1))
    for index in (1, 2):
        assert scheduler.on_trial_result(None, tune_trial("run", index), {"out_of_time": True}) == TrialScheduler.STOP
        trial = job.state.trials[index]
        assert (trial.status, trial.error) == ("stopped", None)
        assert trial.end
        assert trial.end["reason"] == "time budget"
    assert kinds(job) == ["session", "suggest", "suggest", "result", "end", "end"]
    assert [trial.index for trial in job.state.best_runs] == [1]


def test_a_worker_is_told_when_to_stop_and_what_to_train_on(tmp_path: Path) -> None:
    """A final fit trains on validation, too, and is never out of time."""
    job = a_job(tmp_path, "run", samples=1, time_budget_seconds=1000.0, sweep=runs.spec().sweep.with_settings({"final_fit": True}))
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    task = searcher.suggest("any")
    assert (task["final"], task["deadline"]) == (False, pytest.approx(job.state.sessions[0]["time"] + 1000.0, abs=1e-3))
    assert searcher.suggest("any") is None, "the best is not known yet: ask again later"
    scheduler.on_trial_result(None, tune_trial("run", 1), a_result(task["config"]["epochs"]))
    fit = searcher.suggest("any")
    assert (fit["trial"], fit["final"], fit["deadline"], fit["reported"]) == (2, True, None, 0)
    assert fit["config"] == task["config"], "its best epoch was its last"
    assert fit["checkpoints"].endswith("/checkpoints/00002"), "it does not begin with the weights of the trial that it is of"
    given_back(searcher, "any")
    assert searcher.suggest("any") == Searcher.FINISHED
    again = JournalSearcher([Job(job.storage, Decisions(job.spec, Journal(job.storage)), "/data/of-run")]).suggest("any")
    assert (again["trial"], again["final"], again["deadline"]) == (2, True, None), "a resume goes on with it"


def test_a_final_fit_that_no_worker_can_train_is_the_end(tmp_path: Path) -> None:
    job = a_job(tmp_path, "run", samples=1, sweep=runs.spec().sweep.with_settings({"final_fit": True}))
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    last = searcher.suggest("any")["config"]["epochs"]
    scheduler.on_trial_result(None, tune_trial("run", 1), a_result(last))
    searcher.suggest("any")
    assert scheduler.on_trial_result(None, tune_trial("run", 2), {"failed": "out of memory: no"}) == TrialScheduler.STOP
    assert searcher.suggest("any")["task"] == EVALUATE, "of the trial that it was to be a fit of"
    given_back(searcher, "any")
    assert searcher.suggest("any") == Searcher.FINISHED
    assert (job.state.trials[2].error, [trial.index for trial in job.state.unmeasured]) == ("out of memory: no", [1])


def test_a_worker_that_never_started_has_a_reason(job: Job, tmp_path: Path) -> None:
    job.decisions.suggest()
    file = tmp_path / "error.txt"
    file.write_text("Failure # 1\nTraceback\n  ...\nValueError: no\n\n")
    callback = JournalCallback([job])
    for _ in range(RETRIES + 1):
        callback.on_trial_error(1, [], tune_trial("run", 1, error_file=str(file)))
    assert job.state.trials[1].error == "ValueError: no"


def test_what_tune_pickles_is_nothing(job: Job) -> None:
    for part in (JournalSearcher([job]), JournalScheduler([job]), JournalCallback([job])):
        assert b"journal.jsonl" not in pickle.dumps(part)


def handed_out(searcher: JournalSearcher) -> tuple[str, int]:
    task = searcher.suggest("any")
    return task["run"], task["trial"]


def test_side_by_side_what_is_open_comes_first_then_one_run_after_the_other(tmp_path: Path) -> None:
    one, two = a_job(tmp_path, "one"), a_job(tmp_path, "two")
    for job in (one, two, two):
        job.decisions.suggest()
    searcher = JournalSearcher([one, two])
    assert [handed_out(searcher) for _ in range(4)] == [("one", 1), ("two", 1), ("two", 2), ("one", 2)]
    given_back(searcher, "any")
    assert searcher.suggest("any") == Searcher.FINISHED
    folders = {searcher.jobs[n].training(job.state.trials[1])["dataset_folder"] for n, job in enumerate((one, two))}
    assert folders == {"/data/of-one", "/data/of-two"}


def test_side_by_side_a_run_that_waits_does_not_hold_the_other_up(tmp_path: Path) -> None:
    """Two seeds: the repeat of a run waits for its search, and meanwhile the other run has its turn."""
    one, two = a_job(tmp_path, "one", samples=1, seeds=2), a_job(tmp_path, "two", samples=1)
    searcher, scheduler = JournalSearcher([one, two]), JournalScheduler([one, two])
    assert [handed_out(searcher) for _ in range(2)] == [("one", 1), ("two", 1)]
    assert searcher.suggest("any") is None, "the first waits, the second is through: ask again later"
    last = one.state.trials[1].config["epochs"]
    assert scheduler.on_trial_result(None, tune_trial("two", 1), a_result(last)) == TrialScheduler.STOP
    measuring = searcher.suggest("any")
    assert (measuring["run"], measuring["task"], measuring["trial"]) == ("two", EVALUATE, 1), "its best is measured meanwhile"
    assert searcher.suggest("any") is None, "an end of the other run is no end of this one's search"
    assert scheduler.on_trial_result(None, tune_trial("one", 1), a_result(last)) == TrialScheduler.STOP
    assert handed_out(searcher) == ("one", 2)
    assert one.state.trials[2].repeat_of == 1
    given_back(searcher, "any")
    assert searcher.suggest("any") == Searcher.FINISHED


def test_side_by_side_a_run_with_a_budget_of_its_own_is_first(tmp_path: Path) -> None:
    """Its time runs from the start of the session."""
    one, two, three = a_job(tmp_path, "one"), a_job(tmp_path, "two", time_budget_seconds=9.0, parallel=1), a_job(tmp_path, "three")
    three.decisions.suggest()
    searcher = JournalSearcher([one, two, three])
    assert [handed_out(searcher) for _ in range(3)] == [("three", 1), ("two", 1), ("one", 1)], "after what is open, and one of it at a time"
    two.decisions.fail(1, "no")
    assert [handed_out(searcher) for _ in range(3)] == [("two", 2), ("one", 2), ("three", 2)]


def test_side_by_side_each_row_goes_to_the_journal_of_its_run(tmp_path: Path) -> None:
    one, two = a_job(tmp_path, "one"), a_job(tmp_path, "two")
    for job in (one, two):
        job.decisions.suggest()
    scheduler, callback = JournalScheduler([one, two]), JournalCallback([one, two])
    callback.on_trial_start(1, [], tune_trial("two", 1))
    assert (kinds(one), kinds(two)) == (["session", "suggest"], ["session", "suggest", "start"])
    scheduler.on_trial_result(None, tune_trial("two", 1), a_result(1))
    scheduler.on_trial_result(None, tune_trial("one", 1), {"failed": "no"})
    for _ in range(RETRIES + 1):
        callback.on_trial_error(1, [], tune_trial("two", 1, error_file=None))
    assert kinds(one) == ["session", "suggest", "end"]
    assert kinds(two) == ["session", "suggest", "start", "result", "end"]
    assert (one.state.trials[1].error, two.state.trials[1].error) == ("no", "the worker gave no reason")
    read = [Journal(RunStorage(str(tmp_path), run)).state for run in ("one", "two")]
    assert read == [one.state, two.state], "on disk, too"


FIGURES: dict[str, Any] = {"splits": {}, "test_averages": {}, "classes": [], "layers": []}


def test_the_best_is_measured_by_a_worker(job: Job) -> None:
    """Once; what fails is told, and a resume asks again."""
    searcher, scheduler, callback = JournalSearcher([job]), JournalScheduler([job]), JournalCallback([job])
    last = searcher.suggest("a")["config"]["epochs"]
    searcher.suggest("b")
    for index in (1, 2):
        scheduler.on_trial_result(None, tune_trial("run", index), a_result(last))
    given_back(searcher, "a", "b")
    task = searcher.suggest("c")
    assert {"run": "run", "task": EVALUATE, "trial": 1, "epoch": last, "dataset_folder": "/data/of-run"}.items() <= task.items()
    assert searcher.suggest("d") is None, "it is being measured"
    before = kinds(job)
    callback.on_trial_start(1, [], SimpleNamespace(config=task, trial_id="any"))
    assert kinds(job) == before, "no start of the trial"
    told = {"evaluation": json.dumps(FIGURES)}
    assert scheduler.on_trial_result(None, SimpleNamespace(config=task), told) == TrialScheduler.STOP
    assert kinds(job) == [*before, "evaluation"]
    assert job.state.unmeasured == []
    given_back(searcher, "c")
    assert searcher.suggest("d") == Searcher.FINISHED


def test_a_best_model_that_cannot_be_measured_is_told(job: Job, tmp_path: Path) -> None:
    job.decisions.suggest()
    JournalScheduler([job]).on_trial_result(None, tune_trial("run", 1), a_result(1))
    file = tmp_path / "error.txt"
    file.write_text("Traceback\nFileNotFoundError: epoch-000001.npz\n")
    callback, task = JournalCallback([job]), job.evaluation(job.state.trials[1])
    for _ in range(RETRIES + 1):
        assert callback.problems == []
        callback.on_trial_error(1, [], SimpleNamespace(config=task, error_file=str(file)))
    assert callback.problems == [
        "the best model is measured from the checkpoint of epoch 1 of trial 00001, but that failed (FileNotFoundError: epoch-000001.npz): "
        "mend it, then `sweeps resume run`"
    ]
    assert job.state.trials[1].status == "running", "that is no failure of the trial"


def test_how_far_features_are_is_written_down(job: Job) -> None:
    job.decisions.suggest()
    progress = {"stage": "features", "images_done": 128, "images_total": 400, "computed": 128, "bytes": 4000, "seconds": 2.0}
    assert JournalScheduler([job]).on_trial_result(None, tune_trial("run", 1), {**progress, "time_total_s": 1.0}) == TrialScheduler.CONTINUE
    (row,) = job.state.trials[1].stages
    assert {key: row[key] for key in progress} == progress
    assert row["kind"] == "stage"


def test_last_line() -> None:
    assert last_line("a\n b \n\n") == "b"
    assert last_line("\n") == "unknown error"


def test_time_is_written_down_where_a_budget_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [a_job(tmp_path, "bound", time_budget_seconds=60.0), a_job(tmp_path, "free")]
    began = jobs[0].state.last_time or 0.0
    callback = JournalCallback(jobs)
    for seconds in (0.0, BEAT_SECONDS - 0.1, BEAT_SECONDS, BEAT_SECONDS + 1, 2 * BEAT_SECONDS):
        monkeypatch.setattr("time.time", lambda now=began + seconds: now)
        callback.on_step_end(1, [])
    assert [kinds(job) for job in jobs] == [["session", "beat", "beat"], ["session"]]
    assert Journal(jobs[0].storage).state.elapsed_seconds == pytest.approx(2 * BEAT_SECONDS)


def test_a_lost_storage_ends_the_session_and_nothing_else(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial fails by it: a resume goes on with all of them."""
    ending = Ending()
    searcher, scheduler, callback = JournalSearcher([job], ending), JournalScheduler([job], ending), JournalCallback([job], ending)
    searcher.suggest("a")
    searcher.suggest("b")
    before = len([*job.decisions.journal.rows()])
    told = {"lost": "a checkpoint cannot be written (No space left on device)"}
    assert scheduler.on_trial_result(None, tune_trial("run", 1), told) == TrialScheduler.STOP
    assert ending.reason == told["lost"]
    assert scheduler.on_trial_result(None, tune_trial("run", 2), a_result(1)) == TrialScheduler.STOP, "it is reported again after a resume"
    assert searcher.suggest("c") == Searcher.FINISHED
    assert len([*job.decisions.journal.rows()]) == before
    assert [trial.status for trial in job.state.trials.values()] == ["running", "running"]
    callback.on_trial_start(1, [], tune_trial("run", 1))


def test_a_journal_that_cannot_be_written_does_so_too(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = Ending()
    searcher, scheduler, callback = JournalSearcher([job], ending), JournalScheduler([job], ending), JournalCallback([job], ending)
    searcher.suggest("a")

    def lost(kind: str, **values: object) -> None:
        raise StorageLost(f"no {kind}")

    monkeypatch.setattr(job.decisions.journal, "append", lost)
    callback.on_trial_start(1, [], tune_trial("run", 1))
    assert ending.reason == "no start"
    assert scheduler.on_trial_result(None, tune_trial("run", 1), a_result(1)) == TrialScheduler.STOP
    assert searcher.suggest("b") == Searcher.FINISHED
    assert job.state.trials[1].epochs == {}


def an_error(tmp_path: Path, text: str) -> str:
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1\n{text}\n")
    return str(file)


LOST = "The actor died because its node has died. Node Id: 7f\n\tthe actor's node was terminated unexpectedly: health check failed"
RETIRED = "ray.exceptions.RayTaskError(Retires): ray::Worker.train()\ntrainables.core.worker.Retires: 9 trials have left 3.1 GB in the memory of this worker"
DRAINED = "ray.exceptions.RayTaskError(NodeLeaving): ray::Worker.train()\ntrainables.core.worker.NodeLeaving: worker-1 is being taken away"


@pytest.mark.parametrize("text", [LOST, DRAINED])
def test_the_loss_of_a_machine_is_no_failure(job: Job, tmp_path: Path, text: str) -> None:
    """However often: the trial is given out again."""
    searcher = JournalSearcher([job])
    callback = JournalCallback([job], searcher=searcher)
    first = searcher.suggest("a")
    for lost in range(RETRIES + 2):
        searcher.on_trial_complete("a", error=True)
        callback.on_trial_error(1, [], tune_trial("run", 1, error_file=an_error(tmp_path, text)))
        assert searcher.suggest("a") == first
        assert job.state.moved == lost + 1
    assert job.state.trials[1].status == "running"
    assert kinds(job) == ["session", "suggest", *["moved"] * (RETRIES + 2)]
    assert account(job.state) == f"{RETRIES + 2} times a trial went on elsewhere, its machine lost or taken away"


def test_a_worker_that_retires_is_neither_a_failure_nor_a_move(job: Job, tmp_path: Path) -> None:
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    callback = JournalCallback([job], searcher=searcher)
    searcher.suggest("a")
    for _ in range(RETRIES + 2):
        callback.on_trial_start(1, [], tune_trial("run", 1))
        searcher.on_trial_complete("a", error=True)
        callback.on_trial_error(1, [], tune_trial("run", 1, error_file=an_error(tmp_path, RETIRED)))
        assert searcher.suggest("a")["trial"] == 1
    callback.on_trial_start(1, [], tune_trial("run", 1))
    scheduler.on_trial_result(None, tune_trial("run", 1), {**a_result(1), "finished_at": time.time() + 1})
    assert (job.state.trials[1].status, job.state.moved, job.state.repeated_epochs) == ("running", 0, 0)


def test_an_epoch_is_not_trained_again_where_a_notice_came_between_two(job: Job, tmp_path: Path) -> None:
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    callback = JournalCallback([job], searcher=searcher)
    searcher.suggest("a")
    for text, again in ((DRAINED, 0), (LOST, 1)):
        callback.on_trial_start(1, [], tune_trial("run", 1))
        callback.on_trial_error(1, [], tune_trial("run", 1, error_file=an_error(tmp_path, text)))
        callback.on_trial_start(1, [], tune_trial("run", 1))
        scheduler.on_trial_result(None, tune_trial("run", 1), {**a_result(1 + again), "finished_at": time.time() + 1})
        assert job.state.repeated_epochs == again


def test_a_worker_that_fails_again_and_again_fails_its_trial(job: Job, tmp_path: Path) -> None:
    searcher = JournalSearcher([job])
    callback = JournalCallback([job], searcher=searcher)
    searcher.suggest("a")
    for _ in range(RETRIES):
        searcher.on_trial_complete("a", error=True)
        callback.on_trial_error(1, [], tune_trial("run", 1, error_file=an_error(tmp_path, "ValueError: no")))
        assert searcher.suggest("a")["trial"] == 1
    callback.on_trial_error(1, [], tune_trial("run", 1, error_file=an_error(tmp_path, "ValueError: no")))
    assert (job.state.trials[1].status, job.state.trials[1].error) == ("failed", "ValueError: no")


def test_a_measurement_that_lost_its_machine_is_asked_for_again(job: Job, tmp_path: Path) -> None:
    searcher, scheduler = JournalSearcher([job]), JournalScheduler([job])
    callback = JournalCallback([job], searcher=searcher)
    last = searcher.suggest("a")["config"]["epochs"]
    searcher.suggest("b")
    for index in (1, 2):
        scheduler.on_trial_result(None, tune_trial("run", index), a_result(last))
    given_back(searcher, "a", "b")
    task = searcher.suggest("c")
    searcher.on_trial_complete("c", error=True)
    callback.on_trial_error(1, [], SimpleNamespace(config=task, error_file=an_error(tmp_path, LOST)))
    assert searcher.suggest("d") == task
    assert callback.problems == []


def test_a_session_that_is_to_end_does_not_wait_for_a_machine(job: Job) -> None:
    """Whose trial is pending, perhaps for one that an autoscaler has not bought yet."""
    ending = Ending()
    callback = JournalCallback([job], ending)

    def now(*statuses: str) -> list[Any]:
        return [SimpleNamespace(status=status, is_finished=lambda status=status: status in ("TERMINATED", "ERROR")) for status in statuses]

    callback.on_step_end(1, now("PENDING"))
    ending.interrupted = True
    callback.on_step_end(1, now("PENDING", "RUNNING"))
    callback.on_step_end(1, now("TERMINATED", "ERROR"))
    with pytest.raises(NothingAtWork):
        callback.on_step_end(1, now("TERMINATED", "PENDING"))


def test_a_worker_that_gives_its_trial_up_is_known_by_name() -> None:
    """Else it would be a failure of the trial."""
    assert (worker.NodeLeaving.__name__, worker.Retires.__name__) == (state.LEAVING, state.RETIRED)
