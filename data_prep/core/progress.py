"""A progress bar, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], None]


@contextmanager
def progress(console: Console | None, text: str, total: int, *, done: int = 0, of_bytes: bool = False) -> Iterator[Advance]:
    """Yields `advance(steps)`; total 0 stands for "not known". No terminal: no bar, for a log file would get empty lines."""
    if console is None or not console.is_terminal:
        yield lambda steps: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=total or None, completed=done)
        yield lambda steps: bar.advance(task, steps)


def say(console: Console | None, line: str) -> None:
    """One line for the user, as it is: no markup, so that a path in brackets stays readable."""
    if console is not None:
        # A file's name need not be text: bytes that are none would stop the print.
        line = line.encode("utf-8", "backslashreplace").decode()
        console.print(line, markup=False, highlight=False, soft_wrap=True)
