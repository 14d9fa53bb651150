"""The report in a real browser: its marks are the Parquet's, its filters work, and it asks no network for anything."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from large_run import RUN, write_run
from sweeps.core.journal import read_state
from sweeps.core.report import write_report
from sweeps.core.results import export
from sweeps.core.storage import RunStorage
from sweeps.core.study_table import study_rows
from sweeps.core.tables import CONFUSIONS, EPOCHS, TRIALS
from tests.sweeps.browser import Browser, browsing
from tests.sweeps.runs import T0, end, evaluated, result, spec, start, state, suggest

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
MARKS = """
const [chart, series] = arguments;
const box = document.querySelector(`.chart[data-chart=${chart}]`);
return JSON.parse(JSON.stringify(echarts.getInstanceByDom(box).getOption().series.find(({name}) => name === series).data));
"""

OPTION = """
const box = document.querySelector(`.chart[data-chart=${arguments[0]}]`);
return JSON.parse(JSON.stringify(echarts.getInstanceByDom(box).getOption()));
"""
CHOOSE = """
const of = document.querySelector(`select[name=${arguments[0]}]`);
of.value = arguments[1];
of.dispatchEvent(new Event('change', {bubbles: true}));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as found:
        yield found


@pytest.fixture
def results(tmp_path: Path, browser: Browser) -> Path:
    """A run, its page open and drawn."""
    results = tmp_path / "results"
    export(spec(), evaluated(), results)
    write_report(results, results / "report.html")
    browser.open(results / "report.html")
    browser.run("document.querySelector('.charts').scrollIntoView()")
    browser.until("document.querySelector('.chart canvas')")
    browser.draw_all()
    return results


def test_marks_are_the_parquets(browser: Browser, results: Path) -> None:
    trials, epochs = pd.read_parquet(results / TRIALS), pd.read_parquet(results / EPOCHS)
    wanted: set[tuple[Any, ...]] = {
        ("swept", row.params_dropout, row.val_accuracy) for row in trials.dropna(subset="val_accuracy").itertuples()
    }
    wanted |= {("cost", row.train_seconds, row.val_accuracy) for row in trials.dropna(subset="val_accuracy").itertuples()}
    best = epochs[epochs["trial_id"] == "00002"]
    wanted |= {("best", epoch, float(value)) for epoch, value in zip(best["epoch"], best["val_accuracy"].astype(np.float32), strict=True)}
    browser.run(CHOOSE, "param", "dropout")
    found: set[tuple[Any, ...]] = {(chart, *mark["value"]) for chart in ("swept", "cost") for mark in browser.run(MARKS, chart, "trials")}
    found |= {("best", *mark) for mark in browser.run(MARKS, "validation", "best, validation")}
    other = browser.run(MARKS, "validation", "other trials")
    assert [mark["trial"] for mark in other] == [0]
    first = epochs[epochs["trial_id"] == "00001"]
    found |= {("other", *mark) for mark in other[0]["coords"]}
    wanted |= {
        ("other", epoch, float(value)) for epoch, value in zip(first["epoch"], first["val_accuracy"].astype(np.float32), strict=True)
    }
    for row in trials.dropna(subset="val_accuracy").itertuples():
        wanted.add(("parallel", row.params_dropout, str(row.params_depth), row.train_seconds, row.val_accuracy))
    found |= {("parallel", *mark["value"]) for mark in browser.run(MARKS, "parallel", "trials")}
    assert len(wanted) >= 10
    for mark in random.Random(0).sample(sorted(found), 10):
        assert mark in wanted
    assert found == wanted


def test_filters(browser: Browser, results: Path) -> None:
    shown = "return document.querySelector('.shown').textContent"
    assert browser.run(shown) == "4 of 4 trials"
    browser.run("document.querySelector('input[value=stopped]').click()")
    assert browser.run(shown) == "3 of 4 trials"
    assert [mark["trial"] for mark in browser.run(MARKS, "cost", "trials")] == [0]
    browser.run(CHOOSE, "metric", "loss")
    assert [mark["value"][1] for mark in browser.run(MARKS, "cost", "trials")] == [1.25]


@pytest.mark.parametrize("width", [380, 1600])
def test_it_is_quiet_and_fits(browser: Browser, results: Path, width: int) -> None:
    browser.open(results / "report.html", width)
    browser.draw_all()
    browser.until(f"innerWidth === {width}")
    browser.until(f"document.documentElement.scrollWidth <= {width}")
    browser.quiet()


TRIALS_SHOWN = """
return [...document.querySelectorAll('table.trials tbody tr')].map((row) =>
  [...row.cells].map((cell) => cell.querySelector('data') ? Number(cell.querySelector('data').value) : cell.textContent));
"""
FILTER = """
const of = document.querySelector('input[name=filter]');
of.value = arguments[0];
of.dispatchEvent(new Event('input', {bubbles: true}));
"""


