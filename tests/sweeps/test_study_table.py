"""The table of a study: runs as a study makes them, exported."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sweeps import Study, uniform
from sweeps.core import published
from sweeps.core.results import export
from sweeps.core.space import Distribution
from sweeps.core.spec import StoredBase
from sweeps.core.study_table import FOOT, show_study, studies_markdown, study_markdown, study_rows
from sweeps.core.sweep import load_sweep
from tests.sweeps import runs
from tests.sweeps.runs import T0
from tests.sweeps.studies import a_part, a_sweep, ended

VGG16 = StoredBase(source="random", file=None, sha256=None, layers=18, parameters=14_714_688)


def base_of(run: str) -> StoredBase:
    return StoredBase(source=run, file="0123456789ab.keras", sha256="0" * 64, layers=24, parameters=288_800)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study of four parts, made in another order: one on random weights, one not finished, one that has not begun a trial; and other runs."""
    folder = tmp_path / "results"
    base = runs.spec(run="base-digits-1", sweep=a_sweep("base", {}), sweep_name="base")
    export(base, runs.state(rows=ended(base, {}, (0.8,))), folder)
    other = runs.spec(run="base-digits-2", sweep=a_sweep("base", {}), sweep_name="base")
    export(other, runs.state(rows=ended(other, {}, (0.7,))), folder)
    export(runs.spec(), runs.evaluated(), folder)
    space: dict[str, Distribution] = {"dropout": uniform(0, 0.5)}
    tuned = a_part("tuned", 3, a_sweep("fine_tune", fixed={"base": "half", "unfrozen_layers": 8}), bases={"half": base_of("base-digits-1")})
    export(tuned, runs.state(rows=ended(tuned, {"learning_rate": 1e-3}, (0.6, 0.7, 0.8))), folder)
    small = a_part("small", 1, a_sweep("cnn", space, fixed={"filters": 4}))
    export(small, runs.state(rows=ended(small, {"dropout": 0.25}, (0.9,))[:-1]), folder)
    vgg16 = a_part("vgg16", 2, a_sweep("transfer", fixed={"base": "vgg16", "weights": "random"}), bases={"vgg16": VGG16})
    export(vgg16, runs.state(rows=ended(vgg16, {"learning_rate": 1e-4}, (0.3,), parameters=15_000_000)), folder)
    waiting = a_part("waiting", 4, a_sweep("alexnet"))
    export(waiting, runs.state(rows=[{"kind": "session", "time": T0}]), folder)
    return folder


def test_rows_parts_in_their_order_then_bases_then_what_is_lacking(results: Path) -> None:
    rows = study_rows(results, "one")
    assert [row["part"] for row in rows] == ["small", "vgg16", "tuned", "waiting", "base", "autokeras_search", "inception"]
    there = {row["part"]: row for row in rows}
    assert [row["run"] for row in rows[:3]] == ["one.small", "one.vgg16", "one.tuned"]
    assert there["base"]["run"] == "base-digits-1", "only the one that a part starts from"
    assert [name for name, row in there.items() if row.get("random")] == ["vgg16"]
    assert there["small"]["settings"] == {"filters": 4, "dropout": 0.25}
    assert there["vgg16"]["settings"] == {"base": "vgg16", "weights": "random", "learning_rate": 1e-4}
    assert (there["small"]["evaluated"], there["small"]["test_accuracy"]) == (False, None)
    assert (there["tuned"]["seeds"], there["tuned"]["test_accuracy_mean"]) == (3, pytest.approx(0.7))
    assert "test_accuracy" not in there["waiting"]
    assert there["waiting"]["settings"] == {}
    assert there["autokeras_search"] == {"part": "autokeras_search", "published_test_accuracy": 0.3005, "published_setting": "3 hours"}


@pytest.mark.parametrize("damage", ["", "{}", '{"run": "base-digits-1"}', '{"run": "base-digits-1", "sweep": {"trainable": "base"}}'])
def test_a_damaged_run_json_of_a_base_leaves_it_out(results: Path, damage: str) -> None:
    """Else no run could be exported to this folder any more."""
    (file,) = results.glob("runs/sweep=base/run=base-digits-1/run.json")
    file.write_text(damage)
    assert [row["part"] for row in study_rows(results, "one")][:5] == ["small", "vgg16", "tuned", "waiting", "autokeras_search"]
    export(runs.spec(), runs.evaluated(), results)


