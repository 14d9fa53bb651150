"""Bases without Ray: those that are refused, before a run starts or when they are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput, Dataset
from sweeps import choice
from sweeps.core.bases import check_classes, check_fit, check_split, prepare_weights
from sweeps.core.launch import RunOptions
from sweeps.core.storage import RunStorage
from tests.sweeps import runs
from tests.sweeps.base_runs import REFUSED, Notes, a_base_run, resolved, stored
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
    # The data are prepared now: a plan knows it, too.
    for asked in ([], ["--json"]):
        assert sweeps("plan", *words[1:], "--set", "classes=3", *asked) == (code, out, err)


def test_near_names_and_weights_that_are_not_used(sweeps: Sweeps) -> None:
    code, _, err = sweeps("plan", "freeze_depth", "--data", "digits", "--set", "base=hlaf")
    assert (code, err.strip().endswith(": did you mean half?")) == (2, True)
    code, _, err = sweeps("plan", "freeze_depth", "--data", "digits", "--set", "base=half", "--set", "weights=random")
    assert (code, err) == (
        2,
        "error: weights are those of vgg16 and inception, but base is half, which brings its own: leave weights out\n",
    )


def test_too_few_classes_are_asked_for_of_half_alone(digits: Dataset) -> None:
    check_classes(resolved(base="cifar10", classes=3), digits)
    check_classes(resolved(base="half", classes=4), digits)
    with pytest.raises(BadInput, match="base=half is trained on half of at least 4 classes, but there are 3: give another base"):
        check_classes(resolved(base="half", classes=3), digits)


def test_imagenets_weights_that_cannot_be_had_are_refused() -> None:
    notes = Notes(problem=REFUSED)
    with pytest.raises(BadInput) as refused:
        prepare_weights(resolved("transfer", {"base": choice("vgg16", "half")}, size=32), notes.makers, notes.console)
    assert notes.asked == [["vgg16"]]
    assert str(refused.value) == (
        f"the ImageNet weights of vgg16 are downloaded by Keras once, but that failed ({REFUSED}): connect this machine, or give "
        "--set weights=FILE or --set weights=random"
    )


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


def test_a_base_that_its_time_budget_cut_is_refused(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "open", ended=False)
    with pytest.raises(BadInput) as refused:
        stored(Notes(), resolved(base="half"), options, digits)
    assert str(refused.value) == (
        "a base is trained in full, but open was not (its time budget, or a failure): `sweeps status open`, then start it anew"
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
