"""Studies without Ray: their settings, their file, their state. Real ones are run in test_run_study.py."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from data_prep import BadInput, Dataset, prepare
from sweeps import Part, Study, Sweep
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.launch import RunOptions, new_name
from sweeps.core.storage import RunStorage
from sweeps.core.study import StudySpec, create, load, part_finished, part_run, resolve_parts, with_resources
from sweeps.core.verbs import status
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.runs import Row
from tests.sweeps.studies import STUDY, a_part, a_study, ended


def settings(given: dict[str, Any], study: Study = STUDY) -> dict[str, dict[str, Any]]:
    return {part: sweep.fixed for part, sweep in study.sweeps(given)}


def test_the_defaults_of_a_study_are_for_parts_that_have_them_and_do_not_fix_them() -> None:
    assert settings({}) == {
        "small": {"filters": 4, "size": 16, "epochs": 7, "dropout": 0.1},
        "fixed": {"dropout": 0.3, "epochs": 9, "size": 16},
        "tuned": {"size": 16, "epochs": 7, "dropout": 0.1, "base": "half"},
    }


@pytest.mark.parametrize(
    ("given", "key", "values"),
    [
        # What a user sets is before the study's default, and behind what a part fixes.
        ({"dropout": 0.2}, "dropout", [0.2, 0.3, 0.2]),
        ({"batch_size": 8}, "batch_size", [8, 8, 8]),
        ({"filters": 5, "small.filters": 6}, "filters", [6, 5, None]),
        ({"fixed.dropout": 0.4}, "dropout", [0.1, 0.4, 0.1]),
        ({"dropout": 0.2, "fixed.dropout": 0.4, "small.dropout": 0.0}, "dropout", [0.0, 0.4, 0.2]),
        # Epochs are the user's time: also where a part fixes them.
        ({"epochs": 1}, "epochs", [1, 1, 1]),
        ({"epochs": 1, "tuned.epochs": 2}, "epochs", [1, 1, 2]),
        ({"dense_units": 8}, "dense_units", [None, None, 8]),
        ({"tuned.base": "vgg16", "base": "inception"}, "base", [None, None, "vgg16"]),
    ],
)
def test_layers_of_settings(given: dict[str, Any], key: str, values: list[Any]) -> None:
    assert [fixed.get(key) for fixed in settings(given).values()] == values


def test_a_setting_that_a_part_searches_is_fixed() -> None:
    sweeps = dict(STUDY.sweeps({"tuned.learning_rate": 0.01}))
    assert {part: list(sweep.space) for part, sweep in sweeps.items()} == {
        "small": ["learning_rate"],
        "fixed": ["learning_rate"],
        "tuned": [],
    }
    assert [list(sweep.space) for _, sweep in STUDY.sweeps({"learning_rate": 0.01})] == [[], [], []]


LEFT_OPEN = "a setting of a study is one that a part of it has and leaves open, or PART.key for one part, but got {!r}: parts are small, fixed, tuned"


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"droput": 0.5}, "droput"),
        ({"droput": 0.5, "dropout": 0.5}, "droput"),
        # All parts fix it.
        ({"size": 32}, "size"),
        ({"large.depth": 2}, "large.depth"),
        ({".depth": 2}, ".depth"),
        ({"smal.depth": 2, "small.depth": 2}, "smal.depth"),
    ],
)
def test_a_setting_that_no_part_takes_is_refused(given: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput) as refused:
        STUDY.sweeps(given)
    assert str(refused.value) == LEFT_OPEN.format(key)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--set", "droput=0.5"], LEFT_OPEN.format("droput")),
        (["--set", "small.droput=0.5"], "trainable 'cnn' has no setting 'droput': use one of augmentation, batch_size, classes, "),
        (["--set", "dropout=1"], "trainable 'cnn': dropout must be less than 1, but got 1: give another dropout"),
        (["--set", "tuned.dropout=1"], "trainable 'fine_tune': dropout must be less than 1, but got 1: give another dropout"),
        (["--epochs", "0"], "trainable 'cnn': epochs must be greater than or equal to 1, but got 0: give another epochs"),
        (["--set", "seed=1"], "the seed is not a setting but an option: give --seed N"),
        (["--samples", "0"], "--samples is a number of trials, at least 1, but got 0: give another"),
        (["--set", "tuned.base=nothing"], "base is vgg16, inception, a data set's name, half, a .keras file or a run, but got 'nothing' ("),
        (
            ["--run-name", "a" * 116],
            f"a run's name starts with a letter and has at most 120 letters, digits, '.', '_' and '-', but got {'a' * 116 + '.small'!r}: "
            "give another name",
        ),
    ],
)
def test_a_study_that_cannot_be_is_one_line_and_exit_2(words: list[str], text: str, sweeps: Sweeps, tmp_path: Path) -> None:
    study_file(tmp_path)
    code, out, err = sweeps("run", "mine.py", "--data", "digits", *words)
    assert err.startswith(f"error: {text}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "runs", "results"}, "no data set was prepared"
    assert not list(tmp_path.rglob("study.json"))


def study_file(folder: Path) -> None:
    """`STUDY` as a user's own file."""
    (folder / "mine.py").write_text(f"from sweeps import Study\nSWEEP = Study.model_validate_json({STUDY.model_dump_json()!r})\n")


