"""Networks that were trained before, as the start of another: cut to their feature maps, frozen in part or in full.

Three traps of Keras 3 are dealt with here (each has its test). A batch normalisation with `trainable = False` runs in inference mode, but `Dropout`
and its like still drop: calling the base with `training=False` does not help, the outer model's call overrides it. So what is frozen
loses them. And each base wants its own scaling, which is part of it here: it takes RGB values of 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from trainables.core.config import TrainConfig
from trainables.core.trainable import get_trainable

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Application:
    """A network of Keras' own without its top: the least height and width that it takes (px), its layers as the report counts them, its parameters."""

    least_size: int
    layers: int
    parameters: int


APPLICATIONS = {"vgg16": Application(32, 18, 14_714_688), "inception": Application(75, 310, 21_802_784)}
LEAST_SIZE = {name: of.least_size for name, of in APPLICATIONS.items()}
IMAGENET, RANDOM, IMAGENET_OR_RANDOM = "imagenet", "random", "imagenet-or-random"


class PretrainedConfig(TrainConfig):
    """Settings of an experiment that starts from a trained network."""

    base: str = Field(
        "cifar10",
        min_length=1,
        description="network to start from: vgg16; inception; a data set's name: the base network trained on it; half: trained on the first half "
        "of this data set's classes; a run's name: its best model; a .keras file",
    )
    weights: str = Field(
        IMAGENET,
        min_length=1,
        description="of vgg16 and inception: imagenet (downloaded once by Keras), random, imagenet-or-random (what can be had), or a file without the top",
    )

    features: Literal["float16", "float32", "off"] = Field(
        "float16",
        description="of frozen layers: computed once, kept on the disk as numbers of this kind and shared by trials; off: in every epoch. (float32 where "
        "float16 cannot hold them; augmented images have none)",
    )
    views: int | None = Field(
        None,
        ge=1,
        le=1_000,
        description="with augmentation: features of so many augmented views of each image are kept, a view an epoch in turn",
    )

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        if self.views is not None and self.features == "off":
            raise ValueError(f"views are of stored features, but features is off and views is {self.views}: leave one of them out")
        least = LEAST_SIZE.get(self.base, 0)
        if self.size < least:
            raise ValueError(f"{self.base} takes images of at least {least} px, but size is {self.size}: add --set size={least}")
        return self


def network(base: str, size: int, weights: str | None) -> keras.Model:
    """A network with its scaling in front: Keras' own VGG16 or InceptionV3 without the top, else the base network of the report, with weights as
    Keras names them (`imagenet`, a file's path) or, None, drawn at random from Keras' global seed. OSError or ValueError where they cannot be had.
    """
    import keras

    if base not in LEAST_SIZE:
        trainable = get_trainable("base")
        return trainable.build(trainable.config(size=size), 10)
    module, application = {
        "vgg16": (keras.applications.vgg16, keras.applications.VGG16),
        "inception": (keras.applications.inception_v3, keras.applications.InceptionV3),
    }[base]
    scaled = module.preprocess_input(keras.Input((size, size, 3)))
    with undrawn():
        model = application(weights=weights, include_top=False, input_tensor=scaled)
    if weights is None:
        _draw(model)
    return model


@contextmanager
def undrawn() -> Iterator[None]:
    """Keras' default kernels are zeros here, of networks whose weights are assigned next: the draw takes most of a second for InceptionV3. What is random
    elsewhere stays what it is: an initializer has its seed before it draws."""
    import keras

    def zeros(self: Any, shape: Any, dtype: Any = None) -> Any:
        return keras.ops.zeros(shape, dtype)

    # Its own method is that of a class above it.
    keras.initializers.GlorotUniform.__call__ = zeros
    try:
        yield
    finally:
        del keras.initializers.GlorotUniform.__call__


def _draw(model: keras.Model) -> None:
    """Random kernels that keep a signal's size through ReLUs (He et al. 2015). With Keras' own (Glorot) a frozen InceptionV3's features are all but
    constant: each of its 94 convolutions shrinks the signal, and a frozen batch normalisation at its start does not restore it."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.kernel.assign(keras.initializers.HeNormal(keras.random.SeedGenerator())(layer.kernel.shape))


def features(model: keras.Model) -> keras.Model:
    """The part up to the last feature map (N x H x W x C): of the report's base that is the last dropout. ValueError when there is none.

    Networks inside it are taken apart into their layers, so that these can be counted and frozen; ValueError when that cannot be done."""
    import keras

    from trainables.core.rewire import through

    maps: list[Any] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            return through(layer, args[0], call)
        output = layer(*args, **kwargs)
        if len(getattr(output, "shape", ())) == 4 and not isinstance(layer, keras.layers.Rescaling):
            maps.append(output)
        return output

    images = keras.Input(model.inputs[0].shape[1:])
    through(model, images, call)
    if not maps:
        raise ValueError("a base is a network with feature maps (N x H x W x C), but this one has none")
    return keras.Model(images, maps[-1])


def counted_layers(base: keras.Model) -> list[keras.Layer]:
    """Its layers as the report counts them: Conv2D, Activation, BatchNormalization, MaxPooling2D, Dropout, ... are one each; input and scaling none."""
    import keras

    return [layer for layer in base.layers if not isinstance(layer, keras.layers.InputLayer | keras.layers.Rescaling)]


def start_from(base: keras.Model, size: int, unfrozen_layers: int = 0) -> keras.Model:
    """The base for images of `size` px with its last `unfrozen_layers` (as counted) trainable and the rest frozen, in inference mode for good.

    It shares the weights of `base`. ValueError when it has fewer layers, or does not take images of that size."""
    import keras

    from trainables.core.rewire import is_noise, through

    counted = counted_layers(base)
    if unfrozen_layers > len(counted):
        raise ValueError(f"unfrozen_layers is at most the {len(counted)} layers of the base, but got {unfrozen_layers}")
    trainable = set(map(id, counted[len(counted) - unfrozen_layers :]))
    for layer in base.layers:
        layer.trainable = id(layer) in trainable

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if id(layer) not in trainable and is_noise(layer) else layer(*args, **kwargs)

    images = keras.Input((size, size, 3))
    return keras.Model(images, through(base, images, call))