def test_weights_are_shown_where_they_say_something(tmp_path: Path) -> None:
    """All parts have `weights`, but a base of our own does not use them."""
    fixed = {"base": "half", "weights": "imagenet"}
    spec = a_part("tuned", 1, a_sweep("fine_tune", fixed=fixed), bases={"half": base_of("gone")})
    export(spec, runs.state(rows=ended(spec, {"learning_rate": 1e-3}, (0.6,))), tmp_path)
    (row, *lacking) = study_rows(tmp_path, "one")
    assert row["settings"] == {"base": "half", "learning_rate": 1e-3}
    assert [row["part"] for row in lacking] == ["cnn", "autokeras_search", "alexnet", "inception", "base", "transfer"], (
        "the run of the base was deleted: no row, no error"
    )


def test_a_study_of_ones_own_is_not_filled_up(results: Path, tmp_path: Path) -> None:
    mine = a_part("small", 1, a_sweep("cnn"), sweep_name="mine")
    export(mine, runs.state(rows=ended(mine, {"learning_rate": 1e-3}, (0.9,))), tmp_path / "own")
    assert [row["part"] for row in study_rows(tmp_path / "own", "one")] == ["small"]


def test_markdown(results: Path) -> None:
    lines = study_markdown(results, "one").splitlines()
    assert lines[:2] == [
        "| experiment | settings | train accuracy | validation accuracy | test accuracy | parameters | trained | published test accuracy | of |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    assert lines[2:] == [
        "| small | filters 4, dropout 0.25 | 0.5000 | 0.5000 | - | 110,810 | 110,234 | 0.1756 | second result |",
        "| vgg16 * | base vgg16, weights random, learning_rate 0.0001 | 0.9500 | 0.9000 | 0.3000 | 15,000,000 | 110,234 | 0.1260 | base=vgg16 |",
        "| tuned | base half, unfrozen_layers 8, learning_rate 0.001 | 0.9500 | 0.9000 | 0.7000 ± 0.1000 (3) | 110,810 | 110,234 | - | - |",
        "| waiting | - | - | - | - | - | - | - | - |",
        "| base | - | 0.9500 | 0.9000 | 0.8000 | 110,810 | 110,234 | - | - |",
        "| autokeras_search | - | - | - | - | - | - | 0.3005 | 3 hours |",
        "| inception | - | - | - | - | - | - | 0.0042 | frozen base |",
    ]
    sections = studies_markdown(results)
    assert sections.startswith("\n## Study one\n\n| experiment |")
    assert FOOT in sections
    assert (results / "best_models.md").read_text().endswith(sections)
    assert studies_markdown(results / "nothing") == ""


def shown(results: Path, study: str) -> list[str]:
    """As on a terminal of 80 columns."""
    out = io.StringIO()
    show_study(results, study, Console(file=out, width=80))
    table, foot, rest = out.getvalue().partition(FOOT)
    assert (foot, rest) == (FOOT, "\n")
    return [line.rstrip() for line in table.splitlines()]


def test_the_screen(results: Path) -> None:
    assert shown(results, "one") == [
        "Study one",
        "part               train     val                 test  parameters  published",
        "small             0.5000  0.5000                    -     110,810     0.1756",
        "vgg16 *           0.9500  0.9000               0.3000  15,000,000     0.1260",
        "tuned             0.9500  0.9000  0.7000 ± 0.1000 (3)     110,810          -",
        "waiting                -       -                    -           -          -",
        "base              0.9500  0.9000               0.8000     110,810          -",
        "autokeras_search       -       -                    -           -     0.3005",
        "inception              -       -                    -           -     0.0042",
    ]


def test_the_whole_study_fits_80_columns(tmp_path: Path) -> None:
    """All of its parts with the widest figures there are, and with random weights."""
    _, study = load_sweep("study")
    assert isinstance(study, Study)
    for number, (part, sweep) in enumerate(study.sweeps({}), 1):
        spec = a_part(part, number, sweep, bases={"vgg16": VGG16} if sweep.fixed.get("base") in ("vgg16", "inception") else {})
        export(spec, runs.state(rows=ended(spec, {"learning_rate": 1e-3}, (0.8, 0.9, 1.0), parameters=24_105_960)), tmp_path)
    _, header, *lines = shown(tmp_path, "one")
    assert all("…" not in line and len(line) <= 80 for line in lines)
    own, lacking = lines[: len(study.parts)], lines[len(study.parts) :]
    assert [line.split("  ")[0].removesuffix(" *") for line in own] == [part.name for part in study.parts]
    assert all("0.9000 ± 0.1000 (3)  24,105,960" in line for line in own)
    assert [line.split()[0] for line in lacking] == ["base"]
    compared = {part.split()[0]: line.split()[-1] for part, line in zip(own, own, strict=True)}
    figures = {part.name: published.named(part.sweep.trainable, part.sweep.published) for part in study.parts if part.sweep.published}
    assert len(figures) == 8
    assert {part: compared[part] for part in figures} == {part: f"{figure.test_accuracy:.4f}" for part, figure in figures.items()}
    assert header.split() == ["part", "train", "val", "test", "parameters", "published"]