@pytest.mark.parametrize("taken", ["one", "one.tuned"])
def test_a_study_takes_no_run_of_another_for_its_own(taken: str, sweeps: Sweeps, tmp_path: Path) -> None:
    """In the storage alone: the results may be elsewhere."""
    study_file(tmp_path)
    RunStorage("runs", taken).create(runs.spec(taken))
    code, _, err = sweeps("run", "mine.py", "--data", "digits", "--run-name", "one")
    assert err == f"error: a new run needs a new name, but there is a run {taken!r} in runs: resume it, or give another --run-name\n"
    assert code == 2
    assert not list(tmp_path.rglob("study.json"))


def test_a_new_name_is_not_that_of_a_study(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        names.append(new_name(str(tmp_path), "mine", "digits"))
        create(RunStorage(str(tmp_path), names[-1]), a_study(names[-1]))
    assert len(set(names)) == 3, names


def test_parts_as_the_options_ask_for_them() -> None:
    spec = a_study(seed=5)
    assert [(part.name, part.part, part.part_number, part.data) for part in spec.parts] == [
        ("mine", "small", 1, "digits"),
        ("mine", "fixed", 2, "digits"),
        ("mine", "tuned", 3, "digits"),
    ]
    assert [(part.samples, part.size, part.seed, part.time_budget_seconds) for part in spec.parts] == [(2, 16, 5, 10_800.0)] * 3
    assert [part.sweep.fixed["epochs"] for part in spec.parts] == [3, 3, 3]
    assert spec.parts[0].sweep.fixed["depth"] == 1
    assert {part.data for part in resolve_parts("mine", STUDY, RunOptions(sweep="mine.py", data="fashion-mnist"))} == {"fashion-mnist"}


def test_a_study_is_stored_and_read_whole(tmp_path: Path) -> None:
    storage = RunStorage(str(tmp_path), "one")
    spec = a_study(storage=str(tmp_path), data_root=tmp_path / "data")
    assert not storage.is_study()
    create(storage, spec)
    assert storage.is_study()
    assert not storage.exists(), "a study is no run"
    assert load(RunStorage(str(tmp_path), "one")) == spec
    assert [spec.options_of(part).run_name for part in spec.parts] == ["one.small", "one.fixed", "one.tuned"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Invalid JSON: EOF while parsing a value"),
        (b'{"format": 1', "Invalid JSON: EOF while parsing an object"),
        (b"\xff\xfe", "Invalid JSON: "),
        (b"{}", "study Field required"),
    ],
)
def test_a_damaged_study_is_one_line(content: bytes, why: str, sweeps: Sweeps, tmp_path: Path) -> None:
    create(RunStorage("runs", "one"), a_study())
    (tmp_path / "runs" / "one" / "study.json").write_bytes(content)
    for words in (["status", "one"], ["best", "one"], ["export", "one"], ["resume", "one"]):
        code, out, err = sweeps(*words)
        assert (code, out) == (2, ""), words
        assert err.startswith(f"error: study.json must be one that this version wrote, but that of one is not ({why}"), err
        assert err.endswith("): restore it\n")
        assert err.count("\n") == 1


def test_parts_have_names_of_their_own() -> None:
    part = Part(name="one", sweep=Sweep(question="q?", trainable="cnn", space={}))
    with pytest.raises(ValidationError, match="parts of a study have names of their own, but 'one' is there 2 times: rename one"):
        Study(question="q?", parts=(part, part))


def test_a_part_on_another_base_is_compared_with_another_result() -> None:
    named = Sweep(question="q?", trainable="transfer", space={}, published="base=cifar10")
    study = Study(question="q?", parts=(Part(name="one", sweep=named),), settings={"base": "half"})
    assert dict(study.sweeps({}))["one"].published == "base=cifar10"
    assert dict(study.sweeps({"epochs": 3}))["one"].published == "base=cifar10"
    assert dict(study.sweeps({"base": "vgg16"}))["one"].published is None
    assert dict(study.sweeps({"one.base": "vgg16"}))["one"].published is None


def test_parts_that_have_not_begun_want_the_data_that_the_study_began_with(tmp_path: Path) -> None:
    dataset = prepare("digits", size=16, root=tmp_path)
    spec = a_study()
    with pytest.raises(BadInput) as refused:
        spec.check_data(spec.parts[0], dataset)
    assert str(refused.value) == (
        f"a study is one data set, but {dataset.path} has the fingerprint {dataset.fingerprint} instead of 000000000000: "
        "give the --data-root of the first, or prepare it from the first source by `sweeps data`"
    )
    spec.model_copy(update={"fingerprints": {16: dataset.fingerprint}}).check_data(spec.parts[0], dataset)


