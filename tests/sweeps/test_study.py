"""Studies without Ray: their settings, their file, their table. Real ones are run in test_run_study.py."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from data_prep import BadInput, prepare
from sweeps import Part, Study, Sweep, log_uniform, uniform
from sweeps.core import published
from sweeps.core.journal import Journal
from sweeps.core.launch import RunOptions, new_name
from sweeps.core.results import export
from sweeps.core.space import Distribution
from sweeps.core.spec import RunSpec, StoredBase
from sweeps.core.storage import RunStorage
from sweeps.core.study import StudySpec, create, load, part_finished, part_run, resolve_parts
from sweeps.core.study_table import FOOT, show_study, studies_markdown, study_markdown, study_rows
from sweeps.core.sweep import load_sweep
from sweeps.core.verbs import status
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.runs import T0, Row

RATE: dict[str, Distribution] = {"learning_rate": log_uniform(1e-4, 1e-2)}


def a_sweep(trainable: str, space: dict[str, Distribution] = RATE, **changes: Any) -> Sweep:
    return Sweep(**{"question": "How far?", "trainable": trainable, "space": space, "searcher": "random", "scheduler": "none", **changes})


STUDY = Study(
    question="How far does each get?",
    settings={"epochs": 7, "dropout": 0.1, "base": "half"},
    parts=(
        Part(name="small", sweep=a_sweep("cnn", fixed={"filters": 4, "size": 16})),
        Part(name="fixed", sweep=a_sweep("cnn", fixed={"dropout": 0.3, "epochs": 9, "size": 16})),
        Part(name="tuned", sweep=a_sweep("fine_tune", fixed={"size": 16})),
    ),
)


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


def a_study(name: str = "one", **changes: Any) -> StudySpec:
    options = RunOptions(sweep="mine.py", samples=2, epochs=3, seeds=2, settings=("small.depth=1",), time_budget="3h", **changes)
    return StudySpec(
        study=name,
        question=STUDY.question,
        parts=tuple(resolve_parts("mine", STUDY, options)),
        options=options,
        fingerprints={16: "0" * 12},
    )


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


# The table: runs as a study makes them, exported.

VGG16 = StoredBase(source="random", file=None, sha256=None, layers=18, parameters=14_714_688)


def base_of(run: str) -> StoredBase:
    return StoredBase(source=run, file="0123456789ab.keras", sha256="0" * 64, layers=24, parameters=288_800)


def a_part(part: str, number: int | None, sweep: Sweep, **changes: Any) -> RunSpec:
    """Of the study `one`."""
    return runs.spec(
        **{"run": f"one.{part}", "sweep": sweep, "study": "one", "part": part, "part_number": number, "sweep_name": "study", **changes}
    )


def ended(spec: RunSpec, point: Row, test_accuracies: tuple[float, ...], **result: Any) -> list[Row]:
    """A journal: one trial, then the same with other seeds; all of them measured."""
    config = spec.sweep.config(point, 0).model_dump()
    rows: list[Row] = [{"kind": "session", "time": T0}]
    for trial in range(1, len(test_accuracies) + 1):
        suggestion = {"trial": trial, "config": {**config, "seed": trial - 1}, "repeat_of": 1 if trial > 1 else None}
        rows.append({"kind": "suggest", "time": T0 + trial, **suggestion})
        rows += [runs.start(trial, trial), runs.result(trial, 1, trial, 0.5, **result), runs.end(trial, trial)]
    for trial, accuracy in enumerate(test_accuracies, 1):
        measured = runs.evaluation(trial, 1, 10)
        measured["splits"]["test"]["accuracy"] = accuracy
        rows.append(measured)
    return rows


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study of four parts, made in another order: one on random weights, one not finished, one that has not begun a trial; and other runs."""
    folder = tmp_path / "results"
    base = runs.spec(run="base-digits-1", sweep=a_sweep("base", {}), sweep_name="base")
    export(base, runs.state(rows=ended(base, {}, (0.8,))), folder)
    other = runs.spec(run="base-digits-2", sweep=a_sweep("base", {}), sweep_name="base")
    export(other, runs.state(rows=ended(other, {}, (0.7,))), folder)
    export(runs.spec(), runs.evaluated(), folder)
    space: dict[str, Distribution] = {"dropout": uniform(0, 0.5)}
    tuned = a_part("tuned", 3, a_sweep("fine_tune", fixed={"base": "half", "unfrozen_layers": 8}), bases={"half": base_of("base-digits-1")})
    export(tuned, runs.state(rows=ended(tuned, {"learning_rate": 1e-3}, (0.6, 0.7, 0.8))), folder)
    small = a_part("small", 1, a_sweep("cnn", space, fixed={"filters": 4}))
    export(small, runs.state(rows=ended(small, {"dropout": 0.25}, (0.9,))[:-1]), folder)
    vgg16 = a_part("vgg16", 2, a_sweep("transfer", fixed={"base": "vgg16", "weights": "random"}), bases={"vgg16": VGG16})
    export(vgg16, runs.state(rows=ended(vgg16, {"learning_rate": 1e-4}, (0.3,), parameters=15_000_000)), folder)
    waiting = a_part("waiting", 4, a_sweep("alexnet"))
    export(waiting, runs.state(rows=[{"kind": "session", "time": T0}]), folder)
    return folder


