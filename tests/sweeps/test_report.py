"""The report: its figures are those of the Parquet, to the last digit, and it is whole in itself."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from data_prep import BadInput
from sweeps.core.report import write_report
from sweeps.core.results import export
from sweeps.core.study_table import WIDE, study_rows
from sweeps.core.tables import AVERAGES, BEST_MODELS, CLASS_REPORTS, CONFUSIONS, LAYERS, MISTAKES, SCORES, SPLITS
from tests.sweeps.conftest import Sweeps
from tests.sweeps.runs import JOURNAL, PIXEL, RUN, T0, end, evaluated, evaluation, result, spec, start, state, suggest

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
Table = list[list[str]]


class Page(HTMLParser):
    """`tables[section]`: its tables as rows of cells, what a cell shows; `exact[section]`: the same, but figures with all their digits."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tables: dict[str, list[Table]] = {}
        self.exact: dict[str, list[Table]] = {}
        self.text: dict[str, str] = {}
        self.section, self.in_cell = "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section":
            self.section = given["id"] or ""
        for found in (self.tables, self.exact):
            tables = found.setdefault(self.section, [])
            if tag == "table" and "trials" not in (given.get("class") or ""):  # that one a script fills
                tables.append([])
            elif tag == "tr":
                tables[-1].append([])
            elif tag in ("td", "th"):
                tables[-1][-1].append("")
        self.in_cell = self.in_cell or tag in ("td", "th")
        if tag == "data" and self.in_cell:
            self.exact[self.section][-1][-1][-1] = given["value"] or ""

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data
        if self.in_cell:
            self.tables[self.section][-1][-1][-1] += data
            cell = self.exact[self.section][-1][-1]
            cell[-1] = cell[-1] or data


