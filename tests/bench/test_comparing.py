"""What bench/compare.py makes of what it measured. (The sides themselves take minutes: nothing is run here.)"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from compare import merged
from comparing.journal import Later, first_step, later_trials, parse
from comparing.lists import LISTS, TrialList, unique
from comparing.table import AGAIN, BLOCK, BOUND, COLUMNS, MACHINE, OURS, PLAIN, markdown, summary, tolerance, with_table
from sweeps.core.sweep import Sweep, load_sweep
from trainables import get_trainable
from trainables.fine_tune import FineTuneConfig

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MEASURED_ON = {**dict.fromkeys(MACHINE, "1"), "cores": 2, "cpu": "a CPU", "memory_gib": 24}


def result(trial: int, epoch: int, time: float, seconds: float, pid: int = 7) -> dict[str, Any]:
    return {"kind": "result", "trial": trial, "epoch": epoch, "time": time, "finished_at": time, "epoch_seconds": seconds, "pid": pid}


def end(trial: int, time: float) -> dict[str, Any]:
    return {"kind": "end", "trial": trial, "time": time}


JOURNAL = [
    {"kind": "session", "time": 90.0},
    {"kind": "suggest", "trial": 1, "time": 91.0},
    {"kind": "start", "trial": 1, "time": 92.0},
    result(1, 1, 100.0, 3.0),
    end(1, 100.0),
    result(2, 1, 103.0, 4.0, pid=8),
    result(3, 1, 116.0, 14.0),
    # Not the worker's: another trial's training gave it.
    {**result(4, 1, 117.0, 12.0), "of": 3},
    end(4, 117.0),
    result(3, 2, 130.0, 10.0),
    end(3, 130.0),
    end(2, 140.0),
]


def test_a_journal_is_read() -> None:
    assert parse("".join(json.dumps(row) + "\n" for row in JOURNAL)) == JOURNAL
    assert first_step(JOURNAL) == 97.0


def test_time_outside_steps_is_of_a_workers_later_trials() -> None:
    assert later_trials(JOURNAL) == [Later(outside=6.0, tracing=4.0)]
    assert later_trials(JOURNAL[:5]) == []
    one_epoch = [*JOURNAL[:5], result(5, 1, 110.0, 8.0), end(5, 110.5)]
    assert later_trials(one_epoch) == [Later(outside=2.5, tracing=None)]


def rows(ours: float = 50.0, accuracy: float = 0.9) -> pd.DataFrame:
    def row(side: str, number: int, seconds: float, **others: Any) -> dict[str, Any]:
        return {
            "list": "dropout",
            "side": side,
            "round": number,
            "seconds": seconds,
            "trials": 8,
            "images": 6000,
            "val_images": 400,
            **others,
            **MEASURED_ON,
        }

    measured = [row(PLAIN, n, seconds, val_accuracy=0.9, images_trained=800) for n, seconds in enumerate((100.0, 90.0, 500.0), 1)]
    measured += [
        row(OURS, n, ours + n, val_accuracy=accuracy, images_trained=400, trials_seconds=30.0, first_step_seconds=8.0) for n in (1, 2, 3)
    ]
    measured += [row(BOUND, 1, 26.0), row(AGAIN, 3, 20.0, val_accuracy=accuracy, first_step_seconds=5.0)]
    return pd.DataFrame(measured, columns=list(COLUMNS))


def test_ratios_are_of_medians() -> None:
    of = summary(rows())
    assert (of["plain"], of["ours"], of["bound"], of["again_first_step"]) == (100.0, 52.0, 26.0, 5.0)
    assert (of["ours_to_plain"], of["ours_to_bound"], of["trials_to_bound"]) == pytest.approx((0.52, 2.0, 30 / 26))
    assert (of["plain_images"], of["ours_images"], of["rounds"]) == (800, 400, 3)
    assert math.isnan(of["outside"])


def test_accuracies_agree_within_three_standard_errors() -> None:
    assert tolerance(0.9, 400) == pytest.approx(0.045)
    assert summary(rows(accuracy=0.86))["agrees"]
    assert not summary(rows(accuracy=0.84))["agrees"]
    # Better is another result, too.
    assert not summary(rows(accuracy=0.95))["agrees"]


def test_the_page_gets_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = markdown(rows(accuracy=0.8))
    changed = with_table(page, table)
    assert table in changed
    assert "| `dropout` | 8, 6,000 | 100.0 | 52.0 | 0.52 | 26.0 | 2.00 | 1.15 | 800, 400 | 0.900, 0.800 (differ) |" in changed
    assert "2 cores of a CPU" in changed
    assert BLOCK.sub("", changed) == BLOCK.sub("", page)
    with pytest.raises(ValueError, match="one block"):
        with_table("no block", table)


def test_the_others_rows_are_kept(tmp_path: Path) -> None:
    assert merged(rows(), tmp_path / "none.parquet").equals(rows())
    old = pd.concat([rows().assign(list="epochs"), rows(ours=70.0)])
    old.to_parquet(tmp_path / "kept.parquet")
    both = merged(rows(), tmp_path / "kept.parquet")
    assert list(both["list"].unique()) == ["dropout", "epochs"]
    assert summary(both[both["list"] == "dropout"])["ours"] == 52.0


@pytest.mark.parametrize("trials", LISTS, ids=lambda trials: trials.name)
def test_a_list_is_one_for_both_sides(trials: TrialList, tmp_path: Path) -> None:
    file = tmp_path / f"{trials.name}.py"
    file.write_text(trials.sweep_file("base.keras"))
    _, sweep = load_sweep(str(file))
    assert isinstance(sweep, Sweep)
    sweep.check(0)
    config = get_trainable(trials.trainable).config
    theirs = [config(**settings) for settings in trials.trials("base.keras", 6000)]
    ours = [
        sweep.config({trials.key: value}, 0).model_copy(update={"images": theirs[0].images}) for value in sweep.space[trials.key].ends()
    ]
    assert ours == theirs


def test_only_the_longest_of_equal_trials_is_unique() -> None:
    assert unique([{"a": 1, "epochs": 2}, {"a": 1, "epochs": 5}, {"a": 2, "epochs": 5}]) == [{"a": 1, "epochs": 5}, {"a": 2, "epochs": 5}]


def test_the_bounds_two_parts_are_the_network() -> None:
    from comparing.bound import Frozen
    from comparing.plain import compiled

    config = FineTuneConfig(unfrozen_layers=5)
    model = compiled("fine_tune", config, 10)
    images = np.random.default_rng(0).integers(0, 256, (4, config.size, config.size, 3), np.uint8)
    parts = Frozen(model)
    # As they are, not compiled: that takes seconds.
    np.testing.assert_allclose(parts.tail(parts.front(images)), model(images), atol=1e-6)
    assert not parts.front.trainable_weights
    assert len(parts.tail.trainable_weights) == len(model.trainable_weights)
