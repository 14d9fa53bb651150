"""Trials that differ in no more than their epochs are one training: who trains, what the others get, and that an independent training of each would have
given the same. Functions of the journal, without Ray; real ones are in test_run_shared.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps import Sweep, choice, integers
from sweeps.core.decide import WINDOW, Decisions
from sweeps.core.job import Job
from sweeps.core.rows import rows, totals
from sweeps.core.screen import line, pace, seconds_left, sharing, summary, trial_table
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage
from sweeps.core.tables import EPOCHS, TRIALS
from sweeps.core.tune import JournalSearcher
from tests.sweeps import runs
from tests.sweeps.sessions import EPOCH_SECONDS, Place, left
from trainables.core.trainable import EVALUATE

Row = dict[str, Any]


def spec(space: dict[str, Any], searcher: str = "grid", samples: int = 20, **more: Any) -> RunSpec:
    run = {key: more.pop(key) for key in ("seeds", "deterministic", "time_budget_seconds", "parallel") if key in more}
    fixed = {"patience": more.pop("patience", None), **more.pop("fixed", {})}
    values = {"scheduler": "none", "fixed": {key: value for key, value in fixed.items() if key not in space}, **more}
    sweep = Sweep(question="q", trainable="cnn", space=space, searcher=searcher, **values)
    return runs.spec("run", sweep=sweep, samples=samples, **run)


def numbers(trial: Trial, epoch: int) -> float:
    """What an epoch comes to: a function of what the training is. Up and down, by depth and seed."""
    depth, seed = int(trial.config["depth"]), int(trial.config["seed"])
    apart = trial.config["epochs"] if trial.config["schedule"] != "constant" else 0
    return round(0.5 + (epoch * (7 + 4 * depth + 3 * seed + apart) % 23) / 50, 6)


class Shared(Place):
    """Sessions in which a worker is given trials as Tune is. `lost` is the trajectory and epoch in which every training fails."""

    def __init__(self, patch: pytest.MonkeyPatch, made: RunSpec, rows: list[Row] | None = None, **more: Any) -> None:
        super().__init__(patch, made, rows, accuracy=numbers, **more)
        self.lost: tuple[int, int] | None = more.get("lost")
        # (trial, epoch) that a worker has trained, by trajectory.
        self.trained: list[tuple[int, int, int]] = []

    def work(self, workers: int = 1, steps: int | None = None, turn: int = 0) -> Decisions:
        decisions = self.begin(workers)
        running: list[Trial] = []
        done = 0
        while not decisions.searched and done != steps:
            while len(running) < workers and (trial := decisions.give() or decisions.give_new()):
                running.append(trial)
            if not running:
                break
            assert len({trial.trajectory for trial in running}) == len(running), "one worker a training"
            trial = running[(done * 7 + turn) % len(running)]
            done += 1
            if self.train(decisions, trial):
                running.remove(trial)
        if steps is None:
            assert decisions.searched
            assert decisions.all_given
        return decisions

    def train(self, decisions: Decisions, trial: Trial) -> bool:
        if self.lost == (trial.trajectory, trial.last_epoch + 1):
            self.now += EPOCH_SECONDS
            decisions.fail(trial.index, "diverged")
            return True
        self.trained.append((trial.trajectory, trial.last_epoch + 1, trial.index))
        return self.epoch(decisions, trial)


def curves(state: RunState) -> dict[int, list[float]]:
    return {trial.index: [row["val_accuracy"] for row in trial.epochs.values()] for trial in state.trials.values()}


def reasons(state: RunState) -> dict[int, str]:
    return {trial.index: trial.end["reason"] for trial in state.trials.values() if trial.end}


def assert_as_if_alone(state: RunState) -> None:
    """Every trial has the curve that it would have had, without a gap, and its own settings are why it ended."""
    for trial in state.trials.values():
        assert list(trial.epochs) == list(range(1, trial.last_epoch + 1))
        assert [row["val_accuracy"] for row in trial.epochs.values()] == [numbers(trial, epoch) for epoch in trial.epochs]
        assert (trial.end and trial.end["reason"] == "epochs") == (trial.last_epoch == trial.config["epochs"])


ORDERS = [(1, 2, 4), (4, 2, 1), (2, 4, 1, 4), (3, 3)]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("epochs", ORDERS)
def test_the_longest_is_all_that_is_trained(monkeypatch: pytest.MonkeyPatch, epochs: tuple[int, ...], workers: int) -> None:
    made = spec({"epochs": choice(*epochs)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    state = here.work(workers).state
    assert_as_if_alone(state)
    assert {index: len(curve) for index, curve in curves(state).items()} == dict(enumerate(epochs, 1))
    assert set(reasons(state).values()) == {"epochs"}
    assert [epoch for _, epoch, _ in here.trained] == list(range(1, max(epochs) + 1)), "each epoch once, in order"
    assert (state.trained_epochs, state.shared_epochs) == (max(epochs), sum(epochs) - max(epochs))
    assert {trial.folder_id for trial in state.trials.values()} == {"00001"}


def test_who_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, since a worker is free for it; then the longest of those that wait."""
    made = spec({"epochs": choice(1, 2, 5, 4)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    assert [index for _, _, index in here.trained] == [1, 3, 3, 3, 3]
    assert [trial.shared_with for trial in state.trials.values()] == [None, 1, 1, 3], "who gave most of its epochs, or the first of these"
    assert [len(trial.own_epochs) for trial in state.trials.values()] == [1, 0, 4, 0]


def test_trainings_of_other_settings_go_on_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits takes no worker: the next training has it."""
    made = spec({"depth": choice(1, 2), "epochs": choice(2, 4)})
    here = Shared(monkeypatch, made)
    decisions = here.begin(workers=2)
    first, second = decisions.give() or decisions.give_new(), decisions.give() or decisions.give_new()
    assert first
    assert second
    assert [(trial.index, trial.config["depth"]) for trial in (first, second)] == [(1, 1), (3, 2)]
    assert [trial.index for trial in decisions.state.open_trials] == [1, 2, 3], "the second waits"
    state = here.work(2).state
    assert_as_if_alone(state)
    assert [trial.trajectory for trial in state.trials.values()] == [1, 1, 3, 3]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one_cycle"])
def test_what_goes_by_the_count_is_not_shared(monkeypatch: pytest.MonkeyPatch, schedule: str) -> None:
    made = spec({"epochs": choice(1, 3)}, fixed={"depth": 1, "schedule": schedule})
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    assert_as_if_alone(state)
    assert len(here.trained) == 4
    assert all((trial.mate_of, trial.shared_with) == (None, None) for trial in state.trials.values())


def test_equal_trials_are_one_training_with_any_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"depth": choice(1, 2)}, "random", samples=6, fixed={"epochs": 3, "schedule": "cosine"})
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    assert_as_if_alone(state)
    assert len(here.trained) == 3 * len({trial.config["depth"] for trial in state.trials.values()})
    assert len(state.trials) == 6


def test_patience_ends_each_by_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"patience": choice(1, 5, 2), "epochs": choice(8, 20)}, fixed={"depth": 2})
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    curve = [numbers(state.trials[1], epoch) for epoch in range(1, 21)]
    for trial in state.trials.values():
        expected = next(
            n for n in range(1, 21) if n == trial.config["epochs"] or n - 1 - curve[:n].index(max(curve[:n])) >= trial.config["patience"]
        )
        assert trial.last_epoch == expected
    ends = [trial.last_epoch for trial in state.trials.values()]
    assert len(set(ends)) > 2, "or nothing is told apart"
    assert len(here.trained) == max(ends)


@pytest.mark.parametrize("searcher", ["random", "tpe"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_search_over_epochs_is_as_if_each_were_alone(monkeypatch: pytest.MonkeyPatch, searcher: str, workers: int) -> None:
    made = spec({"epochs": integers(1, 9), "depth": choice(1, 2)}, searcher, samples=12, startup=4)
    here = Shared(monkeypatch, made)
    state = here.work(workers).state
    assert len(state.trials) == 12
    assert_as_if_alone(state)
    longest: dict[int, int] = {}
    for trial in state.trials.values():
        longest[trial.trajectory] = max(longest.get(trial.trajectory, 0), trial.config["epochs"])
    assert len(longest) == 2
    assert sorted((trajectory, epoch) for trajectory, epoch, _ in here.trained) == [
        (trajectory, epoch) for trajectory, most in sorted(longest.items()) for epoch in range(1, most + 1)
    ]


def most_open(rows: list[Row]) -> int:
    """Trials that were open when one was suggested, that one included."""
    still_open: set[int] = set()
    most = 0
    for row in rows:
        if row["kind"] == "suggest":
            most = max(most, len(still_open) + 1)
            still_open.add(row["trial"])
        elif row["kind"] == "end":
            still_open.discard(row["trial"])
    return most


def test_a_search_that_learns_does_not_run_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait take the place of a worker; of one that does not learn there may be any number."""
    open_of = {}
    for searcher in ("tpe", "random"):
        here = Shared(monkeypatch, spec({"epochs": choice(5, 6, 7, 8)}, searcher, samples=10, fixed={"depth": 1}))
        here.work(2)
        open_of[searcher] = most_open(here.rows)
    assert open_of["tpe"] == 2
    assert open_of["random"] > 5


def test_parallel_counts_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"depth": choice(1, 2, 3), "epochs": choice(2, 4)}, parallel=1)
    here = Shared(monkeypatch, made)
    state = here.work(3).state
    assert_as_if_alone(state)
    order = [trajectory for trajectory, _, _ in here.trained]
    assert order == sorted(order), "one after the other"
    made = spec({"depth": choice(1, 2, 3), "epochs": choice(2, 4)}, parallel=2)
    decisions = Shared(monkeypatch, made).begin(3)
    given = [decisions.give() or decisions.give_new() for _ in range(3)]
    assert [trial and trial.index for trial in given] == [1, 3, None], "the second, which waits, is none"


