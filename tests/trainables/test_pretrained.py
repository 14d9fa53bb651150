"""Trained networks as the start of another: each with its own scaling, frozen for good, cut at the right place."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_prep import BadInput, Dataset
from tests.trainables.trials import trial_of, warm
from trainables import get_trainable
from trainables.core.config import checked
from trainables.core.pretrained import LEAST_SIZE, counted_layers, features, network, start_from, undrawn

if TYPE_CHECKING:
    import keras


def arrays(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in model.variables]


def output(model: keras.Model, images: np.ndarray, training: bool) -> np.ndarray:
    return np.asarray(model(images.astype(np.float32), training=training))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def learnt() -> keras.Model:
    """The report's base, its normalisations as if it were trained. Its layers are shared by all that is made of it: only to look at."""
    import keras

    warm()
    keras.utils.set_random_seed(0)
    base, random = features(network("cifar10", 16, None)), np.random.default_rng(0)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return base


@pytest.fixture
def base(learnt: keras.Model) -> keras.Model:
    """A copy to train on."""
    import keras

    copy = keras.models.clone_model(learnt)
    copy.set_weights(learnt.get_weights())
    return copy


# -- scaling ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.tensorflow  # on JAX InceptionV3 takes minutes to compile
@pytest.mark.parametrize("name", LEAST_SIZE)
def test_scaling_is_kerass_own(name: str, tmp_path: Path) -> None:
    """Raw RGB in: the same features as Keras' application gives behind its `preprocess_input`, also from a file, cut and frozen."""
    import keras

    size = LEAST_SIZE[name]
    keras.utils.set_random_seed(0)
    model = network(name, size, None)
    raw = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    module, application = {
        "vgg16": (keras.applications.vgg16, keras.applications.VGG16),
        "inception": (keras.applications.inception_v3, keras.applications.InceptionV3),
    }[name]
    scaled = {"vgg16": raw[..., ::-1] - np.array([103.939, 116.779, 123.68]), "inception": raw / 127.5 - 1}[name].astype(np.float32)
    np.testing.assert_allclose(module.preprocess_input(raw.astype(np.float32)), scaled, atol=1e-4)
    reference = application(weights=None, include_top=False, input_shape=(size, size, 3))
    reference.set_weights(model.get_weights())
    expected = reference.predict_on_batch(scaled)
    atol = 1e-4 * expected.std()
    assert expected.std() > 1e-3
    assert np.abs(reference.predict_on_batch(raw.astype(np.float32)) - expected).max() > 100 * atol
    np.testing.assert_allclose(model.predict_on_batch(raw), expected, atol=atol)

    features(model).save(tmp_path / "base.keras")
    loaded = keras.models.load_model(tmp_path / "base.keras", compile=False)
    np.testing.assert_allclose(loaded.predict_on_batch(raw), expected, atol=atol)
    np.testing.assert_allclose(start_from(loaded, size).predict_on_batch(raw), expected, atol=atol)


# -- freezing --------------------------------------------------------------------------------------------------------------------------------------


def test_frozen_is_inference_mode_for_good(learnt: keras.Model, images: np.ndarray) -> None:
    """Although it has dropout and batch normalisation, and whatever is called with `training=True`."""
    frozen = start_from(learnt, 16)
    expected = output(learnt, images, training=False)
    for mode in (False, True):
        np.testing.assert_allclose(output(frozen, images, training=mode), expected, atol=1e-6)
    assert not frozen.trainable_variables
    assert len(frozen.variables) == 6 * (2 + 4)


def test_the_trap_is_still_there(base: keras.Model, images: np.ndarray) -> None:
    """Why dropout is taken out: a frozen base that is called with `training=False` still drops in an outer model's training mode. When this fails
    Keras has changed, and `start_from` may become simpler."""
    import keras

    base.trainable = False
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, base(inputs, training=False))
    assert np.abs(output(outer, images, training=True) - output(outer, images, training=False)).max() > 0.01


