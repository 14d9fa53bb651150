"""WHAT the images are: one file per source in this folder, and in `core/` how they are prepared, opened and split.

    dataset = prepare("digits", size=32, root=Path("data"))      # decoded once, memory-mapped by everyone after that
    parts = split(dataset.labels, seed=1)                        # index arrays: train, validation, test

A new data set is a new file here that defines `SOURCE`; its file name is its name (`fashion_mnist.py` is `fashion-mnist`).
"""

from data_prep.core.dataset import Dataset, open_dataset
from data_prep.core.errors import BadInput
from data_prep.core.prepare import check_source, find_prepared, prepare
from data_prep.core.source import source_names
from data_prep.core.splits import Split, split

__all__ = ["BadInput", "Dataset", "Split", "check_source", "find_prepared", "open_dataset", "prepare", "source_names", "split"]
