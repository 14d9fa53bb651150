"""The picture of a network: whole as XML, no box on another, no connection through a box."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from sweeps.core.lanes import columns_of
from sweeps.core.picture import picture
from tests.sweeps.runs import LAYERS, layer

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = r"-?[\d.]+"


@dataclass(frozen=True)
class Rect:
    left: float
    top: float
    right: float
    bottom: float

    def crosses(self, other: Rect) -> bool:
        """Also a line is a rectangle; to touch is not to cross."""
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def rows(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the results have them."""
    return [{**row, "inputs": ", ".join(row["inputs"])} for row in layers]


def drawn(layers: list[dict[str, Any]]) -> ET.Element:
    svg = picture(rows(layers))
    assert svg is not None
    return ET.fromstring(svg)


def boxes(svg: ET.Element) -> list[Rect]:
    found = [[float(rect.attrib[name]) for name in ("x", "y", "width", "height")] for rect in svg.iter(f"{SVG}rect")]
    return [Rect(x, y, x + width, y + height) for x, y, width, height in found]


def strokes(svg: ET.Element) -> list[list[Rect]]:
    """Of each connection, the rectangles that its parts stay in."""
    found = []
    for path in svg.iter(f"{SVG}path"):
        if path.get("fill") != "none":
            continue
        x = y = 0.0
        parts = []
        for command, text in re.findall(r"([MVC])([^MVC]*)", path.attrib["d"]):
            *_, end_x, end_y = [x, *map(float, re.findall(NUMBER, text))]
            if command == "V":
                end_x = x
            if command != "M":
                parts.append(Rect(min(x, end_x) - 0.1, min(y, end_y), max(x, end_x) + 0.1, max(y, end_y)))
            x, y = end_x, end_y
        found.append(parts)
    return found


def assert_clear(svg: ET.Element) -> None:
    """No box on another or outside of the picture, none behind a line."""
    whole = Rect(0, 0, float(svg.attrib["width"]), float(svg.attrib["height"]))
    standing = boxes(svg)
    for n, box in enumerate(standing):
        assert not any(box.crosses(other) for other in standing[:n])
        assert 0 < box.left < box.right < whole.right
        assert 0 < box.top < box.bottom < whole.bottom
        for parts in strokes(svg):
            assert not any(part.crosses(box) for part in parts)


def texts(svg: ET.Element) -> list[list[str]]:
    return [[text.text or "" for text in group.iter(f"{SVG}text")] for group in svg.iter(f"{SVG}g")]


def test_a_residual_network() -> None:
    svg = drawn(LAYERS)
    assert_clear(svg)
    assert texts(svg) == [
        ["InputLayer", "8 x 8 x 3"],
        ["Conv2D", "448", "8 x 8 x 16"],
        ["Conv2D", "2,320", "8 x 8 x 16"],
        ["Conv2D", "2,320", "8 x 8 x 16"],
        ["Add", "8 x 8 x 16"],
        ["GlobalAveragePooling2D", "16"],
        ["Dense", "170", "10"],
    ]
    lines = strokes(svg)
    assert len(lines) == 7
    trunk = boxes(svg)[0]
    beside = [parts for parts in lines if any(part.left > trunk.right for part in parts)]
    assert len(beside) == 1, "what goes around the convolutions is to be seen beside them"


def test_what_passes_on_stands_in_the_box_above() -> None:
    svg = drawn(
        [
            layer("images", "InputLayer", "8 x 8 x 3", 0),
            layer("conv", "Conv2D", "8 x 8 x 16", 448, "images"),
            layer("norm", "BatchNormalization", "8 x 8 x 16", 64, "conv"),
            layer("relu", "Activation", "8 x 8 x 16", 0, "norm"),
            layer("next", "Conv2D", "8 x 8 x 16", 2320, "relu"),
            layer("pool", "MaxPooling2D", "4 x 4 x 16", 0, "next"),
        ]
    )
    assert texts(svg) == [
        ["InputLayer", "8 x 8 x 3"],
        ["Conv2D", "448", "BatchNormalization", "64", "Activation", "8 x 8 x 16"],
        ["Conv2D", "2,320", "8 x 8 x 16"],
        ["MaxPooling2D", "4 x 4 x 16"],
    ]
    titles = [title.text for title in svg.iter(f"{SVG}title")]
    assert titles[1] == "conv (Conv2D); norm (BatchNormalization); relu (Activation)"


