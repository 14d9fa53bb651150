from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from data_prep import BadInput
from sweeps import Sweep, choice, uniform
from sweeps.core.decide import DRAWN_BY, WINDOW, Decisions, is_rung, promoted
from sweeps.core.journal import Journal
from sweeps.core.launch import VERSIONS_OF
from sweeps.core.spec import RunSpec
from sweeps.core.standing import REPEATED, finished, measured, total_trials
from sweeps.core.storage import RunStorage
from tests.sweeps import runs

EPOCHS = 6


def spec(**changes: Any) -> RunSpec:
    sweep = Sweep(
        question="q",
        trainable="cnn",
        space={"dropout": uniform(0.0, 0.7)},
        known_points=({"dropout": 0.25},),
        fixed={"epochs": EPOCHS},
        grace_epochs=2,
        reduction_factor=3,
        startup=3,
    )
    return runs.spec("run", sweep=sweep, samples=12, **changes)


def open_journal(tmp_path: Path, made: RunSpec) -> Journal:
    storage = RunStorage(str(tmp_path), made.run)
    if not storage.exists():
        storage.create(made)
    return Journal(storage)


def result(config: dict[str, Any], epoch: int) -> dict[str, Any]:
    """A trial's epoch: a function of its configuration, as real training is."""
    luck = config["seed"] * 7919 % 10 / 500
    row = runs.result(1, epoch, 0.0, round(1 - (config["dropout"] - 0.4) ** 2 - 0.1 / epoch + luck, 6))
    return {key: value for key, value in row.items() if key not in ("kind", "trial", "time", "stop")}


def work(tmp_path: Path, made: RunSpec, workers: int, steps: int | None = None, order: int = 0) -> Journal:
    """A session that reports `steps` epochs (None: all) on so many workers, `order` rotating whose turn it is; then it is cut off."""
    journal = open_journal(tmp_path, made)
    journal.append("session", workers=workers)
    decisions = Decisions(made, journal)
    decisions.settle()
    running = decisions.state.open_trials
    done = 0
    while not decisions.searched:
        while len(running) < workers and not decisions.exhausted and not decisions.waiting():
            running.append(decisions.suggest())
        trial = running[(done * 7 + order) % len(running)]
        done += 1
        if decisions.report(trial.index, result(trial.config, trial.last_epoch + 1)):
            running.remove(trial)
        if steps is not None and done >= steps:
            break
    return journal


def outcome(journal: Journal) -> dict[int, Any]:
    """Configurations, curves and ends."""
    return {
        trial.index: (trial.config, [row["val_accuracy"] for row in trial.epochs.values()], trial.end and trial.end["reason"])
        for trial in journal.state.trials.values()
    }


def test_rungs() -> None:
    assert [epoch for epoch in range(1, 60) if is_rung(epoch, 2, 3)] == [2, 6, 18, 54]
    assert [epoch for epoch in range(1, 20) if is_rung(epoch, 1, 2)] == [1, 2, 4, 8, 16]
    assert [epoch for epoch in range(1, 60) if is_rung(epoch, 6, 3)] == [6, 18, 54]


@pytest.mark.parametrize(
    ("accuracy", "peers", "goes_on"),
    [
        (0.1, [], True),
        (0.1, [0.9], True),
        (0.1, [0.9, 0.8], False),
        (0.85, [0.9, 0.8], False),
        (0.95, [0.9, 0.8], True),
        (0.9, [0.9, 0.8], True),
        (0.5, [0.9, 0.6, 0.4, 0.3, 0.2], False),
        (0.7, [0.9, 0.6, 0.4, 0.3, 0.2], True),
    ],
)
def test_the_best_third_goes_on(accuracy: float, peers: list[float], goes_on: bool) -> None:
    assert promoted(accuracy, peers, 3) is goes_on


def test_a_run_comes_to_its_end(tmp_path: Path) -> None:
    made = spec()
    journal = work(tmp_path, made, 2)
    ends = [trial.end["reason"] for trial in journal.state.trials.values() if trial.end]
    assert len(ends) == 12
    assert set(ends) == {"epochs", "asha"}
    assert all(trial.last_epoch == EPOCHS for trial in journal.state.trials.values() if trial.status == "completed")
    assert not finished(made, journal.state), "its best model is not measured yet"


