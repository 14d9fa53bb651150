"""The report: one HTML page over all runs in a results folder. Its figures come from the Parquet tables, its words from `templates/`.

A new section is a function here that reads rows, and a template that shows them."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pyarrow import fs

from data_prep import BadInput
from sweeps.core.best import COLUMNS, FOOT, NONE, all_rows, best_models_table, count, exported_runs, facts, part
from sweeps.core.charts import Charts, charts, packed_confusion, packed_study
from sweeps.core.picture import picture
from sweeps.core.screen import duration
from sweeps.core.study_table import FOOT as STUDY_FOOT
from sweeps.core.study_table import WIDE, studies, study_rows
from sweeps.core.tables import AVERAGES, CLASS_REPORTS, CONFUSIONS, LAYERS, MISTAKES, SCORES, SPLITS
from trainables.core import files

if TYPE_CHECKING:
    from markupsafe import Markup

Row = dict[str, Any]
REPORT: Final = "report.html"
TEMPLATES: Final = Path(__file__).with_name("templates")
MOST_PAIRS: Final = 20
# Of the best models' columns, what a page has room for; the sections have the rest.
BEST: Final = (
    "run",
    "trainable",
    "dataset",
    "settings searched",
    "train accuracy",
    "validation accuracy",
    "test accuracy",
    "test accuracy over seeds",
    "published test accuracy",
    "test F1, weighted",
    "parameters",
)


@dataclass(frozen=True)
class Table:
    """Cells as text; `numbers` says of each column whether it is one of numbers."""

    titles: list[str]
    rows: list[list[str]]

    @property
    def numbers(self) -> list[bool]:
        """Those of a table without rows, too."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.titles)
        return [all(map(_is_number, column)) for column in columns]


@dataclass(frozen=True)
class Run:
    """A run's section: its rows in the tables. `best` is None before its first result; `classes`, `layers`, `confusions` and `mistakes` are empty before
    the evaluation; `versions`: package -> version; `charts`: what is drawn, None where no trial is."""

    anchor: str
    sweep: str
    run: str
    question: str
    best: Row | None
    classes: list[Row]
    layers: list[Row]
    confusions: list[Row]
    mistakes: list[Row]
    versions: dict[str, str]
    charts: Charts | None

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(word, text)."""
        return [*facts(self.best), *_provenance(self.best, self.versions)] if self.best else []

    @property
    def confused(self) -> str:
        """What the confusion matrix draws (see `charts.packed_confusion`)."""
        return packed_confusion(self.confusions, [row["class_name"] for row in sorted(self.classes, key=lambda row: row["class_index"])])

    @property
    def pairs(self) -> list[Row]:
        """The classes that are most often taken for another, with the `part` of the class that is; MOST_PAIRS at most."""
        support = {row["class_index"]: row["support"] for row in self.classes}
        wrong = [row for row in self.confusions if row["class_index"] != row["predicted_index"] and row["class_index"] in support]
        wrong.sort(key=lambda row: (-row["images"], row["class_index"], row["predicted_index"]))
        return [{**row, "part": row["images"] / support[row["class_index"]]} for row in wrong[:MOST_PAIRS]]

    @property
    def picture(self) -> Markup | None:
        """Of the network; None where its layers are not known or no graph."""
        from markupsafe import Markup

        drawn = picture(self.layers)
        return None if drawn is None else Markup(drawn)  # its texts are escaped there


def write_report(results: Path, out: Path) -> int:
    """Write the page; how many runs are in it. BadInput when there is none, a table is damaged, or `out` cannot be written."""
    runs = _runs(results)
    if not runs:
        raise BadInput(
            f"a report is of runs in a results folder, but '{results}' has none: give another --results, or `sweeps export RUN` to it first"
        )
    text = _page(results, runs)
    try:
        if out.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        # A draft a process: runs that end at the same time write the same page.
        files.write(fs.LocalFileSystem(), str(out), text.encode())
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"--out names a file that can be written, but '{out}' cannot ({reason}): give another") from None
    return len(runs)


def _runs(results: Path) -> list[Run]:
    best = {(row["sweep"], row["run"]): row for row in best_models_table(results)}
    classes, layers, confusions, mistakes = (all_rows(results, table) for table in (CLASS_REPORTS, LAYERS, CONFUSIONS, MISTAKES))
    return [
        Run(
            anchor=f"run-{number}",
            sweep=sweep,
            run=run,
            question=spec.get("sweep", {}).get("question", ""),
            best=best.get((sweep, run)),
            classes=classes.get((sweep, run), []),
            layers=layers.get((sweep, run), []),
            confusions=confusions.get((sweep, run), []),
            mistakes=mistakes.get((sweep, run), []),
            charts=charts(
                results,
                f"sweep={quote(sweep, safe='')}",
                f"run={quote(run, safe='')}",
                spec.get("sweep", {}).get("space", {}),
                (best.get((sweep, run)) or {}).get("trial_id"),
            ),
            versions=spec.get("versions") or {},
        )
        for number, ((sweep, run), spec) in enumerate(exported_runs(results).items(), 1)
    ]


def _page(results: Path, runs: list[Run]) -> str:
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(part=part, count=count, code=_code, base64=lambda content: b64encode(content).decode())
    best = [run.best for run in runs if run.best]
    return made.get_template("report.html").render(
        best_models=Table([*BEST], [[COLUMNS[title](row) for title in BEST] for row in best]),
        best_foot=FOOT,
        # By name: a cell that names a run leads to its section.
        anchors={run.run: run.anchor for run in runs},
        studies={
            study: {"table": Table([*WIDE], [[show(row) for show in WIDE.values()] for row in rows]), "packed": packed_study(rows)}
            for study in studies(results)
            for rows in [study_rows(results, study)]
        },
        study_foot=STUDY_FOOT,
        runs=runs,
        # Not a template: its braces are its own.
        library=Markup((TEMPLATES / "echarts.min.js").read_text(encoding="utf-8")),
        splits=SPLITS,
        scores=SCORES,
        averages=AVERAGES,
    )


def _provenance(best: Row, versions: dict[str, str]) -> list[tuple[str, str]]:
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    return [
        ("time", f"{duration(best['train_seconds'] or 0)} for this trial, {duration(best['run_seconds'] or 0)} for the run"),
        ("commit", best["git_commit"] or NONE),
        *([("versions", told)] if told else []),
    ]


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"-|[\d.,]+( ± [\d.]+ \(\d+\))?", cell) is not None


def _code(text: str) -> Markup:
    """Escaped, with what stands in `backquotes` as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape(text))))