def test_what_is_read_elsewhere_too_keeps_its_own_box() -> None:
    branching = [*LAYERS[:2], layer("relu", "Activation", "8 x 8 x 16", 0, "stem"), layer("both", "Add", "8 x 8 x 16", 0, "stem", "relu")]
    assert [lines[0] for lines in texts(drawn(branching))] == ["InputLayer", "Conv2D", "Activation", "Add"]


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_is_clear(seed: int) -> None:
    chance = random.Random(seed)
    layers = [layer("0", "InputLayer", "1", 0)]
    for n in range(1, 40):
        read = {str(chance.randrange(max(0, n - 8), n)) for _ in range(chance.choice([1, 1, 1, 2, 3]))}
        layers.append(layer(str(n), chance.choice(["Conv2D", "Add", "AveryLongNameOfALayerOfSomebody"]), "1 x 1", n % 3 * 1000, *read))
    svg = drawn(layers)
    assert_clear(svg)
    assert len(list(svg.iter(f"{SVG}title"))) == len(boxes(svg))


def test_a_chain_of_150_layers_is_one_column() -> None:
    layers = [layer("0", "InputLayer", "4 x 4 x 8", 0)]
    layers += [layer(str(n), "Conv2D", "4 x 4 x 8", 584, str(n - 1)) for n in range(1, 150)]
    svg = drawn(layers)
    assert_clear(svg)
    assert len({box.left for box in boxes(svg)}) == 1
    assert float(svg.attrib["width"]) < 360, "fits a narrow window"


def test_the_trunk_stays_where_it_is() -> None:
    """Three branches, twice: the longest way stays in its column, the others are on both sides of it."""
    inputs: dict[str, list[str]] = {"in": []}
    last = "in"
    for block in "ab":
        inputs |= {f"{block}1": [last], f"{block}2": [last], f"{block}22": [f"{block}2"], f"{block}3": [last]}
        last = f"{block}join"
        inputs[last] = [f"{block}1", f"{block}22", f"{block}3"]
    nodes = columns_of(inputs)
    assert {nodes[name].column for name in ("in", "a2", "a22", "ajoin", "b2", "b22", "bjoin")} == {0}
    assert {nodes[name].column for name in ("a1", "a3", "b1", "b3")} == {1, -1}
    assert [nodes[name].row for name in ("in", "a1", "a22", "ajoin", "bjoin")] == [0, 1, 2, 3, 6]


def test_a_real_residual_network() -> None:
    """From Keras to the picture."""
    import keras

    from trainables.core.architecture import layers

    images = x = keras.Input((8, 8, 3))
    for filters in (4, 8):
        side = keras.layers.Conv2D(filters, 1)(x)
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation("relu")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.Add()([side, x])
    svg = drawn(layers(keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(x)))))
    assert_clear(svg)
    assert [lines[0] for lines in texts(svg)].count("Conv2D") == 6
    assert len(strokes(svg)) == 2 * 5 + 2, "5 a block: two ways in, one between the convolutions, two into the sum"


def test_names_are_text() -> None:
    svg = drawn([layer("<a>", "In&put", "1", 0), layer('b"', "<Dense>", "2", 3, "<a>")])
    assert [lines[0] for lines in texts(svg)] == ["In&put", "<Dense>"]


@pytest.mark.parametrize("layers", [[], LAYERS[:1], [layer("a", "Dense", "", 3), layer("b", "Dense", "", 3)]], ids=len)
def test_no_graph_no_picture(layers: list[dict[str, Any]]) -> None:
    assert picture(rows(layers)) is None


def test_no_shape_is_no_text() -> None:
    svg = drawn([{**layer("a", "Input", "", 0), "output_shape": None}, layer("b", "Dense", "2", 3, "a", "not a layer")])
    assert texts(svg) == [["Input", ""], ["Dense", "3", "2"]]


def test_a_circle_is_refused() -> None:
    circle = [layer("0", "Input", "1", 0), layer("a", "Dense", "1", 3, "b"), layer("b", "Dense", "1", 3, "a")]
    with pytest.raises(ValueError, match="read each other in a circle"):
        picture(rows(circle))