def test_the_confusion_matrix_is_the_parquets(browser: Browser, results: Path) -> None:
    frame = pd.read_parquet(results / CONFUSIONS)
    found = {(mark["value"][1], mark["value"][0], mark["images"]) for mark in browser.run(MARKS, "confusion", "confusion")}
    assert found == set(zip(frame["class_index"], frame["predicted_index"], frame["images"], strict=True))
    assert shown_by(browser, "confusion")["xAxis"][0]["data"] == [str(n) for n in range(10)]


def test_the_timeline_is_the_parquets(browser: Browser, results: Path) -> None:
    """Trial 1 began on `here`, went on `there` after the interruption and came back; its second epoch was begun twice."""
    epochs = pd.read_parquet(results / EPOCHS)
    began = epochs["finished_at"] - pd.to_timedelta(epochs["epoch_seconds"], unit="s")
    pieces = browser.run(MARKS, "timeline", "training")
    assert [(piece["trial"], piece["first"], piece["last"]) for piece in pieces] == [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 1, 3)]
    first = (epochs["finished_at"].iloc[0] - began.min()).total_seconds()
    assert pieces[0]["value"][1:] == [0, first] == [0, 4]
    assert [(mark["trial"], mark["epoch"]) for mark in browser.run(MARKS, "timeline", "epoch done again")] == [(0, 2)]
    assert shown_by(browser, "timeline")["yAxis"][0]["data"] == ["0 here", "1 here", "2 there"]
    (pause,) = shown_by(browser, "timeline")["series"][-1]["markLine"]["data"]
    assert pause["name"] == "pause of 1.47 min"


def test_the_table_of_trials(browser: Browser, results: Path) -> None:
    trials = pd.read_parquet(results / TRIALS)
    rows = browser.run(TRIALS_SHOWN)
    assert [row[0] for row in rows] == ["00002", "00001", "00003", "00004"], "the best first, those without a result last"
    head = browser.run("return [...document.querySelectorAll('table.trials th')].map((cell) => cell.textContent)")
    columns = ["trial_id", "status", "params_dropout", "params_depth", "val_accuracy", "val_loss", "train_accuracy", "best_epoch"]
    columns += ["epochs_trained", "train_seconds", "restarts", "error"]
    assert len(head) == len(columns)
    expected = trials.set_index("trial_id", drop=False).loc[[row[0] for row in rows], columns]
    assert rows == [["-" if pd.isna(value) else value for value in row] for row in expected.itertuples(index=False)]
    browser.run("document.querySelector('table.trials button[data-column=dropout]').click()")
    assert [row[2] for row in browser.run(TRIALS_SHOWN)] == [0.1, 0.1, 0.1, 0.3]
    browser.run("document.querySelector('table.trials button[data-column=dropout]').click()")
    assert [row[2] for row in browser.run(TRIALS_SHOWN)] == [0.3, 0.1, 0.1, 0.1]
    assert browser.run("return document.querySelector('table.trials tr.best').cells[0].textContent") == "00002"


@pytest.mark.parametrize(
    ("text", "trials"),
    [
        ("dropout>0.2", ["00002"]),
        ("depth<=2 validation_accuracy>=0.6", ["00002", "00001"]),
        ("status=failed", ["00003"]),
        ("ValueError", ["00003"]),
        ("depth=1", ["00002"]),
        ("nothing>1", []),
        ("", ["00002", "00001", "00003", "00004"]),
    ],
)
def test_a_filter_in_words(browser: Browser, results: Path, text: str, trials: list[str]) -> None:
    browser.run(FILTER, text)
    assert [row[0] for row in browser.run(TRIALS_SHOWN)] == trials
    assert browser.run("return document.querySelector('.shown').textContent") == f"{len(trials)} of 4 trials"
    assert {mark["trial"] for mark in browser.run(MARKS, "swept", "trials")} <= {int(trial) - 1 for trial in trials}
    browser.quiet()