def test_rows_parts_in_their_order_then_bases_then_what_is_lacking(results: Path) -> None:
    rows = study_rows(results, "one")
    assert [row["part"] for row in rows] == ["small", "vgg16", "tuned", "waiting", "base", "autokeras", "inception"]
    there = {row["part"]: row for row in rows}
    assert [row["run"] for row in rows[:3]] == ["one.small", "one.vgg16", "one.tuned"]
    assert there["base"]["run"] == "base-digits-1", "only the one that a part starts from"
    assert [name for name, row in there.items() if row.get("random")] == ["vgg16"]
    assert there["small"]["settings"] == {"filters": 4, "dropout": 0.25}
    assert there["vgg16"]["settings"] == {"base": "vgg16", "weights": "random", "learning_rate": 1e-4}
    assert (there["small"]["evaluated"], there["small"]["test_accuracy"]) == (False, None)
    assert (there["tuned"]["seeds"], there["tuned"]["test_accuracy_mean"]) == (3, pytest.approx(0.7))
    assert "test_accuracy" not in there["waiting"]
    assert there["waiting"]["settings"] == {}
    assert there["autokeras"] == {"part": "autokeras", "published_test_accuracy": 0.3005, "published_setting": "3 hours"}


def test_weights_are_shown_where_they_say_something(tmp_path: Path) -> None:
    """All parts have `weights`, but a base of our own does not use them."""
    fixed = {"base": "half", "weights": "imagenet"}
    spec = a_part("tuned", 1, a_sweep("fine_tune", fixed=fixed), bases={"half": base_of("gone")})
    export(spec, runs.state(rows=ended(spec, {"learning_rate": 1e-3}, (0.6,))), tmp_path)
    (row, *lacking) = study_rows(tmp_path, "one")
    assert row["settings"] == {"base": "half", "learning_rate": 1e-3}
    assert [row["part"] for row in lacking] == ["cnn", "autokeras", "alexnet", "inception", "base", "transfer"], (
        "the run of the base was deleted: no row, no error"
    )


def test_a_study_of_ones_own_is_not_filled_up(results: Path, tmp_path: Path) -> None:
    mine = a_part("small", 1, a_sweep("cnn"), sweep_name="mine")
    export(mine, runs.state(rows=ended(mine, {"learning_rate": 1e-3}, (0.9,))), tmp_path / "own")
    assert [row["part"] for row in study_rows(tmp_path / "own", "one")] == ["small"]


