"""Splits are what the report's protocol says, stratified, and the same every time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data_prep import BadInput, Split, split


@pytest.mark.parametrize(
    ("classes", "each", "sizes"),
    [(200, 500, (63_000, 7_000, 30_000)), (10, 7_000, (44_100, 4_900, 21_000)), (10, 6_000, (37_800, 4_200, 18_000))],
    ids=["tiny-imagenet", "fashion-mnist", "cifar10"],
)
def test_the_reports_protocol(classes: int, each: int, sizes: tuple[int, int, int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(classes), each))
    parts = split(labels, seed=1)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == sizes
    for part, share in zip((parts.train, parts.validation, parts.test), sizes, strict=True):
        assert set(np.bincount(labels[part])) == {share // classes}
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    together = np.concatenate([parts.train, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(labels)))


def test_digits() -> None:
    labels = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    parts = split(labels, seed=1)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (1132, 126, 539)


def test_deterministic_and_by_seed() -> None:
    labels = np.arange(1000) % 10
    one, same, other = (split(labels, seed=seed) for seed in (3, 3, 4))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_golden() -> None:
    """The numbers of a published run mean something only while these stay: a new scikit-learn must not move them."""
    parts = split(np.arange(40) % 2, seed=0)
    assert parts.test.tolist() == [0, 6, 11, 13, 15, 19, 22, 24, 27, 29, 30, 32]
    assert parts.validation.tolist() == [2, 3, 14]


def test_fewer_classes() -> None:
    labels = np.arange(1000) % 10
    parts = split(labels, seed=1, classes=2)
    assert set(labels[parts.train]) == set(labels[parts.validation]) == set(labels[parts.test]) == {0, 1}
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (126, 14, 60)


@pytest.mark.parametrize("fraction", [0.1, 0.29, 0.7, 0.9])
def test_fractions_are_rounded_not_floored(fraction: float) -> None:
    labels = np.arange(1000) % 10
    parts = split(labels, seed=1, train_fraction=fraction, validation_fraction=0.3)
    assert len(parts.test) == 1000 - round(1000 * fraction)
    assert len(parts.validation) == pytest.approx(300 * fraction, abs=1)


def test_small_classes_are_in_each_split_or_refused() -> None:
    parts = split(np.arange(20) % 2, seed=0, validation_fraction=0.2)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [11, 3, 6]


FRACTIONS = (0.05, 0.1, 0.25, 0.5, 7 / 9, 1.0)


def parts_of(labels: np.ndarray, **settings: float | None) -> Split:
    return split(labels, seed=2, **settings)  # type: ignore[arg-type]


def test_fractions_of_the_training_images_are_nested() -> None:
    """Each with the classes' proportions, unequal ones too; validation and test are those of the whole."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [1000, 500, 300, 150, 50]))
    whole = parts_of(labels, train_fraction=0.9)
    parts = [parts_of(labels, train_fraction=0.9, data_fraction=fraction) for fraction in FRACTIONS]
    for part, fraction in zip(parts, FRACTIONS, strict=True):
        np.testing.assert_array_equal(part.validation, whole.validation)
        np.testing.assert_array_equal(part.test, whole.test)
        assert len(part.train) == round(fraction * len(whole.train))
        assert (np.diff(part.train) > 0).all()
        assert part.train.dtype == np.int64
        assert np.abs(np.bincount(labels[part.train]) - fraction * np.bincount(labels[whole.train])).max() <= 1
    for smaller, larger in itertools.pairwise(parts):
        assert set(smaller.train) < set(larger.train)
    np.testing.assert_array_equal(parts[-1].train, whole.train)


def test_seven_ninths_of_nine_tenths_are_the_reports() -> None:
    """0.7 of all images, before validation is cut out, but with test images for once fewer."""
    labels = np.arange(10_000) % 10
    assert len(parts_of(labels, train_fraction=0.9, data_fraction=7 / 9).train) == len(parts_of(labels, train_fraction=0.7).train) == 6300


