"""How much sooner does `sweeps run` end than the same trials in plain Ray Tune, and how near is it to the least they can cost?

    python bench/compare.py [--only LIST]... [--rounds 3] [--images 6000] [--out FILE] [--write]

Five lists of trials on Fashion-MNIST (`comparing/lists.py`): dropout rates, epoch counts, depths of freezing, heads on a frozen VGG16 and on a
frozen InceptionV3. Each side is a whole command in a fresh process, one core a trial (`epochs`, which is one training of ours, has all), the data
prepared and byte code cached before; they alternate, and the order turns from round to round:

    plain   a function trainable around `fit`, as the guides of Ray and Keras show (`comparing/plain.py`): ends with the best model measured
    ours    `sweeps run` of a user's file; its storage, and what it derives from the data, are new each time
    bound   the list's training steps, each once, in one process with all cores; what is frozen runs once (`comparing/bound.py`)

Prints each round, then medians, ratios, images trained and the best validation accuracies. Exit code 1 where these differ by more than chance.
`--write` puts the rows into bench/results/compare.parquet and the table into docs/performance.md; lists that were not run keep what is there.
Needs 3 GB under data/ and Debian's package `dataset-fashion-mnist`. Not yet measured in full: above an hour on 2 cores, an estimate from single epochs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from comparing.lists import LISTS, WARM_UP, TrialList
from comparing.machine import machine
from comparing.sides import Compared, Failed, Row, make_base
from comparing.table import AGAIN, BOUND, COLUMNS, OURS, PLAIN, markdown, summary, with_table
from data_prep import BadInput, prepare

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "bench" / "results" / "compare.parquet"
PAGE = ROOT / "docs" / "performance.md"


def rounds(compared: Compared, count: int) -> list[Row]:
    """All sides, so many times; and where there are features to keep, ours once more on those of the run before."""
    rows: list[Row] = []
    for number in range(1, count + 1):
        for side in [PLAIN, OURS, BOUND] if number % 2 else [OURS, PLAIN, BOUND]:
            if side == OURS:
                compared.fresh_data()
            rows.append(_shown(compared.measure(side, number)))
    if compared.trials.name == "transfer":
        rows.append(_shown(compared.measure(AGAIN, count)))
    return rows


def _shown(row: Row) -> Row:
    figures = {
        "images_trained": "{:,} images trained",
        "val_accuracy": "validation accuracy {:.4f}",
        "first_step_seconds": "first step at {:.1f} s",
    }
    rest = [text.format(row[name]) for name, text in figures.items() if row.get(name) is not None]
    print(f"{row['list']:13} round {row['round']}  {row['side']:10} {row['seconds']:7.1f} s  {', '.join(rest)}", flush=True)
    return row


def show(name: str, rows: pd.DataFrame) -> bool:
    """Print what a list came to; whether both sides agree."""
    of = summary(rows)
    print(f"{name}: medians of {of['rounds']}: plain {of['plain']:.1f} s, ours {of['ours']:.1f} s, ratio {of['ours_to_plain']:.2f}")
    print(
        f"{name}: lower bound {of['bound']:.1f} s; the command takes {of['ours_to_bound']:.2f} of it, first trial to last {of['trials_to_bound']:.2f}"
    )
    print(
        f"{name}: of a trial from a worker's second on {of['outside']:.2f} s outside steps and evaluation, its first epoch {of['tracing']:.2f} s longer"
    )
    if of["again"] == of["again"]:
        print(f"{name}: first step after {of['first_step']:.1f} s; on stored features after {of['again_first_step']:.1f} s")
    figures = f"plain {of['plain_accuracy']:.4f}, ours {of['ours_accuracy']:.4f}"
    verdict = "within" if of["agrees"] else "ERROR: not within"
    print(f"{name}: best validation accuracy {figures}, {verdict} {of['allowed']:.4f} (three standard errors)", flush=True)
    return bool(of["agrees"])


def merged(new: pd.DataFrame, kept: Path) -> pd.DataFrame:
    """The kept rows of other lists and these, in the order of LISTS."""
    old = [pd.read_parquet(kept)] if kept.exists() else []
    rows = pd.concat([*(part[~part["list"].isin(new["list"])] for part in old), new], ignore_index=True)
    return rows.sort_values("list", key=lambda names: names.map([trials.name for trials in LISTS].index), kind="stable", ignore_index=True)


def compare(chosen: list[TrialList], count: int, images: int) -> Iterator[pd.DataFrame]:
    """The rows of each of these lists, as soon as it is done."""
    data = ROOT / "data"
    data.mkdir(exist_ok=True)
    # Beside the data, so that each round's data root is made of links.
    with tempfile.TemporaryDirectory(prefix="compare-", dir=data) as name:
        folder, datasets = Path(name), {size: prepare("fashion-mnist", size=size, root=data) for size in {32, *(of.size for of in chosen)}}
        warm = Compared(WARM_UP, datasets[32], images, "", folder)
        warm.fresh_data()
        for side in (PLAIN, OURS):
            warm.measure(side, 0)
        base_file = make_base(datasets[32], images, folder) if any(of.base for of in chosen) else ""
        for of in chosen:
            rows = rounds(Compared(of, datasets[of.size], images, base_file, folder), count)
            yield pd.DataFrame([{**row, **machine()} for row in rows], columns=list(COLUMNS))


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[trials.name for trials in LISTS], metavar="LIST")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--out", type=Path, help="Parquet file for the rows")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    chosen = [trials for trials in LISTS if trials.name in (options.only or trials.name)]
    tables, agree = [], []
    try:
        for of, table in zip(chosen, compare(chosen, options.rounds, options.images), strict=True):
            tables.append(table)
            agree.append(show(of.name, table))
            if options.write:
                keep(table)
    except (BadInput, Failed) as error:
        sys.exit(f"error: {error}")
    if options.out:
        pd.concat(tables, ignore_index=True).to_parquet(options.out, index=False)
    sys.exit(0 if all(agree) else 1)


def keep(table: pd.DataFrame) -> None:
    """Put a list's rows into the files that are kept: it takes many minutes of a quiet machine."""
    KEPT.parent.mkdir(exist_ok=True)
    whole = merged(table, KEPT)
    whole.to_parquet(KEPT, index=False)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), markdown(whole)), encoding="utf-8")


if __name__ == "__main__":
    main()
