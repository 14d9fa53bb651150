"""The layers of real networks as rows: in Keras' own order, with Keras' own counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from trainables import get_trainable
from trainables.core.architecture import layers

if TYPE_CHECKING:
    import keras


def residual() -> keras.Model:
    """Two convolutions around which their input goes, a frozen one among them."""
    import keras

    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(images)
    y = keras.layers.Conv2D(4, 3, padding="same", name="first", trainable=False)(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    x = keras.layers.Add(name="sum")([x, y])
    return keras.Model(images, keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D(name="pool")(x)))


def by_name(model: keras.Model) -> dict[str, dict[str, Any]]:
    rows = layers(model)
    found = {row["name"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def reads(model: keras.Model) -> dict[str, list[str]]:
    return {name: row["inputs"] for name, row in by_name(model).items()}


def assert_sums(model: keras.Model) -> None:
    import keras

    rows = layers(model)
    assert sum(row["parameters"] for row in rows) == model.count_params()
    trained = sum(keras.ops.size(weight) for weight in model.trainable_weights)
    assert sum(row["trainable_parameters"] for row in rows) == trained


def test_a_residual_network() -> None:
    model = residual()
    found = by_name(model)
    assert list(found) == [layer.name for layer in model.layers]
    assert found["stem"] == {
        "name": "stem",
        "kind": "Conv2D",
        "output_shape": "8 x 8 x 4",
        "parameters": 3 * 3 * 3 * 4 + 4,
        "trainable_parameters": 3 * 3 * 3 * 4 + 4,
        "inputs": ["images"],
    }
    assert (found["first"]["parameters"], found["first"]["trainable_parameters"]) == (148, 0)
    assert (found["norm"]["parameters"], found["norm"]["trainable_parameters"]) == (16, 8)
    assert (found["images"]["kind"], found["images"]["inputs"], found["images"]["output_shape"]) == ("InputLayer", [], "8 x 8 x 3")
    assert (found["sum"]["inputs"], found["head"]["output_shape"]) == (["stem", "norm"], "3")
    assert_sums(model)


@pytest.mark.parametrize(("trainable", "settings"), [("cnn", {}), ("alexnet", {}), ("transfer", {}), ("fine_tune", {"unfrozen_layers": 5})])
def test_the_experiments(trainable: str, settings: dict[str, Any]) -> None:
    """Layers of a base are shared with other models: what these do with them is not told."""
    one = get_trainable(trainable)
    model = one.build(one.config(**settings), 10)
    rows = layers(model)
    assert [row["name"] for row in rows] == [layer.name for layer in model.layers]
    assert [row["inputs"] for row in rows] == [[], *([row["name"]] for row in rows[:-1])]
    assert_sums(model)
    assert len(json.dumps(rows)) < 200 * len(rows)


def test_operations_without_weights_are_in_the_graph() -> None:
    import keras

    images = keras.Input((4, 4, 3), name="images")
    scaled = images / 255.0
    rows = layers(keras.Model(images, keras.layers.Flatten(name="flat")(scaled)))
    assert [row["kind"] for row in rows] == ["InputLayer", "TrueDivide", "Flatten"]
    assert (rows[1]["inputs"], rows[1]["parameters"], rows[2]["inputs"]) == (["images"], 0, [rows[1]["name"]])


def test_networks_inside_are_taken_apart() -> None:
    import keras

    inner = residual()
    inner.name = "inner"
    images = keras.Input((8, 8, 3), name="outer")
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, name="wide"), keras.layers.Dense(2, name="narrow")], name="head")
    model = keras.Model(images, head(inner(images)))
    found = reads(model)
    assert list(found) == [
        "outer",
        *(f"inner/{name}" for name in ("stem", "first", "norm", "sum", "pool", "head")),
        "head/wide",
        "head/narrow",
    ]
    assert (found["inner/stem"], found["inner/sum"], found["head/wide"]) == (["outer"], ["inner/stem", "inner/norm"], ["inner/head"])
    assert_sums(model)
    inner.trainable = False
    assert_sums(model)


def test_a_layer_that_is_called_again_counts_once() -> None:
    import keras

    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    one, side = keras.layers.Dense(4, name="one"), keras.Sequential([keras.layers.Dense(2, name="deep")], name="side")
    end = keras.layers.Concatenate(name="end")([side(one(one(left))), side(right)])
    model = keras.Model([left, right], end)
    found = reads(model)
    assert (found["one"], found["one:2"], found["side/deep"]) == (["left"], ["one"], ["one:2"])
    assert (found["side:2/deep"], found["end"]) == (["right"], ["side/deep", "side:2/deep"])
    assert_sums(model)


def test_sizes_that_are_not_fixed() -> None:
    import keras

    images = keras.Input((None, None, 3))
    shapes = [row["output_shape"] for row in layers(keras.Model(images, keras.layers.Conv2D(2, 1)(images)))]
    assert shapes == ["? x ? x 3", "? x ? x 2"]
    number = keras.Input(())
    assert [row["output_shape"] for row in layers(keras.Model(number, keras.layers.Identity()(number)))] == ["1", "1"]


def test_a_model_without_a_graph() -> None:
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2, name="dense")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Own()
    model(keras.ops.ones((1, 3)))
    kept: dict[str, Any] = {
        "name": "dense",
        "kind": "Dense",
        "output_shape": None,
        "parameters": 8,
        "trainable_parameters": 8,
        "inputs": [],
    }
    assert layers(model) == [kept]
