"""What a sweep is, where sweeps are found, and how one becomes the exact list of settings of a run."""

from __future__ import annotations

import difflib
import importlib
import re
import runpy
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data_prep import BadInput
from sweeps.core.published import TIES, named
from sweeps.core.space import Distribution
from trainables import TrainConfig, get_trainable
from trainables.core.config import checked, explain

FOLDER = Path(__file__).parents[1]
# Of sweeps and runs. Readers of the Parquet partitions (`run=...`) take what begins with a digit for a number or a date; file names end at 255 bytes.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,119}")
NAME_RULE = "name starts with a letter and has at most 120 letters, digits, '.', '_' and '-'"


class Sweep(BaseModel):
    """A question: which trainable, over which space, searched and stopped how. A value, no code: a run stores it whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1, description="one line, shown by `sweeps list`")
    trainable: str = Field(description="a file name of trainables/")

    @field_validator("space", mode="before")
    @classmethod
    def _ranges_and_choices(cls, space: Any) -> Any:
        for key, values in space.items() if isinstance(space, dict) else ():
            if isinstance(values, list | tuple | int | float | str):
                raise ValueError(
                    f"a searched setting is choice(...), integers(...), uniform(...) or log_uniform(...), but {key} is {values!r}: "
                    "write for example choice(0.1, 0.2), or put one value into `fixed`"
                )
        return space

    space: dict[str, Distribution] = Field(description="setting -> values to search")
    fixed: dict[str, Any] = Field(default={}, description="settings that differ from the trainable's defaults")
    known_points: tuple[dict[str, Any], ...] = Field(default=(), description="points of the space to try first (tpe, random)")
    searcher: Literal["tpe", "random", "grid", "autokeras"] = Field(
        "tpe", description="autokeras: AutoKeras' greedy search, of networks; for trainable autokeras_search, which has a space of its own"
    )
    startup: int = Field(5, ge=1, description="trials before tpe learns from results, known points included")
    scheduler: Literal["asha", "none"] = "asha"
    reduction_factor: int = Field(3, ge=2, description="asha goes on with one in so many at each rung")
    grace_epochs: int = Field(
        2, ge=1, description="epochs before asha may stop a trial; its rungs are this times powers of reduction_factor"
    )
    samples: int = Field(8, ge=1, description="trials, unless `--samples` says otherwise; of a grid: at most")
    parallel: int | None = Field(
        None, ge=1, description="trials at a time, at most, unless `--parallel` says otherwise; none: all there is room for"
    )
    time_budget: str | None = Field(
        None, description="wall time of a run, unless `--time-budget` says otherwise: 90s, 20m, 3h; none: no limit"
    )
    data: str = Field("digits", description="data set, unless `--data` says otherwise")
    published: str | None = Field(
        None, description="a setting that published.csv has for the trainable: the result to compare with; none: the one that fits"
    )

    @property
    def searches(self) -> bool:
        """Whether its trials differ; otherwise it is one."""
        return bool(self.space) or self.searcher == "autokeras"

    def with_settings(self, settings: dict[str, Any]) -> Sweep:
        """The sweep with these settings fixed; a searched one of them is searched no more."""
        space = {key: values for key, values in self.space.items() if key not in settings}
        points = [{key: value for key, value in point.items() if key not in settings} for point in self.known_points]
        kept = tuple(point for index, point in enumerate(points) if point and point not in points[:index])
        return self.model_copy(update={"space": space, "fixed": {**self.fixed, **settings}, "known_points": kept})

    def config(self, point: dict[str, Any], seed: int) -> TrainConfig:
        """The full settings of one trial; BadInput when a key is unknown or a value out of range."""
        values = {"seed": seed, **self.fixed, **point}
        return checked(get_trainable(self.trainable).config, values, f"trainable {self.trainable!r}")

    def check(self, seed: int = 0) -> None:
        """BadInput unless every trial that the sweep can make is a possible one."""
        fields = get_trainable(self.trainable).config.model_fields
        for key in RUN_WIDE & set(self.space):
            raise BadInput(f"{key!r} is one value in a run, but the sweep searches over it: move it to `fixed`, or start a run per value")
        if "seed" in self.fixed:
            raise BadInput("the seed is not a setting but an option: take it out of `fixed`, and give --seed N")
        for key in [*self.space, *self.fixed]:
            if key not in fields:
                raise BadInput(f"trainable {self.trainable!r} has no setting {key!r}: use one of {', '.join(sorted(fields))}")
        for key in set(self.space) & set(self.fixed):
            raise BadInput(f"a setting is searched or fixed, but {key!r} is in `space` and in `fixed`: take it out of one")
        self.config({}, seed)
        self._check_autokeras()
        for key, values in self.space.items():
            for value in values.ends():
                self.config({key: value}, seed)
            if self.searcher == "grid" and not hasattr(values, "values"):
                raise BadInput(
                    f"a grid needs choice(...) or integers(...), but {key!r} is {values.kind}: list its values, or use another searcher"
                )
        self._check_known_points(seed)
        if self.published is not None:
            named(self.trainable, self.published)

    def _check_autokeras(self) -> None:
        if self.searcher != "autokeras":
            return
        if self.trainable != AUTOKERAS:
            raise BadInput(
                f"searcher 'autokeras' proposes networks of trainable {AUTOKERAS!r}, but this is {self.trainable!r}: change one of them"
            )
        if self.space or self.known_points:
            raise BadInput("searcher 'autokeras' has a space of its own, but `space` or `known_points` are given: leave them out")
        if "hyperparameters" in self.fixed:
            raise BadInput("searcher 'autokeras' gives the hyperparameters, but they are fixed: leave them out, or use another searcher")

    def _check_known_points(self, seed: int) -> None:
        if self.known_points and self.searcher == "grid":
            raise BadInput("a grid tries all its points, but `known_points` are given: leave them out, and put the first values first")
        for point in self.known_points:
            if set(point) != set(self.space):
                raise BadInput(f"a known point gives every key of the space ({', '.join(self.space)}), but got {point}: complete it")
            for key, values in self.space.items():
                if not values.contains(point[key]):
                    raise BadInput(f"a known point is in the space, but {key} {point[key]!r} is not in {values!r}: change one of them")
            self.config(point, seed)


class Part(BaseModel):
    """One row of a study: a sweep of one experiment. What its `fixed` says stays whatever a user sets for the study as a whole, but for the epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="in the names of its run and of its settings: `--set NAME.key=value`")
    sweep: Sweep


