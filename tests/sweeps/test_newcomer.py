"""A seventh experiment as a newcomer adds it (CONTRIBUTING.md): three new files, no other line, and the contract suites take it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[2]
# What the experiment is made of, and what tests it. As it is now: a clone would hold the last commit.
COPIED = ("sweeps", "trainables", "data_prep", "tests")

TRAINABLE = '''"""Colour alone.

Question     How far does the mean colour of an image get?
Network      global average pooling of `gamma`-corrected colours, Dense softmax.
Parameters   800 (800 trainable) at 200 classes, 40 at 10.
Published    nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from trainables.core.config import TrainConfig
from trainables.core.layers import classify
from trainables.core.trainable import Trainable

if TYPE_CHECKING:
    import keras


class MineConfig(TrainConfig):
    """Settings of colour."""

    gamma: float = Field(1.0, gt=0, le=4, description="exponent of a colour's values")


def build(config: MineConfig, class_count: int) -> keras.Model:
    """The network for images of any size."""
    import keras
    from keras import layers

    images = keras.Input((config.size, config.size, 3))
    x = layers.Rescaling(1 / 255)(images) ** config.gamma
    return keras.Model(images, classify(layers.GlobalAveragePooling2D()(x), class_count), name="mine")


TRAINABLE = Trainable(summary="the mean colour of an image", config=MineConfig, build=build)
'''

SWEEP = '''"""Which gamma?

Question   Which gamma tells classes apart by their mean colour?
Command    sweeps run mine
Cost       not yet measured
Expected   not yet measured
"""

from sweeps import Sweep, choice

SWEEP = Sweep(
    question="Which gamma tells classes apart best?",
    trainable="mine",
    space={"gamma": choice(0.5, 1.0, 2.0)},
    searcher="grid",
    scheduler="none",
    samples=3,
)
'''

TWIN = '''"""Counts of the network."""

PARAMETERS = {10: (40, 40), 200: (800, 800)}
'''

FILES = {"trainables/mine.py": TRAINABLE, "sweeps/mine.py": SWEEP, "tests/trainables/test_mine.py": TWIN}
SUITES = ("tests/trainables/test_contract.py", "tests/trainables/test_mine.py", "tests/sweeps/test_contract.py", "tests/test_arrows.py")


def test_a_seventh_experiment_is_three_new_files(tmp_path: Path) -> None:
    for folder in COPIED:
        copytree(ROOT / folder, tmp_path / folder, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for file, content in FILES.items():
        assert not (tmp_path / file).exists()
        (tmp_path / file).write_text(content)

    done = called(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "mine", *SUITES)
    assert done.returncode == 0, done.stdout + done.stderr
    # Of each suite some: nothing of `mine` would be no success either.
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 15, done.stdout

    done = called(tmp_path, "-m", "sweeps", "list")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert {"mine Which gamma tells classes apart best?", "mine the mean colour of an image"} <= set(lines)

    # Its own setting is a column of the results.
    done = called(tmp_path, "-c", "from sweeps.core.tables import TRIALS, schema; print(schema(TRIALS).field('params_gamma').type)")
    assert done.stdout == "double\n", done.stderr


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python there, where its own rooms come before the installed ones."""
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
