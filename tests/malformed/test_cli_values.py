"""Values on the command line that are out of range, of other types or of odd characters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.core.results import export
from sweeps.core.storage import RunStorage
from tests.malformed.conftest import Outcomes
from tests.sweeps import runs

BYTES = os.fsdecode(b"\xff\xfe")
HUGE = "9" * 400
DEEP = "[" * 2000 + "]" * 2000
LAUGHS = (
    "[&a [x,x,x,x,x,x,x,x,x]" + "".join(f", &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)) + "]"
)

PLAN: list[list[str]] = [
    *(["--samples", value] for value in ("0", "-1", "1.5", "nan", "", "1e3", BYTES, "٣x")),
    *(["--epochs", value] for value in ("0", "-5", HUGE, "100001", "ten")),
    *(["--seed", value] for value in ("-1", HUGE, "4294967296", "0x10", "None")),
    *(["--seeds", value] for value in ("0", HUGE, "one")),
    *(["--cpus", value] for value in ("0", "-1", HUGE, "two")),
    *(["--gpus", value] for value in ("-0.5", "nan", "-inf", "1e400", "half", "1.25")),
    *(["--parallel", value] for value in ("0", "-3", "all")),
    *(["--time-budget", value] for value in ("", "3", "-3h", "h", "0h", "nan", "infh", HUGE + "d", "1e3h", "3 h", "3h\n", "3h3m", BYTES)),
    *(["--cache-size", value] for value in ("", "-1GB", "GB", "20", "1e9GB", HUGE + "TB", "20 gb", BYTES)),
    *(["--data", value] for value in ("", ":", "digits:x", "images", "images:", "imagenet", "../digits", BYTES, "digits\n", "a" * 5000)),
    *(["--data", f"images:{value}"] for value in ("/dev/null", "/dev/zero", "~nobody-at-all", BYTES, "a" * 5000, "/etc/passwd")),
    *(["--storage", value] for value in ("", BYTES, "s4://a", "://", "file://here")),
    *(["--set", value] for value in ("", "=", "depth", "depth=", "=3", "colour=red", "seed=1", f"{BYTES}=1", "a b=c")),
    *(["--set", f"depth={value}"] for value in ("0", "-1", "2.5", ".nan", ".inf", HUGE, "three", "yes", "null", "~", "[1]", "{a: 1}", "0x", BYTES)),
    *(["--set", f"depth={value}"] for value in (DEEP, LAUGHS, "!!python/object/apply:os.system [touch sprung]", "*a", "2026-13-45", "&a [*a]")),
    *(["--set", f"dropout={value}"] for value in ("1", "-0.1", ".nan", "1e400", "0,5", "1/2")),
    *(["--set", f"learning_rate={value}"] for value in ("0", "-1", ".inf", "11", "1e-400")),
    *(["--set", f"augmentation={value}"] for value in ("flop", "1", "[flip]", BYTES, "")),
    ["--no-such-option"],
    ["--samples"],
    ["another", "argument"],
]  # fmt: skip


def written(words: list[str]) -> str:
    return " ".join(word if len(word) < 40 else f"{word[:20]}...{len(word)}" for word in words).encode("ascii", "backslashreplace").decode()


@pytest.mark.parametrize("words", PLAN, ids=written)
def test_plan_and_run_refuse(sweeps: Outcomes, no_start: None, words: list[str]) -> None:
    for verb in ("plan", "run"):
        if verb == "plan" and words[0] == "--storage":
            # What it reads there is nothing or refused; a run looks whether it can be written.
            sweeps.of(verb, "dropout", *words)
            continue
        assert len(sweeps.refused(verb, "dropout", *words)) < 12_000


@pytest.mark.parametrize(
    "words",
    [
        ["data", "digits", "--size", "0"],
        ["data", "digits", "--size", "-8"],
        ["data", "digits", "--size", "2049"],
        ["data", "digits", "--size", HUGE],
        ["data", "digits", "--source", "x"],
        ["data", "tiny-imagenet", "--source", ""],
        ["data", "tiny-imagenet", "--source", BYTES],
        ["data", "tiny-imagenet", "--source", "http://"],
        ["data", "tiny-imagenet", "--source", "http://[::1"],
        ["data", "tiny-imagenet", "--source", "http://host:0/x"],
        ["data", "tiny-imagenet", "--source", "http://host:99999/x"],
        ["data", "tiny-imagenet", "--source", "http://host/x#md5=1"],
        ["data", "tiny-imagenet", "--source", "http://host/a b"],
        ["data", "tiny-imagenet", "--source", "ftp://host/x"],
        ["data", "cifar10", "--source", "/dev/null"],
        ["data", "fashion-mnist", "--source", "/dev"],
        ["data", BYTES],
        ["data", "", "--root", ""],
        ["data"],
        [""],
        ["--", "run"],
        [BYTES],
        ["status", "../one"],
        ["status", ""],
        ["status", BYTES],
        ["status", "one", "--storage", BYTES],
        ["status", "--storage", "file"],
        ["export", "two"],
        ["export", "one/"],
        ["export", "one", "--results", "file"],
        ["best", "one"],
        ["best", "one", "--save", "model.h5"],
        ["best", "one", "--save", "/model"],
        ["resume", "two"],
        ["resume", "one", "--cache-size", "lots"],
        ["resume", "one", "--cache-size", HUGE + "TB"],
        *(["resume", "one", "--samples", value] for value in ("0", "+0", "-1", "+-1", "+", "1.5", HUGE, "٣x", BYTES, "3")),
        *(["resume", "one", "--epochs", value] for value in ("0", "-1", HUGE, "20", "x")),
        *(["resume", "one", "--time-budget", value] for value in ("3h", "none", "", HUGE + "h")),
        ["report", "--results", "nowhere"],
        ["report", "--results", "file"],
        ["report", "--out", "/dev/null/x"],
        ["report", "--out", "."],
    ],
    ids=written,
)  # fmt: skip
def test_others_refuse(sweeps: Outcomes, no_start: None, words: list[str]) -> None:
    (sweeps.here / "file").write_text("")
    RunStorage("runs", "one").create(runs.spec("one"))
    assert len(sweeps.refused(*words)) < 12_000


@pytest.mark.parametrize("words", [["--results", BYTES], ["--results", "\x1b[31m"], ["--results", "a\nb"]], ids=written)
def test_folders_of_odd_names_are_folders(sweeps: Outcomes, words: list[str]) -> None:
    RunStorage("runs", "one").create(runs.spec("one"))
    code, _, err = sweeps.of("export", "one", *words)
    assert (code, err) == (0, "")
    assert list(Path(words[1], "trials").rglob("*.parquet"))


def test_a_model_is_not_saved_over_a_folder(sweeps: Outcomes) -> None:
    storage = RunStorage("runs", "one")
    storage.create(runs.spec("one"))
    export(runs.spec("one"), runs.state(), Path("results"))
    sweeps.refused("best", "one", "--save", "results")
