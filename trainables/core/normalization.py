"""Keras' Normalization layers in a trial's network: their statistics are those of the training images, per channel."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

# 4,096 images of 64 px are 50 MB of uint8, and 400 MB as the float64 that sums are exact in.
CHUNK = 512


def _layers(model: keras.Model) -> Iterator[keras.layers.Normalization]:
    return (layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None)


def adapt(model: keras.Model, images: np.ndarray, rows: np.ndarray) -> None:
    """Give the layers of a network that wait for data mean and variance of these rows of the images (uint8, N x H x W x C; axis -1).

    Not by `layer.adapt`: that takes the images through tf.data, at once and as float32. It is right where such a layer reads the raw images, as in the
    networks here; one inside a network of Keras' (EfficientNet) reads scaled ones, and has statistics of its own."""
    layers = [layer for layer in _layers(model) if layer in model.layers]
    if not layers:
        return
    mean, variance = statistics(images, rows)
    for layer in layers:
        layer.adapt_mean.assign(mean.reshape(layer.adapt_mean.shape))
        layer.adapt_variance.assign(variance.reshape(layer.adapt_variance.shape))
    finalize(model)


def finalize(model: keras.Model) -> None:
    """Have the layers use the statistics that were assigned to their variables: `call` reads a copy of them."""
    for layer in _layers(model):
        layer.finalize_state()


def statistics(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance) of each channel over all pixels of these rows: float64, C."""
    total, squares, pixels = np.zeros(images.shape[-1]), np.zeros(images.shape[-1]), 0
    for start in range(0, len(rows), CHUNK):
        part = images[rows[start : start + CHUNK]].reshape(-1, images.shape[-1]).astype(np.float64)
        total, squares, pixels = total + part.sum(axis=0), squares + np.square(part).sum(axis=0), pixels + len(part)
    mean = total / pixels
    return mean, squares / pixels - np.square(mean)
