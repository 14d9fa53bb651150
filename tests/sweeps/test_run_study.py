"""Real studies and bases on real Ray, as small as shows it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sweeps.core.journal import read_state
from sweeps.core.storage import RunStorage, run_names
from tests.sweeps.conftest import Sweeps

pytestmark = pytest.mark.usefixtures("ray")

STUDY = """from sweeps import Part, Study, Sweep, choice
GRID = {"searcher": "grid", "scheduler": "none"}
RATE = {"learning_rate": choice(1e-3, 1e-4)}
FIXED = {"dense_units": 8}
SWEEP = Study(
    question="How far does each get?",
    settings={"base": "half", "size": 16},
    parts=(
        Part(name="tuned", sweep=Sweep(
            question="How far does fine-tuning get?", trainable="fine_tune", space=RATE, fixed={**FIXED, "unfrozen_layers": 8},
            published="base=cifar10 unfrozen_layers=8", samples=2, **GRID)),
        Part(name="small", sweep=Sweep(
            question="How far does a small one get?", trainable="cnn", space=RATE, fixed={"filters": 4, "depth": 1}, samples=2, **GRID)),
        Part(name="frozen", sweep=Sweep(question="How far do features get?", trainable="transfer", space=RATE, fixed=FIXED, samples=2, **GRID)),
    ),
)
"""


def best_models(results: Path) -> pd.DataFrame:
    return pd.read_parquet(results / "best_models").set_index("run")


def test_a_study_from_start_to_table(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(STUDY)
    words = ["run", "mine.py", "--epochs", "1", "--samples", "1", "--seeds", "2", "--data", "digits", "--data-root", str(data_root)]
    code, out, err = sweeps(*words, "--run-name", "one")
    assert (code, err) == (0, "")
    (base,) = set(run_names("runs")) - {"one.tuned", "one.small", "one.frozen"}
    assert re.fullmatch(r"base-digits-\d{8}T\d{6}", base)
    assert run_names("runs")[:2] == [base, "one.small"], "the base first, beside the part that does not need it"
    lines = out.splitlines()
    assert lines[0] == "one: How far does each get? 3 parts, each a run"
    assert f"{base}: How good a base is this network? base on digits (901 images)" in lines
    assert "one.tuned: How far does fine-tuning get? fine_tune on digits (1797 images)" in lines
    assert lines.count(f"base half: the best model of {base}") == 2
    for run in ("small", "tuned", "frozen"):
        assert re.search(rf"^{run}: trial 00002 completed: learning_rate=0.001 seed=1: .*, 1 of 1 epochs$", out, re.MULTILINE)
    assert re.search(rf"^{base}: trial 00001 completed: no searched setting: ", out, re.MULTILINE)

    best = best_models(tmp_path / "results")
    assert set(best.index) == {base, "one.tuned", "one.small", "one.frozen"}
    assert dict(best["study"].dropna()) == {"one.tuned": "one", "one.small": "one", "one.frozen": "one"}
    assert dict(best["published_test_accuracy"].dropna()) == {"one.tuned": 0.2341, "one.small": 0.1756}
    assert best["published_setting"]["one.tuned"] == "base=cifar10 unfrozen_layers=8"
    assert dict(best["seeds"]) == {base: 1, "one.tuned": 2, "one.small": 2, "one.frozen": 2}
    assert bool(best["evaluated"].all())
    assert best["parameters"]["one.tuned"] == best["parameters"]["one.frozen"], "one base, cut alike, and heads of one width"
    trained = best["trainable_parameters"]
    assert trained["one.frozen"] < trained["one.tuned"] < best["parameters"]["one.tuned"]
    assert_both_have_a_copy_of_the_base(tmp_path / "runs", base)
    assert_the_table(out, best.loc[["one.tuned"]].iloc[0], tmp_path / "results")
    assert_again_nothing_changes(sweeps, out, base, tmp_path / "results")
    assert_a_file_is_a_base(sweeps, data_root, tmp_path)


def assert_both_have_a_copy_of_the_base(storage: Path, base: str) -> None:
    spec = json.loads((storage / base / "run.json").read_text())
    assert (spec["class_count"], spec["sweep"]["fixed"]["classes"], spec["study"]) == (5, 5, None), "it saw half of the classes"
    for run in ("one.tuned", "one.frozen"):
        (copy,) = (storage / run / "bases").iterdir()
        facts = json.loads((storage / run / "run.json").read_text())["bases"]["half"]
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == facts["sha256"]
        assert (facts["file"], facts["source"], facts["layers"], facts["parameters"]) == (copy.name, base, 24, 288_800)
        assert copy.stem == facts["sha256"][:12]


def table_of(out: str) -> str:
    """The study's table and what stands under it."""
    return out[re.search(r"^Study one *$", out, re.MULTILINE).start() :]  # type: ignore[union-attr]


END = "results: results  report: results/report.html  study: runs/one\n"


