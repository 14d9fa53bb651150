"""Layers that several experiments are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# Of the moving averages that validation runs on. Keras' default of 0.99 needs some 300 steps to forget its start: measured on digits (36 steps an
# epoch) validation stays at chance for five epochs, with 0.9 for none. The report does not give its value; no parameter count depends on it.
MOMENTUM = 0.9


def normalize(x: keras.KerasTensor) -> keras.KerasTensor:
    """Batch normalisation with MOMENTUM."""
    from keras import layers

    return layers.BatchNormalization(momentum=MOMENTUM)(x)


def convolve(x: keras.KerasTensor, filters: int, padding: str) -> keras.KerasTensor:
    """Conv3x3, ReLU, BN: three layers, as the report counts. A map that is smaller than 3 px is padded, whatever `padding` says."""
    from keras import layers

    x = layers.Conv2D(filters, 3, padding=padding if x.shape[1] >= 3 else "same")(x)
    x = layers.Activation("relu")(x)
    return normalize(x)


def pool(x: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """The maximum of size x size px, every 2 px. A map that is smaller than that is padded, and one of 1 px not pooled, so that any image fits."""
    from keras import layers

    if x.shape[1] < 2:
        return x
    return layers.MaxPooling2D(size, strides=2, padding="valid" if x.shape[1] >= size else "same")(x)


def classify(x: keras.KerasTensor, class_count: int) -> keras.KerasTensor:
    """Probabilities of the classes (N x class_count, float32, whatever the network computes in)."""
    from keras import layers

    return layers.Activation("softmax", dtype="float32")(layers.Dense(class_count)(x))
