"""Bad input ends with exit 2 and one line before any work; the rest of the command line is tested where runs are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from data_prep import source_names
from sweeps.core.launch import local_gpus
from sweeps.core.parquet import MOVE
from sweeps.core.results import export
from sweeps.core.sweep import sweep_names
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from trainables import get_trainable, trainable_names

SETTINGS = ", ".join(sorted(get_trainable("cnn").config.model_fields))
SWEEP_NAMES = ", ".join(sweep_names())


def a_file(path: Path) -> None:
    (path / "file").write_text("")


def an_empty_sweep(path: Path) -> None:
    (path / "mine.py").write_text("question = 'q'\n")


def a_sweep_that_exits(path: Path) -> None:
    (path / "mine.py").write_text("import sys\nsys.exit(0)\n")


def a_result(path: Path) -> None:
    export(runs.spec(), runs.evaluated(), path / "results")


def a_file_for_a_table(path: Path) -> None:
    (path / "results").mkdir()
    (path / "results" / "trials").write_text("")


def other_results(path: Path) -> None:
    folder = path / "results" / "trials" / "sweep=a" / "run=b"
    folder.mkdir(parents=True)
    pd.DataFrame({"trial_id": [1]}).to_parquet(folder / "part-0.parquet")


def a_run(path: Path) -> None:
    from sweeps.core.storage import RunStorage

    RunStorage(str(path / "runs"), "one").create(runs.spec("one"))


def a_cut_archive(path: Path) -> None:
    (path / "tiny.zip").write_bytes(b"PK\x03\x04 and no more")


def a_misspelt_sweep(path: Path) -> None:
    (path / "mine.py").write_text("from sweeps import Sweep\nSWEEP = Sweep(question='q', trainable='cnn', spce={})\n")


def a_misspelt_study(path: Path) -> None:
    (path / "mine.py").write_text("from sweeps import Study\nSWEEP = Study(question='q', prts=())\n")


def one_class(path: Path) -> None:
    from PIL import Image

    (path / "photos" / "cats").mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path / "photos" / "cats" / f"{number}.png")


def nothing(path: Path) -> None:
    """The folder stays empty."""


_RESULTS_OF_ANOTHER = f"a run's results stay its own, but 'results' has a run {runs.RUN!r} {{}}"
_NOT_A_DIRECTORY = "Cannot list directory '{here}/file'. Detail: [errno 20] Not a directory: give another --storage"

Given = Callable[[Path], None]

BAD_INPUT: list[tuple[Given, list[str], str]] = [
    (nothing, ["runn"], "No such command 'runn'. Did you mean 'run'? See `sweeps --help`."),
    (nothing, ["run"], "Missing argument 'SWEEP'. See `sweeps run --help`."),
    (
        nothing,
        ["run", "dropout", "--smples", "4"],
        "No such option: --smples (Possible options: --samples, --seeds, --set) See `sweeps run --help`.",
    ),
    (nothing, ["best"], "Missing argument 'RUN'. See `sweeps best --help`."),
    (
        a_misspelt_sweep,
        ["plan", "mine.py"],
        "sweep 'mine.py' has no setting 'spce': did you mean 'space'?",
    ),
    (
        a_misspelt_study,
        ["plan", "mine.py"],
        "sweep 'mine.py' has no setting 'prts': did you mean 'parts'?",
    ),
    (
        nothing,
        ["doctor", "--cluster", "nope.yaml"],
        "a cluster file is a file that can be read, but 'nope.yaml' is not (No such file or directory): give the path of one, such as cluster.yaml",
    ),
    (nothing, ["run", "dropuot"], "there is no sweep 'dropuot': did you mean dropout?"),
    (nothing, ["run", "vit"], f"there is no sweep 'vit': use one of {SWEEP_NAMES}, or the path of a .py file that defines SWEEP"),
    (
        nothing,
        ["run", "a" * 300],
        f"there is no sweep {'a' * 300!r}: use one of {SWEEP_NAMES}, or the path of a .py file that defines SWEEP",
    ),
    (
        nothing,
        ["run", "a" * 300 + "/b.py"],
        f"there is no file {'a' * 300 + '/b.py'!r}: give the path of a Python file that defines SWEEP",
    ),
    (an_empty_sweep, ["run", "mine"], "there is no sweep 'mine': did you mean mine.py?"),
    (nothing, ["run", "mine.py"], "there is no file 'mine.py': give the path of a Python file that defines SWEEP"),
    (
        an_empty_sweep,
        ["run", "mine.py"],
        "mine.py must define SWEEP = Sweep(...), but it defines nothing of that name: add it (README, section 'Your own sweep')",
    ),
    (nothing, ["run", "dropout", "--set", "droput=0.5"], f"trainable 'cnn' has no setting 'droput': use one of {SETTINGS}"),
    (nothing, ["run", "dropout", "--set", "dropout"], "--set takes key=value, but got 'dropout': write for example --set depth=3"),
    (nothing, ["run", "dropout", "--set", "=1"], "--set takes key=value, but got '=1': write for example --set depth=3"),
    (nothing, ["run", "dropout", "--set", "dropout=1"], "trainable 'cnn': dropout must be less than 1, but got 1: give another dropout"),
    (
        nothing,
        ["run", "dropout", "--set", "dropout=-0.1"],
        "trainable 'cnn': dropout must be greater than or equal to 0, but got -0.1: give another dropout",
    ),
    (
        nothing,
        ["run", "dropout", "--set", "dropout=lots"],
        "trainable 'cnn': dropout must be a valid number, unable to parse string as a number, but got 'lots': give another dropout",
    ),
    (
        nothing,
        ["run", "dropout", "--set", "depth=2.5"],
        "trainable 'cnn': depth must be a valid integer, got a number with a fractional part, but got 2.5: give another depth",
    ),
    (nothing, ["run", "dropout", "--set", "seed=3"], "the seed is not a setting but an option: give --seed N"),
    (
        nothing,
        ["run", "dropout", "--seed", "-1"],
        "trainable 'cnn': seed must be greater than or equal to 0, but got -1: give another seed",
    ),
    (
        nothing,
        ["run", "dropout", "--epochs", "0"],
        "trainable 'cnn': epochs must be greater than or equal to 1, but got 0: give another epochs",
    ),
    (nothing, ["run", "dropout", "--seeds", "0"], "--seeds is a number of seeds, at least 1, but got 0: give another"),
    (nothing, ["plan", "dropout", "--seeds", "-2"], "--seeds is a number of seeds, at least 1, but got -2: give another"),
    (
        nothing,
        ["run", "dropout", "--seed", "4294967294", "--seeds", "3"],
        "seeds are below 4294967296, but --seed 4294967294 --seeds 3 ends at 4294967296: lower one of them",
    ),
    (nothing, ["run", "dropout", "--samples", "0"], "--samples is a number of trials, at least 1, but got 0: give another"),
    (nothing, ["run", "dropout", "--parallel", "0"], "--parallel is a number of trials at a time, at least 1, but got 0: give another"),
    (nothing, ["plan", "study", "--parallel", "-2"], "--parallel is a number of trials at a time, at least 1, but got -2: give another"),
    (
        nothing,
        ["run", "autokeras", "--set", "hyperparameters=3"],
        "trainable 'autokeras_search': hyperparameters must be a valid dictionary, but got 3: give another hyperparameters",
    ),
    (
        nothing,
        ["run", "autokeras", "--set", "space=huge"],
        "trainable 'autokeras_search': space must be 'sized' or 'stock', but got 'huge': give another space",
    ),
    (
        nothing,
        ["run", "autokeras", "--set", "patience=0"],
        "trainable 'autokeras_search': patience must be greater than or equal to 1, but got 0: give another patience",
    ),
    (
        nothing,
        ["run", "dropout", "--gpus", "inf"],
        "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got inf: give another",
    ),
    (
        nothing,
        ["run", "dropout", "--gpus", "nan"],
        "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got nan: give another",
    ),
    (
        nothing,
        ["run", "dropout", "--gpus", "99"],
        f"a trial runs on one machine, but --gpus 99 is more than the {local_gpus()} GPUs of this one: lower --gpus",
    ),
    (
        nothing,
        ["run", "dropout", "--cpus", "999"],
        f"a trial runs on one machine, but --cpus 999 is more than the {os.cpu_count()} cores of this one: lower --cpus",
    ),
    (
        nothing,
        ["run", "dropout", "--address", "there"],
        "--address is auto or the host:port of a running Ray cluster, but got 'there': give one of these, or leave it out",
    ),
    (
        nothing,
        ["run", "dropout", "--address", "127.0.0.1:1"],
        "--address is that of a running Ray cluster, but '127.0.0.1:1' is not ([Errno 111] Connection refused): start one, or leave --address out",
    ),
    (nothing, ["run", "dropout", "--storage", ""], "--storage is given a value or left out, but got '': do one of these"),
    (
        nothing,
        ["run", "dropout", "--set", "depth=yes"],
        "trainable 'cnn': depth must be a number or a text, but got True: give another depth",
    ),
    (
        nothing,
        ["run", "dropout", "--set", "depth=2024-13-45"],
        "trainable 'cnn': depth must be a valid integer, unable to parse string as an integer, but got '2024-13-45': give another depth",
    ),
    (
        a_sweep_that_exits,
        ["run", "mine.py"],
        "mine.py must run as Python, but got SystemExit: 0: mend that line",
    ),
    (
        nothing,
        ["plan", "my sweep.py"],
        "a sweep's file name starts with a letter and has at most 120 letters, digits, '.', '_' and '-', but got 'my sweep.py': rename it",
    ),
    (
        a_result,
        ["run", "dropout", "--run-name", runs.RUN],
        _RESULTS_OF_ANOTHER.format("already: give another --run-name or --results folder"),
    ),
    (a_file_for_a_table, ["run", "dropout"], "a table of the results is a folder, but 'results/trials' is a file: " + MOVE),
    (a_file, ["status", "--storage", "file"], "the storage must be one that can be read, but 'file' gave " + _NOT_A_DIRECTORY),
    (a_file, ["status", "one", "--storage", "file"], "the storage must be one that can be read, but 'file' gave " + _NOT_A_DIRECTORY),
    (nothing, ["run", "dropout", "--cpus", "0"], "--cpus is a number of cores a trial, at least 1, but got 0: give another"),
    (nothing, ["run", "dropout", "--gpus", "-1"], "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got -1: give another"),
    (
        nothing,
        ["run", "dropout", "--gpus", "1.5"],
        "--gpus is a part of a GPU, 0 to 1, or a whole number of them, but got 1.5: give another",
    ),
    (
        nothing,
        ["run", "dropout", "--time-budget", "3 hours"],
        "a time budget is a number above 0 and a unit (s, m, h or d), but got '3 hours': write for example 3h",
    ),
    (
        nothing,
        ["run", "dropout", "--time-budget", "0s"],
        "a time budget is a number above 0 and a unit (s, m, h or d), but got '0s': write for example 3h",
    ),
    (
        nothing,
        ["run", "dropout", "--run-name", "2026"],
        "a run's name starts with a letter and has at most 120 letters, digits, '.', '_' and '-', but got '2026': give another name",
    ),
    (
        a_run,
        ["run", "dropout", "--run-name", "one"],
        "a new run needs a new name, but there is a run 'one' in runs: resume it, or give another --run-name",
    ),
    (
        a_file,
        ["run", "dropout", "--storage", "file"],
        "the storage must be writable, but 'file' is not (File exists): give another --storage",
    ),
    (
        nothing,
        ["run", "dropout", "--storage", "ftp://there/runs"],
        "a storage is a folder or a URI that pyarrow reads (s3://...), but 'ftp://there/runs' is not: Unrecognized filesystem type in URI: "
        "ftp://there/runs",
    ),
    (
        a_file,
        ["run", "dropout", "--results", "file"],
        "results go to a folder that can be written, but 'file' cannot (File exists): give another --results folder",
    ),
    (
        other_results,
        ["run", "dropout"],
        "results/trials/sweep=a/run=b/part-0.parquet has column trial_id of type int64, but this version writes string: "
        "give another --results folder, or move the old one away",
    ),
    (nothing, ["resume", "one"], "there is no run 'one' in runs: it holds no runs; give --storage, or start one by `sweeps run`"),
    (nothing, ["status", "one"], "there is no run 'one' in runs: it holds no runs; give --storage, or start one by `sweeps run`"),
    (a_run, ["export", "two"], "there is no run 'two' in runs: there is one"),
    (a_run, ["best", "one"], "a best model needs an epoch that was reported, but one has none yet: see `sweeps status one`"),
    (nothing, ["data", "digits", "--size", "0"], "size must be a whole number of pixels from 1 to 2048, but got 0: use 32 or 64"),
]


@pytest.mark.parametrize(("given", "words", "text"), BAD_INPUT, ids=[" ".join(words) or "nothing" for _, words, _ in BAD_INPUT])
def test_bad_input_is_one_line_and_exit_2(
    given: Given, words: list[str], text: str, sweeps: Sweeps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--address" in words:
        # A Ray that this process has already, as with other tests', is used whatever it says.
        monkeypatch.delitem(sys.modules, "ray", raising=False)
    given(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if path.name != ".lock")
    code, out, err = sweeps(*words)
    assert err == f"error: {text.replace('{here}', str(tmp_path))}\n"
    assert (code, out) == (2, "")
    left = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - set(before) if path.name != ".lock"}
    assert left <= {"results", "runs"}, "no data set was prepared"
    assert not list(tmp_path.rglob("journal*")), "no run was started"


DATA_BAD_INPUT: list[tuple[Given, list[str]]] = [
    (nothing, ["data", "imagenet"]),
    (nothing, ["run", "dropout", "--data", "imagenet"]),
    (nothing, ["data", "images:nowhere"]),
    (nothing, ["run", "dropout", "--data", "images:nowhere"]),
    (nothing, ["data", "tiny-imagenet", "--source", "nowhere.zip"]),
    (nothing, ["data", "fashion-mnist", "--source", "nowhere"]),
    (a_cut_archive, ["data", "tiny-imagenet", "--source", "tiny.zip"]),
    (one_class, ["run", "dropout", "--data", "images:photos"]),
    (nothing, ["run", "dropout", "--set", "classes=11", "--set", "size=16"]),
    (nothing, ["run", "dropout", "--set", "train_fraction=0.999", "--set", "size=16"]),
]


@pytest.mark.parametrize(("given", "words"), DATA_BAD_INPUT, ids=[" ".join(words) for _, words in DATA_BAD_INPUT])
def test_bad_data_is_one_line_and_exit_2(given: Given, words: list[str], sweeps: Sweeps, tmp_path: Path) -> None:
    """The texts are asserted in tests/data_prep."""
    given(tmp_path)
    code, _, err = sweeps(*words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert ", but " in err
    assert not list(tmp_path.rglob("journal*")), "no run was started"


def test_no_words_show_the_help(sweeps: Sweeps) -> None:
    code, out, err = sweeps()
    assert (code, err) == (0, "")
    assert all(f"  {verb} " in out for verb in ("list", "data", "plan", "run", "resume", "status", "export", "best", "report"))


def test_list_names_all_there_is(sweeps: Sweeps) -> None:
    code, out, _ = sweeps("list")
    assert code == 0
    for name in [*sweep_names(), *trainable_names(), *(name for name, _ in source_names())]:
        assert f"{name} " in out


def test_data_twice_does_nothing_the_second_time(sweeps: Sweeps, tmp_path: Path) -> None:
    code, out, _ = sweeps("data", "digits", "--size", "16")
    assert code == 0
    (folder,) = (path for path in (tmp_path / "data").iterdir() if path.is_dir())
    assert f"digits: 1797 images, 10 classes, 16 px: {folder.relative_to(tmp_path)}\n" in out
    made = (folder / "images.npy").stat().st_mtime_ns
    assert sweeps("data", "digits", "--size", "16")[0] == 0
    assert (folder / "images.npy").stat().st_mtime_ns == made


def test_plan_says_what_a_run_would_do(sweeps: Sweeps, tmp_path: Path) -> None:
    code, out, _ = sweeps("plan", "dropout", "--samples", "4", "--epochs", "7", "--data", "digits")
    assert code == 0
    assert "trials     4, by tpe, first dropout=0.25; dropout=0.0; dropout=0.5\n" in out
    assert "epochs     at most 7 a trial, 28 in all; asha" in out
    assert "time       not known: no run of cnn on as many images of digits in runs yet\n" in out
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


def test_a_plan_counts_the_repeats(sweeps: Sweeps) -> None:
    _, out, _ = sweeps("plan", "dropout", "--samples", "8", "--epochs", "10", "--seed", "5", "--seeds", "3")
    assert "repeats    6 more trials: the 3 best configurations again with seeds 6 to 7, in full; the best mean is chosen\n" in out
    assert "epochs     at most 10 a trial, 140 in all; asha" in out
    _, out, _ = sweeps("plan", "dropout", "--samples", "1", "--epochs", "10", "--seeds", "2")
    assert "repeats    1 more trial: the best configuration again with seed 1, in full; the best mean is chosen\n" in out
    assert "repeats" not in sweeps("plan", "dropout", "--seeds", "1")[1]
    assert sweeps("plan", "dropout", "--seed", "4294967293", "--seeds", "3")[0] == 0


FINAL_FIT = "final fit  of the best, on train and validation, for as many epochs as its best; after the budget where there is one\n"


@pytest.mark.parametrize(
    ("words", "cores", "line"),
    [
        ([], 8, "resources  1 core and 0 GPUs a trial\n"),
        ([], 16, "resources  1 core and 0 GPUs a trial; 8 trainings at a time on 16 cores: --cpus 2 uses them\n"),
        (["--samples", "1"], 4, "resources  1 core and 0 GPUs a trial; 1 training at a time on 4 cores: --cpus 4 uses them\n"),
        (["--samples", "1", "--cpus", "4"], 4, "resources  4 cores and 0 GPUs a trial\n"),
        (["--parallel", "3"], 8, "resources  1 core and 0 GPUs a trial; 3 trainings at a time on 8 cores: --cpus 2 uses them\n"),
    ],
)
def test_the_plan_tells_of_idle_cores(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch, words: list[str], cores: int, line: str) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    code, out, err = sweeps("plan", "dropout", "--gpus", "0", *words)
    assert (code, err) == (0, "")
    assert line in out


def test_the_plan_of_autokeras(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    code, out, _ = sweeps("plan", "autokeras", "--gpus", "0")
    assert code == 0
    assert out == (
        "autokeras: Does AutoKeras find a better network?\n"
        "trainable  autokeras_search on digits at 32 px\n"
        f"data       prepared first, from scikit-learn {version('scikit-learn')}\n"
        "trials     100, by autokeras\n"
        "epochs     at most 1000 a trial, 100000 in all; a trial ends after 10 epochs without a better one\n"
        f"{FINAL_FIT}"
        "at a time  1\n"
        "budget     3 h 0 min\n"
        "resources  1 core and 0 GPUs a trial\n"
        "shared     the prepared images, by all trials of a node; the workers' processes, one trial after another\n"
        "time       not known: no run of autokeras_search on as many images of digits in runs yet\n"
    )


def own_sweep(folder: Path, space: str, searcher: str = "grid", **fixed: object) -> None:
    (folder / "own.py").write_text(
        "from sweeps import Sweep, choice, integers, uniform\n"
        f"SWEEP = Sweep(question='q', trainable='cnn', space={{{space}}}, searcher={searcher!r}, scheduler='none', fixed={fixed!r}, samples=20)\n"
    )


ONE_TRAINING = "of these epochs: trials that differ in no more than their epochs are one training"
SHARED = "shared     the prepared images, by all trials of a node; the workers' processes, one trial after another"


@pytest.mark.parametrize(
    ("space", "searcher", "words", "epochs", "training"),
    [
        ("'epochs': choice(10, 25, 50, 100)", "grid", [], "at most 100 a trial, 185 in all", "100"),
        ("'epochs': choice(10, 25, 50, 100)", "grid", ["--seeds", "3"], "at most 100 a trial, 535 in all", "300"),
        ("'epochs': choice(10, 25, 50, 100)", "grid", ["--samples", "2"], "at most 25 a trial, 35 in all", "25"),
        ("'epochs': choice(5, 10), 'depth': choice(1, 2, 3)", "grid", [], "at most 10 a trial, 45 in all", "30"),
        ("'depth': choice(1, 2, 2)", "grid", [], "at most 20 a trial, 60 in all", "40"),
        ("'epochs': integers(5, 10)", "random", [], "at most 10 a trial, 200 in all", "at most 10"),
        ("'epochs': integers(5, 10), 'depth': choice(1, 2)", "tpe", ["--seeds", "2"], "at most 10 a trial, 230 in all", "at most 40"),
        ("'epochs': integers(5, 10), 'dropout': uniform(0, 0.5)", "random", [], "at most 10 a trial, 200 in all", None),
    ],
)
def test_a_plan_counts_what_is_trained(
    sweeps: Sweeps, tmp_path: Path, space: str, searcher: str, words: list[str], epochs: str, training: str | None
) -> None:
    own_sweep(tmp_path, space, searcher)
    code, out, _ = sweeps("plan", "own.py", *words)
    assert code == 0
    lines = out.splitlines()
    assert f"epochs     {epochs}" in lines
    assert [line for line in lines if line.startswith("training ")] == ([f"training   {training} {ONE_TRAINING}"] if training else [])
    assert SHARED + ("; a training, by the trials that are its first epochs" if training else "") in lines
    assert not [line for line in lines if line.startswith("apart")]


def test_a_plan_says_what_is_trained_apart(sweeps: Sweeps, tmp_path: Path) -> None:
    own_sweep(tmp_path, "'epochs': choice(5, 10)", schedule="one_cycle")
    lines = sweeps("plan", "own.py")[1].splitlines()
    because = "it goes by the final count of epochs, so each is a training of its own"
    assert f"apart      trials with schedule one_cycle: {because}" in lines
    assert "epochs     at most 10 a trial, 15 in all" in lines
    assert SHARED in lines
    own_sweep(tmp_path, "'epochs': choice(5, 10), 'schedule': choice('constant', 'cosine', 'linear')")
    lines = sweeps("plan", "own.py")[1].splitlines()
    assert f"training   40 {ONE_TRAINING}" in lines
    assert f"apart      trials with schedule cosine or linear: {because}" in lines
    own_sweep(tmp_path, "'epochs': choice(5, 10), 'schedule': choice('constant', 'cosine')", "random")
    assert f"training   at most 40 {ONE_TRAINING}" in sweeps("plan", "own.py")[1].splitlines()


def test_a_plan_with_other_limits(sweeps: Sweeps) -> None:
    words = ["plan", "autokeras", "--parallel", "2", "--time-budget", "90s", "--set", "final_fit=false", "--set", "patience=null"]
    lines = sweeps(*words, "--samples", "5")[1].splitlines()
    assert "epochs     at most 1000 a trial, 5000 in all" in lines
    assert ("at a time  2" in lines, "budget     1 min 30 s" in lines) == (True, True)
    assert not [line for line in lines if line.startswith("final fit")]
    out = sweeps("plan", "dropout", "--set", "final_fit=true", "--set", "patience=4", "--parallel", "3")[1]
    assert (
        "in all; a trial ends after 4 epochs without a better one; asha stops all but the best 1 in 3 after 6 epochs and each time" in out
    )
    assert FINAL_FIT in out
    assert "at a time  3\n" in out
    plain = sweeps("plan", "dropout")[1]
    assert not [line for line in plain.splitlines() if line.split("  ")[0] in ("final fit", "at a time", "budget")]


def test_a_plan_knows_the_speed_of_earlier_runs(sweeps: Sweeps, tmp_path: Path) -> None:
    from sweeps.core.journal import Journal
    from sweeps.core.storage import RunStorage

    for number, (name, gpus) in enumerate({"one": 0.0, "on-a-gpu": 1.0}.items()):
        storage = RunStorage(str(tmp_path / "runs"), name)
        storage.create(runs.spec(name, dataset_source="digits", gpus_per_trial=gpus))
        os.utime(f"{storage.folder}/run.json", (number, number))
        journal = Journal(storage)
        journal.append("session", workers=2)
        for row in runs.JOURNAL[1:4]:
            journal.append(row["kind"], **{key: value for key, value in row.items() if key not in ("kind", "time")})
    _, out, _ = sweeps("plan", "depth", "--gpus", "0", "--samples", "2", "--epochs", "10", "--set", "size=8")
    assert "time       at most about 40 s of training on 2 workers (4.00 s an epoch, as measured in one)\n" in out
    found = json.loads(sweeps("plan", "depth", "--gpus", "0", "--samples", "2", "--epochs", "10", "--set", "size=8", "--json")[1])
    expected = [found[name] for name in ("expected_seconds", "expected_workers", "epoch_seconds", "measured_in")]
    assert expected == [40.0, 2, 4.0, "one"]
    for other in (["--set", "data_fraction=0.5"], ["--set", "images=900"]):
        words = ["plan", "depth", "--gpus", "0", "--samples", "2", "--epochs", "10", "--set", "size=8", *other]
        assert "time       not known: " in sweeps(*words)[1], other
    _, out, _ = sweeps("plan", "depth", "--gpus", "0", "--samples", "2", "--epochs", "10", "--set", "size=8", "--parallel", "1")
    assert "time       at most about 1 min 20 s of training on 1 worker (4.00 s an epoch, as measured in one)\n" in out
    own_sweep(tmp_path, "'epochs': choice(5, 10, 20)", size=8)
    _, out, _ = sweeps("plan", "own.py", "--gpus", "0")
    assert "time       at most about 1 min 20 s of training on 1 worker (4.00 s an epoch, as measured in one)\n" in out, (
        "20 epochs, in a row"
    )


def test_a_plan_for_scripts(sweeps: Sweeps, tmp_path: Path) -> None:
    """The figures of the plan that is printed; starts and writes nothing."""
    words = ["plan", "epochs", "--data", "digits", "--set", "size=16", "--cpus", "1", "--gpus", "0"]
    code, out, err = sweeps(*words, "--json")
    assert (code, err) == (0, "")
    found, text = json.loads(out), sweeps(*words)[1]
    what = ("sweep", "trainable", "data", "size", "data_prepared")
    assert [found[name] for name in what] == ["epochs", "alexnet", "digits", 16, False]
    assert f"trials     {found['trials']}, by {found['searcher']}, " in text
    assert f"epochs     at most {found['epochs_of_a_trial']} a trial, {found['epochs']} in all" in text
    assert f"training   {found['epochs_trained']} of these epochs" in text
    assert found["epochs_trained"] < found["epochs"]
    assert (found["repeats"], found["part"], found["bases"], found["cpus"], found["gpus"]) == (0, None, [], 1, 0)
    assert [found[name] for name in ("expected_seconds", "expected_workers", "epoch_seconds", "measured_in")] == [None] * 4
    assert not list(tmp_path.iterdir())


def test_a_plan_for_scripts_counts_repeats(sweeps: Sweeps) -> None:
    words = ["plan", "dropout", "--samples", "4", "--epochs", "5", "--seeds", "2", "--time-budget", "1h", "--parallel", "3"]
    found = json.loads(sweeps(*words, "--json")[1])
    assert [found[name] for name in ("trials", "repeats", "epochs", "time_budget_seconds", "parallel")] == [7, 3, 35, 3600, 3]


def test_a_studys_plan_for_scripts_is_a_list_of_its_parts(sweeps: Sweeps) -> None:
    words = ["plan", "study", "--data", "digits", "--json"]
    rows = json.loads(sweeps(*words)[1])
    assert len(rows) > 5
    assert len({row["part"] for row in rows}) == len(rows)
    assert {row["sweep"] for row in rows} == {"study"}
    # The data are not prepared; of 24 layers that are trained nothing is frozen.
    without = {row["part"] for row in rows if row["bases"] and row["features"] is None}
    assert without == {"fine-tune-24"}
    cuts = {row["part"]: row["features"] for row in rows}
    assert cuts["transfer"] == {"cuts": 1, "images": None, "bytes": None, "bytes_an_image": 1024, "fit": None}
    assert {row["features"] for row in rows if not row["bases"]} == {None}
    (of_transfer,) = ((row["bases"], row["bases_from"]) for row in rows if row["part"] == "transfer")
    assert of_transfer == (["half"], ["half (the newest run that fits, or trained first)"])
    code, out, err = sweeps("plan", "dropout", "--set", "dropout=1", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: trainable 'cnn': dropout must be less than 1, ")


def test_what_there_is_for_scripts(sweeps: Sweeps) -> None:
    code, out, err = sweeps("list", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [row["name"] for row in found["sweeps"]] == sweep_names()
    assert {"name": "dropout", "question": "How much dropout generalises best?"} in found["sweeps"]
    assert [row["name"] for row in found["trainables"]] == trainable_names()
    assert [(row["name"], row["summary"]) for row in found["data_sets"]] == source_names()


def test_the_version(sweeps: Sweeps) -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]
    assert sweeps("--version") == (0, f"sweeps {declared}\n", "")


def test_status_without_runs(sweeps: Sweeps) -> None:
    assert sweeps("status") == (0, "no runs in runs\n", "")


def test_a_damaged_run_does_not_hide_the_others(sweeps: Sweeps, tmp_path: Path) -> None:
    a_run(tmp_path)
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / "run.json").write_text("{}")
    code, out, _ = sweeps("status")
    assert code == 0
    assert "one" in out
    assert "unreadable: run.json must be one that this version wrote" in " ".join(out.split())
    assert sweeps("plan", "dropout")[0] == 0


def test_python_m_sweeps_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "sweeps", "run", "nope"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no sweep 'nope'")
