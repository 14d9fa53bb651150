"""What a plan tells of data sets, bases, and features of frozen layers: before anything is trained, by a process that has keras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep import BadInput, Dataset
from sweeps import choice, uniform
from sweeps.core.forecast import base_lines, data_text, feature_lines, feature_row
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
    assert base_lines(resolved("cnn"), options) == []
    assert base_lines(resolved(base="half"), options) == ["base       half (trained first, 6 epochs)"]
    assert base_lines(resolved(base="half"), replace(options, epochs=None)) == ["base       half (trained first, 50 epochs)"]
    both = resolved("transfer", {"base": choice("cifar10", "vgg16")}, size=32)
    assert base_lines(both, options) == [f"base       cifar10 (trained first, 6 epochs; its data: {CIFAR10}), vgg16"]
    nothing = replace(options, data_root=tmp_path)
    assert base_lines(resolved(base="digits"), nothing) == ["base       digits (the newest run that fits, or trained first)"]
    assert base_lines(resolved(base="cifar10"), nothing) == [f"base       cifar10 (trained first, 6 epochs; its data: {CIFAR10})"]


def test_of_a_base_that_is_there(options: RunOptions, digits: Dataset) -> None:
    a_base_run(options, digits, "begun", ended=False)
    assert base_lines(resolved(base="half"), options) == ["base       half (after the rest of begun)"]
    a_base_run(options, digits, "whole")
    assert base_lines(resolved(base="half"), options) == ["base       half (the best model of whole)"]


def test_too_few_classes_are_refused(options: RunOptions) -> None:
    with pytest.raises(BadInput, match="base=half is trained on half of at least 4 classes, but there are 3"):
        base_lines(resolved(base="half", classes=3), options)


# Digits at 16 px: 1,797 images; 1,258 to train on, 180 to validate with, 359 for the test. The base halves them three times: 2 x 2 x 128 features at its
# end, of 2 bytes each; before its last 8 layers 4 x 4 x 64.
END, EARLIER = 2 * 2 * 128 * 2, 4 * 4 * 64 * 2
ONCE = "features   of frozen layers, once for all trials: "


def test_of_features(options: RunOptions) -> None:
    plan = resolved("transfer", {"dropout": uniform(0, 0.5)}, base="digits")
    assert feature_lines(plan, options) == [f"{ONCE}1,438 images (1 cut), 1.5 MB beside the data set; then 359 for the test of the best"]
    assert feature_row(plan, options) == {"cuts": 1, "images": 1438, "bytes": 1438 * END, "bytes_an_image": END}


def test_of_features_of_several_cuts(options: RunOptions) -> None:
    plan = resolved("fine_tune", {"unfrozen_layers": choice(0, 8, 24)}, base="digits")
    assert feature_lines(plan, options) == [
        f"{ONCE}2,876 images (2 cuts), 4.4 MB beside the data set; then 359 for the test of the best",
        "           trained whole: unfrozen_layers=24 (nothing frozen, or too little for what its features would take)",
    ]
    assert feature_row(plan, options) == {"cuts": 2, "images": 2876, "bytes": 1438 * (END + EARLIER), "bytes_an_image": END + EARLIER}
