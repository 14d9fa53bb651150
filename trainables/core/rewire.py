"""The same layers in another graph: with some left out, replaced, or cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def through(model: keras.Model, images: Any, call: Callable[..., Any]) -> Any:
    """What `images` become in the layers of a model, each called by `call(layer, *tensors)`; ValueError for a model that is not layers from one tensor
    to one."""
    if len(getattr(model, "inputs", None) or ()) != 1 or len(model.outputs) != 1:
        raise ValueError(f"a base is made of layers, from one tensor to one, but {model.name!r} in it is not")
    # The model's layers as a graph (a Sequential is only a list of them), and a mark at its end: of a network inside another, what
    # `clone_model` gives is not connected to `images`.
    end = keras.layers.Identity()
    graph = keras.Model(model.inputs[0], end(model.outputs[0]))
    results: list[Any] = []

    def marked(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer is not end:
            return call(layer, *args, **kwargs)
        results.append(args[0])
        return args[0]

    keras.models.clone_model(graph, input_tensors=images, clone_function=lambda layer: layer, call_function=marked)
    return results[0]


def is_noise(layer: Any) -> bool:
    """Whether all that it does, it does in training: dropout, noise, augmentation."""
    # By name: Keras has no class for these alone. RandomCrop crops to its centre otherwise, so it is not one of them.
    kinds = [kind.__name__ for kind in type(layer).__mro__ if kind.__module__.startswith("keras.")]
    noisy = any(kind.endswith(("Dropout", "Noise", "Dropout1D", "Dropout2D", "Dropout3D")) or kind.startswith("Random") for kind in kinds)
    return noisy and "RandomCrop" not in kinds