def test_a_resume_searches_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """On one worker the order of arrival is fixed, so an interrupted search must equal a calm one, wherever it was cut."""
    made = spec()
    calm = outcome(work(tmp_path / "calm", made, 1))
    for steps in range(1, 30, 4):
        folder = tmp_path / str(steps)
        work(folder, made, 1, steps)
        work(folder, made, 1, 3)
        assert outcome(work(folder, made, 1)) == calm


def test_in_trial_order_neither_workers_nor_kills_matter(tmp_path: Path) -> None:
    made = spec(deterministic=True)
    calm = outcome(work(tmp_path / "calm", made, 1))
    for workers, order in ((2, 0), (2, 1), (3, 2), (4, 5)):
        folder = tmp_path / f"{workers}-{order}"
        for steps in (1, 5, 9):
            work(folder, made, workers, steps, order)
        assert outcome(work(folder, made, workers, None, order)) == calm
    assert WINDOW < 12, "or nothing would have been learned"


def test_a_repeated_report_changes_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, spec())
    journal.append("session", workers=1)
    decisions = Decisions(spec(), journal)
    trial = decisions.suggest()
    for _ in range(2):
        assert not decisions.report(trial.index, result(trial.config, 1))
    assert [row["kind"] for row in journal.rows()] == ["session", "suggest", "result"]


def test_a_verdict_that_was_not_carried_out_is(tmp_path: Path) -> None:
    """Killed between the result that ends a trial and its end."""
    made = spec()
    journal = work(tmp_path, made, 1, EPOCHS)
    assert [*journal.rows()][-1]["kind"] == "end"
    file = tmp_path / "run" / "journal.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    again = open_journal(tmp_path, made)
    assert again.state.count("running") == 1
    Decisions(made, again).settle()
    assert again.state.count("completed") == 1


def test_the_time_budget_counts_sessions_not_pauses(tmp_path: Path) -> None:
    made = spec(time_budget_seconds=100.0)
    journal = open_journal(tmp_path, made)
    for row in (
        {"kind": "session", "time": 1000.0, "workers": 1},
        runs.suggest(1, 0) | {"time": 1001.0, "config": made.sweep.config({"dropout": 0.25}, made.seed).model_dump()},
        {**runs.result(1, 1, 0, 0.5), "time": 1060.0},
    ):
        journal._log.append([row])
    journal = open_journal(tmp_path, made)
    assert journal.state.elapsed_seconds == 60.0
    assert not finished(made, journal.state)
    journal.append("session", workers=1)
    assert not Decisions(made, journal).out_of_time()
    journal.state.earlier_seconds = 101.0
    decisions = Decisions(made, journal)
    assert decisions.out_of_time()
    decisions.settle()
    assert decisions.searched
    assert journal.state.trials[1].end is not None
    assert (journal.state.trials[1].status, journal.state.trials[1].end["reason"]) == ("stopped", "time budget")


def test_an_end_is_written_with_the_result_that_it_follows_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk's sync is most of what a trial costs the driver."""
    made = spec()
    journal = open_journal(tmp_path, made)
    decisions = Decisions(made, journal)
    trial = decisions.suggest()
    written: list[list[str]] = []
    plain = type(journal._log).append

    def seen(log: Any, rows: list[dict[str, Any]], synced: bool = True) -> None:
        written.append([row["kind"] for row in rows])
        plain(log, rows, synced)

    monkeypatch.setattr(type(journal._log), "append", seen)
    for epoch in range(1, EPOCHS + 1):
        decisions.report(trial.index, result(trial.config, epoch))
    assert written == [["result"]] * (EPOCHS - 1) + [["result", "end"]]