class Study(BaseModel):
    """Several experiments on one data set, each a run of its own, side by side on the same workers, and their best models in one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1, description="one line, shown by `sweeps list`")
    parts: tuple[Part, ...] = Field(min_length=1)
    settings: dict[str, Any] = Field(default={}, description="settings of all parts that have them and do not fix them")
    data: str = Field("digits", description="data set, unless `--data` says otherwise")

    @field_validator("parts")
    @classmethod
    def _own_names(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        names = [part.name for part in parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"parts of a study have names of their own, but {name!r} is there {names.count(name)} times: rename one")
        return parts

    def sweeps(self, given: dict[str, Any]) -> list[tuple[str, Sweep]]:
        """(part, its sweep with the settings worked in). `key` is for every part that has it and does not fix it, `part.key` for one, `epochs` for
        all. BadInput when no part takes one."""
        unused = set(given)
        found = []
        for part in self.parts:
            fields = get_trainable(part.sweep.trainable).config.model_fields
            own = {key.partition(".")[2]: key for key in given if key.startswith(f"{part.name}.")}
            free = [key for key in given if key in fields and (key == "epochs" or key not in part.sweep.fixed)]
            unused -= {*own.values(), *free}
            defaults = {key: value for key, value in self.settings.items() if key in fields and key not in part.sweep.fixed}
            settings = {**defaults, **{key: given[key] for key in free}, **{key: given[full] for key, full in own.items()}}
            sweep = part.sweep.with_settings(settings)
            # Another base, say, is another result of the report: then the one that fits.
            said = [word.partition("=")[0] for word in (sweep.published or "").split()]
            changed = {*free, *own} & set(said) - set(TIES)
            found.append((part.name, sweep.model_copy(update={"published": None}) if changed else sweep))
        if unused:
            key = min(unused)
            parts = ", ".join(part.name for part in self.parts)
            raise BadInput(
                f"a setting of a study is one that a part of it has and leaves open, or PART.key for one part, but got {key!r}: parts are {parts}"
            )
        return found


# The trainable whose networks AutoKeras proposes.
AUTOKERAS = "autokeras_search"
# Equal for all trials of a run: they share one prepared data set and are compared on one split.
RUN_WIDE = {"size", "classes", "images", "train_fraction", "validation_fraction", "split_seed", "weights", "seed", "final_fit"}


def sweep_names() -> list[str]:
    """Names of the sweeps that are shipped, sorted: the files of `sweeps/`."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def load_sweep(name: str) -> tuple[str, Sweep | Study]:
    """(name, sweep) of a shipped sweep, or of a user's own Python file given by its path; BadInput when there is none.

    A user's file is run as Python: it is as trusted as any program one starts."""
    try:
        if name.endswith(".py"):
            return _sweep_name(Path(name)), _from_file(Path(name))
        if name not in sweep_names():
            near = [f"{name}.py"] if _is_file(Path(f"{name}.py")) else difflib.get_close_matches(name, sweep_names(), n=1)
            cure = (
                f"did you mean {near[0]}?"
                if near
                else f"use one of {', '.join(sweep_names())}, or the path of a .py file that defines SWEEP"
            )
            raise BadInput(f"there is no sweep {name!r}: {cure}")
        return name, importlib.import_module(f"sweeps.{name}").SWEEP
    except ValidationError as error:
        model = next((model for model in (Study, Part) if model.__name__ == error.title), Sweep)
        raise BadInput(explain(error, model, f"sweep {name!r}")) from None


def _sweep_name(path: Path) -> str:
    """The file's name: it becomes part of run names and a partition of the results."""
    if not NAME.fullmatch(path.stem):
        raise BadInput(f"a sweep's file {NAME_RULE}, but got {path.name!r}: rename it")
    return path.stem


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Its name is longer than any file's.
        return False


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # The file may have an exception of its own, whose text raises another one.
        return "without a text"


def _from_file(path: Path) -> Sweep | Study:
    if not _is_file(path):
        raise BadInput(f"there is no file {str(path)!r}: give the path of a Python file that defines SWEEP")
    # What stands beside the file can be imported, as from any script.
    sys.path.insert(0, str(path.parent.absolute()))
    try:
        sweep = runpy.run_path(str(path)).get("SWEEP")
    except (ValidationError, BadInput):
        raise
    except (Exception, SystemExit) as error:
        raise BadInput(f"{path} must run as Python, but got {type(error).__name__}: {_said(error)}: mend that line") from None
    finally:
        sys.path.remove(str(path.parent.absolute()))
    if not isinstance(sweep, Sweep | Study):
        found = "nothing of that name" if sweep is None else type(sweep).__name__
        raise BadInput(f"{path} must define SWEEP = Sweep(...), but it defines {found}: add it (README, section 'Your own sweep')")
    return sweep
