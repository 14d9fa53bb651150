"""A real study in processes of its own, killed in its first and in its second half, then resumed: the numbers of an uninterrupted one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import psutil
import pytest

from sweeps.core.storage import run_names
from tests.sweeps.test_kill import Machine, epochs, kill_all, until

pytestmark = pytest.mark.kill

PARTS = ("small", "tuned")
STUDY = """from sweeps import Part, Study, Sweep, log_uniform
SEARCH = {"space": {"learning_rate": log_uniform(1e-4, 1e-2)}, "searcher": "random", "scheduler": "none", "samples": 2}
SWEEP = Study(
    question="How far does each get?",
    settings={"base": "half", "size": 16},
    parts=(
        Part(name="small", sweep=Sweep(question="How far?", trainable="cnn", fixed={"filters": 4, "depth": 1}, **SEARCH)),
        Part(name="tuned", sweep=Sweep(question="How far?", trainable="fine_tune", fixed={"dense_units": 8}, **SEARCH)),
    ),
)
"""
EPOCHS = 12
WORDS = ["run", "mine.py", "--epochs", str(EPOCHS), "--data", "digits", "--run-name", "one"]


def base_of(machine: Machine) -> str:
    """The run that the study trained by itself; none until it has begun."""
    return next((run for run in run_names(str(machine.folder / "runs")) if run.startswith("base-")), "base-to-come")


def machine_with_the_study(folder: Path, data_root: Path) -> Machine:
    machine = Machine(folder, data_root)
    (machine.folder / "mine.py").write_text(STUDY)
    return machine


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Machine:
    """Where the study was run without interruption."""
    machine = machine_with_the_study(tmp_path_factory.mktemp("calm"), data_root)
    machine.run(*WORDS)
    return machine


def test_kill_9_while_the_base_trains(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    killed = machine_with_the_study(tmp_path / "killed", data_root)
    process = killed.start(*WORDS)
    until(lambda: epochs(killed.state(base_of(killed))) >= 1, "the base did not come so far")
    # It does not come to its end while the other part's workers start.
    psutil.Process(killed.state(base_of(killed)).trials[1].epochs[1]["pid"]).suspend()
    killed.wait("one.small", lambda state: epochs(state) >= 1)
    kill_all(process)
    base = base_of(killed)
    before = {run: journal(killed, run) for run in (base, "one.small")}
    assert epochs(killed.state(base)) < EPOCHS, "in the middle of it"
    out = killed.run("resume", "one")

    assert run_names(str(killed.folder / "runs")).count(base) == 1
    assert len(run_names(str(killed.folder / "runs"))) == 3, "no second base was trained"
    assert f"{base}: 1 trials so far, going on with: 00001\n" in out
    for run, rows in before.items():
        assert journal(killed, run)[: len(rows)] == rows, "what was reported is kept"
    assert_as_uninterrupted(killed, calm)
    assert "nothing to do" in killed.run("resume", "one")


def test_kill_9_while_the_part_on_the_base_trains(calm: Machine, tmp_path: Path, data_root: Path) -> None:
    killed = machine_with_the_study(tmp_path / "killed", data_root)
    process = killed.start(*WORDS)
    killed.wait("one.tuned", lambda state: epochs(state) >= 1)
    kill_all(process)
    base = base_of(killed)
    before = {run: journal(killed, run) for run in (base, "one.small", "one.tuned")}
    assert epochs(killed.state("one.tuned")) < 2 * EPOCHS, "in the middle of it"
    out = killed.run("resume", "one")

    assert sorted(run_names(str(killed.folder / "runs"))) == sorted(before), "no second base was trained"
    for run in (base, "one.small"):
        assert journal(killed, run) == before[run], "not so much as opened again"
    assert journal(killed, "one.tuned")[: len(before["one.tuned"])] == before["one.tuned"], "what was reported is kept"
    assert re.search(r"^one\.tuned: \d trials so far, going on with: 0000", out, re.MULTILINE)
    assert_as_uninterrupted(killed, calm)


def assert_as_uninterrupted(killed: Machine, calm: Machine) -> None:
    """Equal curves and an equal base, and each epoch reported once."""
    base = base_of(killed)
    for run in (base, "one.small", "one.tuned"):
        results = [(row["trial"], row["epoch"]) for row in journal(killed, run) if row["kind"] == "result"]
        trials = (1,) if run == base else (1, 2)
        assert sorted(results) == [(trial, epoch) for trial in trials for epoch in range(1, EPOCHS + 1)], "each epoch was reported once"
        theirs = base_of(calm) if run == base else run
        pd.testing.assert_frame_equal(killed.results(run), calm.results(theirs), check_exact=True)
    copies = [next((machine.folder / "runs" / "one.tuned" / "bases").iterdir()) for machine in (calm, killed)]
    assert len({weights(copy) for copy in copies}) == 1


def journal(machine: Machine, run: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (machine.folder / "runs" / run / "journal.jsonl").read_text().splitlines()]


def weights(file: Path) -> bytes:
    """All that a network knows; the file itself holds the time of its making."""
    import keras

    return b"".join(array.tobytes() for array in keras.models.load_model(file, compile=False).get_weights())
