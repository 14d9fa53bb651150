"""What a source is, and the registry: the files of `data_prep/`, by name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import data_prep
from data_prep.core.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Request:
    """What the user asked for: `images:PATH` has the name "images" and the argument PATH; `source` is --source."""

    name: str
    argument: str | None = None
    source: str | None = None
    root: Path = Path()
    console: Console | None = None


@dataclass(frozen=True)
class Arrays:
    """Pixels that fit into memory: `images` uint8, N x H x W (grey) or N x H x W x 3 (RGB); `labels` N integers from 0."""

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """Encoded images still to decode: `members` of a folder or a zip file, in the order of the rows, with a label each."""

    container: Path
    members: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A source that is there. `identity` says which content it has (what decides "prepared already"), `read` reads it."""

    where: str
    identity: Callable[[], str]
    read: Callable[[], Arrays | Files]
    name: str | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Source:
    """A data set one can prepare. `find` is cheap, touches no network, and raises BadInput where nothing can be read.

    `argument` is what follows the colon in the name ("PATH" in `images:PATH`); None where the name is the file's name alone.
    """

    summary: str
    find: Callable[[Request], Found]
    argument: str | None = None


def _files() -> dict[str, str]:
    """Source name -> module, for each file of the folder; nothing is imported."""
    modules = [m.name for m in pkgutil.iter_modules(data_prep.__path__) if not m.ispkg and not m.name.startswith("_")]
    return {name.replace("_", "-"): f"data_prep.{name}" for name in sorted(modules)}


def _load(module: str) -> Source:
    source = importlib.import_module(module).SOURCE
    if not isinstance(source, Source):
        raise TypeError(f"{module}.SOURCE must be a data_prep.core.source.Source, but is {type(source).__name__}")
    return source


def _written(name: str, source: Source) -> str:
    return f"{name}:{source.argument}" if source.argument else name


def source_names() -> list[tuple[str, str]]:
    """(name as it is written, one-line description) of every data set, sorted by name."""
    sources = [(name, _load(module)) for name, module in _files().items()]
    return [(_written(name, source), source.summary) for name, source in sources]


def look_up(name: str) -> tuple[str, str, Source]:
    """The data set `name` as its file's name, its argument ("" for none) and its source. BadInput: there is none of that name."""
    stem, colon, argument = name.partition(":")
    files = _files()
    if stem not in files:
        raise BadInput(_unknown(name, stem, sorted(files)))
    source = _load(files[stem])
    if bool(source.argument) != bool(argument) or (colon and not argument):
        raise BadInput(f"a data set's name must be written as {_written(stem, source)}, but got '{name}'")
    return stem, argument, source


def find_source(name: str, source: str | None, root: Path, console: Console | None = None) -> tuple[str, Found]:
    """The folder-safe name of the data set `name` and where its content is. BadInput: unknown name, missing source."""
    stem, argument, found = look_up(name)
    try:
        location = found.find(Request(stem, argument or None, source, root, console))
    except (OSError, RuntimeError) as error:
        # A name that is too long, a loop of links, the home folder of nobody (a RuntimeError of pathlib).
        raise BadInput(
            f"a data set's source must be a path that can be looked up, but '{source or argument}' cannot ({error}): check it"
        ) from None
    return location.name or stem, location


def _unknown(name: str, stem: str, known: list[str]) -> str:
    close = difflib.get_close_matches(stem.lower().replace("_", "-"), known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "`sweeps list` shows them"
    return f"a data set's name must be one of {', '.join(known)}, but got '{name}': {hint}"