def test_a_search_that_does_not_repeat_itself_is_refused(tmp_path: Path) -> None:
    made = spec()
    work(tmp_path, made, 1, 3)
    file = tmp_path / "run" / "journal.jsonl"
    file.write_text(file.read_text().replace('"dropout":0.25', '"dropout":0.26'))
    with pytest.raises(
        BadInput,
        match=r"^a resumed search repeats its suggestions, but dropout of trial 1 of run came out as 0\.25 instead of 0\.26: install the versions that its run\.json names",
    ):
        Decisions(made, open_journal(tmp_path, made))


def test_the_versions_are_those_of_what_draws() -> None:
    searchers = get_args(Sweep.model_fields["searcher"].annotation)
    assert set(DRAWN_BY) == set(searchers)
    assert {name for names in DRAWN_BY.values() for name in names} <= set(VERSIONS_OF), "run.json has them"


def test_a_run_that_is_older_than_a_setting_is_gone_on_with(tmp_path: Path) -> None:
    made = spec()
    work(tmp_path, made, 1, 3)
    file = tmp_path / "run" / "journal.jsonl"
    file.write_text(file.read_text().replace('"patience":null,', ""))
    assert "patience" not in Decisions(made, open_journal(tmp_path, made)).state.trials[1].config
    # Had it another value then, it is not the same search.
    file.write_text(file.read_text().replace('"schedule":"constant",', '"schedule":"linear",'))
    with pytest.raises(BadInput, match=r"but schedule of trial 1 of run came out as 'constant' instead of 'linear'"):
        Decisions(made, open_journal(tmp_path, made))


def test_a_failed_trial_is_neither_best_nor_a_peer(tmp_path: Path) -> None:
    made = spec()
    journal = open_journal(tmp_path, made)
    journal.append("session", workers=1)
    decisions = Decisions(made, journal)
    bright, second, third, fourth = (decisions.suggest() for _ in range(4))
    rung = made.sweep.grace_epochs
    decisions.report(bright.index, {**result(bright.config, rung), "val_accuracy": 0.99})
    decisions.fail(bright.index, "diverged: train_loss is nan in epoch 3")
    decisions.fail(bright.index, "a second time")
    assert bright.error == "diverged: train_loss is nan in epoch 3"
    goes_on = [
        not decisions.report(t.index, {**result(t.config, rung), "val_accuracy": 0.5 + t.index / 100}) for t in (second, third, fourth)
    ]
    assert goes_on == [True, True, True], "two, then the best of three: with the failed one's 0.99 the last would have been stopped"
    assert journal.state.best_trial is fourth


def best_of_the_search(journal: Journal) -> list[int]:
    own = [trial for trial in journal.state.trials.values() if trial.repeat_of is None]
    return [trial.index for trial in sorted(own, key=lambda t: (-t.best["val_accuracy"], t.index))][:REPEATED]  # type: ignore[index]


def test_the_best_configurations_are_trained_again(tmp_path: Path) -> None:
    made = spec(seeds=3)
    journal = work(tmp_path, made, 2)
    repeats = [trial for trial in journal.state.trials.values() if trial.repeat_of]
    assert [trial.index for trial in repeats] == list(range(13, 19)), "after all of the search"
    assert [trial.repeat_of for trial in repeats] == 2 * best_of_the_search(journal)
    assert [trial.config["seed"] for trial in repeats] == [8, 8, 8, 9, 9, 9], "one seed after the other"
    for trial in repeats:
        assert trial.repeat_of
        assert {**trial.config, "seed": 7} == journal.state.trials[trial.repeat_of].config
    assert {trial.end and trial.end["reason"] for trial in repeats} == {"epochs"}, "asha stops none of them"
    assert total_trials(made, journal.state) == 18
    assert not finished(made, journal.state), "nothing is measured yet"