def test_fraction_by_seed() -> None:
    labels = np.arange(1000) % 10
    one, same, other = (split(labels, seed=seed, data_fraction=0.3).train for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_golden_of_parts() -> None:
    assert split(np.arange(40) % 2, seed=0, data_fraction=0.3).train.tolist() == [5, 7, 8, 18, 20, 34, 37, 39]
    parts = split(np.arange(40) % 2, seed=0, images=20, validation_fraction=0.2)
    assert parts.test.tolist() == [0, 11, 15, 24, 29, 32]
    assert parts.train.tolist() == [4, 5, 7, 9, 12, 17, 18, 20, 28, 35, 38]


@pytest.mark.parametrize("images", [60, 501, 999, 1000])
def test_images(images: int) -> None:
    """So many in all three, each with the classes' proportions; all of them are as without the setting."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [500, 300, 200]))
    parts = parts_of(labels, images=images)
    together = np.concatenate([parts.train, parts.validation, parts.test])
    assert len(np.unique(together)) == len(together) == images
    for part in (parts.train, parts.validation, parts.test):
        assert np.abs(np.bincount(labels[part]) - len(part) * np.array([0.5, 0.3, 0.2])).max() <= 1
    assert len(parts.test) == images - round(0.7 * images)
    if images == 1000:
        np.testing.assert_array_equal(parts.train, parts_of(labels).train)


def test_images_are_of_all_classes_before_some_are_kept() -> None:
    """So a run of two classes sees a part of what a run of all sees."""
    labels = np.arange(1000) % 10
    all_classes, two = parts_of(labels, images=500), parts_of(labels, images=500, classes=2)
    assert (len(two.train), len(two.validation), len(two.test)) == (63, 7, 30)
    for name in ("train", "validation", "test"):
        kept = getattr(all_classes, name)
        np.testing.assert_array_equal(getattr(two, name), kept[labels[kept] < 2])


def test_a_few_images_are_not_of_the_first_classes() -> None:
    """Of 20 equal classes 70 images, 21 to 25 a part: one or two of each, and who has two is drawn."""
    labels = np.arange(2000) % 20
    parts = [split(labels, seed=seed, images=70, validation_fraction=0.5) for seed in (1, 2)]
    for name in ("train", "validation", "test"):
        counts = [np.bincount(labels[getattr(part, name)]) for part in parts]
        assert set(counts[0]) == set(counts[1]) == {1, 2}
        assert (counts[0] != counts[1]).any()


@pytest.mark.parametrize("settings", [{"classes": 2}, {"images": 300}, {"classes": 5, "images": 600}, {"data_fraction": 0.3}])
def test_what_is_trained_on_anywhere_is_tested_on_nowhere(settings: dict[str, float]) -> None:
    """A base that was trained on half of the classes, or a subset, has not seen what the whole is validated or tested on."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]))
    whole, part = parts_of(labels), parts_of(labels, **settings)
    for name in ("train", "validation", "test"):
        assert set(getattr(part, name)) <= set(getattr(whole, name))


def test_a_class_that_is_left_out_may_be_too_small() -> None:
    for small in (1, 2, 3, 9):
        labels = np.repeat(np.arange(4), [50, 50, small, 2])
        assert len(parts_of(labels, classes=2).test) == 30
        assert len(parts_of(labels, classes=2, train_fraction=0.3, validation_fraction=0.3).test) == 70


def test_a_class_that_one_cut_uses_up_is_one_line() -> None:
    labels = np.repeat(np.arange(3), [100, 100, 3])
    with pytest.raises(
        BadInput, match=r"^each class must be in each split, but one has too few images \(.*\): add images or use fractions nearer to 0.5$"
    ):
        parts_of(labels, train_fraction=0.3)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"images": 1001}, "images must be at most the 1000 that there are, but got 1001: use 1000 or fewer"),
        (
            {"images": 29},
            "images must leave one of each class in train, validation and test, but 29 leave none of class 0 in validation: use more images",
        ),
        (
            {"data_fraction": 0.01},
            "data_fraction must leave an image of each class, but 0.01 of 630 training images are 6, and the classes need 10: "
            "use 0.0159 or more",
        ),
        ({"data_fraction": 0.0}, "data_fraction must be greater than 0 and at most 1, but got 0.0: use 1 for all, 0.5 for half"),
        ({"data_fraction": 1.5}, "data_fraction must be greater than 0 and at most 1, but got 1.5: use 1 for all, 0.5 for half"),
    ],
)
def test_impossible_parts(settings: dict[str, float], text: str) -> None:
    labels = np.arange(1000) % 10
    with pytest.raises(BadInput) as caught:
        parts_of(labels, **settings)
    assert str(caught.value) == text


def test_the_cure_cures() -> None:
    labels = np.arange(1000) % 10
    parts_of(labels, data_fraction=0.0159)
    unequal = np.repeat([0, 1], [9900, 100])
    with pytest.raises(BadInput, match=r"are 25, and the classes need 50: use 0\.008 or more$"):
        parts_of(unequal, data_fraction=0.004)
    assert 1 in unequal[parts_of(unequal, data_fraction=0.008).train]
