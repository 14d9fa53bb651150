"""Tables and lines that fit a terminal: nothing wraps, and what is least needed gives way first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

BARS: Final = "▁▂▃▄▅▆▇█"
# Where a terminal has ASCII alone.
PLAIN: Final = str.maketrans(BARS, "_.:-=+*#")
GAP: Final = 2
# Of a title that is cut, at least.
LEAST_TITLE: Final = 5


def sparkline(values: Sequence[float], least: float, most: float, width: int) -> str:
    """A character a value, from `least` to `most`; of more values than `width` each character is the last of as many neighbours: `▁▃▆█`."""
    if not values:
        return ""
    count = min(len(values), width)
    ends = [values[(place + 1) * len(values) // count - 1] for place in range(count)]
    span = (most - least) or 1.0
    return "".join(BARS[min(len(BARS) - 1, max(0, int((value - least) / span * len(BARS))))] for value in ends)


def line(text: str, style: str = "") -> Text:
    """One line, cut with `…` where the terminal ends; in a Group, as a console that prints it alone forgets that."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def say(console: Console, text: str, indent: int = 0, style: str | None = None) -> None:
    """A text: whole where it goes through a pipe; on a terminal broken between words, what follows the first line `indent` columns in."""
    if console.is_terminal:
        follow = " " * indent
        text = textwrap.fill(text, console.width, subsequent_indent=follow, break_long_words=False, break_on_hyphens=False)
    console.print(text, style=style, soft_wrap=True, markup=False, highlight=False)


@dataclass
class Column:
    """`give` says when it is left out: the highest first, 0 never. `cut`: its title may be cut to its cells where room is short."""

    title: str
    give: int = 0
    right: bool = True
    cut: bool = False
    cells: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Of its cells and its title, in characters of the terminal."""
        return max(cell_len(self.title), self.least)

    @property
    def least(self) -> int:
        """The least: of its cells, and of its title or enough of it to know it."""
        title = cell_len(self.title)
        return max([min(LEAST_TITLE, title) if self.cut else title, *map(cell_len, self.cells)])


@dataclass
class Fitted:
    """A table without lines of columns that have equally many cells; `styles` are of its rows. Columns whose cells are all empty are left out."""

    columns: list[Column]
    styles: list[str] = field(default_factory=list)

    def add(self, *cells: str, style: str = "") -> None:
        """A row."""
        for column, cell in zip(self.columns, cells, strict=True):
            column.cells.append(cell)
        self.styles.append(style)

    def fitting(self, width: int) -> list[tuple[Column, int]]:
        """The columns that so many characters have room for, each with its width."""
        kept = [column for column in self.columns if not column.give or any(column.cells)]
        for column in sorted((column for column in kept if column.give), key=lambda column: -column.give):
            if _total(column.least for column in kept) <= width:
                break
            kept.remove(column)
        widths = [column.width for column in kept]
        # The longest titles first.
        for place in sorted(range(len(kept)), key=lambda place: kept[place].least - kept[place].width):
            widths[place] = max(kept[place].least, widths[place] - max(0, _total(widths) - width))
        return list(zip(kept, widths, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
        found = self.fitting(options.max_width)
        for column, width in found:
            title = Text(column.title, no_wrap=True, overflow="ellipsis")
            table.add_column(title, no_wrap=True, overflow="ellipsis", justify="right" if column.right else "left", width=width)
        for place, style in enumerate(self.styles):
            cells = (column.cells[place] for column, _ in found)
            table.add_row(*(Text(cell.translate(PLAIN) if options.ascii_only else cell) for cell in cells), style=style)
        # A head alone says nothing.
        if self.styles:
            yield table


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + GAP * max(0, len(found) - 1)
