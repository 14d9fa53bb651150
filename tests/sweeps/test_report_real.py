"""The report of a real study, in a real browser: every section is there, every filter works, figures are the Parquet's, and it is quiet."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.sweeps.browser import Browser, browsing
from tests.sweeps.conftest import Sweeps
from tests.sweeps.screenshots import PICTURES, STUDY, take

pytestmark = pytest.mark.usefixtures("ray")

SMALL = ["--set", "images=300", "--set", "filters=4", "--samples", "3", "--seeds", "2"]
SECTIONS = [
    "Trials",
    "When and where",
    "All trials",
    "Classification report, on test",
    "What is taken for what, on test",
    "Wrong, and sure of it",
    "Architecture",
]
# Of every chart of a run's trials its marks: (chart, series, trial, value).
MARKS = """
const section = document.getElementById(arguments[0]);
return [...section.querySelectorAll('.chart')].flatMap((box) => echarts.getInstanceByDom(box).getOption().series.flatMap(({name, data}) =>
  data.map((mark) => [box.dataset.chart, name, mark.trial ?? null, JSON.parse(JSON.stringify(mark.value ?? mark.coords ?? mark))])));
"""
# Every control is used once, and back.
CLICK = """
const section = document.getElementById(arguments[0]), tell = (of, event) => of.dispatchEvent(new Event(event, {bubbles: true}));
const shown = [];
const look = () => shown.push(section.querySelector('.shown').textContent);
for (const select of section.querySelectorAll('.filters select')) {
  for (const option of [...select.options].reverse()) { select.value = option.value; tell(select, 'change'); look(); }
}
for (const box of section.querySelectorAll('.filters input[type=checkbox]')) { box.click(); look(); box.click(); }
const filter = section.querySelector('input[name=filter]');
filter.value = 'trial=00001'; tell(filter, 'input'); look();
filter.value = ''; tell(filter, 'input');
for (const button of section.querySelectorAll('th button')) button.click();
for (const details of section.querySelectorAll('details')) details.open = !details.open;
look();
return shown;
"""


def test_the_report_of_a_real_study(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(STUDY)
    words = ["run", "small.py", "--data", "digits", "--data-root", str(data_root), "--run-name", "small", *SMALL]
    code, _, err = sweeps(*words)
    assert (code, err) == (0, "")
    results = tmp_path / "results"
    with browsing() as browser:
        browser.open(results / "report.html")
        browser.draw_all()
        runs = dict(
            browser.run("return [...document.querySelectorAll('section.run')].map((one) => [one.querySelector('h2').textContent, one.id])")
        )
        assert set(runs) == {"small.network", "small.epochs"}
        titles = browser.run("return [...document.querySelectorAll('h2')].map((title) => title.textContent)")
        assert titles == ["Best models", "Study small", *runs]
        for run, section in runs.items():
            assert_every_section(browser, section)
            assert_marks_are_the_parquets(browser, section, results, run)
            assert_every_filter_works(browser, section)
        browser.quiet()
        assert_pictures(browser, results / "report.html", tmp_path)
        browser.quiet()


def assert_every_section(browser: Browser, section: str) -> None:
    titles = browser.run(
        "return [...document.getElementById(arguments[0]).querySelectorAll('h3')].map((title) => title.textContent)", section
    )
    assert titles[0].startswith("Best model: trial 0")
    assert [title for title in titles[1:] if title != "What decided"] == SECTIONS
    images = browser.run(
        "return [...document.getElementById(arguments[0]).querySelectorAll('img')].map((one) => one.naturalWidth)", section
    )
    assert images
    assert set(images) == {32}


def assert_marks_are_the_parquets(browser: Browser, section: str, results: Path, run: str) -> None:
    marks = browser.run(MARKS, section)
    trials = pd.read_parquet(results / "trials").astype({"run": str}).query("run == @run").reset_index(drop=True)
    epochs = pd.read_parquet(results / "epochs").astype({"run": str}).query("run == @run").set_index(["trial_id", "epoch"])
    confusions = pd.read_parquet(results / "confusions").astype({"run": str}).query("run == @run")
    pairs = {(row.predicted_index, row.class_index): row.images for row in confusions.itertuples()}
    support = confusions.groupby("class_index")["images"].sum()
    known = {"cost", "swept", "parallel", "confusion"}
    some = [mark for mark in marks if (mark[0] in known and mark[1] != "seeds") or mark[1] == "other trials"]
    assert len(some) > 20
    for chart, name, trial, value in random.Random(0).sample(some, 10):
        row: Any = trials.loc[trial] if trial is not None else None
        if chart == "confusion":
            assert value[2] == pairs[value[0], value[1]] / support[value[1]]
        elif name == "other trials":
            column = "val_accuracy" if chart == "validation" else "train_accuracy"
            assert dict(map(tuple, value)) == pytest.approx(epochs.loc[row["trial_id"]][column].to_dict(), rel=1e-6)
        elif chart == "cost":
            assert value == [row["train_seconds"], row["val_accuracy"]]
        else:
            assert value[-1] == row["val_accuracy"]


def assert_every_filter_works(browser: Browser, section: str) -> None:
    *shown, one, last = browser.run(CLICK, section)
    count = last.split()[0]
    assert one == f"1 of {count} trials"
    assert last == f"{count} of {count} trials"
    assert all(text.endswith(f" of {count} trials") for text in shown)
    assert len(shown) >= 4


def assert_pictures(browser: Browser, page: Path, folder: Path) -> None:
    """As README shows them."""
    for file, picture in zip(take(browser, page, folder), PICTURES, strict=True):
        assert file.stat().st_size < 500_000
        assert Image.open(file).size == (picture.width, picture.height)
        assert browser.run("return document.documentElement.scrollWidth") <= picture.width