def assert_the_table(out: str, tuned: pd.Series[Any], results: Path) -> None:
    table = table_of(out)
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[0] for row in rows[:5]] == ["tuned", "small", "frozen", "base", "Accuracies"], "a study of one's own is not filled up"
    test = [f"{tuned['test_accuracy_mean']:.4f}", "±", f"{tuned['test_accuracy_std']:.4f}", "(2)"]
    assert rows[0][3:] == [*test, f"{tuned['parameters']:,}", "0.2341"]
    assert table.endswith(END)
    assert "\n## Study one\n\n| experiment |" in (results / "best_models.md").read_text()


def assert_again_nothing_changes(sweeps: Sweeps, out: str, base: str, results: Path) -> None:
    code, again, err = sweeps("best", "one")
    assert (code, err) == (0, "")
    assert again == table_of(out).removesuffix(END)
    status = [line.split() for line in sweeps("status", "one")[1].splitlines()]
    assert [row[:3] + row[-1:] for row in status[1:4]] == [[part, "2/2", "2", "finished"] for part in ("tuned", "small", "frozen")]
    assert status[4:] == [["finished"]]
    every = sweeps("status")[1]
    for run in (base, "one.tuned", "one.small", "one.frozen"):
        assert re.search(rf"^{re.escape(run)} .* finished$", every, re.MULTILINE)

    before = {path: path.read_bytes() for path in results.rglob("*.parquet")}
    shutil.rmtree(results)
    done = "one is finished: nothing to do. `sweeps best one` shows its table.\n"
    assert sweeps("resume", "one") == (0, done, ""), "its export was lost: that is made up for"
    code, out, _ = sweeps("export", "one")
    assert (code, out.splitlines()) == (0, [f"one.{part}: 2 trials, 2 epochs written to results" for part in ("tuned", "small", "frozen")])
    assert sweeps("export", base)[0] == 0
    assert {path: path.read_bytes() for path in results.rglob("*.parquet")} == before


def assert_a_file_is_a_base(sweeps: Sweeps, data_root: Path, here: Path) -> None:
    assert sweeps("best", "one.small", "--save", "small.keras")[0] == 0
    words = ["run", "transfer", "--data", "digits", "--set", "size=16", "--samples", "1", "--epochs", "1", "--set", "dense_units=8"]
    code, _, err = sweeps(*words, "--data-root", str(data_root), "--set", "base=small.keras", "--run-name", "two")
    assert (code, err) == (0, "")
    stored = RunStorage("runs", "two").spec().bases["small.keras"]
    # Blocks of 8 and 5 layers; the head, whose layers have no feature maps, is cut off.
    assert (stored.source, stored.layers) == (str(here / "small.keras"), 13)
    (here / "small.keras").unlink()
    assert sweeps("best", "two", "--save", "two.keras")[0] == 0, "it has its own copy"
    assert str(here) not in (here / "results" / "runs" / "sweep=transfer" / "run=two" / "run.json").read_text()


