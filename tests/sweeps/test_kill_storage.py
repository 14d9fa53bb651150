"""A run whose disk is full, for real: it stops, loses nothing, and goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.needs import cannot
from tests.sweeps.test_kill import SECONDS, SMALL, SWEEP, Machine, epochs

pytestmark = pytest.mark.kill

# A checkpoint takes some 0.5 MB, and three of each trial are kept.
WORDS = ["run", "mine.py", "--epochs", "6", "--samples", "4", *SMALL]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        cannot(f"only root can mount a small disk: run this test as root ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, data_root: Path, small_disk: Path) -> None:
    calm, full = (Machine(tmp_path / name, data_root) for name in ("calm", "full"))
    for machine in (calm, full):
        (machine.folder / "mine.py").write_text(SWEEP)
    calm.run(*WORDS, "--run-name", "run")
    (full.folder / "runs").symlink_to(small_disk)
    process = full.start(*WORDS, "--run-name", "run")
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, out + err
    assert "stopped: a checkpoint cannot be written (No space left on device); make room, or see that the storage is there\n" in out
    assert out.endswith("interrupted; everything reported is kept: go on with `sweeps resume run`\n")
    assert "Traceback" not in err
    before = full.state("run")
    assert before.count("failed") == 0
    assert 0 < epochs(before) < 24
    assert "failed" not in set(pd.read_parquet(full.folder / "results" / "trials")["status"])
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    full.run("resume", "run")
    pd.testing.assert_frame_equal(full.results("run"), calm.results("run"), check_exact=True)
    best = [pd.read_parquet(machine.folder / "results" / "best_models") for machine in (calm, full)]
    timed = ["run_seconds", "train_seconds"]
    pd.testing.assert_frame_equal(best[0].drop(columns=timed), best[1].drop(columns=timed), check_exact=True)
