"""Digits: 1,797 handwritten digits of 8 x 8 pixels, grey, 10 classes. The embedded default: no download, no network.

Where from: inside scikit-learn (`sklearn.datasets.load_digits`), a copy of the test part of the UCI data set "Optical Recognition of
Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, https://archive.ics.uci.edu/dataset/80). Licence: CC BY 4.0. Size: 1,797 images,
174 to 183 a class. Layout: grey values from 0 to 16 (how many of 4 x 4 pixels of the scan were ink), spread here over 0 to 255.
At 8 x 8 px it shows that a sweep works; it says nothing about photographs.
"""

from importlib.metadata import version

import numpy as np

from data_prep.core.errors import BadInput
from data_prep.core.source import Arrays, Found, Request, Source

INK_LEVELS = 16


def _find(request: Request) -> Found:
    if request.source is not None:
        raise BadInput(f"digits come with scikit-learn and take no --source, but got '{request.source}': leave --source out")
    release = version("scikit-learn")
    return Found(where=f"scikit-learn {release}", identity=lambda: f"scikit-learn {release}", read=_read)


def _read() -> Arrays:
    # Imported here: it costs 1 s, which `sweeps list` need not wait for.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / INK_LEVELS)).astype(np.uint8)
    return Arrays(images, bunch.target, tuple(str(name) for name in bunch.target_names))


SOURCE = Source(summary="1,797 handwritten digits, 8 x 8 grey, inside scikit-learn", find=_find)
