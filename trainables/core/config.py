"""The settings that every experiment has: typed, frozen, checked when they are made.

A key that is not a setting, or a value out of range, is refused here, before a data set is opened or a worker started.
"""

from __future__ import annotations

import difflib
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from data_prep import BadInput, Dataset, Split, split


class TrainConfig(BaseModel):
    """What one trial is: every value that its numbers depend on, next to the images. Fields are the `params_<name>` columns of the results.

    A subclass adds an experiment's own settings and may give these other defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python's True is 1: `--set depth=yes` would be a depth of 1.
        if isinstance(value, bool) and info.field_name and "bool" not in str(cls.model_fields[info.field_name].annotation):
            raise ValueError(f"{info.field_name} must be a number or a text, but got {value}: give another {info.field_name}")
        return value

    size: int = Field(32, ge=8, le=1024, description="height and width of an image, px")
    classes: int | None = Field(None, ge=2, description="only the first N classes; none: all")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="part of the labelled images for training; the rest is the test split")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="part of the training images held out for validation")
    split_seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits; equal over the seeds of a repeated trial")
    images: int | None = Field(None, ge=10, description="only so many of the data set's labelled images, of all classes; none: all")
    data_fraction: float = Field(
        1.0, gt=0, le=1, description="part of the training split that training uses; validation and test stay whole"
    )
    epochs: int = Field(20, ge=1, le=100_000, description="passes over the training images, at most")
    patience: int | None = Field(
        None, ge=1, le=100_000, description="epochs without a better one after which a trial is at its end; none: it has all its epochs"
    )
    final_fit: bool = Field(
        False,
        description="after the search the best trial's settings are trained once more, on train and validation, for as many epochs as its best",
    )
    batch_size: int = Field(64, ge=1, le=65_536, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="of the optimizer; the highest of its schedule")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="Adam, or plain stochastic gradient descent; see weight_decay")
    schedule: Literal["constant", "linear", "cosine", "one_cycle"] = Field(
        "constant", description="of the learning rate, over all steps of `epochs`"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="part of a label that is spread over all classes; losses are reported without"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="of kernels, a step and unit of learning rate (decoupled: AdamW); 0: none")
    augmentation: Literal["none", "flip", "shift", "flip_shift", "flip_shift_erase", "flip_shift_light"] = Field(
        "none", description="random changes to the images of training steps; flips left and right: not for digits or letters"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, shuffling, dropout and augmentation")

    def trajectory(self) -> dict[str, Any]:
        """The settings that an epoch's numbers depend on: trials with equal ones are one training, whose first epochs are those of all.

        Not `patience`, which only says when to stop; nor `epochs`, unless the schedule goes by it. An experiment whose own `build` reads `epochs`
        gives its own."""
        without = {"patience"} if self.schedule != "constant" else {"patience", "epochs"}
        return self.model_dump(exclude=without)


def split_of(config: TrainConfig, dataset: Dataset) -> Split:
    """The trial's split of the data set."""
    return split(
        dataset.labels,
        seed=config.split_seed,
        train_fraction=config.train_fraction,
        validation_fraction=config.validation_fraction,
        classes=config.classes,
        images=config.images,
        data_fraction=config.data_fraction,
    )


ConfigType = TypeVar("ConfigType", bound=BaseModel)


def checked(model: type[ConfigType], values: dict[str, Any], what: str) -> ConfigType:
    """`model(**values)`; BadInput in one line (rule, value, cure) where a key is unknown or a value impossible."""
    try:
        return model(**values)
    except ValidationError as error:
        raise BadInput(explain(error, model, what)) from None


def explain(error: ValidationError, model: type[BaseModel], what: str) -> str:
    """The first problem of a pydantic error as one line."""
    # A misspelt name first: what it was meant for is missing, too.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, n=1)
        cure = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(sorted(model.model_fields))}"
        return f"{what} has no setting {key!r}: {cure}"
    if problem["type"] == "missing":
        return f"{what} needs {key!r}, which is not given: add it"
    rule = problem["msg"].removeprefix("Value error, ")
    for start in ("Input should ", "String should "):
        rule = rule.removeprefix(start)
    if problem["type"] == "value_error":
        return f"{what}: {key + ': ' if '.' in key else ''}{rule}"
    return f"{what}: {key} must {rule}, but got {problem['input']!r}: give another {key}"
