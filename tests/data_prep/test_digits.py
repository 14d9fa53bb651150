"""digits: the embedded default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from data_prep import prepare


def test_counts_and_pixels(tmp_path: Path) -> None:
    dataset = prepare("digits", size=8, root=tmp_path)
    assert dataset.images.shape == (1797, 8, 8, 3)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int32
    assert dataset.classes == tuple("0123456789")
    assert np.bincount(dataset.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # No resampling at 8 px: every ink level, and 16 of them is white.
    np.testing.assert_array_equal(dataset.images[..., 1], np.rint(load_digits().images * 255 / 16))


@pytest.mark.parametrize("size", [4, 28, 32])
def test_other_sizes(tmp_path: Path, size: int) -> None:
    dataset = prepare("digits", size=size, root=tmp_path)
    assert dataset.images.shape == (1797, size, size, 3)
    assert 70 < dataset.images.mean() < 85
