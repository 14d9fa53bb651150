"""From measured rounds to what is printed and to the table in docs/performance.md: pure functions of rows.

A row is a list of trials, a side and a round, as `sides` measures it and `machine` completes it; `COLUMNS` says what is in it.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

PLAIN, OURS, AGAIN, BOUND = "plain", "ours", "ours again", "bound"
COLUMNS = {
    "list": "list of trials",
    "side": "plain: Ray Tune and fit; ours: `sweeps run`; ours again: that with the stored features of the run before; bound: the lower bound",
    "round": "from 1; sides alternate within and the order turns from round to round",
    "seconds": "wall time of the whole command; of the bound its training steps and pass through what is frozen",
    "trials": "trials of the list",
    "images": "of the data set",
    "images_trained": "images times epochs that went through training steps",
    "trials_seconds": "from the first trial's start to the last one's end",
    "first_step_seconds": "from the command's start to the first training step",
    "outside_seconds": "of a trial, from a worker's second on, outside steps and evaluation; median over them",
    "tracing_seconds": "of the same trials: what the first epoch took more than the others (median), tracing for the most part",
    "val_accuracy": "best of all trials and epochs",
    "val_images": "images it was measured on",
    "cores": "that the process may use",
    "cpu": "its model",
    "memory_gib": "of the machine",
    "python": "version",
    "ray": "version",
    "tensorflow": "version",
    "keras": "version",
    "date": "UTC",
}
MACHINE = ("cores", "cpu", "memory_gib", "python", "ray", "tensorflow", "keras", "date")
BLOCK = re.compile(r"(<!-- bench/compare.py writes this table -->\n).*?(<!-- end -->)", re.DOTALL)


def tolerance(accuracy: float, images: int) -> float:
    """By how much the best validation accuracies may differ: three standard errors of such a figure on so many images, sqrt(p (1 - p) / n).

    Both sides measure on the same images, so what differs is the order of batches and the draws of dropout, which move fewer images than a new
    sample of them would."""
    return 3 * math.sqrt(accuracy * (1 - accuracy) / images)


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Of one list: medians over the rounds, ratios of medians, and `agrees`: whether both sides come to the same accuracy."""

    def median(side: str, column: str) -> float:
        return float(rows.loc[rows["side"] == side, column].median())

    plain, ours, bound, trials = median(PLAIN, "seconds"), median(OURS, "seconds"), median(BOUND, "seconds"), median(OURS, "trials_seconds")
    accuracies = median(PLAIN, "val_accuracy"), median(OURS, "val_accuracy")
    allowed = max(tolerance(accuracy, int(rows["val_images"].max())) for accuracy in accuracies)
    return {
        "plain": plain,
        "ours": ours,
        "bound": bound,
        "ours_to_plain": ours / plain,
        "ours_to_bound": ours / bound,
        "trials_to_bound": trials / bound,
        "plain_images": median(PLAIN, "images_trained"),
        "ours_images": median(OURS, "images_trained"),
        "plain_accuracy": accuracies[0],
        "ours_accuracy": accuracies[1],
        "allowed": allowed,
        "agrees": abs(accuracies[0] - accuracies[1]) <= allowed,
        "outside": median(OURS, "outside_seconds"),
        "tracing": median(OURS, "tracing_seconds"),
        "first_step": median(OURS, "first_step_seconds"),
        "again": median(AGAIN, "seconds"),
        "again_first_step": median(AGAIN, "first_step_seconds"),
        "trials": int(rows["trials"].max()),
        "images": int(rows["images"].max()),
        "rounds": int((rows["side"] == OURS).sum()),
    }


_HEAD = (
    "list",
    "trials, images",
    "plain Ray Tune, s",
    "`sweeps run`, s",
    "ours / plain",
    "lower bound, s",
    "ours / bound",
    "first trial to last / bound",
    "images trained, plain and ours",
    "best validation accuracy, plain and ours",
    "a worker's later trial: s outside steps and evaluation, s more in its first epoch",
    "first step, s: first run, second run",
)


def markdown(rows: pd.DataFrame) -> str:
    """The table, and under it the machines it was measured on."""
    lines = ["| " + " | ".join(_HEAD) + " |", "| " + " | ".join(["---"] * len(_HEAD)) + " |"]
    lines += [_line(str(name), summary(part)) for name, part in rows.groupby("list", sort=False)]
    return "\n".join([*lines, "", *_machines(rows)]) + "\n"


def _line(name: str, of: dict[str, Any]) -> str:
    second = f", {_number(of['again_first_step'])}" if not math.isnan(of["again_first_step"]) else ""
    cells = [
        f"`{name}`",
        f"{of['trials']}, {of['images']:,}",
        _number(of["plain"]),
        _number(of["ours"]),
        f"{of['ours_to_plain']:.2f}",
        _number(of["bound"]),
        f"{of['ours_to_bound']:.2f}",
        f"{of['trials_to_bound']:.2f}",
        f"{of['plain_images']:,.0f}, {of['ours_images']:,.0f}",
        f"{of['plain_accuracy']:.3f}, {of['ours_accuracy']:.3f}{'' if of['agrees'] else ' (differ)'}",
        f"{_number(of['outside'])}, {_number(of['tracing'])}",
        f"{_number(of['first_step'])}{second}",
    ]
    return "| " + " | ".join(cells) + " |"


def _number(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{seconds:.1f}"


def _machines(rows: pd.DataFrame) -> list[str]:
    lines = []
    for values, part in rows.groupby(list(MACHINE), sort=False):
        on = dict(zip(MACHINE, values, strict=True))
        names = ", ".join(f"`{name}`" for name in part["list"].unique())
        rounds = int(part["round"].max())
        lines.append(
            f"{names}: {on['cores']} cores of {on['cpu']}, {on['memory_gib']} GiB, no GPU used; Python {on['python']}, ray {on['ray']}, tensorflow "
            f"{on['tensorflow']}, keras {on['keras']}; {on['date']}; medians of {rounds} round{'s' * (rounds > 1)}."
        )
    return lines


def with_table(page: str, table: str) -> str:
    """The page with the table in its marked block."""
    changed, found = BLOCK.subn(lambda match: match[1] + table + match[2], page)
    if found != 1:
        raise ValueError(f"the page has one block for the table, but {found} were found")
    return changed
