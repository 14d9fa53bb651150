"""Bases without Ray: which run is found, how one is trained and stored. Real ones are made in test_run_study.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput, Dataset
from sweeps import choice, log_uniform
from sweeps.core import bases
from sweeps.core.bases import BaseRun, Makers, base_run, prepare_bases, prepare_weights, store_bases
from sweeps.core.journal import Journal
from sweeps.core.launch import RunOptions, prepare_data
from sweeps.core.spec import RunSpec, StoredBase
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.base_runs import REFUSED, Notes, a_base_run, resolved, stored

# The run that a base is taken from.


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


def test_an_unfinished_one_is_gone_on_with_whatever_a_trial_had(options: RunOptions, digits: Dataset) -> None:
    """A session gives all of its trials what it asks for."""
    a_base_run(options, digits, "open", ended=False)
    assert half(replace(options, cpus=2, gpus=0.5), digits).run == "open"
    with RunStorage(options.storage, "open").lock():
        assert half(options, digits).run is None, "somebody is at work"


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
    assert notes.asked == [{"base": str(file), "size": 32, "file": str(file), "folder": folder}], "of random weights nothing is stored"
    assert made["vgg16"] == StoredBase(source="random", file=None, sha256=None, layers=18, parameters=14_714_688)
    assert made[str(file)].source == str(file)
    weights = stored(notes, resolved("transfer", base="vgg16", size=32, weights=__file__), options, digits)
    assert weights["vgg16"].source == __file__


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ({"base": "vgg16", "weights": "random"}, False),
        ({"base": "vgg16", "weights": "imagenet-or-random"}, True),
        ({"base": "vgg16", "weights": __file__}, True),
        ({"base": "half"}, True),
    ],
)
def test_what_takes_keras_to_know(fixed: dict[str, Any], expected: bool) -> None:
    assert bases.asks_keras(resolved("transfer", size=32, **fixed)) is expected
    assert bases.asks_keras(resolved("cnn")) is False


def test_keras_own_networks_have_layers_to_unfreeze(options: RunOptions, digits: Dataset) -> None:
    """As many as are known, without a look at them."""
    asked = resolved("fine_tune", base="vgg16", weights="random", size=32, unfrozen_layers=19)
    with pytest.raises(BadInput, match=r"^unfrozen_layers is at most the 18 layers of base 'vgg16', but got 19: lower it$"):
        stored(Notes(), asked, options, digits)


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
