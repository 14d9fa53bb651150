"""Compiled networks that serve one trial after another in a process.

Tracing a training step takes seconds, a new network a fraction of one. So each trial builds its own network, which draws its weights and random states
as in a fresh process; where one of the same graph is compiled already, it takes over these values and the new one is let go. What a graph has as
variables differs between its trials: weights, random states, learning rate, weight decay, and the rates of dropout.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from trainables.core.architecture import graph_of
from trainables.core.config import TrainConfig
from trainables.core.recipe import begin, compile_model, vary
from trainables.core.rewire import through
from trainables.core.stand_ins import FusedNormalization, VariableDropout, can_be_fused, is_dropout
from trainables.core.steps import Steps

ROOM = 4


class Graphs:
    """The graphs that were used last, ROOM of them: each holds a network, its optimizer's slots and its programs."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self.kept: OrderedDict[str, Graph] = OrderedDict()

    def take(self, network: keras.Model, state: list[Any], config: TrainConfig) -> Graph:
        """The graph for this network (not compiled; its weights and random states are the trial's) as a fresh one would be. `state`: see `Graph`."""
        key = _key(network, config)
        graph = self.kept.pop(key, None) if key else None
        if graph is None:
            graph = Graph(network, config)
        graph.become(network, state, config)
        if key and graph.general:
            self.kept[key] = graph
            while len(self.kept) > self.room:
                self.kept.popitem(last=False)
        return graph


class Graph:
    """A compiled model. `state` are the variables that later numbers depend on, in the order in which the trial's network was said to have them."""

    def __init__(self, plain: keras.Model, config: TrainConfig) -> None:
        self.plain = plain
        self.model, self.rates = _with_stand_ins(plain)
        self.general = all(id(layer) in self.rates for layer in plain._flatten_layers() if is_dropout(layer))
        compile_model(self.model, config)
        vary(self.model.optimizer)
        self.steps = Steps(self.model)
        self.state: list[Any] = []

    def become(self, network: keras.Model, state: list[Any], config: TrainConfig) -> None:
        """Take over the values of a network of the same graph, and begin at the first step of the settings."""
        own: dict[int, Any] = {}
        for theirs, ours in zip(_leaves(network), _leaves(self.plain), strict=True):
            variables = ours.variables
            if id(ours) in self.rates:
                stand_in = self.rates[id(ours)]
                stand_in.rate.assign(theirs.rate)
                # One of rate 0 has no generator: what ours draws for it changes nothing.
                variables = [stand_in.generator.state] if theirs.variables else []
            for value, variable in zip(theirs.variables, variables, strict=True):
                if value is not variable:
                    variable.assign(value)
                own[id(value)] = variable
        self.state = [own[id(variable)] for variable in state]
        begin(self.model.optimizer, config)


def _with_stand_ins(plain: keras.Model) -> tuple[keras.Model, dict[int, VariableDropout]]:
    """The same layers, all but dropouts, whose rates become variables, and batch normalisations, where they are faster so; and what stands for each
    dropout, by its id. Where the network is no graph, itself."""
    rates: dict[int, VariableDropout] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            return through(layer, args[0], call)
        if is_dropout(layer):
            if id(layer) not in rates:
                rates[id(layer)] = VariableDropout(layer)
            return rates[id(layer)](*args)
        # A call of the graph names the mask also where there is none.
        if can_be_fused(layer) and all(value is None for value in kwargs.values()):
            return FusedNormalization(layer)(*args)
        return layer(*args, **kwargs)

    if not any(is_dropout(layer) or can_be_fused(layer) for layer in _leaves(plain)):
        return plain, {}
    try:
        images = keras.Input(plain.inputs[0].shape[1:], dtype=plain.inputs[0].dtype)
        model = keras.Model(images, through(plain, images, call))
    except (ValueError, AttributeError, TypeError):
        return plain, {}
    # The optimizer's slots are stored in this order.
    same = [id(variable) for variable in model.trainable_variables] == [id(variable) for variable in plain.trainable_variables]
    return (model, rates) if same else (plain, {})


def _leaves(model: keras.Model) -> Iterator[Any]:
    """Its layers, those of networks inside it, in order; each once."""
    seen: set[int] = set()
    for layer in model.layers:
        for leaf in _leaves(layer) if isinstance(layer, keras.Model) else (layer,):
            if id(leaf) not in seen:
                seen.add(id(leaf))
                yield leaf


def _key(network: keras.Model, config: TrainConfig) -> str | None:
    """Equal for two networks that one graph serves; None where that cannot be told."""
    architecture = general_config(network)
    if architecture is None:
        return None
    # Their statistics are constants of the graph.
    constants = [
        np.asarray(variable).tobytes().hex()
        for layer in _leaves(network)
        if isinstance(layer, keras.layers.Normalization)
        for variable in layer.variables
    ]
    shapes = [(tuple(variable.shape), variable.dtype, variable.trainable) for variable in network.weights]
    recipe = (config.optimizer, config.weight_decay > 0, config.label_smoothing)
    return json.dumps([architecture, constants, shapes, recipe], default=str)


def general_config(network: keras.Model) -> Any:
    """The configuration of a network without the names of its parts, which count on in a process, and without the rates of dropouts. None where it does
    not tell one network from another: a layer gives none, or its class was made in a function, whose variables it may use."""
    if any("<locals>" in type(layer).__qualname__ for layer in network._flatten_layers()):
        return None
    names = {layer.name: f"#{number}" for number, layer in enumerate([network, *_every(network)])}
    try:
        return _general(network.get_config(), names)
    except (NotImplementedError, TypeError, ValueError):
        # As Keras says that somebody's layer has no get_config, or one that it cannot write down.
        return None


def _every(model: keras.Model) -> Iterator[Any]:
    # Operations, too: a sum or a slice in a graph is no layer, but has a name.
    for part in getattr(graph_of(model), "operations", model.layers):
        yield part
        if isinstance(part, keras.Model):
            yield from _every(part)


NAMED = ("name", "keras_history", "input_layers", "output_layers")


def _general(value: Any, names: dict[str, str], named: bool = False) -> Any:
    """`named`: inside a part that names layers; a layer may be called as its activation is."""
    if isinstance(value, dict):
        rated = value.get("class_name") in ("Dropout", "SpatialDropout2D") and value.get("module") == "keras.layers"
        return {
            key: _general({**part, "rate": None} if rated and key == "config" else part, names, key in NAMED) for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_general(part, names, named) for part in value]
    if isinstance(value, np.ndarray):
        # As text it would be cut short.
        return [value.dtype.str, value.shape, value.tobytes().hex()]
    return names.get(value, value) if named and isinstance(value, str) else value