def page(results: Path) -> Page:
    write_report(results, results / "report.html")
    return Page((results / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def read(results: Path, table: str, run: str = RUN) -> list[dict[str, Any]]:
    frame = pd.read_parquet(results / table).astype({"run": str})
    return [{str(name): value for name, value in row.items()} for row in frame[frame["run"] == run].to_dict("records")]


def with_odd_figures(classes: int = 10) -> dict[str, Any]:
    """An evaluation whose figures have all their digits, and differ."""
    made = evaluation(2, 2, 160)
    for n, split in enumerate(made["splits"].values(), 1):
        split |= {"loss": n / 7, "accuracy": 1 / (n + 1 / 3), "top5_accuracy": 1 - n / 17}
    for n, average in enumerate(made["test_averages"].values(), 1):
        average |= {"precision": n / 13, "recall": n / 19, "f1": n / 23}
    made["classes"] = [
        {"class": n, "name": f"n{n:08d}", "precision": n / 211, "recall": 1 / (n + 3), "f1": n / 307, "support": 50 + n}
        for n in range(classes)
    ]
    return made


@pytest.mark.parametrize("classes", [10, 200])
def test_every_figure_is_the_parquets(results: Path, classes: int) -> None:
    export(spec(), state(with_odd_figures(classes)), results)
    made = page(results)
    figures, averages, each, pairs, layers = made.exact["run-1"]
    (best,) = read(results, BEST_MODELS)
    assert figures[1:] == [
        [split, *(str(best[f"{prefix}_{name}"]) for name in ("images", "accuracy", "top5_accuracy", "loss"))]
        for prefix, split in SPLITS.items()
    ]
    assert averages[1:] == [
        [average, *(str(best[f"test_{score}_{average}"]) for score in SCORES), str(best["test_images"])] for average in AVERAGES
    ]
    names = ("class_name", *SCORES, "support")
    rows = sorted(read(results, CLASS_REPORTS), key=lambda row: row["f1"])
    assert each == [["class", "precision", "recall", "F1", "support"], *([str(row[n]) for n in names] for row in rows)]
    (wrong,) = (row for row in read(results, CONFUSIONS) if row["class_index"] != row["predicted_index"])
    assert pairs[1:] == [[wrong["class_name"], wrong["predicted_name"], str(wrong["images"]), f"{30 / 59:.4f}"]]
    assert len(each) == 1 + classes
    columns = ("number", "name", "kind", "output_shape", "parameters", "trainable_parameters", "inputs")
    assert layers[1:] == [[str(row[name]) for name in columns] for row in read(results, LAYERS)]


def test_figures_as_they_are_shown(results: Path) -> None:
    export(spec(), state(with_odd_figures()), results)
    shown = page(results).tables["run-1"]
    assert shown[0][3] == ["test", "540", "0.3000", "0.8235", "0.4286"]
    assert shown[1][1] == ["micro", "0.0769", "0.0526", "0.0435", "540"]
    assert shown[4][3] == ["3", "first", "Conv2D", "8 x 8 x 16", "2,320", "2,320", "stem"]


def test_the_table_of_best_models(results: Path) -> None:
    export(spec("a"), evaluated(), results)
    export(spec("b", "depth"), state(), results)
    made = page(results)
    (table,) = made.tables["best-models"]
    rows = [dict(zip(table[0], row, strict=True)) for row in table[1:]]
    assert [row["run"] for row in rows] == ["b", "a"], "by sweep, then by run"
    assert [rows[1][f"{split} accuracy"] for split in ("train", "validation", "test")] == ["0.9500", "0.9000", "0.8500"]
    assert (rows[1]["published test accuracy"], rows[1]["settings searched"]) == ("0.1756", "dropout 0.3, depth 1")
    assert (rows[0]["test accuracy"], rows[0]["validation accuracy"]) == ("-", "0.7000")
    assert '<a href="#run-1">b</a>' in made.html
    assert re.search(r'<section id="run-1"[^>]*>\s*<h2>b</h2>', made.html)


def test_the_reference_study(tmp_path: Path) -> None:
    """Written by a version without layers; the page says so."""
    assert write_report(REFERENCE, tmp_path / "report.html") == 13
    made = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    (table,) = made.tables["study-1"]
    assert table == [list(WIDE), *([show(row) for show in WIDE.values()] for row in study_rows(REFERENCE, "reference"))]
    assert len(made.tables["best-models"][0]) == 14
    best = {row["run"]: row for row in pd.read_parquet(REFERENCE / BEST_MODELS).astype({"run": str}).to_dict("records")}
    sections = [section for section in made.tables if section.startswith("run-")]
    assert len(sections) == 13
    for section in sections:
        run = re.search(rf'id="{section}"[^>]*>\s*<h2>(.*?)</h2>', made.html)
        assert run
        assert made.exact[section][0][3][2] == str(best[run[1]]["test_accuracy"])
        assert "No architecture: the model was measured by a version that did not record it." in made.text[section]


def test_the_picture_is_in_it(results: Path) -> None:
    export(spec(), evaluated(), results)
    (svg,) = re.findall(r"<svg.*?</svg>", page(results).html, re.DOTALL)
    assert len(list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}rect"))) == 7


def test_where_the_best_model_comes_from(results: Path) -> None:
    export(spec(versions={"keras": "3.15.1", "ray": "2.60.0"}), evaluated(), results)
    told = page(results).text["run-1"]
    assert re.search(r"time\s*12 s for this trial, 1 min 20 s for the run\s*commit\s*0{40}\s*versions\s*keras 3.15.1, ray 2.60.0", told)


def searched(trials: int, accuracy: Callable[[float], float]) -> list[dict[str, Any]]:
    """The journal of a search whose outcome goes by dropout alone."""
    rows: list[dict[str, Any]] = [{"kind": "session", "time": T0}]
    for trial in range(1, trials + 1):
        rows += [suggest(trial, trial, dropout=trial / 100, depth=1 + trial % 2), start(trial, trial)]
        rows += [result(trial, 1, trial, accuracy(trial / 100)), end(trial, trial)]
    return rows


def test_what_decided(results: Path) -> None:
    export(spec(), state(rows=searched(40, lambda dropout: 1 - dropout)), results)
    made = page(results)
    settings = made.tables["run-1"][1]
    assert [row[0] for row in settings] == ["setting", "dropout", "depth"]
    assert float(settings[1][1]) > 1
    assert float(settings[2][1]) < 0.1
    assert "from the settings of 40 trials" in made.text["run-1"]
    assert "Of trials that it has not seen it explains 0.9" in made.text["run-1"]


def test_nothing_decided(results: Path) -> None:
    export(spec(), state(rows=searched(40, lambda dropout: (dropout * 7919) % 1)), results)
    assert "it explains next to nothing" in page(results).text["run-1"]


def test_few_trials_tell_nothing_of_importance(results: Path) -> None:
    export(spec(), state(rows=searched(9, lambda dropout: 1 - dropout)), results)
    assert "What decided" not in page(results).html


def test_what_it_gets_wrong(results: Path) -> None:
    export(spec(), evaluated(), results)
    made = page(results)
    (row,) = read(results, MISTAKES)
    assert f"data:image/png;base64,{b64encode(row['png']).decode()}" in made.html
    caption = "8 0.9900is 9 0.0100"
    assert caption in made.text["run-1"]
    assert made.tables["run-1"][3][1] == ["9", "8", "30", "0.5556"]


def test_a_model_that_is_never_wrong(results: Path) -> None:
    made = evaluation(2, 2, 160) | {"confusion": [[n, n, 54] for n in range(10)], "mistakes": []}
    export(spec(), state(made), results)
    found = page(results)
    assert found.tables["run-1"][3][1] == ["none is taken for another"]
    assert "Wrong, and sure of it" not in found.html


def test_a_journal_from_before_there_was_a_confusion_matrix(results: Path) -> None:
    made = {name: value for name, value in evaluation(2, 2, 160).items() if name not in ("confusion", "mistakes")}
    export(spec(), state(made), results)
    assert "What is taken for what" not in page(results).html
    assert read(results, CONFUSIONS) == read(results, MISTAKES) == []


def test_layers_without_a_graph(results: Path) -> None:
    made = evaluation(2, 2, 160)
    made["layers"] = [{**row, "inputs": [], "output_shape": None} for row in made["layers"]]
    export(spec(), state(made), results)
    found = page(results)
    assert "<svg" not in found.html
    assert "No picture: this model does not tell which layer reads which." in found.text["run-1"]
    assert found.tables["run-1"][4][3][3] == "-"


def test_runs_without_figures(results: Path) -> None:
    export(spec("a"), state(rows=JOURNAL[:3]), results)
    export(spec("b"), state(), results)
    made = page(results)
    assert "No trial has a result yet." in made.text["run-1"]
    assert "not evaluated yet" in made.text["run-2"]
    assert len(made.tables["run-2"]) == 1
    assert made.tables["run-2"][0][3] == ["test", "-", "-", "-", "-"]


def test_a_run_whose_trials_all_failed_shows_why(results: Path) -> None:
    rows = [*JOURNAL[:3], result(1, 1, 2, 0.5), end(1, 3, "failed", "diverged: train_loss is nan in epoch 2")]
    export(spec(), state(rows=rows), results)
    made = page(results)
    assert "No model: every trial that had a result has failed. The table of all trials says why." in made.text["run-1"]
    assert 'class="trials"' in made.html
    assert 'data-chart="validation"' in made.html


def test_it_needs_no_network_and_names_are_text(results: Path) -> None:
    made = evaluation(2, 2, 160)
    made["classes"][0] |= {"name": "<script>alert(1)</script>", "f1": 0.0}
    made["layers"][0]["name"] = '"><img>'
    export(spec(), state(made), results)
    found = page(results)
    assert "<script>alert" not in found.html
    assert found.tables["run-1"][2][1][0] == "<script>alert(1)</script>"
    assert "default-src 'none'" in found.html, "the browser itself refuses any request"
    own = re.sub(r'<script (id="library"|type="text/plain")[^>]*>.*?</script>', "", found.html, flags=re.DOTALL)
    assert '"><img>' not in own
    assert re.findall(r'<img src="(.*?)"', own) == [f"data:image/png;base64,{PIXEL}"]
    without_namespace = own.replace('xmlns="http://www.w3.org/2000/svg"', "")
    without_pictures = re.sub(r'src="data:image/png;base64,[^"]*"', "", without_namespace)
    assert not re.search(r"https?:|//[a-z]|\bsrc=|<link|@import|url\(", re.sub(r"(?m)^ *// .*$", "", without_pictures))
    assert "prefers-color-scheme: dark" in found.html


def test_again_is_the_same(results: Path) -> None:
    export(spec(), evaluated(), results)
    assert page(results).html == page(results).html


def test_the_command(sweeps: Sweeps, tmp_path: Path) -> None:
    export(spec(), evaluated(), tmp_path / "results")
    assert sweeps("report") == (0, "1 run from results written to results/report.html\n", "")
    assert sweeps("report", "--out", "new/page.html") == (0, "1 run from results written to new/page.html\n", "")
    assert (tmp_path / "new" / "page.html").read_text() == (tmp_path / "results" / "report.html").read_text()
    export(spec("other"), evaluated(), tmp_path / "results")  # the page in the results disturbs nothing


@pytest.mark.parametrize("there", [False, True])
def test_no_results(sweeps: Sweeps, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "there").mkdir()
    text = "a report is of runs in a results folder, but 'there' has none: give another --results, or `sweeps export RUN` to it first"
    assert sweeps("report", "--results", "there") == (2, "", f"error: {text}\n")
    assert not (tmp_path / "there" / "report.html").exists()


@pytest.mark.parametrize(("out", "reason"), [("folder", "Is a directory"), ("file/report.html", "File exists|Not a directory")])
def test_a_page_that_cannot_be_written(sweeps: Sweeps, tmp_path: Path, out: str, reason: str) -> None:
    export(spec(), evaluated(), tmp_path / "results")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    code, shown, err = sweeps("report", "--out", out)
    assert (code, shown) == (2, "")
    assert re.fullmatch(rf"error: --out names a file that can be written, but '{out}' cannot \(({reason})\): give another\n", err)
    assert not list((tmp_path / "folder").iterdir())


def test_a_damaged_table(results: Path) -> None:
    export(spec(), evaluated(), results)
    (file,) = (results / LAYERS).rglob("*.parquet")
    file.write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"results are whole Parquet files, but .* cannot be read"):
        write_report(results, results / "report.html")
