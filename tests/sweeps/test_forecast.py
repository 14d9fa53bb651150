"""What a plan tells of data sets, bases, and features of frozen layers: before anything is trained, by a process that has keras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep import BadInput, Dataset
from sweeps import choice, uniform
from sweeps.core.forecast import base_texts, data_text, feature_lines, feature_row
from sweeps.core.launch import RunOptions
from tests.sweeps.base_runs import a_base_run, resolved

CIFAR10 = "downloaded and prepared first, from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


@pytest.fixture
def options(tmp_path: Path, digits: Dataset) -> RunOptions:
    return RunOptions(sweep="mine.py", storage=str(tmp_path / "runs"), data_root=digits.path.parent, epochs=6)


def test_of_data(options: RunOptions, tmp_path: Path) -> None:
    assert data_text(resolved(), options) == "1,797 images of 10 classes, prepared"
    assert data_text(resolved(), replace(options, data_root=tmp_path)).startswith("prepared first, from scikit-learn ")
    assert data_text(resolved(data="cifar10"), options) == CIFAR10


def test_of_a_base_that_is_to_be_trained(options: RunOptions, tmp_path: Path) -> None:
    assert base_texts(resolved("cnn"), options) == []
    assert base_texts(resolved(base="half"), options) == ["half (trained first, 6 epochs)"]
    assert base_texts(resolved(base="half"), replace(options, epochs=None)) == ["half (trained first, 50 epochs)"]
    both = resolved("transfer", {"base": choice("cifar10", "vgg16")}, size=32)
    assert base_texts(both, options) == [f"cifar10 (trained first, 6 epochs; its data: {CIFAR10})", "vgg16"]
    nothing = replace(options, data_root=tmp_path)
    assert base_texts(resolved(base="digits"), nothing) == ["digits (the newest run that fits, or trained first)"]
    assert base_texts(resolved(base="cifar10"), nothing) == [f"cifar10 (trained first, 6 epochs; its data: {CIFAR10})"]


def test_of_a_base_that_is_there(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "begun", ended=False)
    assert base_texts(resolved(base="half"), options) == ["half (after the rest of begun)"]
    a_base_run(options, digits, "whole")
    assert base_texts(resolved(base="half"), options) == ["half (the best model of whole)"]


def test_too_few_classes_are_refused(options: RunOptions) -> None:
    with pytest.raises(BadInput, match="base=half is trained on half of at least 4 classes, but there are 3"):
        base_texts(resolved(base="half", classes=3), options)


# Digits at 16 px: 1,797 images, 1,132 to train on, 126 to validate with, 539 for the test. Three poolings make 1 x 1 of them, with 128 features
# of 2 bytes each; behind the second there are 2 x 2 x 64, 8 layers before the end.
END, EARLIER = 128 * 2, 2 * 2 * 64 * 2
ONCE = "features   of frozen layers, once for all trials: "


def test_of_features(options: RunOptions, tmp_path: Path) -> None:
    plan = resolved("transfer", {"dropout": uniform(0, 0.5)}, base="digits")
    assert feature_lines(plan, options) == [f"{ONCE}1,258 images (1 cut), 0 MB beside the data set; then 539 for the test of the best"]
    expected = {"cuts": 1, "images": 1258, "bytes": 1258 * END, "bytes_an_image": END, "fit": True}
    assert feature_row(plan, options) == expected
    small = replace(options, cache_size="0.3MB")
    (line,) = feature_lines(plan, small)
    assert line.endswith("; more than --cache-size 0.3MB: they run in every epoch")
    assert feature_row(plan, small) == {**expected, "fit": False}
    # Each image once, and its views; those of all images, whatever part of them a trial takes.
    viewed = resolved(
        "transfer", {"dropout": uniform(0, 0.5)}, base="digits", augmentation="flip", views=3, data_fraction=0.5, features="float32"
    )
    row = feature_row(viewed, options)
    assert row == {"cuts": 1, "images": 3 * 1132 + 126, "bytes": (3 * 1132 + 126) * 2 * END, "bytes_an_image": 2 * END, "fit": True}
    several = resolved("transfer", {"augmentation": choice("none", "flip", "flip_shift")}, base="digits", views=3)
    assert (feature_row(several, options) or {})["images"] == (1 + 3 + 3) * 1132 + 126

    nothing = replace(options, data_root=tmp_path)
    assert feature_lines(plan, nothing) == [f"{ONCE}1 cut, 0.3 KB an image (digits is not prepared yet)"]
    assert feature_row(plan, nothing) == {"cuts": 1, "images": None, "bytes": None, "bytes_an_image": END, "fit": None}


def test_of_features_of_several_cuts(options: RunOptions) -> None:
    plan = resolved("fine_tune", {"unfrozen_layers": choice(0, 8, 24)}, base="digits")
    assert feature_lines(plan, options) == [
        f"{ONCE}2,516 images (2 cuts), 1 MB beside the data set; then 539 for the test of the best",
        "           trained whole: unfrozen_layers=24 (nothing frozen, or too little for what its features would take)",
    ]
    assert feature_row(plan, options) == {
        "cuts": 2,
        "images": 2516,
        "bytes": 1258 * (END + EARLIER),
        "bytes_an_image": END + EARLIER,
        "fit": True,
    }


def test_of_features_that_are_not_shared(options: RunOptions) -> None:
    augmented = resolved("transfer", {"augmentation": choice("none", "flip")}, base="digits")
    (line,) = feature_lines(augmented, options)
    assert line.startswith(
        "features   not shared with augmentation (flip): frozen layers run in every epoch, on images that differ in each; --set views=K"
    )
    off = resolved("transfer", base="digits", features="off")
    assert feature_lines(off, options) == ["features   off: frozen layers run in every epoch of every trial"]
    lost = resolved("transfer", base="lost.keras")
    assert feature_lines(lost, options) == ["features   not known before the run: the base cannot be had yet"]
    assert [feature_row(plan, options) for plan in (augmented, off, lost, resolved("cnn"))] == [None] * 4
    assert feature_lines(resolved("cnn"), options) == []