def test_markdown(results: Path) -> None:
    lines = study_markdown(results, "one").splitlines()
    assert lines[:2] == [
        "| experiment | settings | train accuracy | validation accuracy | test accuracy | parameters | trained | published test accuracy | of |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    assert lines[2:] == [
        "| small | filters 4, dropout 0.25 | 0.5000 | 0.5000 | - | 110,810 | 110,234 | 0.1756 | second result |",
        "| vgg16 * | base vgg16, weights random, learning_rate 0.0001 | 0.9500 | 0.9000 | 0.3000 | 15,000,000 | 110,234 | 0.1260 | base=vgg16 |",
        "| tuned | base half, unfrozen_layers 8, learning_rate 0.001 | 0.9500 | 0.9000 | 0.7000 ± 0.1000 (3) | 110,810 | 110,234 | - | - |",
        "| waiting | - | - | - | - | - | - | - | - |",
        "| base | - | 0.9500 | 0.9000 | 0.8000 | 110,810 | 110,234 | - | - |",
        "| autokeras | - | - | - | - | - | - | 0.3005 | 3 hours |",
        "| inception | - | - | - | - | - | - | 0.0042 | frozen base |",
    ]
    sections = studies_markdown(results)
    assert sections.startswith("\n## Study one\n\n| experiment |")
    assert FOOT in sections
    assert (results / "best_models.md").read_text().endswith(sections)
    assert studies_markdown(results / "nothing") == ""


def shown(results: Path, study: str) -> list[str]:
    """As on a terminal of 80 columns."""
    out = io.StringIO()
    show_study(results, study, Console(file=out, width=80))
    table, foot, rest = out.getvalue().partition(FOOT)
    assert (foot, rest) == (FOOT, "\n")
    return [line.rstrip() for line in table.splitlines()]


def test_the_screen(results: Path) -> None:
    assert shown(results, "one") == [
        "Study one",
        "part        train     val                 test  parameters  published",
        "small      0.5000  0.5000                    -     110,810     0.1756",
        "vgg16 *    0.9500  0.9000               0.3000  15,000,000     0.1260",
        "tuned      0.9500  0.9000  0.7000 ± 0.1000 (3)     110,810          -",
        "waiting         -       -                    -           -          -",
        "base       0.9500  0.9000               0.8000     110,810          -",
        "autokeras       -       -                    -           -     0.3005",
        "inception       -       -                    -           -     0.0042",
    ]


def test_the_whole_study_fits_80_columns(tmp_path: Path) -> None:
    """All of its parts with the widest figures there are, and with random weights."""
    _, study = load_sweep("study")
    assert isinstance(study, Study)
    for number, (part, sweep) in enumerate(study.sweeps({}), 1):
        spec = a_part(part, number, sweep, bases={"vgg16": VGG16} if sweep.fixed.get("base") in ("vgg16", "inception") else {})
        export(spec, runs.state(rows=ended(spec, {"learning_rate": 1e-3}, (0.8, 0.9, 1.0), parameters=24_105_960)), tmp_path)
    _, header, *lines = shown(tmp_path, "one")
    assert all("…" not in line and len(line) <= 80 for line in lines)
    own, lacking = lines[: len(study.parts)], lines[len(study.parts) :]
    assert [line.split("  ")[0].removesuffix(" *") for line in own] == [part.name for part in study.parts]
    assert all("0.9000 ± 0.1000 (3)  24,105,960" in line for line in own)
    assert [line.split()[0] for line in lacking] == ["autokeras", "base"]
    compared = {part.split()[0]: line.split()[-1] for part, line in zip(own, own, strict=True)}
    figures = {part.name: published.named(part.sweep.trainable, part.sweep.published) for part in study.parts if part.sweep.published}
    assert len(figures) == 7
    assert {part: compared[part] for part in figures} == {part: f"{figure.test_accuracy:.4f}" for part, figure in figures.items()}
    assert header.split() == ["part", "train", "val", "test", "parameters", "published"]


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
    assert [line.split()[0] for line in out.splitlines() if line.strip()][:3] == ["Study", "part", "Accuracies"]


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