def test_epochs_that_trials_share_are_marked(browser: Browser, tmp_path: Path) -> None:
    rows = [{"kind": "session", "time": T0}, suggest(1, 1, epochs=3), {**suggest(2, 1, epochs=1), "mate_of": 1}, start(1, 1)]
    for epoch in (1, 2):
        rows.append(result(1, epoch, 10 * epoch, 0.5))
        rows += [result(2, epoch, 10 * epoch, 0.5, of=1), end(2, 10 * epoch)] if epoch == 1 else []
    export(spec(), state(rows=[*rows, end(1, 21)]), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    (shared,) = browser.run(MARKS, "timeline", "training that others share")
    assert (shared["trial"], shared["first"], shared["last"]) == (0, 1, 2)
    assert browser.run(MARKS, "timeline", "training") == []
    assert {row[0]: row[-1] for row in browser.run(TRIALS_SHOWN)} == {"00001": "-", "00002": "00001"}
    # Those that were asked for, not those that were trained.
    browser.run(FILTER, "epochs=3")
    assert [row[0] for row in browser.run(TRIALS_SHOWN)] == ["00001"]


def test_a_study_beside_what_was_published(browser: Browser, tmp_path: Path) -> None:
    write_report(REFERENCE, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.run("openOnce(document.querySelector('.study'))")
    browser.until("document.querySelector('.study canvas')")
    rows = study_rows(REFERENCE, "reference")
    names = shown_by(browser, "study")["yAxis"][0]["data"]
    assert (len(names), names[3]) == (14, "inception *")
    assert browser.run(MARKS, "study", "published") == [row["published_test_accuracy"] for row in rows]
    measured = [row.get("test_accuracy_mean") or row.get("test_accuracy") for row in rows]
    assert browser.run(MARKS, "study", "measured") == measured


def seeds_run() -> list[dict[str, Any]]:
    """Two depths, three seeds each: 0.5, 0.6, 0.7 and 0.6, 0.7, 0.8; rates of dropout over a 20-fold span."""
    rows: list[dict[str, Any]] = [{"kind": "session", "time": T0}]
    for trial in range(1, 7):
        first = trial if trial < 3 else (trial - 3) // 2 + 1
        settings = {"depth": first, "dropout": 0.02 if first == 1 else 0.5}
        row = suggest(trial, trial, **settings)
        rows.append({**row, "config": {**row["config"], "seed": trial}, **({"repeat_of": first} if trial > 2 else {})})
        rows += [
            start(trial, 10 * trial),
            result(trial, 1, 10 * trial + 5, (4 + first + (0 if trial < 3 else 2 - trial % 2)) / 10),
            end(trial, 10 * trial + 6),
        ]
    return rows


def shown_by(browser: Browser, chart: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.run(OPTION, chart)
    return found


def test_seeds_are_a_band_and_few_values_stand_side_by_side(browser: Browser, tmp_path: Path) -> None:
    export(spec(), state(rows=seeds_run()), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    browser.run(CHOOSE, "param", "depth")
    option = shown_by(browser, "swept")
    assert (option["xAxis"][0]["type"], option["xAxis"][0]["data"]) == ("category", ["1", "2"])
    assert [mark[0] for mark in browser.run(MARKS, "swept", "seeds")] == ["1", "2"]
    assert np.allclose([mark[1:] for mark in browser.run(MARKS, "swept", "seeds")], [[0.5, 0.7, 0.6, 3], [0.6, 0.8, 0.7, 3]])
    browser.run(CHOOSE, "param", "dropout")
    assert shown_by(browser, "swept")["xAxis"][0]["type"] == "value", "a rate's scale is not logarithmic"
    browser.quiet()


def test_the_same_trial_twice_is_one_seed(browser: Browser, tmp_path: Path) -> None:
    """A search may ask for it again; and one that was stopped early says nothing of the others' spread."""
    rows = seeds_run()
    again = max(row["trial"] for row in rows if "trial" in row) + 1
    first = next(row for row in rows if row["kind"] == "suggest")
    rows += [{**first, "trial": again}, start(again, 90), result(again, 1, 91, 0.1), end(again, 92)]
    stopped = {**first, "trial": again + 1, "config": {**first["config"], "seed": 99}}
    rows += [stopped, start(again + 1, 93), result(again + 1, 1, 94, 0.1), end(again + 1, 95, "stopped")]
    export(spec(), state(rows=rows), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    browser.run(CHOOSE, "param", "depth")
    assert np.allclose([mark[1:] for mark in browser.run(MARKS, "swept", "seeds")], [[0.5, 0.7, 0.6, 3], [0.6, 0.8, 0.7, 3]])
    browser.quiet()


TOOLTIP = """
const option = echarts.getInstanceByDom(document.querySelector('.chart[data-chart=swept]')).getOption();
const of = option.series.find(({name}) => name === 'seeds');
return of.tooltip.formatter({value: ['<img src=x>', 0, 1, 0.5, 3]});
"""


def test_a_text_that_was_searched_is_text_in_the_page(browser: Browser, results: Path) -> None:
    assert "&lt;img src=x&gt;: " in browser.run(TOOLTIP)


def test_a_run_whose_trials_all_failed(browser: Browser, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"kind": "session", "time": T0}]
    for trial in (1, 2):
        rows += [suggest(trial, 1, dropout=trial / 10), start(trial, 1), result(trial, 1, 2, 0.5), end(trial, 3, "failed", "diverged: no")]
    rows += [suggest(3, 1, dropout=0.5), start(3, 1), end(3, 3, "failed", "diverged: at once")]
    export(spec(), state(rows=rows), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    shown = browser.run("return document.querySelector('table.trials').textContent")
    assert shown.count("failed") == 3
    assert shown.count("diverged: ") == 3
    browser.quiet()


ENDS = """
const [chart, component] = arguments;
const model = echarts.getInstanceByDom(document.querySelector(`.chart[data-chart=${chart}]`)).getModel();
return model.queryComponents({mainType: component}).map((axis) => axis.axis.scale.getExtent());
"""


TICKS = """
const model = echarts.getInstanceByDom(document.querySelector(`.chart[data-chart=${arguments[0]}]`)).getModel();
return model.getComponent('yAxis').axis.scale.getTicks().map(({value}) => value);
"""


@pytest.mark.parametrize(
    ("figure", "accuracy", "accuracies"),
    [("accuracy", 0.97, [0.8, 1]), ("accuracy", 1.0, [0.8, 1]), ("accuracy", 0.0, [0, 0.2]), ("loss", 0.97, [1.2, 1.4])],
)
def test_the_axes_of_one_trial(browser: Browser, tmp_path: Path, figure: str, accuracy: float, accuracies: list[float]) -> None:
    """An accuracy ends at 1, and its 4 s of training begin at 0; its loss is 1.25."""
    rows = [{"kind": "session", "time": T0}, suggest(1, 1), start(1, 1), result(1, 1, 9, accuracy, train_accuracy=accuracy), end(1, 10)]
    export(spec(), state(rows=rows), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    browser.run(CHOOSE, "metric", figure)
    assert [mark["value"] for mark in browser.run(MARKS, "cost", "trials")] == [[4, accuracy if figure == "accuracy" else 1.25]]
    assert browser.run(ENDS, "cost", "xAxis") == [[0, 5]]
    assert browser.run(ENDS, "cost", "yAxis") == browser.run(ENDS, "swept", "yAxis") == [accuracies]
    assert browser.run(ENDS, "parallel", "parallelAxis") == [[0, 5], accuracies]
    steps = {round(after - before, 6) for before, after in pairwise(browser.run(TICKS, "swept"))}
    assert steps == {0.05}, "none is shorter than another"
    if figure == "accuracy":
        assert browser.run(ENDS, "validation", "yAxis") == browser.run(ENDS, "train", "yAxis") == [accuracies]
    browser.quiet()


def test_the_axes_of_one_trial_that_a_filter_leaves(browser: Browser, results: Path) -> None:
    """Of two: a rate of dropout of 0.3 in between of 0 and 0.5, and back to both."""
    browser.run(CHOOSE, "param", "dropout")
    both = [browser.run(ENDS, chart, axis) for chart in ("swept", "cost") for axis in ("xAxis", "yAxis")]
    browser.run(FILTER, "dropout>0.2")
    assert [mark["trial"] for mark in browser.run(MARKS, "swept", "trials")] == [1]
    assert browser.run(ENDS, "swept", "xAxis") == [[0, 0.5]]
    assert browser.run(ENDS, "swept", "yAxis") == [[0.6, 0.8]]
    browser.run(FILTER, "")
    assert [browser.run(ENDS, chart, axis) for chart in ("swept", "cost") for axis in ("xAxis", "yAxis")] == both
    browser.quiet()


def test_it_says_whose_curves_are_left_out(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.core.charts.MOST_CURVES", 2)
    export(spec(), state(rows=seeds_run()), tmp_path)
    write_report(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    browser.draw_all()
    shown = browser.run("return document.querySelector('.shown').textContent")
    assert shown == "6 of 6 trials; curves of the best 2 by validation accuracy alone"
    assert len(browser.run(MARKS, "validation", "best, validation")) == 1


def test_a_thousand_trials_of_a_hundred_epochs(browser: Browser, tmp_path: Path) -> None:
    write_run(tmp_path, 1000, 100)
    storage = RunStorage(str(tmp_path / "runs"), RUN)
    export(storage.spec(), read_state(storage), tmp_path)
    page = tmp_path / "report.html"
    began = time.monotonic()
    write_report(tmp_path, page)
    assert time.monotonic() - began < 30
    assert page.stat().st_size < 15_000_000
    browser.open(page)
    browser.draw_all()
    assert 0.1 < browser.page_seconds() < 3, "all charts drawn"
    assert len(browser.run(MARKS, "validation", "other trials")) == 999
    assert len(browser.run(TRIALS_SHOWN)) == 200
    told = browser.run("return document.querySelector('.told').textContent")
    assert told == "A click on a header sorts. The first 200 of 1,000. The best by validation stands out."
    browser.quiet()