def test_no_repeat_begins_before_the_search_has_ended(tmp_path: Path) -> None:
    made = spec(seeds=2)
    journal = work(tmp_path, made, 4)
    kinds = [(row["kind"], row["trial"]) for row in journal.rows() if row["kind"] in ("suggest", "end")]
    first = kinds.index(("suggest", 13))
    assert {trial for kind, trial in kinds[:first] if kind == "end"} == set(range(1, 13))


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_kill_after_any_row_changes_nothing(tmp_path: Path, deterministic: bool) -> None:
    """In the search, between it and the repeats, and among them."""
    made = spec(seeds=2, deterministic=deterministic)
    calm = work(tmp_path / "calm", made, 1)
    lines = (tmp_path / "calm" / "run" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for rows in range(len(lines)):
        folder = tmp_path / str(rows)
        open_journal(folder, made)
        (folder / "run" / "journal.jsonl").write_bytes(b"".join(lines[:rows]))
        assert outcome(work(folder, made, 1)) == outcome(calm)


def test_in_trial_order_the_repeats_are_the_same_on_any_number_of_workers(tmp_path: Path) -> None:
    made = spec(seeds=3, deterministic=True)
    calm = outcome(work(tmp_path / "calm", made, 1))
    for workers, order in ((2, 0), (3, 2), (4, 5)):
        folder = tmp_path / f"{workers}-{order}"
        for steps in (5, 20, 20, 7):
            work(folder, made, workers, steps, order)
        assert outcome(work(folder, made, workers, None, order)) == calm


def test_equal_configurations_are_repeated_once_and_failed_ones_never(tmp_path: Path) -> None:
    sweep = Sweep(question="q", trainable="cnn", space={"depth": choice(1, 1, 2)}, searcher="grid", scheduler="none", fixed={"epochs": 1})
    made = runs.spec("run", sweep=sweep, samples=3, seeds=2)
    journal = open_journal(tmp_path, made)
    journal.append("session", workers=1)
    decisions = Decisions(made, journal)
    one, same, other = (decisions.suggest() for _ in range(3))
    assert decisions.waiting()
    assert not decisions.exhausted
    assert total_trials(made, journal.state) == 6, "at most, while it searches"
    for trial in (one, same):
        decisions.report(trial.index, result({"dropout": 0.1, "seed": 7}, 1))
    decisions.fail(other.index, "no")
    assert not decisions.waiting()
    assert total_trials(made, journal.state) == 4
    again = decisions.suggest()
    assert (again.repeat_of, again.config) == (1, {**one.config, "seed": 8})
    assert decisions.exhausted
    assert not decisions.searched


def test_a_run_whose_trials_all_failed_repeats_none(tmp_path: Path) -> None:
    made = spec(seeds=3)
    journal = open_journal(tmp_path, made)
    journal.append("session", workers=1)
    decisions = Decisions(made, journal)
    while not decisions.exhausted:
        decisions.fail(decisions.suggest().index, "no")
    assert len(journal.state.trials) == 12
    assert decisions.searched
    assert finished(made, journal.state)


def test_the_time_budget_ends_repeats_too(tmp_path: Path) -> None:
    made = spec(seeds=3, time_budget_seconds=1000.0)
    journal = work(tmp_path, made, 1)
    steps = sum(len(trial.epochs) for trial in journal.state.trials.values() if trial.index < 14) + 2
    journal = work(tmp_path / "cut", made, 1, steps)
    assert journal.state.trials[14].last_epoch == 2
    journal.state.earlier_seconds = 1001.0
    decisions = Decisions(made, journal)
    decisions.settle()
    assert decisions.searched
    cut = journal.state.trials[14]
    assert (cut.status, cut.end and cut.end["reason"]) == ("stopped", "time budget")
    assert journal.state.best_runs[0].index in (13, journal.state.trials[13].repeat_of), "the only one that was repeated in full"
    assert not measured(journal.state)


def test_a_repeat_that_the_journal_tells_otherwise_is_refused(tmp_path: Path) -> None:
    made = spec(seeds=2)
    journal = work(tmp_path, made, 1)
    first = journal.state.trials[13].repeat_of
    other = next(index for index in best_of_the_search(journal) if index != first)
    file = tmp_path / "run" / "journal.jsonl"
    file.write_text(file.read_text().replace(f'"repeat_of":{first}', f'"repeat_of":{other}', 1))
    with pytest.raises(BadInput) as refused:
        Decisions(made, open_journal(tmp_path, made))
    text = f"a resumed search repeats its suggestions, but repeat_of of trial 13 of run came out as {first} instead of {other}: install the versions"
    assert str(refused.value).startswith(text)