ASHA = {"scheduler": "asha", "grace_epochs": 1, "reduction_factor": 2}


@pytest.mark.parametrize(("workers", "turn"), [(1, 0), (2, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("deterministic", [False, True])
def test_with_asha_each_is_as_alone_up_to_its_end(monkeypatch: pytest.MonkeyPatch, deterministic: bool, workers: int, turn: int) -> None:
    made = spec({"epochs": integers(2, 9), "depth": choice(1, 2, 3)}, "random", samples=16, deterministic=deterministic, **ASHA)
    here = Shared(monkeypatch, made)
    state = here.work(workers, turn=turn).state
    assert_as_if_alone(state)
    assert set(reasons(state).values()) == {"asha", "epochs"}
    assert state.shared_epochs > 0
    assert len(set(here.trained)) == len({(trajectory, epoch) for trajectory, epoch, _ in here.trained}) == len(here.trained)


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_in_trial_order_neither_workers_nor_kills_matter(monkeypatch: pytest.MonkeyPatch, searcher: str) -> None:
    made = spec({"epochs": integers(2, 9), "depth": choice(1, 2)}, searcher, samples=14, startup=3, deterministic=True, seeds=2, **ASHA)
    calm = Shared(monkeypatch, made)
    calm.work()
    assert len(calm.outcome()) > 14 > WINDOW
    for workers, turn in ((2, 0), (2, 1), (3, 2), (4, 5)):
        here = Shared(monkeypatch, made)
        for steps in (1, 3, 7, 4):
            here.work(workers, steps, turn)
        here.work(workers, turn=turn)
        assert here.outcome() == calm.outcome()


KILLED: list[tuple[int, str, dict[str, Any]]] = [
    (1, "grid", {"space": {"epochs": choice(1, 2, 4), "depth": choice(1, 2)}, "seeds": 2}),
    (1, "grid", {"space": {"epochs": choice(4, 2, 1)}, "fixed": {"depth": 1, "final_fit": True}, "seeds": 2}),
    (1, "random", {"space": {"epochs": integers(1, 6), "depth": choice(1, 2)}, "samples": 8, **ASHA}),
    (1, "tpe", {"space": {"epochs": integers(1, 6), "depth": choice(1, 2)}, "samples": 8, "startup": 3, **ASHA}),
    (1, "random", {"space": {"epochs": integers(3, 6), "patience": choice(1, 2)}, "samples": 8, "deterministic": True, **ASHA}),
    (2, "grid", {"space": {"epochs": choice(2, 5, 3, 9)}, "time_budget_seconds": EPOCH_SECONDS * 5.5}),
    (2, "grid", {"space": {"epochs": choice(9, 5, 3)}, "time_budget_seconds": EPOCH_SECONDS * 2.5}),
    (2, "grid", {"space": {"epochs": choice(1, 2, 4), "depth": choice(1, 2)}, "seeds": 2}),
    (2, "random", {"space": {"epochs": integers(1, 6), "depth": choice(1, 2)}, "samples": 8}),
]


@pytest.mark.parametrize(("workers", "searcher", "more"), KILLED)
def test_a_kill_after_any_row_changes_nothing(monkeypatch: pytest.MonkeyPatch, workers: int, searcher: str, more: dict[str, Any]) -> None:
    """Between a row and its copies, too."""
    made = spec(**{"searcher": searcher, "fixed": {"depth": 1} if "depth" not in more["space"] else {}, **more})
    calm = Shared(monkeypatch, made)
    calm.work(workers)
    told = calm.outcome()
    assert any(row.get("of") for row in calm.rows)
    for count in range(len(calm.rows)):
        here = Shared(monkeypatch, made, rows=calm.rows[:count])
        settled = here.begin(workers)
        for trial in settled.state.open_trials:
            known = max(mate.last_epoch for mate in settled.state.mates(trial.trajectory))
            assert trial.last_epoch == known < trial.config["epochs"], "as before the kill, at once"
        here.work(workers)
        assert here.outcome() == told, count
        trained = [(row["trial"], row["epoch"]) for row in here.rows if row["kind"] == "result"]
        assert len(trained) == len(set(trained)), "each once"


def test_where_time_ends_those_that_wait_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"epochs": choice(2, 5, 3, 9)}, fixed={"depth": 1}, time_budget_seconds=EPOCH_SECONDS * 3.5)
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    assert reasons(state) == {1: "epochs", 2: "time budget", 3: "epochs", 4: "time budget"}
    assert {index: len(curve) for index, curve in curves(state).items()} == {1: 2, 2: 4, 3: 3, 4: 4}


def test_a_copy_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed within the copies, and no time is left: what is there is had all the same."""
    made = spec({"epochs": choice(4, 2, 9)}, fixed={"depth": 1}, time_budget_seconds=EPOCH_SECONDS * 4.5)
    calm = Shared(monkeypatch, made)
    calm.work(1, steps=4)
    decisions = calm.begin()
    assert decisions.give() is None
    assert decisions.give_new() is not None
    rows = [row for row in calm.rows if row["kind"] != "result" or row["trial"] == 1]
    here = Shared(monkeypatch, made, rows=[row for row in rows if (row["kind"], row.get("trial")) != ("end", 2)])
    with monkeypatch.context() as late:
        late.setattr(Decisions, "out_of_time", lambda decisions: True)
        state = here.begin().state
    assert reasons(state) == {1: "epochs", 2: "epochs", 3: "time budget"}
    assert {index: len(found) for index, found in curves(state).items()} == {1: 4, 2: 2, 3: 4}


def test_a_worker_that_has_no_time_left_ends_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells so in the middle of an epoch."""
    made = spec({"epochs": choice(9, 5)}, fixed={"depth": 1}, time_budget_seconds=EPOCH_SECONDS * 3.5)
    here = Shared(monkeypatch, made)
    decisions = here.begin(2)
    first = decisions.give() or decisions.give_new()
    assert first
    assert decisions.give_new() is None
    here.train(decisions, first)
    here.now += 3 * EPOCH_SECONDS
    decisions.end(1, "time budget")
    assert reasons(decisions.state) == {1: "time budget", 2: "time budget"}
    assert decisions.searched


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_fails_on_the_way_takes_no_prefix_with_it(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    made = spec({"epochs": choice(9, 2, 4, 6)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made, lost=(1, 5))
    decisions = here.work(workers)
    state = decisions.state
    assert {trial.index: (trial.status, trial.last_epoch) for trial in state.trials.values()} == {
        1: ("failed", 4),
        2: ("completed", 2),
        3: ("completed", 4),
        4: ("failed", 4),
    }
    assert state.best_trial is not None
    assert state.best_trial.index in (2, 3)
    job = Job(RunStorage("nowhere", "run"), decisions, "data")
    task = job.evaluation(state.best_trial)
    assert (task["checkpoints"].rpartition("/")[2], task["epoch"], task["shared"]) == ("00001", state.best_trial.best_epoch, True)


def test_a_final_fit_shares_with_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"epochs": choice(1, 3)}, fixed={"depth": 1, "final_fit": True})
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    fit = state.trials[3]
    assert (fit.final_of is not None, fit.mate_of, fit.shared_with, fit.folder_id) == (True, None, None, "00003")
    assert len(fit.own_epochs) == fit.config["epochs"]


def test_repeats_share_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"epochs": choice(1, 2, 4)}, fixed={"depth": 1}, seeds=2)
    here = Shared(monkeypatch, made)
    state = here.work(2).state
    assert_as_if_alone(state)
    assert [trial.trajectory for trial in state.trials.values()] == [1, 1, 1, 4, 4, 4]
    assert len(here.trained) == 8


