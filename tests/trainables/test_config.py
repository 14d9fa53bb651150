"""Settings: ranges with their ends, and the text of every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_prep import BadInput
from trainables import TrainConfig, get_trainable
from trainables.core.config import checked

NAN = float("nan")
EVERY = (
    "augmentation, batch_size, classes, data_fraction, epochs, final_fit, images, label_smoothing, learning_rate, optimizer, patience, schedule, "
    "seed, size, split_seed, train_fraction, validation_fraction, weight_decay"
)
INTEGER = "be a valid integer"


class Needs(BaseModel):
    """A required setting, and a rule over two."""

    model_config = ConfigDict(extra="forbid")

    low: int
    high: int = 10

    @model_validator(mode="after")
    def _ordered(self) -> Needs:
        if self.low > self.high:
            raise ValueError(f"low must be at most high, but got {self.low} and {self.high}: swap them")
        return self


@pytest.mark.parametrize(
    ("key", "ends"),
    [
        ("size", (8, 1024)),
        ("classes", (2, None)),
        ("train_fraction", (0.001, 0.999)),
        ("validation_fraction", (0.001, 0.999)),
        ("split_seed", (0, 2**32 - 1)),
        ("epochs", (1, 100_000)),
        ("patience", (1, 100_000)),
        ("final_fit", (False, True)),
        ("batch_size", (1, 65_536)),
        ("learning_rate", (1e-12, 10)),
        ("seed", (0, 2**32 - 1)),
        ("images", (10, None)),
        ("data_fraction", (1e-9, 1)),
        ("optimizer", ("adam", "sgd")),
        ("schedule", ("constant", "one_cycle")),
        ("schedule", ("linear", "cosine")),
        ("label_smoothing", (0, 0.999)),
        ("weight_decay", (0, 1)),
        ("augmentation", ("none", "flip_shift_light")),
    ],
)
def test_ends_are_in(key: str, ends: tuple[Any, Any]) -> None:
    for value in ends:
        assert getattr(checked(TrainConfig, {key: value}, "a trial"), key) == value


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("size", 7, "be greater than or equal to 8"),
        ("size", 1025, "be less than or equal to 1024"),
        ("classes", 1, "be greater than or equal to 2"),
        ("train_fraction", 0, "be greater than 0"),
        ("train_fraction", 1, "be less than 1"),
        ("train_fraction", NAN, "be less than 1"),
        ("validation_fraction", 0, "be greater than 0"),
        ("validation_fraction", 1, "be less than 1"),
        ("split_seed", -1, "be greater than or equal to 0"),
        ("split_seed", 2**32, "be less than 4294967296"),
        ("epochs", 0, "be greater than or equal to 1"),
        ("epochs", 100_001, "be less than or equal to 100000"),
        ("batch_size", 0, "be greater than or equal to 1"),
        ("batch_size", 65_537, "be less than or equal to 65536"),
        ("learning_rate", 0, "be greater than 0"),
        ("learning_rate", 10.1, "be less than or equal to 10"),
        ("learning_rate", NAN, "be less than or equal to 10"),
        ("seed", -1, "be greater than or equal to 0"),
        ("seed", 2**32, "be less than 4294967296"),
        ("images", 9, "be greater than or equal to 10"),
        ("data_fraction", 0, "be greater than 0"),
        ("data_fraction", 1.001, "be less than or equal to 1"),
        ("data_fraction", NAN, "be less than or equal to 1"),
        ("schedule", "cosinus", "be 'constant', 'linear', 'cosine' or 'one_cycle'"),
        ("patience", 0, "be greater than or equal to 1"),
        ("patience", 100_001, "be less than or equal to 100000"),
        ("optimizer", "adamw", "be 'adam' or 'sgd'"),
        ("label_smoothing", -0.1, "be greater than or equal to 0"),
        ("label_smoothing", 1, "be less than 1"),
        ("weight_decay", -1e-4, "be greater than or equal to 0"),
        ("weight_decay", 1.1, "be less than or equal to 1"),
        ("weight_decay", NAN, "be less than or equal to 1"),
        ("augmentation", "rotate", "be 'none', 'flip', 'shift', 'flip_shift', 'flip_shift_erase' or 'flip_shift_light'"),
        ("augmentation", 1, "be 'none', 'flip', 'shift', 'flip_shift', 'flip_shift_erase' or 'flip_shift_light'"),
        ("size", "big", f"{INTEGER}, unable to parse string as an integer"),
        ("size", 32.5, f"{INTEGER}, got a number with a fractional part"),
        ("size", None, INTEGER),
        ("epochs", [10], INTEGER),
        ("learning_rate", "fast", "be a valid number, unable to parse string as a number"),
    ],
)
def test_refused(key: str, value: Any, rule: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked(TrainConfig, {key: value}, "a trial")
    assert str(caught.value) == f"a trial: {key} must {rule}, but got {value!r}: give another {key}"


@pytest.mark.parametrize(
    ("model", "values", "text"),
    [
        (TrainConfig, {"droput": 0.1}, f"this has no setting 'droput': use one of {EVERY}"),
        (TrainConfig, {"droput": 0.1, "size": 32}, f"this has no setting 'droput': use one of {EVERY}"),
        (TrainConfig, {"size": 7, "epochs": 0}, "this: size must be greater than or equal to 8, but got 7: give another size"),
        (Needs, {}, "this needs 'low', which is not given: add it"),
        (Needs, {"low": 1, "height": 2}, "this has no setting 'height': did you mean 'high'?"),
        (Needs, {"low": 11}, "this: low must be at most high, but got 11 and 10: swap them"),
    ],
)
def test_refused_in_one_line(model: type[BaseModel], values: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked(model, values, "this")
    assert str(caught.value) == text


class Switch(TrainConfig):
    """A setting that may be true."""

    frozen: bool = Field(True, description="whether the base is")


@pytest.mark.parametrize("key", ["epochs", "classes", "learning_rate", "train_fraction"])
@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(key: str, value: bool) -> None:
    with pytest.raises(BadInput) as caught:
        checked(Switch, {"frozen": value, key: value}, "a trial")
    assert str(caught.value) == f"a trial: {key} must be a number or a text, but got {value}: give another {key}"


def test_true_is_a_truth() -> None:
    assert checked(Switch, {"frozen": False}, "a trial").frozen is False


def test_text_from_a_command_line_is_read() -> None:
    config = checked(TrainConfig, {"size": "64", "learning_rate": "3e-4"}, "a trial")
    assert (config.size, config.learning_rate) == (64, 3e-4)


def test_defaults_are_the_plain_recipe() -> None:
    config = TrainConfig()
    assert (config.images, config.data_fraction) == (None, 1)
    assert (config.optimizer, config.patience, config.final_fit) == ("adam", None, False)
    assert (config.schedule, config.label_smoothing, config.weight_decay, config.augmentation) == ("constant", 0, 0, "none")


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "one_cycle"])
def test_what_an_epoch_depends_on(schedule: str) -> None:
    """Patience never; epochs where the schedule goes by them, and everything else."""
    made = TrainConfig(schedule=schedule, epochs=7, patience=3)
    longer = made.model_copy(update={"epochs": 9, "patience": None})
    assert (made.trajectory() == longer.trajectory()) == (schedule == "constant")
    assert made.trajectory() == made.model_copy(update={"patience": 8}).trajectory()
    without = {"patience", "epochs"} if schedule == "constant" else {"patience"}
    assert set(made.trajectory()) == set(TrainConfig.model_fields) - without
    assert made.trajectory() != made.model_copy(update={"seed": 1}).trajectory()


def test_a_trainables_own_settings_count() -> None:
    config = get_trainable("cnn").config
    assert config(dropout=0.1).trajectory() != config(dropout=0.2).trajectory()  # type: ignore[call-arg]
