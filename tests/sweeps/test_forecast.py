"""What a plan tells of data sets and bases. (Of features: `test_shared`.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep import BadInput, Dataset
from sweeps import choice
from sweeps.core.forecast import base_lines, data_text
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
