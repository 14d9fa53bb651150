"""What a user reads after a mistake: the rule, the value, the cure, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep import BadInput, check_source, fashion_mnist, open_dataset, prepare, split

NAMES = "cifar10, digits, fashion-mnist, images, tiny-imagenet"
TEN = np.arange(100) % 10


def prepared(name: str, *, size: object = 8, source: str | None = None) -> Callable[[Path], object]:
    """{tmp} in a name or a source is the test's folder."""

    def call(tmp: Path) -> object:
        place = source.format(tmp=tmp) if source else None
        return prepare(name.format(tmp=tmp), size=size, root=tmp / "data", source=place)  # type: ignore[arg-type]

    return call


def in_folders(call: Callable[[Path], object], *names: str) -> Callable[[Path], object]:
    """With these folders in the test's."""

    def after(tmp: Path) -> object:
        for name in names:
            (tmp / name).mkdir()
        return call(tmp)

    return after


TABLE: list[tuple[Callable[[Path], object], str]] = [
    (prepared("mnist"), f"a data set's name must be one of {NAMES}, but got 'mnist': did you mean 'fashion-mnist'?"),
    (prepared("Tiny_ImageNet"), f"a data set's name must be one of {NAMES}, but got 'Tiny_ImageNet': did you mean 'tiny-imagenet'?"),
    (prepared("../x"), f"a data set's name must be one of {NAMES}, but got '../x': `sweeps list` shows them"),
    (prepared("digits:8"), "a data set's name must be written as digits, but got 'digits:8'"),
    (prepared("images"), "a data set's name must be written as images:PATH, but got 'images'"),
    (prepared("images:"), "a data set's name must be written as images:PATH, but got 'images:'"),
    (prepared("digits", size=0), "size must be a whole number of pixels from 1 to 2048, but got 0: use 32 or 64"),
    (prepared("digits", size=2049), "size must be a whole number of pixels from 1 to 2048, but got 2049: use 32 or 64"),
    (prepared("digits", size=32.0), "size must be a whole number of pixels from 1 to 2048, but got 32.0: use 32 or 64"),
    (prepared("digits", size=True), "size must be a whole number of pixels from 1 to 2048, but got True: use 32 or 64"),
    (prepared("digits", source="x"), "digits come with scikit-learn and take no --source, but got 'x': leave --source out"),
    (
        prepared("images:{tmp}", source="x"),
        "images:PATH takes its folder from PATH and no --source, but got 'x': leave --source out",
    ),
    (prepared("images:{tmp}/no"), "images:PATH must name a folder, but '{tmp}/no' is none: check the path"),
    (
        prepared("images:{tmp}"),
        "images:PATH must have at least 2 sub-folders, one a class, but '{tmp}' has 0: sort the images into sub-folders",
    ),
    (
        prepared("tiny-imagenet", source="{tmp}/no.zip"),
        "--source must be a file, a folder or a URL, but '{tmp}/no.zip' does not exist: check the path",
    ),
    (
        prepared("tiny-imagenet", source="{tmp}"),
        "a Tiny ImageNet folder must have train/, but '{tmp}' has none: give the folder tiny-imagenet-200",
    ),
    (
        prepared("tiny-imagenet", source="https://example.org/t.zip#sha256=12"),
        "what follows # in a URL must be sha256= and 64 hex digits or md5= and 32, but got 'sha256=12': correct it or leave it out",
    ),
    *(
        (
            prepared(name, source=url),
            f"a URL must be http://HOST/PATH or https://HOST/PATH in ASCII without spaces, but got {url!r}: correct it, with %20 for a space",
        )
        for name, url in (
            ("tiny-imagenet", "http://["),
            ("cifar10", "https://"),
            ("cifar10", "http://host:port/a.zip"),
            ("cifar10", "http://host/a b.zip"),
            ("cifar10", "http://host/\u00e9.zip"),
            ("cifar10", "http://host/\udcff.zip"),
        )
    ),
    (prepared("images:{tmp}/\udcff"), "images:PATH must be valid UTF-8, but got '{tmp}/\\udcff': rename it"),
    (
        in_folders(prepared("images:{tmp}"), "owl", "wren\udcff"),
        "the name of a class's folder must be valid UTF-8, but got 'wren\\udcff': rename it",
    ),
    (
        prepared("cifar10", source="{tmp}"),
        "CIFAR-10 must have data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch and batches.meta, "
        "but '{tmp}' lacks data_batch_1: give the whole archive by --source",
    ),
    (
        prepared("fashion-mnist", source="{tmp}"),
        "a Fashion-MNIST folder must have train-images-idx3-ubyte or train-images-idx3-ubyte.gz, but '{tmp}' has neither: "
        "give its folder by --source",
    ),
    (
        open_dataset,
        "a prepared data set must have a dataset.json, but '{tmp}' has none: make it by `sweeps data`",
    ),
    (
        lambda tmp: split(TEN, seed=0, train_fraction=1.0),
        "train_fraction must be between 0 and 1, both excluded, but got 1.0: use 0.7 for 70 %",
    ),
    (
        lambda tmp: split(TEN, seed=0, train_fraction=70),
        "train_fraction must be between 0 and 1, both excluded, but got 70: use 0.7 for 70 %",
    ),
    (
        lambda tmp: split(TEN, seed=0, validation_fraction=0),
        "validation_fraction must be between 0 and 1, both excluded, but got 0: use 0.1 for 10 %",
    ),
    (
        lambda tmp: split(TEN, seed=0, train_fraction=float("nan")),
        "train_fraction must be between 0 and 1, both excluded, but got nan: use 0.7 for 70 %",
    ),
    (lambda tmp: split(TEN, seed=0, classes=1), "classes must be between 2 and the 10 of the data set, but got 1: use 2 or more"),
    (lambda tmp: split(TEN, seed=0, classes=11), "classes must be between 2 and the 10 of the data set, but got 11: use 10 or fewer"),
    (
        lambda tmp: split(np.array([0, 0, 0, 0, 1, 1]), seed=0),
        "a class must have at least 3 images, one each for train, validation and test, but class 1 has 2: add images or leave the class out",
    ),
    (
        lambda tmp: split(TEN, seed=0, train_fraction=0.95),
        "each split must have an image of each of the 10 classes, but 0.95 of 100 images leaves 5 in one: "
        "use more images or a fraction nearer to 0.5",
    ),
    (
        lambda tmp: split(np.array([0] * 200 + [1] * 4), seed=0),
        "each class must be in each split, but class 1 with 4 images is not in validation at train_fraction 0.7 and validation_fraction 0.1: "
        "add images or use fractions nearer to 0.5",
    ),
    (
        lambda tmp: split(np.array([], np.int32), seed=0),
        "labels must be a list of at least one class number, but got the shape (0,): give a data set's labels",
    ),
]


@pytest.mark.parametrize(("call", "text"), TABLE, ids=[text[:60] for _, text in TABLE])
def test_text(tmp_path: Path, call: Callable[[Path], object], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        call(tmp_path)
    assert str(caught.value) == text.replace("{tmp}", str(tmp_path))
    assert not list(tmp_path.glob("data/*")), "no work before the refusal"


def test_fashion_mnist_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "nowhere")
    with pytest.raises(BadInput) as caught:
        check_source("fashion-mnist", None)
    assert str(caught.value) == (
        "Fashion-MNIST must be on this machine, but its package is not installed: `apt-get install dataset-fashion-mnist`, "
        "or --source FOLDER with its four IDX files"
    )


def test_one_line() -> None:
    assert str(BadInput("a\n  b")) == "a b"