def test_unfrozen_is_in_training_mode(base: keras.Model, images: np.ndarray) -> None:
    part = start_from(base, 16, unfrozen_layers=5)
    assert np.abs(output(part, images, training=True) - output(part, images, training=False)).max() > 0.01
    np.testing.assert_allclose(output(part, images, training=False), output(base, images, training=False), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "unfrozen", "settings"),
    [
        ("transfer", 0, {}),
        ("fine_tune", 0, {"augmentation": "flip"}),
        ("fine_tune", 5, {"weight_decay": 0.1}),
        ("fine_tune", 24, {}),
    ],
)
def test_training_changes_what_is_not_frozen(
    digits16: Dataset, base: keras.Model, name: str, unfrozen: int, settings: dict[str, Any]
) -> None:
    """Weights and moving averages: those of frozen layers not by a bit, those of all others."""
    own = {"unfrozen_layers": unfrozen} if name == "fine_tune" else {}
    one = trial_of(name, digits16, base, classes=2, images=300, dense_units=8, **own, **settings)
    layers = counted_layers(base)
    before = [[np.asarray(weight) for weight in layer.weights] for layer in layers]
    head = arrays(one.model)
    one.run_epoch()
    for number, (layer, values) in enumerate(zip(layers, before, strict=True)):
        changed = [bool((np.asarray(weight) != value).any()) for weight, value in zip(layer.weights, values, strict=True)]
        assert changed == [number >= len(layers) - unfrozen] * len(changed), (number, layer.name)
    assert any((new != old).any() for new, old in zip(arrays(one.model), head, strict=True))


# -- cutting ---------------------------------------------------------------------------------------------------------------------------------------


def test_cut_after_the_last_feature_map(learnt: keras.Model) -> None:
    assert [type(layer).__name__ for layer in learnt.layers[-2:]] == ["MaxPooling2D", "Dropout"]
    assert len(counted_layers(learnt)) == 24
    # Of one that is cut already, nothing more.
    assert [layer.name for layer in features(learnt).layers[1:]] == [layer.name for layer in learnt.layers[1:]]


def test_a_trained_trial_is_a_base(digits16: Dataset, base: keras.Model, images: np.ndarray) -> None:
    """Also one that started from a base itself, and stands behind augmentation."""
    one = trial_of("fine_tune", digits16, base, classes=2, images=300, augmentation="flip")
    part = features(one.network)
    np.testing.assert_allclose(output(part, images, training=False), output(base, images, training=False), atol=1e-6)
    # The frozen spatial dropouts are gone.
    assert len(counted_layers(part)) == 22
    np.testing.assert_allclose(output(start_from(part, 16), images, training=True), output(part, images, training=False), atol=1e-6)


