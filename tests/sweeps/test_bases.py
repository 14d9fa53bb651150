"""Bases without Ray: which are refused, which run is found, how one is trained. Real ones are made in test_run_study.py."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from data_prep import BadInput, Dataset, open_dataset
from sweeps import Sweep, choice, log_uniform
from sweeps.core import bases
from sweeps.core.bases import BaseRun, Makers, base_run, check_classes, check_fit, check_split, prepare_bases, prepare_weights, store_bases
from sweeps.core.journal import Journal
from sweeps.core.launch import Resolved, RunOptions, prepare_data
from sweeps.core.space import Distribution
from sweeps.core.spec import RunSpec, StoredBase
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps

Given = Callable[[Path], None]


def nothing(path: Path) -> None:
    """The folder stays empty."""


def a_run_without_a_result(path: Path) -> None:
    RunStorage(str(path / "runs"), "one").create(runs.spec("one"))


def a_folder_called_keras(path: Path) -> None:
    (path / "model.keras").mkdir()


KINDS = "base is vgg16, inception, a data set's name, half, a .keras file or a run, but got"
NO_RUN = "it holds no runs; give --storage, or start one by `sweeps run`"
WEIGHTS = "weights are imagenet, random, imagenet-or-random or a file that is there, but got 'nowhere.h5': check the path"

BAD_INPUT: list[tuple[Given, list[str], str]] = [
    (nothing, ["base=nothing"], f"{KINDS} 'nothing' (there is no run 'nothing' in runs: {NO_RUN}): give one of these"),
    (a_run_without_a_result, ["base=two"], f"{KINDS} 'two' (there is no run 'two' in runs: there is one): give one of these"),
    (
        nothing,
        ["base=no/thing"],
        f"{KINDS} 'no/thing' (a run's name starts with a letter and has at most 120 letters, digits, '.', '_' and '-', but got 'no/thing': "
        "give another name): give one of these",
    ),
    (a_run_without_a_result, ["base=one"], "a run that is a base has a best model, but 'one' has no result yet: see `sweeps status one`"),
    (nothing, ["base=model.keras"], "base is a .keras file that is there, but there is no 'model.keras': check the path"),
    (a_folder_called_keras, ["base=model.keras"], "base is a .keras file that is there, but there is no 'model.keras': check the path"),
    (nothing, ["base=vgg16", "weights=nowhere.h5"], WEIGHTS),
    # Searched: one of its values is enough.
    (nothing, ["weights=nowhere.h5"], WEIGHTS),
    (nothing, ["base=1"], "trainable 'transfer': base must be a valid string, but got 1: give another base"),
    (
        nothing,
        ["base=vgg16", "size=16"],
        "trainable 'transfer': vgg16 takes images of at least 32 px, but size is 16: add --set size=32",
    ),
    (nothing, ["size=16"], "trainable 'transfer': vgg16 takes images of at least 32 px, but size is 16: add --set size=32"),
    (
        nothing,
        ["base=inception", "weights=random"],
        "trainable 'transfer': inception takes images of at least 75 px, but size is 32: add --set size=75",
    ),
]


@pytest.mark.parametrize(("given", "settings", "text"), BAD_INPUT, ids=[" ".join(settings) for _, settings, _ in BAD_INPUT])
def test_a_bad_base_is_one_line_and_exit_2(given: Given, settings: list[str], text: str, sweeps: Sweeps, tmp_path: Path) -> None:
    given(tmp_path)
    words = [word for setting in settings for word in ("--set", setting)]
    for verb in ("run", "plan"):
        code, out, err = sweeps(verb, "transfer", "--data", "digits", *words)
        assert err == f"error: {text}\n"
        assert (code, out) == (2, "")
    assert {path.name for path in tmp_path.iterdir()} <= {"runs", "model.keras"}, "no data set was prepared"
    assert not list(tmp_path.rglob("journal*")), "no run was started"


def test_half_of_too_few_classes(sweeps: Sweeps, tmp_path: Path) -> None:
    """The data set tells: that is prepared, and nothing is started."""
    words = ["run", "freeze_depth", "--data", "digits", "--set", "size=8", "--set", "base=half"]
    code, out, err = sweeps(*words, "--set", "classes=3")
    assert err == "error: base=half is trained on half of at least 4 classes, but there are 3: give another base\n"
    assert (code, out) == (2, "")
    assert not list(tmp_path.rglob("run.json"))
    assert not list(tmp_path.rglob("journal*"))


# The run that a base is taken from.


@pytest.fixture(scope="session")
def digits(data_root: Path) -> Dataset:
    (folder,) = data_root.glob("digits-16px-*")
    return open_dataset(folder)


def resolved(trainable: str = "fine_tune", space: dict[str, Distribution] | None = None, data: str = "digits", **fixed: Any) -> Resolved:
    sweep = Sweep(
        question="How far?", trainable=trainable, space=space or {}, fixed={"size": 16, **fixed}, searcher="random", scheduler="none"
    )
    sweep.check()
    return Resolved(name="mine", sweep=sweep, data=data, samples=1, size=fixed.get("size", 16), seed=0, gpus=0, time_budget_seconds=None)


@pytest.fixture
def options(tmp_path: Path, data_root: Path) -> RunOptions:
    return RunOptions(sweep="mine", storage=str(tmp_path), data_root=data_root, samples=4, seeds=3, epochs=6, run_name="own")


# What `base=half` asks for with the options above, and what a run of it has.
WANTED = {"size": 16, "classes": 5, "train_fraction": 0.7, "validation_fraction": 0.1, "split_seed": 0, "epochs": 6}


def a_base_run(
    options: RunOptions, dataset: Dataset, name: str, *, ended: bool = True, trained: bool = True, source: str = "digits", **changes: Any
) -> RunStorage:
    """A run in the storage, each newer than the one before."""
    storage = RunStorage(options.storage, name)
    trainable = changes.pop("trainable", "base")
    fingerprint = changes.pop("fingerprint", dataset.fingerprint)
    status = changes.pop("status", "completed")
    sweep = Sweep(question="q?", trainable=trainable, space={}, fixed={**WANTED, **changes}, searcher="grid", scheduler="none", samples=1)
    spec = runs.spec(name, "base", sweep=sweep, samples=1, dataset_source=source, dataset_fingerprint=fingerprint)
    storage.create(spec)
    others = len(list(Path(options.storage).glob("*/run.json")))
    os.utime(f"{storage.folder}/run.json", (others, others))
    journal = Journal(storage)
    rows: list[dict[str, Any]] = [{"kind": "suggest", "trial": 1, "config": sweep.config({}, 0).model_dump()}]
    rows += [runs.start(1, 1), runs.result(1, 1, 2, 0.5)] if trained else [runs.start(1, 1)]
    rows += [runs.end(1, 3, status), *([runs.evaluation(1, 1, 4)] if trained else [])] if ended else []
    journal.append("session", workers=1)
    for row in rows:
        journal.append(**{key: value for key, value in row.items() if key != "time"})
    return storage


def half(options: RunOptions, dataset: Dataset, **fixed: Any) -> BaseRun:
    return base_run("half", resolved(base="half", **fixed), options, dataset)


def test_a_new_run_has_the_halfs_classes_and_the_same_split(options: RunOptions, digits: Dataset) -> None:
    wanted = half(options, digits, split_seed=3, train_fraction=0.8, images=900, batch_size=8)
    assert (wanted.run, wanted.finished) == (None, False)
    given = {"size=16", "classes=5", "images=900", "train_fraction=0.8", "validation_fraction=0.1", "split_seed=3", "epochs=6"}
    assert set(wanted.options.settings) == given
    expected = replace(
        options, sweep="base", data="digits", samples=None, epochs=None, seeds=1, run_name=None, settings=wanted.options.settings
    )
    assert wanted.options == expected


def test_half_of_the_classes_that_are_used(options: RunOptions, digits: Dataset) -> None:
    assert "classes=5" in half(options, digits).options.settings
    assert "classes=3" in half(options, digits, classes=7).options.settings


def test_a_half_has_the_same_images(options: RunOptions, digits: Dataset) -> None:
    """`images` are of all classes, so the base sees those of its classes that the run sees."""
    settings = half(options, digits, images=1500).options.settings
    assert "images=1500" in settings
    prepare_data(resolved("base", classes=5, images=1500), options, None)


def test_epochs_of_a_run_are_those_of_its_base(options: RunOptions, digits: Dataset) -> None:
    given = replace(options, epochs=None, settings=("epochs=7",))
    assert "epochs=7" in base_run("half", resolved(base="half"), given, digits).options.settings


def test_one_that_was_cut_short_is_no_base(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "whole")
    a_base_run(options, digits, "cut", status="stopped")
    assert half(options, digits).run == "whole"


def test_an_unfinished_one_with_other_resources_is_no_base(options: RunOptions, digits: Dataset) -> None:
    """A session asks for one kind of workers."""
    a_base_run(options, digits, "open", ended=False)
    assert half(options, digits).run == "open"
    assert half(replace(options, cpus=2), digits).run is None
    assert half(replace(options, gpus=0.5), digits).run is None


def test_a_base_on_another_data_set_has_its_own_split(options: RunOptions, digits: Dataset) -> None:
    wanted = base_run("cifar10", resolved(base="cifar10", classes=4, train_fraction=0.9), options, digits)
    assert (wanted.options.data, wanted.options.settings) == ("cifar10", ("size=16", "epochs=6"))
    wanted = base_run("cifar10", resolved(base="cifar10"), replace(options, epochs=None), digits)
    assert wanted.options.settings == ("size=16",), "epochs are the base's own unless the user limits them"


def test_a_base_on_the_same_data_set_has_the_same_split(options: RunOptions, digits: Dataset) -> None:
    """All of its classes, but no image that this run is tested on."""
    wanted = base_run("digits", resolved(base="digits", split_seed=3, classes=4), options, digits)
    assert wanted.options.data == "digits"
    assert set(wanted.options.settings) == {"size=16", "train_fraction=0.7", "validation_fraction=0.1", "split_seed=3", "epochs=6"}
    a_base_run(options, digits, "other-split", classes=None)
    assert base_run("digits", resolved(base="digits", split_seed=3), options, digits).run is None
    a_base_run(options, digits, "other-images", classes=None, split_seed=3, fingerprint="f" * 12)
    assert base_run("digits", resolved(base="digits", split_seed=3), options, digits).run is None
    a_base_run(options, digits, "same-split", classes=None, split_seed=3)
    assert base_run("digits", resolved(base="digits", split_seed=3), options, digits).run == "same-split"


def test_the_newest_run_that_fits_is_taken(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "z-first")
    a_base_run(options, digits, "a-second", epochs=50)
    found = half(options, digits)
    assert (found.base, found.run, found.finished) == ("half", "a-second", True)


def test_one_that_has_not_ended_is_gone_on_with(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "ended")
    a_base_run(options, digits, "open", ended=False)
    assert (half(options, digits).run, half(options, digits).finished) == ("open", False)
    a_base_run(options, digits, "just-begun", ended=False, trained=False)
    assert (half(options, digits).run, half(options, digits).finished) == ("just-begun", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 32},
        {"classes": 4},
        {"classes": None},
        {"train_fraction": 0.8},
        {"validation_fraction": 0.2},
        {"split_seed": 1},
        {"images": 900},
        {"epochs": 5},
        {"source": "fashion-mnist"},
        {"fingerprint": "f" * 12},
        {"trainable": "cnn"},
        # Over, and without a result.
        {"trained": False},
    ],
    ids=str,
)
def test_a_run_that_does_not_fit_is_not_taken(changes: dict[str, Any], options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "fits")
    a_base_run(options, digits, "other", **changes)
    assert half(options, digits).run == "fits"


def test_a_run_in_use_or_damaged_is_not_taken(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "fits")
    busy = a_base_run(options, digits, "busy", ended=False)
    (Path(a_base_run(options, digits, "damaged").folder) / "journal.jsonl").write_text("no\n")
    with busy.lock():
        assert half(options, digits).run == "fits"
    assert half(options, digits).run == "busy"


# How one is made: by makers that only note what they are asked for.


class Notes:
    """What was asked of makers whose networks have 24 layers."""

    def __init__(self, problem: str | None = None, error: str | None = None, trained: str = "new") -> None:
        self.asked: list[Any] = []
        facts = {"file": "0123456789ab.keras", "sha256": "0" * 64, "layers": 24, "parameters": 288_800}

        def store(task: dict[str, Any]) -> dict[str, Any]:
            self.asked.append(task)
            return {"error": error} if error else facts

        def note(given: Any, answer: Any) -> Any:
            self.asked.append(given)
            return answer

        self.makers = Makers(
            store=store,
            fetch=lambda names: note(names, problem),
            run=lambda options: note(options, trained),
            resume=lambda run: note(run, run if trained else ""),
        )
        self.out = io.StringIO()
        self.console = Console(file=self.out, width=80)

    @property
    def said(self) -> str:
        return self.out.getvalue()


REFUSED = "[Errno 111] Connection refused"


def test_imagenets_weights_that_cannot_be_had_are_refused() -> None:
    notes = Notes(problem=REFUSED)
    with pytest.raises(BadInput) as refused:
        prepare_weights(resolved("transfer", {"base": choice("vgg16", "half")}, size=32), notes.makers, notes.console)
    assert notes.asked == [["vgg16"]]
    assert str(refused.value) == (
        f"the ImageNet weights of vgg16 are downloaded by Keras once, but that failed ({REFUSED}): connect this machine, or give "
        "--set weights=FILE or --set weights=random"
    )


@pytest.mark.parametrize(("problem", "weights"), [(None, "imagenet"), (REFUSED, "random")])
def test_imagenets_weights_or_random_ones(problem: str | None, weights: str) -> None:
    notes = Notes(problem=problem)
    made = prepare_weights(resolved("transfer", base="vgg16", weights="imagenet-or-random", size=32), notes.makers, notes.console)
    assert made.sweep.fixed["weights"] == weights
    said = "vgg16: random weights, since ImageNet's cannot be downloaded here: what comes of them says nothing about ImageNet's\n"
    assert notes.said == ("" if problem is None else said)


@pytest.mark.parametrize("fixed", [{"base": "vgg16", "weights": "random"}, {"base": "vgg16", "weights": __file__}, {"base": "half"}])
def test_nothing_is_fetched_unless_it_is_asked_for(fixed: dict[str, Any]) -> None:
    notes = Notes()
    asked = resolved("transfer", size=32, **fixed)
    assert prepare_weights(asked, notes.makers, notes.console) == asked
    assert prepare_weights(resolved("cnn"), notes.makers, notes.console) == resolved("cnn")
    assert notes.asked == []


def test_bases_that_do_not_fit_are_refused_before_another_is_trained(options: RunOptions) -> None:
    notes = Notes()
    check_fit(resolved(base="half", unfrozen_layers=24), options, notes.makers)
    for asked in (
        resolved(base="half", unfrozen_layers=25),
        resolved(space={"unfrozen_layers": choice(5, 25, 8)}, base="half"),
        resolved(space={"base": choice("half", "vgg16")}, size=32, unfrozen_layers=25),
    ):
        with pytest.raises(BadInput) as refused:
            check_fit(asked, options, notes.makers)
        assert str(refused.value) == "unfrozen_layers is at most the 24 layers of base 'half', but got 25: lower it"
    assert notes.asked == [{"base": "half", "size": size, "folder": None} for size in (16, 16, 16, 32)]
    check_fit(resolved(base="vgg16", size=32, unfrozen_layers=99), options, notes.makers)
    assert len(notes.asked) == 4, "where none is to be trained it is told when they are stored"


def test_a_file_that_does_not_fit_is_refused_before_a_base_is_trained(options: RunOptions) -> None:
    notes = Notes(error="no")
    asked = resolved("transfer", {"base": choice("vgg16", "half")}, size=32, weights="wrong.h5")
    with pytest.raises(BadInput, match=r"^base 'vgg16' must give features of images of 32 px, but: no: give another base or size$"):
        check_fit(asked, options, notes.makers)
    assert notes.asked == [{"base": "vgg16", "size": 32, "weights": str(Path("wrong.h5").absolute()), "folder": None}]


def test_too_few_classes_are_asked_for_of_half_alone(digits: Dataset) -> None:
    check_classes(resolved(base="cifar10", classes=3), digits)
    check_classes(resolved(base="half", classes=4), digits)
    with pytest.raises(BadInput, match="base=half is trained on half of at least 4 classes, but there are 3: give another base"):
        check_classes(resolved(base="half", classes=3), digits)


def stored(notes: Notes, asked: Resolved, options: RunOptions, dataset: Dataset) -> dict[str, StoredBase]:
    sources = prepare_bases(asked, options, dataset, notes.makers, notes.console)
    return store_bases(sources, RunStorage(options.storage, "own"), asked, notes.makers)


def test_a_base_that_is_there_is_copied(options: RunOptions, digits: Dataset, tmp_path: Path) -> None:
    a_base_run(options, digits, "fits")
    notes = Notes()
    made = stored(notes, resolved(base="half"), options, digits)
    assert made["half"].source == "fits"
    assert made["half"].file == "0123456789ab.keras"
    assert notes.said == "base half: the best model of fits\n"
    (task,) = notes.asked
    assert (task["base"], task["size"], task["run"], task["folder"]) == ("half", 16, "fits", f"{tmp_path}/own/bases")
    model = task["model"]
    assert (model["trainable"], model["epoch"], model["checkpoints"]) == ("base", 1, f"{tmp_path}/fits/checkpoints/00001")
    json.dumps(task)  # it goes to another process, on any machine


def test_one_that_is_not_there_is_trained_first(options: RunOptions, digits: Dataset) -> None:
    notes = Notes()
    trained: list[RunOptions] = []

    def train(asked: RunOptions) -> str:
        trained.append(asked)
        a_base_run(options, digits, "new")
        return "new"

    made = stored_by(replace(notes.makers, run=train), notes, options, digits)
    assert made["half"].source == "new"
    assert [asked.sweep for asked in trained] == ["base"]
    assert notes.said == "base half: not trained yet, so that is done first (`sweeps run base`)\n"


def stored_by(makers: Makers, notes: Notes, options: RunOptions, dataset: Dataset) -> dict[str, StoredBase]:
    sources = prepare_bases(resolved(base="half"), options, dataset, makers, notes.console)
    return store_bases(sources, RunStorage(options.storage, "own"), resolved(base="half"), makers)


def test_one_that_is_not_finished_is_finished_first(options: RunOptions, digits: Dataset) -> None:
    open_run = a_base_run(options, digits, "open", ended=False)
    notes = Notes()

    def to_its_end(run: str) -> str:
        Journal(open_run).append("end", trial=1, status="completed", reason="epochs", error=None)
        return run

    notes.makers = replace(notes.makers, resume=to_its_end)
    assert stored(notes, resolved(base="half"), options, digits)["half"].source == "open"
    assert notes.said == "base half: open is not finished, so that is done first\n"


def test_a_base_that_its_time_budget_cut_is_refused(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "open", ended=False)
    with pytest.raises(BadInput) as refused:
        stored(Notes(), resolved(base="half"), options, digits)
    assert str(refused.value) == (
        "a base is trained in full, but open was not (its time budget, or a failure): `sweeps status open`, then start it anew"
    )


@pytest.mark.parametrize("begun", [True, False])
def test_an_interruption_while_the_base_is_trained_is_one_of_the_run(begun: bool, options: RunOptions, digits: Dataset) -> None:
    if begun:
        a_base_run(options, digits, "open", ended=False)
    notes = Notes(trained="")
    with pytest.raises(KeyboardInterrupt):
        stored(notes, resolved(base="half"), options, digits)


def test_sources_that_are_not_trained_here(options: RunOptions, digits: Dataset) -> None:
    notes = Notes()
    file = Path(options.storage) / "mine.keras"
    made = stored(notes, resolved("transfer", {"base": choice("vgg16", str(file))}, size=32, weights="random"), options, digits)
    folder = f"{options.storage}/own/bases"
    assert notes.asked == [
        {"base": "vgg16", "size": 32, "folder": folder},
        {"base": str(file), "size": 32, "file": str(file), "folder": folder},
    ]
    assert [base.source for base in made.values()] == ["random", str(file)]
    weights = stored(notes, resolved("transfer", base="vgg16", size=32, weights=__file__), options, digits)
    assert weights["vgg16"].source == __file__


def test_a_base_that_fits_no_image_of_the_sweep_is_refused(options: RunOptions, digits: Dataset) -> None:
    notes = Notes(error="it takes images of 64 px")
    with pytest.raises(BadInput) as refused:
        stored(notes, resolved("transfer", base="mine.keras"), options, digits)
    assert str(refused.value) == (
        "base 'mine.keras' must give features of images of 16 px, but: it takes images of 64 px: give another base or size"
    )


def test_a_stored_bases_layers_are_counted(options: RunOptions, digits: Dataset) -> None:
    with pytest.raises(BadInput) as refused:
        stored(Notes(), resolved(base="mine.keras", unfrozen_layers=30), options, digits)
    assert str(refused.value) == "unfrozen_layers is at most the 24 layers of base 'mine.keras', but got 30: lower it"


def test_names_of_the_bases() -> None:
    assert bases.names(resolved("cnn")) == []
    assert bases.names(resolved(base="half")) == ["half"]
    assert bases.names(resolved(space={"base": choice("half", "cifar10"), "learning_rate": log_uniform(1e-4, 1e-2)})) == ["half", "cifar10"]
    assert [bases.is_trained(name) for name in ("half", "cifar10", "images:photos", "vgg16", "inception", "one", "one.keras")] == [
        *[True] * 3,
        *[False] * 4,
    ]


def test_files_of_a_runs_bases(tmp_path: Path) -> None:
    spec: RunSpec = runs.spec(
        bases={
            "half": StoredBase(source="one", file="0123456789ab.keras", sha256="0" * 64, layers=24, parameters=1),
            "vgg16": StoredBase(source="random", file=None, sha256=None, layers=18, parameters=1),
        }
    )
    assert bases.base_files(spec, RunStorage(str(tmp_path), "own")) == {"half": f"{tmp_path}/own/bases/0123456789ab.keras"}


def test_near_names_and_weights_that_are_not_used(sweeps: Sweeps) -> None:
    code, _, err = sweeps("plan", "freeze_depth", "--data", "digits", "--set", "base=hlaf")
    assert (code, err.strip().endswith(": did you mean half?")) == (2, True)
    code, _, err = sweeps("plan", "freeze_depth", "--data", "digits", "--set", "base=half", "--set", "weights=random")
    assert (code, err) == (
        2,
        "error: weights are those of vgg16 and inception, but base is half, which brings its own: leave weights out\n",
    )


@pytest.mark.parametrize(
    ("key", "value", "default"), [("split_seed", 1, 0), ("train_fraction", 0.9, 0.7), ("validation_fraction", 0.2, 0.1)]
)
def test_a_run_that_saw_what_is_tested_here_is_no_base(key: str, value: Any, default: Any, options: RunOptions, digits: Dataset) -> None:
    changed: dict[str, Any] = {key: value}
    a_base_run(options, digits, "same")
    a_base_run(options, digits, "other", **changed)
    a_base_run(options, digits, "elsewhere", fingerprint="f" * 12, **changed)
    for fine in ("same", "elsewhere"):
        check_split(resolved(base=fine), options, digits)
    check_split(resolved(base="other", **changed), options, digits)
    with pytest.raises(BadInput) as refused:
        check_split(resolved(base="other"), options, digits)
    assert str(refused.value) == (
        f"a base has not seen what it is tested on, but other was trained on this data set with {key} {value} instead of {default}: "
        f"give --set {key}={value}"
    )
