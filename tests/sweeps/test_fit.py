"""Tables and lines on terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, Group

from sweeps.core.fit import Column, Fitted, line, say, sparkline


def drawn(renderable: object, width: int, terminal: bool = True, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    Console(file=out, width=width, force_terminal=terminal, color_system=None).print(renderable)
    out.flush()
    return [text.rstrip() for text in raw.getvalue().decode(encoding).splitlines()]


def recipe() -> Fitted:
    """Long names, as of the sweep `recipe`."""
    table = Fitted(
        [
            Column("trial", right=False),
            Column("augmentation", cut=True),
            Column("label_smoothing", cut=True),
            Column("weight_decay", cut=True),
            Column("epoch"),
            Column("train acc", give=2),
            Column("best val"),
            Column("curve", give=1, right=False),
        ]
    )
    table.add("00001", "flip_shift_light", "0.1", "0.0001", "3/20", "0.5000", "0.7000", "▁▄█")
    table.add("00002", "none", "0", "0", "20/20", "0.6000", "0.6000", "▁▁▅")
    return table


def test_a_wide_terminal_has_all_of_it() -> None:
    assert drawn(recipe(), 160) == [
        "trial      augmentation  label_smoothing  weight_decay  epoch  train acc  best val  curve",
        "00001  flip_shift_light              0.1        0.0001   3/20     0.5000    0.7000  ▁▄█",
        "00002              none                0             0  20/20     0.6000    0.6000  ▁▁▅",
    ]


def test_titles_are_cut_before_columns_are_left_out_and_no_cell_is() -> None:
    assert drawn(recipe(), 80) == [
        "trial      augmentation  label…  weight_decay  epoch  train acc  best val  curve",
        "00001  flip_shift_light     0.1        0.0001   3/20     0.5000    0.7000  ▁▄█",
        "00002              none       0             0  20/20     0.6000    0.6000  ▁▁▅",
    ]
    assert drawn(recipe(), 70) == [
        "trial      augmentation  label_…  weight_decay  epoch  best val  curve",
        "00001  flip_shift_light      0.1        0.0001   3/20    0.7000  ▁▄█",
        "00002              none        0             0  20/20    0.6000  ▁▁▅",
    ]


@pytest.mark.parametrize("width", range(60, 101))
def test_no_row_is_wider_than_the_terminal_or_takes_two(width: int) -> None:
    lines = drawn(recipe(), width)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    assert "flip_shift_light" in lines[1]
    assert "0.7000" in lines[1]


def test_a_column_that_says_nothing_and_a_head_alone_are_left_out() -> None:
    table = Fitted([Column("trial"), Column("memory", give=1)])
    assert drawn(table, 80) == []
    table.add("00001", "")
    assert drawn(table, 80) == ["trial", "00001"]


def test_a_sparkline() -> None:
    assert sparkline([0.1, 0.5, 0.9], 0.1, 0.9, 16) == "▁▅█"
    assert sparkline([], 0.0, 1.0, 16) == ""
    assert sparkline([0.5], 0.5, 0.5, 16) == "▁", "nothing to compare it with"
    assert sparkline([0.0, 1.0] * 50, 0.0, 1.0, 10) == "█" * 10, "the last of each ten"
    assert len(sparkline(list(range(17)), 0, 16, 16)) == 16
    assert sparkline(list(range(17)), 0, 16, 16).endswith("█")


def test_where_there_is_ascii_alone() -> None:
    table = Fitted([Column("curve", right=False)])
    table.add(sparkline([0.0, 0.5, 1.0], 0.0, 1.0, 16))
    assert drawn(table, 80, encoding="ascii") == ["curve", "_=#"]


def test_one_line_is_one_line() -> None:
    assert drawn(Group(line("0123456789" * 3)), 20) == ["0123456789012345678…"]


@pytest.mark.parametrize(
    ("terminal", "lines"),
    [(True, ["shared     the images, by", "           all trials"]), (False, ["shared     the images, by all trials"])],
)
def test_what_is_said(terminal: bool, lines: list[str]) -> None:
    out = io.StringIO()
    say(Console(file=out, width=28, force_terminal=terminal, color_system=None), "shared     the images, by all trials", indent=11)
    assert out.getvalue().splitlines() == lines