def test_a_run_on_a_run_keeps_what_it_needs(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    small = ["--data", "digits", "--data-root", str(data_root), "--set", "size=16", "--epochs", "1"]
    assert sweeps("run", "base", *small, "--run-name", "base-of-mine")[0] == 0
    words = ["run", "freeze_depth", *small, "--samples", "2", "--set", "dense_units=8", "--set", "base=base-of-mine", "--run-name", "one"]
    code, out, err = sweeps(*words)
    assert (code, err) == (0, "")
    assert "not trained yet" not in out
    trials = pd.read_parquet(tmp_path / "results" / "trials")
    trials = trials[trials["run"] == "one"].set_index("params_unfrozen_layers")
    assert list(trials["params_base"].unique()) == ["base-of-mine"]
    assert list(trials.index) == [24, 21]
    assert trials["parameters"].nunique() == 1
    head = 128 * 8 + 8 + 8 * 10 + 10
    # Without the first three of the base: convolution, activation, normalisation (its averages are not trained).
    assert dict(trials["trainable_parameters"]) == {24: head + 287_904, 21: head + 287_904 - (3 * 3 * 3 * 32 + 32) - 2 * 32}
    accuracies = trials["val_accuracy"]

    shutil.rmtree(tmp_path / "runs" / "base-of-mine")
    storage = RunStorage("runs", "one")
    journal = Path(storage.folder) / "journal.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    kept = [row for row in rows if row.get("trial") != 2 and row["kind"] != "evaluation"]
    journal.write_text("".join(json.dumps(row) + "\n" for row in kept))
    shutil.rmtree(storage.trial_checkpoints("00002"))
    assert sweeps("resume", "one")[0] == 0, "the second trial was lost, and starts from the run's own copy"
    resumed = pd.read_parquet(tmp_path / "results" / "trials")
    resumed = resumed[resumed["run"] == "one"].set_index("params_unfrozen_layers")
    pd.testing.assert_series_equal(resumed["val_accuracy"], accuracies, check_exact=True)
    code, out, err = sweeps("best", "one", "--save", "best.keras")
    assert (code, err) == (0, "")
    assert (tmp_path / "best.keras").is_file()
    assert read_state(storage).current_evaluation

    # Refused by what the network really has, before the run is there.
    words[words.index("one")] = "deeper"
    code, _, err = sweeps(*[word.replace("base-of-mine", "half") for word in words], "--set", "unfrozen_layers=25")
    assert err == "error: unfrozen_layers is at most the 24 layers of base 'half', but got 25: lower it\n"
    assert code == 2
    assert run_names("runs") == ["one"]


ON_VGG16 = ["base=vgg16", "classes=2", "images=200", "dense_units=8"]
VGG16 = ["run", "transfer", "--data", "digits", *(word for setting in ON_VGG16 for word in ("--set", setting))]


def test_imagenets_weights_without_a_network(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    words = [*VGG16, "--epochs", "1", "--samples", "1"]
    code, out, err = sweeps(*words)
    assert (code, err.count("\n")) == (2, 1), err
    before, after = (
        "error: the ImageNet weights of vgg16 are downloaded by Keras once, but that failed (",
        "): connect this machine, or give",
    )
    assert err.startswith(before), err
    assert err.endswith(f"{after} --set weights=FILE or --set weights=random\n")
    assert "Connection refused" in err
    assert run_names("runs") == []

    code, out, err = sweeps(*words, "--set", "weights=imagenet-or-random", "--run-name", "one")
    assert (code, err) == (0, "")
    assert "vgg16: random weights, since ImageNet's cannot be downloaded here: what comes of them says nothing about ImageNet's\n" in out
    spec = RunStorage("runs", "one").spec()
    assert spec.sweep.fixed["weights"] == "random"
    assert (spec.bases["vgg16"].source, spec.bases["vgg16"].file) == ("random", None)
    best = best_models(tmp_path / "results").loc["one"]
    assert best["params_weights"] == "random"
    assert best["parameters"] == 14_714_688 + 512 * 8 + 8 + 8 * 2 + 2


FAILING = """from sweeps import Part, Study, Sweep
ONE = {"space": {}, "searcher": "grid", "scheduler": "none", "samples": 1}
SWEEP = Study(
    question="How far does each get?",
    settings={"size": 16, "dense_units": 8},
    parts=(
        Part(name="broken", sweep=Sweep(question="How far?", trainable="transfer", fixed={"base": "mine.keras"}, **ONE)),
        Part(name="small", sweep=Sweep(question="How far?", trainable="cnn", fixed={"filters": 4, "depth": 1}, **ONE)),
        Part(name="frozen", sweep=Sweep(question="How far?", trainable="transfer", fixed={"base": "half"}, **ONE)),
    ),
)
"""


def test_a_part_that_cannot_be_begun_keeps_none_of_the_others(sweeps: Sweeps, data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FAILING)
    (tmp_path / "mine.keras").write_text("no network")
    words = ["--epochs", "1", "--data", "digits", "--data-root", str(data_root), "--run-name", "one"]
    code, out, err = sweeps("run", "mine.py", *words)
    assert (code, err) == (1, "")
    (failed,) = (line for line in out.splitlines() if line.startswith("failed: "))
    assert failed.startswith("failed: base 'mine.keras' must give features of images of 16 px, but: ")
    assert not RunStorage("runs", "one.broken").exists()
    best = best_models(tmp_path / "results")
    assert set(best["study"].dropna().index) == {"one.small", "one.frozen"}, "one of its own wave, and one of the next"
    assert bool(best["evaluated"].all())
    assert [line.split()[0] for line in table_of(out).splitlines()[2:5]] == ["small", "frozen", "base"]
    assert sweeps("status", "one")[1].endswith("not finished: `sweeps resume one` goes on with it\n")


def test_a_base_that_is_trained_first_is_of_the_runs_time(sweeps: Sweeps, data_root: Path) -> None:
    small = ["--data", "digits", "--data-root", str(data_root), "--set", "size=16", "--set", "dense_units=8", "--epochs", "1"]
    words = ["run", "transfer", *small, "--samples", "1", "--set", "base=half"]
    before = time.monotonic()
    code, out, err = sweeps(*words, "--time-budget", "10m", "--run-name", "one")
    assert (code, err) == (0, "")
    assert "base half: not trained yet" in out
    (base,) = (RunStorage("runs", run) for run in run_names("runs") if run != "one")
    left = RunStorage("runs", "one").spec().time_budget_seconds
    took = read_state(base).elapsed_seconds
    assert took > 0
    assert left is not None
    assert 600 - (time.monotonic() - before) < left < 600 - took

    # As if the base had been interrupted in its first epoch, which takes longer than the next run has.
    journal = Path(base.folder) / "journal.jsonl"
    rows = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(row for row in rows if json.loads(row)["kind"] in ("session", "suggest")))
    shutil.rmtree(base.trial_checkpoints("00001"))
    code, out, err = sweeps(*words, "--time-budget", "2s", "--run-name", "two")
    assert (code, err) == (0, "")
    assert f"base half: {base.run} is not finished, so that is done first" in out
    assert RunStorage("runs", "two").spec().time_budget_seconds == 1