# Its state.


def begun(spec: StudySpec, number: int, rows: list[Row]) -> None:
    """Make the run of a part in the storage, with this journal."""
    part = spec.parts[number - 1]
    storage = RunStorage(spec.options.storage, part_run(spec.study, part))
    storage.create(a_part(part.part or "", number, part.sweep, samples=1))
    journal = Journal(storage)
    for row in rows:
        journal.append(**{key: value for key, value in row.items() if key != "time"})


def status_lines(storage: Path) -> list[str]:
    out = io.StringIO()
    status("one", str(storage), Console(file=out, width=80))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_status_of_a_study_with_parts_to_come(tmp_path: Path) -> None:
    spec = a_study(storage=str(tmp_path))
    storage = RunStorage(str(tmp_path), "one")
    create(storage, spec)
    journal = ended(a_part("small", 1, spec.parts[0].sweep), {"learning_rate": 1e-3}, (0.9,))
    begun(spec, 1, journal)
    begun(spec, 2, journal[:4])
    lines = [
        "run trials running epochs best val state",
        "small 1/1 1 0.5000 finished",
        "fixed 0/1 1/3 1 0.5000 interrupted",
        "tuned to come",
    ]
    cure = "not finished: `sweeps resume one` goes on with it"
    assert status_lines(tmp_path) == [*lines, cure]
    with storage.lock():
        assert status_lines(tmp_path) == [*lines, "running now"]
    assert [part_finished(spec, part, str(tmp_path)) for part in spec.parts] == [True, False, False]


def test_status_of_a_finished_study(tmp_path: Path) -> None:
    spec = a_study(storage=str(tmp_path))
    create(RunStorage(str(tmp_path), "one"), spec)
    for number, part in enumerate(spec.parts, 1):
        begun(spec, number, ended(a_part(part.part or "", number, part.sweep), {"learning_rate": 1e-3}, (0.9,)))
    assert status_lines(tmp_path)[1:] == [*(f"{part} 1/1 1 0.5000 finished" for part in ("small", "fixed", "tuned")), "finished"]


def test_a_study_that_has_not_begun_a_part(sweeps: Sweeps) -> None:
    create(RunStorage("runs", "one"), a_study())
    assert sweeps("export", "one") == (0, "", "")
    assert sweeps("status", "one")[1].endswith("not finished: `sweeps resume one` goes on with it\n")
    code, out, err = sweeps("best", "one", "--save", "best.keras")
    assert (code, out) == (2, "")
    assert err == "error: a study has a best model for each part, but --save names one file: `sweeps best RUN --save` of none yet\n"
    code, out, _ = sweeps("best", "one")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.strip()] == ["Study", "Accuracies"]


# Its resources.


@pytest.mark.usefixtures("ray")
def test_a_study_goes_on_with_other_resources(sweeps: Sweeps, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its parts, those that have begun and those to come, and so does its next session. (The sessions themselves are left out.)"""
    plain = STUDY.model_copy(update={"parts": STUDY.parts[:2], "settings": {"epochs": 7}})
    options = RunOptions(sweep="mine.py", samples=2, gpus=64.0, data_root=digits.path.parent)
    parts = tuple(replace(part, study="one") for part in resolve_parts("mine", plain, options))
    spec = StudySpec(study="one", question="q", parts=parts, options=options, fingerprints={16: digits.fingerprint})
    storage = RunStorage("runs", "one")
    create(storage, spec)
    part = RunStorage("runs", "one.small")
    facts = {"dataset_folder": str(digits.path), "dataset_fingerprint": digits.fingerprint, "gpus_per_trial": 64.0}
    part.create(a_part("small", 1, parts[0].sweep, **facts))
    given: list[list[tuple[str, int, float]]] = []

    def session(jobs: list[Job], *more: object) -> bool:
        given.append([(job.run, job.spec.cpus_per_trial, job.spec.gpus_per_trial) for job in jobs])
        return False

    monkeypatch.setattr("sweeps.core.runner.run_session", session)
    root = ["--data-root", str(digits.path.parent)]
    code, _, err = sweeps("resume", "one", *root)
    assert (code, "--gpus 64 is more than the " in err) == (2, True), err
    assert load(storage) == spec
    assert sweeps("resume", "one", *root, "--cpus", "2", "--gpus", "0")[0] == 130
    assert sweeps("resume", "one", *root)[0] == 130
    assert given == [[("one.small", 2, 0.0), ("one.fixed", 2, 0.0)]] * 2
    kept = load(storage)
    assert (kept.options.cpus, kept.options.gpus, [part.gpus for part in kept.parts]) == (2, 0.0, [0.0, 0.0])
    assert kept == with_resources(spec, (2, 0.0))