def test_an_older_runs_trials_keep_their_own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal does not say that they are one training, and they were not."""
    made = spec({"epochs": choice(1, 2, 4)}, fixed={"depth": 1})
    configs = [made.sweep.config({"epochs": epochs}, made.seed).model_dump() for epochs in (1, 2)]
    old: list[Row] = [
        {"kind": "session", "time": runs.T0, "workers": 2},
        *({"kind": "suggest", "time": runs.T0 + 1, "trial": n, "config": config, "repeat_of": None} for n, config in enumerate(configs, 1)),
    ]
    here = Shared(monkeypatch, made, rows=old)
    state = here.work(2).state
    assert [trial.folder_id for trial in state.trials.values()] == ["00001", "00002", "00001"]
    assert_as_if_alone(state)


def test_what_a_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"epochs": choice(2, 5, 3)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    decisions = here.begin(2)
    searcher = JournalSearcher([Job(RunStorage("nowhere", "run"), decisions, "data")])
    first = searcher.suggest("a")
    assert (first["trial"], first["reported"], first["prefixes"]) == (1, 0, [])
    assert searcher.suggest("b") is None, "the others wait"
    for _ in range(2):
        here.train(decisions, decisions.state.trials[1])
    second = searcher.suggest("c")
    assert (second["trial"], second["reported"], second["prefixes"], second["checkpoints"]) == (2, 2, [2, 3], first["checkpoints"])
    assert searcher.suggest("d") is None
    for _ in range(3):
        here.train(decisions, decisions.state.trials[2])
    measuring = searcher.suggest("e")
    assert (measuring["task"], measuring["trial"], measuring["checkpoints"]) == (EVALUATE, 2, first["checkpoints"])


def test_a_session_may_have_nothing_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    made = spec({"epochs": choice(4, 2, 1)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    here.work(1, steps=4)
    decisions = here.begin(1)
    assert left(decisions) == 2
    searcher = JournalSearcher([Job(RunStorage("nowhere", "run"), decisions, "data")])
    assert searcher.suggest("a")["task"] == EVALUATE, "its best is still to be measured"
    assert decisions.searched


def a_state(monkeypatch: pytest.MonkeyPatch, steps: int | None = None) -> tuple[RunSpec, RunState]:
    """Four trials of 1, 5, 2 and 4 epochs; with the rows that Tune's callback writes for those that had a worker."""
    made = spec({"epochs": choice(1, 5, 2, 4)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    decisions = here.begin(2)
    while trial := decisions.give() or decisions.give_new():
        decisions.give_new()
        decisions.journal.append("start", trial=trial.index)
        while steps != len(here.trained) and not here.train(decisions, trial):
            pass
        if steps == len(here.trained):
            break
    return made, decisions.state


def test_what_the_results_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made, state = a_state(monkeypatch)
    tables = {table: list(found) for table, found in rows(made, state).items()}
    trials = tables[TRIALS]
    assert [row["shared_with"] for row in trials] == [None, "00001", "00001", "00002"]
    assert [row["train_seconds"] for row in trials] == [4.0, 20.0, 8.0, 16.0], "what each would have cost alone"
    assert [row["total_seconds"] for row in trials] == [EPOCH_SECONDS, 4 * EPOCH_SECONDS, 0.0, 0.0]
    assert [row["restarts"] for row in trials] == [0, 0, 0, 0]
    assert all(row["started_at"] is not None for row in trials)
    assert trials[2]["started_at"] == trials[3]["started_at"], "when they were suggested"
    assert [row["checkpoint"].rpartition("/")[0] for row in trials] == ["", "../00001", "../00001", "../00001"]
    assert [(row["trial_id"], row["epoch"]) for row in tables[EPOCHS] if row["shared_with"] is None] == [
        ("00001", 1),
        *(("00002", epoch) for epoch in (2, 3, 4, 5)),
    ]
    account = totals(state)
    assert (account["epochs"], account["epochs_trained"], account["epochs_shared"], account["train_seconds"]) == (12, 5, 7, 20.0)
    assert json.loads(json.dumps(account)) == account


def test_time_that_a_mate_took_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its first epoch; the next session trains the longer one."""
    made = spec({"epochs": choice(3, 5)}, fixed={"depth": 1})
    here = Shared(monkeypatch, made)
    decisions = here.begin(2)
    first = decisions.give() or decisions.give_new()
    assert first
    assert decisions.give_new() is None
    decisions.journal.append("start", trial=1)
    here.train(decisions, first)
    again = here.begin(2)
    second = again.give()
    assert second
    assert second.index == 2
    again.journal.append("start", trial=2)
    while not here.train(again, second):
        pass
    trials = list(rows(made, again.state)[TRIALS])
    assert [row["total_seconds"] for row in trials] == [EPOCH_SECONDS, 4 * EPOCH_SECONDS]
    assert [row["shared_with"] for row in trials] == ["00002", "00001"]


def test_what_the_screen_says(monkeypatch: pytest.MonkeyPatch) -> None:
    made, state = a_state(monkeypatch)
    lines = [line(made, trial) for trial in state.trials.values()]
    assert lines[0].endswith(", 1 of 1 epochs")
    assert lines[1].endswith(", 5 of 5 epochs (shared with 00001)")
    assert lines[3].endswith(", 4 of 4 epochs (shared with 00002)")
    assert sharing(state) == "shared: 7 of 12 epochs are of another trial's training, 28 s saved"
    assert summary(made, state)[3] == "5"
    status = list(trial_table(made, state, 12).columns[2].cells)
    assert sorted(map(str, status)) == ["completed", "completed with 00001", "completed with 00001", "completed with 00002"]


def test_time_left_is_that_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of five epochs are trained, and two of four trials are through."""
    made, state = a_state(monkeypatch, steps=3)
    assert seconds_left(made, state, 4, state.last_time) == pytest.approx(20)
    assert pace(state, None) == "3 epochs in 30 s, 0.10 epochs/s"
    assert pace(state, state.last_time) == "3 epochs in 30 s, 0.10 epochs/s, 300 images/s"
    assert sharing(runs.state()) is None