def nested(seed: int = 0) -> keras.Model:
    """A network with another in it, in a branch beside a short cut, as Keras' own guides build them."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    block = keras.Sequential(
        [keras.Input((14, 14, 4)), layers.Conv2D(4, 3, padding="same"), layers.Dropout(0.5), layers.BatchNormalization()]
    )
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(images))
    x = layers.Conv2D(5, 3)(layers.Add()([x, block(x)]))
    return keras.Model(images, layers.Dense(3)(layers.Flatten()(x)))


def test_networks_in_it_are_taken_apart(images: np.ndarray) -> None:
    """Their dropout would go on dropping, and they would count as one layer."""
    import keras

    model = nested()
    part = features(model)
    names = [type(layer).__name__ for layer in counted_layers(part)]
    assert names == ["Conv2D", "Conv2D", "Dropout", "BatchNormalization", "Add", "Conv2D"]
    whole = keras.Model(model.inputs[0], model.layers[-2].input)
    expected = output(whole, images, training=False)
    np.testing.assert_allclose(output(part, images, training=False), expected, atol=1e-6)
    np.testing.assert_allclose(output(start_from(part, 16), images, training=True), expected, atol=1e-6)
    unfrozen = start_from(part, 16, unfrozen_layers=6)
    assert np.abs(output(unfrozen, images, training=True) - expected).max() > 0.01


def test_a_sequential_is_a_base_too(images: np.ndarray) -> None:
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    assert features(model).output_shape == (None, 14, 14, 4)


def test_what_has_no_feature_maps_is_refused() -> None:
    import keras
    from keras import layers

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Rescaling(1 / 255)(inputs))))
    with pytest.raises(ValueError, match=r"^a base") as caught:
        features(model)
    assert str(caught.value) == "a base is a network with feature maps (N x H x W x C), but this one has none"


def test_what_cannot_be_taken_apart_is_refused() -> None:
    import keras

    class Opaque(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="opaque")
            self.inner = keras.layers.Conv2D(4, 3)

        def call(self, images: Any) -> Any:
            return self.inner(images)

    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"^a base") as caught:
        features(keras.Model(inputs, Opaque()(inputs)))
    assert str(caught.value) == "a base is made of layers, from one tensor to one, but 'opaque' in it is not"


# -- sizes and settings ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 48])
def test_another_size_than_it_was_trained_at(size: int) -> None:
    """The same features as of a network that was built at that size."""
    trained = features(network("cifar10", 32, None))
    fresh = features(network("cifar10", size, None))
    for weight, other in zip(trained.variables, fresh.variables, strict=True):
        other.assign(weight)
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    np.testing.assert_allclose(output(start_from(trained, size), images, False), output(fresh, images, False), atol=1e-6)


def test_a_size_that_it_cannot_take() -> None:
    with pytest.raises(ValueError, match="Computed output size would be zero or negative"):
        start_from(features(network("cifar10", 32, None)), 16)


@pytest.mark.parametrize(
    ("trainable", "settings", "text"),
    [
        ("transfer", {"base": "vgg16", "size": 31}, "transfer: vgg16 takes images of at least 32 px, but size is 31: add --set size=32"),
        ("transfer", {"base": "inception"}, "transfer: inception takes images of at least 75 px, but size is 32: add --set size=75"),
        ("inception", {"size": 74}, "inception: size must be greater than or equal to 75, but got 74: give another size"),
        ("inception", {"base": "vgg16"}, "inception: base must be 'inception', but got 'vgg16': give another base"),
        ("fine_tune", {"base": ""}, "fine_tune: base must have at least 1 character, but got '': give another base"),
        ("fine_tune", {"weights": ""}, "fine_tune: weights must have at least 1 character, but got '': give another weights"),
    ],
)
def test_impossible_settings(trainable: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked(get_trainable(trainable).config, settings, trainable)
    assert str(caught.value) == text


def test_least_sizes_are_taken() -> None:
    for base, size in LEAST_SIZE.items():
        assert checked(get_trainable("transfer").config, {"base": base, "size": size}, "transfer").size == size


def test_what_is_assigned_next_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else comes out otherwise for it: neither the weights nor what is random after them."""
    import keras

    found = []
    for skipped in (True, False):
        if not skipped:
            monkeypatch.setattr("trainables.core.pretrained.undrawn", nullcontext)
        keras.utils.set_random_seed(3)
        model = network("vgg16", 32, None)
        found.append(
            [
                *model.get_weights(),
                *map(keras.ops.convert_to_numpy, (keras.random.normal((4,)), keras.layers.Dense(2)(np.ones((1, 3), "float32")))),
            ]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    monkeypatch.undo()
    with undrawn():
        assert not keras.ops.any(keras.layers.Dense(2)(np.ones((1, 3), "float32")))


@pytest.mark.tensorflow  # on JAX compiling VGG16 takes 17 s
def test_random_weights_keep_a_signal() -> None:
    """The features of other images are others; with Keras' own draw those of InceptionV3 are nearly constant."""
    import keras

    keras.utils.set_random_seed(0)
    part = features(network("vgg16", 32, None))
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    images[:2] //= 4
    found = part.predict_on_batch(images)
    assert found.std(axis=0).mean() > 0.1 * found.mean()


def test_frozen_layers_that_do_something_stay() -> None:
    """What only changes images in training goes; what takes `training` and has no weights, but works always, does not."""
    import keras

    images = x = keras.Input((32, 32, 3))
    for layer in (
        keras.layers.Resizing(24, 24),
        keras.layers.CenterCrop(16, 16),
        keras.layers.RandomFlip("horizontal"),
        keras.layers.GaussianNoise(0.5),
        keras.layers.Conv2D(4, 3),
        keras.layers.SpatialDropout2D(0.5),
    ):
        x = layer(x)
    frozen = start_from(keras.Model(images, x), 48)
    kept = {type(layer).__name__ for layer in frozen.layers} - {"InputLayer"}
    assert kept == {"Resizing", "CenterCrop", "Conv2D"}
    assert frozen.output.shape[1:] == (14, 14, 4)
