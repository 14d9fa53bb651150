"""What a swept value may be: four small frozen values, which a run stores with itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_prep import BadInput

Scalar = bool | int | float | str


class _Distribution(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Range(_Distribution):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, but got low={self.low} and high={self.high}: swap or widen them")
        return self

    def ends(self) -> list[Any]:
        """Values to check against the trainable's settings before anything starts."""
        return [self.low, self.high]

    def contains(self, value: Any) -> bool:
        """Whether a known point may have this value."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class Uniform(_Range):
    """A real number in [low, high)."""

    kind: Literal["uniform"] = "uniform"


class LogUniform(_Range):
    """A real number in [low, high), low > 0, whose logarithm is uniform: for rates over several powers of ten."""

    kind: Literal["log_uniform"] = "log_uniform"

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"low of a log_uniform must be greater than 0, but got {self.low}: give a positive low")
        return self


class Integers(_Range):
    """A whole number in [low, high], both ends included."""

    kind: Literal["integers"] = "integers"
    low: int
    high: int

    @property
    def values(self) -> Sequence[int]:
        """All of them, in order: a range, for there may be more than memory holds."""
        return range(self.low, self.high + 1)

    def contains(self, value: Any) -> bool:
        """Whether a known point may have this value."""
        return isinstance(value, int) and super().contains(value)


class Choice(_Distribution):
    """One of the given values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Scalar, ...] = Field(min_length=1)

    def ends(self) -> list[Any]:
        """Values to check against the trainable's settings before anything starts."""
        return list(self.values)

    def contains(self, value: Any) -> bool:
        """Whether a known point may have this value."""
        return value in self.values


Distribution = Annotated[Uniform | LogUniform | Integers | Choice, Field(discriminator="kind")]


def uniform(low: float, high: float) -> Uniform:
    """A real number in [low, high)."""
    return Uniform(low=low, high=high)


def log_uniform(low: float, high: float) -> LogUniform:
    """A real number in [low, high), low > 0, whose logarithm is uniform."""
    return LogUniform(low=low, high=high)


def integers(low: int, high: int) -> Integers:
    """A whole number in [low, high], both ends included."""
    return Integers(low=low, high=high)


def choice(*values: Scalar) -> Choice:
    """One of the given values."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        raise BadInput(f"choice takes its values one by one, but got {values[0]}: write choice({', '.join(map(repr, values[0]))})")
    return Choice(values=values)
