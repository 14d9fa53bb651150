"""The layers of a network as rows: what the results keep of its architecture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

Row = dict[str, Any]


def layers(model: keras.Model) -> list[Row]:
    """A row a layer, in the order of the model: `name`, `kind` (its class), `output_shape` of one image ("32 x 32 x 16"; None: not known; "?": any
    size), `parameters`, `trainable_parameters`, `inputs` (names of the layers it reads).

    Networks inside it are taken apart: `inner/conv`. A layer that is called again is another row, `conv:2`; a weight counts once, where it is used
    first, so that the sums are the model's. A model without a graph (a subclass of keras.Model) gives its layers without shapes and inputs."""
    return _Reading().read(model)


class _Reading:
    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.counted: set[int] = set()

    def read(self, model: Any) -> list[Row]:
        if graph_of(model) is None:
            for layer in model.layers:
                self._add(layer, layer.name, None, [])
        else:
            self._walk(model, None, "")
        return self.rows

    def _walk(self, model: Any, sources: list[str] | None, prefix: str) -> list[str]:
        """Add the layers of a model that reads the outputs of `sources` (None: it is the outermost); the names of those that give its outputs."""
        graph = graph_of(model)
        made = {id(tensor): name for tensor, name in zip(graph.inputs, sources or (), strict=bool(sources))}
        calls: dict[int, int] = {}
        for node in nodes_of(graph):
            if node.is_input and sources is not None:
                continue
            layer = node.operation
            calls[id(layer)] = call = calls.get(id(layer), 0) + 1
            name = f"{prefix}{layer.name}{f':{call}' if call > 1 else ''}"
            inputs = [made[id(tensor)] for tensor in node.input_tensors]
            inner = graph_of(layer)
            if inner is not None and len(inner.inputs) == len(inputs):
                outputs = self._walk(layer, inputs, f"{name}/")
            else:
                self._add(layer, name, node.output_tensors, inputs)
                outputs = [name] * len(node.output_tensors)
            made.update((id(tensor), output) for tensor, output in zip(node.output_tensors, outputs, strict=True))
        return [made[id(tensor)] for tensor in graph.outputs]

    def _add(self, layer: Any, name: str, outputs: list[Any] | None, inputs: list[str]) -> None:
        weights = [weight for weight in getattr(layer, "weights", ()) if id(weight) not in self.counted]
        self.counted.update(map(id, weights))
        trained = set(map(id, getattr(layer, "trainable_weights", ())))
        self.rows.append(
            {
                "name": name,
                "kind": type(layer).__name__,
                "output_shape": None if outputs is None else ", ".join(_written(tensor.shape) for tensor in outputs),
                "parameters": sum(math.prod(weight.shape) for weight in weights),
                "trainable_parameters": sum(math.prod(weight.shape) for weight in weights if id(weight) in trained),
                "inputs": list(dict.fromkeys(inputs)),
            }
        )


def _written(shape: tuple[int | None, ...]) -> str:
    """(None, 32, 32, 16), the batch first, as "32 x 32 x 16"; a number an image as "1"."""
    return " x ".join("?" if size is None else str(size) for size in shape[1:]) or "1"


# Keras gives a graph's calls to nobody else: what its own `plot_model` reads is read here, and the tests hold it to `model.layers` and `count_params`.


def graph_of(layer: Any) -> Any:
    """The graph of a functional or sequential model; None where a layer has none."""
    found = getattr(layer, "_functional", None) or layer
    return found if hasattr(found, "_nodes_by_depth") else None


def nodes_of(graph: Any) -> Iterator[Any]:
    """The calls of a graph's layers, inputs first, in the order of `model.layers`."""
    position = {id(layer): n for n, layer in enumerate(graph.operations)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        yield from sorted(graph._nodes_by_depth[depth], key=lambda node: position[id(node.operation)])
