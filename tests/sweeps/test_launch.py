"""Parts of the data: what cannot be split is refused before a run starts, for the smallest searched part, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data_prep import BadInput
from sweeps import Sweep, choice, uniform
from sweeps.core.launch import Resolved, RunOptions, local_gpus, places, prepare_data
from sweeps.core.space import Distribution
from tests.sweeps.conftest import Sweeps

TOO_SMALL = (
    "data_fraction must leave an image of each class, but 0.001 of 1132 training images are 1, and the classes need 10: use 0.0089 or more"
)


def resolved(space: dict[str, Distribution], **fixed: float) -> Resolved:
    sweep = Sweep(question="How much data?", trainable="cnn", space=space, fixed={"size": 8, **fixed}, searcher="random", scheduler="none")
    sweep.check()
    return Resolved(name="mine", sweep=sweep, data="digits", samples=1, size=8, seed=0, gpus=0, time_budget_seconds=None)


@pytest.mark.parametrize(
    ("space", "fixed", "text"),
    [
        ({}, {"data_fraction": 0.001}, TOO_SMALL),
        ({"data_fraction": choice(1.0, 0.001, 0.5)}, {}, TOO_SMALL),
        ({"data_fraction": choice(1.0, "1e-3", 0.5)}, {}, TOO_SMALL),
        ({"data_fraction": uniform(0.001, 1)}, {}, TOO_SMALL),
        (
            {"dropout": uniform(0, 1e-3)},
            {"images": 1798},
            "images must be at most the 1797 that there are, but got 1798: use 1797 or fewer",
        ),
        ({"data_fraction": choice(1.0, 0.01)}, {"classes": 2}, None),
        ({"data_fraction": uniform(0.02, 1)}, {"images": 1000}, None),
    ],
)
def test_parts_of_the_data(space: dict[str, Distribution], fixed: dict[str, float], text: str | None, tmp_path: Path) -> None:
    options = RunOptions(sweep="mine", data_root=tmp_path)
    if text is None:
        assert len(prepare_data(resolved(space, **fixed), options, None).labels) == 1797
        return
    with pytest.raises(BadInput) as caught:
        prepare_data(resolved(space, **fixed), options, None)
    assert str(caught.value) == text


def test_images_are_one_number_in_a_run() -> None:
    with pytest.raises(BadInput) as caught:
        resolved({"images": choice(100, 200)})
    assert str(caught.value) == (
        "'images' is one value in a run, but the sweep searches over it: move it to `fixed`, or start a run per value"
    )


def test_no_run_is_started(sweeps: Sweeps, tmp_path: Path) -> None:
    Path("mine.py").write_text(
        "from sweeps import Sweep, choice\n"
        'SWEEP = Sweep(question="How much?", trainable="cnn", space={"data_fraction": choice(1.0, 0.001)}, searcher="grid", scheduler="none",\n'
        '              samples=2, fixed={"size": 8})\n'
    )
    code, _, err = sweeps("run", "mine.py", "--data", "digits")
    assert (code, err) == (2, f"error: {TOO_SMALL}\n")
    assert not list(tmp_path.rglob("journal*"))


@pytest.mark.parametrize(("shown", "count"), [(None, 2), ("0,1", 2), ("1", 1), ("GPU-8f1c", 1), ("", 0), ("-1", 0), ("0,1,2", 2)])
def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch, shown: str | None, count: int) -> None:
    """Ray does not see them either, and would wait for one."""
    monkeypatch.setattr("pathlib.Path.glob", lambda folder, pattern: [folder / "nvidia0", folder / "nvidia1"])
    if shown is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert local_gpus() == count


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ""),
        ({"data_root": Path("elsewhere"), "samples": 3}, ""),
        ({"results": Path("my results"), "address": "auto"}, " --results 'my results' --address auto"),
        ({"storage": "s3://key:secret@bucket/runs?secret_key=x"}, " --storage 's3://***@bucket/runs?secret_key=***'"),
    ],
)
def test_what_a_further_command_has_to_be_told(given: dict[str, Any], told: str) -> None:
    """Pasted from the line that an interruption ends with, it goes on with the same run; a secret is left to who has it."""
    assert places(RunOptions(sweep="dropout", **given)) == told
