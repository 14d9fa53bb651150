"""AutoKeras: networks that a greedy search proposes, each trained as any other trial is.

Question     Does AutoKeras find a better network for Tiny ImageNet than the report's own?
Network      what the search finds: `hyperparameters` says which; without any, the space's first network. The search is AutoKeras' own: its first
             networks, then the best so far with one group of hyper-parameters drawn anew (`trainables/core/oracle.py`).
Parameters   of the first network of space `sized` 2,528,392, all of them trained, at 32 px and 200 classes; 144,842 at 10.
Published    test accuracy 0.3005 after 3 hours; precision, recall, F1 weighted 0.34, 0.30, 0.29.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.config import TrainConfig
from trainables.core.spaces import Space, first_networks, network
from trainables.core.trainable import Trainable, TrialFailure

if TYPE_CHECKING:
    import keras


class AutoKerasConfig(TrainConfig):
    """Settings of a candidate. AutoKeras' own defaults where it has any: 1,000 epochs at most, 10 without a gain, batches of 32."""

    space: Space = Field("sized", description="networks to choose from: made for images of this size, or AutoKeras' ImageClassifier")
    hyperparameters: dict[str, bool | int | float | str] = Field(
        {}, description="of the network and its training, as AutoKeras names them; the search gives them"
    )
    max_parameters: int | None = Field(None, ge=1, description="a candidate with more is too big, and fails; none: no limit")
    epochs: int = Field(1000, ge=1, le=100_000, description="passes over the training images, at most")
    patience: int | None = Field(
        10, ge=1, le=100_000, description="epochs without a better one after which a trial is at its end; none: it has all its epochs"
    )
    batch_size: int = Field(32, ge=1, le=65_536, description="images a step")
    final_fit: bool = Field(
        True,
        description="after the search the best trial's settings are trained once more, on train and validation, for as many epochs as its best",
    )


def build(config: AutoKerasConfig, class_count: int) -> keras.Model:
    """The candidate's network; TrialFailure when it is too big, or is to start from ImageNet's weights and those cannot be downloaded."""
    try:
        model = _network(config, class_count)
    except Exception as error:
        # Keras raises a bare one.
        if "URL fetch failure" not in str(error):
            raise
        raise TrialFailure(f"no ImageNet weights: {' '.join(str(error).split())[:200]}") from None
    if config.max_parameters is not None and (count := model.count_params()) > config.max_parameters:
        raise TrialFailure(f"too big: {count:,} parameters, and max_parameters is {config.max_parameters:,}")
    return model


def bare(config: AutoKerasConfig, class_count: int) -> keras.Model:
    """The same with random weights."""
    from trainables.core.autokeras_compat import without_downloads

    with without_downloads():
        return _network(config, class_count)


def _network(config: AutoKerasConfig, class_count: int) -> keras.Model:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    hp.values = dict(config.hyperparameters or first_networks(config.space)[0])
    return network(hp, config.space, config.size, class_count)


TRAINABLE = Trainable(
    summary="a network that an AutoKeras search proposes; sweep autokeras searches",
    config=AutoKerasConfig,
    build=build,
    bare=bare,
)
