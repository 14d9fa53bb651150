"""Where a network can be cut: before the cut nothing learns, so what it gives for an image is the same in every epoch of every trial.

The frozen part is what no training step changes and no random number moves. It is cut where all of it passes through one tensor; what it gives there
are the features that the rest, the tail, is trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from trainables.core.architecture import graph_of, nodes_of
from trainables.core.rewire import is_noise

# Floating-point operations that a byte of features must save. Measured on a CPU: reading features is as fast as computing them at some 30 (one
# convolution from 3 to 32 channels), and below that they only take room on the disk.
LEAST_SAVED = 100


@dataclass(frozen=True)
class Cut:
    """A network in two: `frozen` from images to features, `tail` from features to what the network gives. Both have the network's own
    layers. `saved` are the operations (multiplications and additions) that the features of an image save."""

    frozen: keras.Model
    tail: keras.Model
    saved: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image's features."""
        return tuple(self.frozen.outputs[0].shape[1:])

    def bytes(self, dtype: str) -> int:
        """Of an image's features."""
        return math.prod(self.shape) * (2 if dtype == "float16" else 4)

    def pays(self, dtype: str) -> bool:
        """Whether reading the features is less work than computing them."""
        return self.saved >= LEAST_SAVED * self.bytes(dtype)


def cut(network: keras.Model) -> Cut | None:
    """The network cut behind the last tensor that all of its frozen part passes through; None where no layer with weights is frozen, or its layers
    are no graph from one tensor to one."""
    calls = _calls(network)
    place = _place(calls)
    if place is None:
        return None
    end = calls[place].output
    frozen, tail = keras.Model(network.inputs[0], end), keras.Model(end, network.outputs[0], name=network.name)
    return Cut(frozen, tail, sum(map(_operations, calls[: place + 1])))


@dataclass
class _Call:
    """A layer's call: `inputs` are the numbers of the calls whose outputs it reads; `still`: it gives the same for an image in every epoch."""

    layer: Any
    inputs: list[int]
    output: Any
    still: bool


def _calls(network: keras.Model) -> list[_Call]:
    """In the order of the graph, the images first; none where there is no graph, from one tensor to one."""
    graph = graph_of(network)
    if graph is None or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return []
    calls: list[_Call] = []
    made: dict[int, int] = {}
    for node in nodes_of(graph):
        inputs = [made[id(tensor)] for tensor in node.input_tensors]
        still = len(node.output_tensors) == 1 and _is_still(node.operation) and all(calls[number].still for number in inputs)
        made.update({id(tensor): len(calls) for tensor in node.output_tensors})
        calls.append(_Call(node.operation, inputs, node.output_tensors[0], still))
    return calls


def _is_still(layer: Any) -> bool:
    """Whether it is the same function in training, in every epoch."""
    inner = list(layer._flatten_layers()) if isinstance(layer, keras.Layer) else []
    # A Normalization has its statistics from the trial's data.
    if any(is_noise(part) or isinstance(part, keras.layers.Normalization) for part in inner):
        return False
    # Variables that are no weights are the states of random generators.
    weights, variables = getattr(layer, "weights", []), getattr(layer, "variables", [])
    return len(weights) == len(variables) and not (weights and layer.trainable)


def _place(calls: list[_Call]) -> int | None:
    """The number of the last call, with or behind weights, that all which is not still reads the frozen part through."""
    first = next((number for number, call in enumerate(calls) if call.still and getattr(call.layer, "weights", None)), len(calls))
    for place in range(len(calls) - 2, first - 1, -1):
        if calls[place].still and not _passed_by(calls, place):
            return place
    return None


def _passed_by(calls: list[_Call], place: int) -> bool:
    """Whether something that is not still, or the end, is reached from the images without passing this call."""
    past = {0}
    for number, call in enumerate(calls):
        if number != place and past & set(call.inputs):
            past.add(number)
    return len(calls) - 1 in past or not all(calls[number].still for number in past)


def _operations(call: _Call) -> int:
    """Of a layer's call for an image: two, a multiplication and an addition, for each use of a weight of a kernel. Others are not counted."""
    kernels = [weight for weight in getattr(call.layer, "weights", ()) if len(weight.shape) > 1]
    places = math.prod(call.output.shape[1:-1])
    return sum(2 * math.prod(kernel.shape) * places for kernel in kernels)
