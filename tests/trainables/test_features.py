"""Features on the disk: made once, whatever dies, and never read when wrong."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.trials import ROOT
from trainables.core.features import BLOCK, Features, NoRoom, TooLarge, key_of, make_room

# Every third image of a data set, in four blocks of which the last is short.
ROWS = np.arange(0, 3 * 400, 3)
SHAPE = (5, 2)


def values(rows: np.ndarray) -> np.ndarray:
    """Ten numbers of their own for each row, exact in float16."""
    return (rows[:, None] % 1000 + np.arange(10)).reshape(-1, *SHAPE).astype(np.float32)


def everywhere(value: float, rows: np.ndarray) -> np.ndarray:
    return np.full((len(rows), *SHAPE), value, np.float32)


def opened(folder: Path, dtype: str = "float16", rows: np.ndarray = ROWS) -> Features:
    return Features(folder, rows, SHAPE, dtype, {"dataset": "letters"})


def complete(folder: Path) -> Features:
    features = opened(folder)
    features.work(values, 60)
    assert features.missing == 0
    return features


def test_they_are_what_was_computed(tmp_path: Path) -> None:
    features = complete(tmp_path)
    some = ROWS[[7, 3, 399, 128, 3]]
    np.testing.assert_array_equal(features.gather(some), values(some), strict=False)
    assert features.gather(some).dtype == np.float16
    assert features.has(np.array([0, 1, 3, 1197, 1200])).tolist() == [True, False, True, True, False]
    # Any NumPy reads the file.
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values(ROWS))
    assert json.loads((tmp_path / "features.json").read_text()) == {"dataset": "letters", "rows": 400, "shape": [5, 2], "dtype": "float16"}


def test_they_are_found_again(tmp_path: Path) -> None:
    complete(tmp_path)
    again = opened(tmp_path)
    assert again.missing == 0
    np.testing.assert_array_equal(again.gather(ROWS), values(ROWS))


def test_a_part_at_a_time(tmp_path: Path) -> None:
    """As a worker does between two reports; each block once."""
    features = opened(tmp_path)
    asked: list[int] = []

    def slowly(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows)
        time.sleep(0.02)
        return values(rows)

    left = [features.missing]
    while features.missing:
        features.work(slowly, 0.001)
        # On a busy machine the time may be over before a block is begun.
        if features.missing < left[-1]:
            left.append(features.missing)
    assert left == [400, 400 - BLOCK, 400 - 2 * BLOCK, 400 - 3 * BLOCK, 0]
    assert asked == ROWS.tolist()


@pytest.mark.parametrize("harm", ["altered", "zeros", "cut", "header", "digests", "no digests"])
def test_what_is_wrong_is_made_again(tmp_path: Path, harm: str) -> None:
    complete(tmp_path)
    file, digests = tmp_path / "features.npy", tmp_path / "blocks"
    content = bytearray(file.read_bytes())
    place = len(content) - BLOCK * 20
    if harm == "altered":
        content[place] ^= 1
    elif harm == "zeros":
        content[place:] = bytes(BLOCK * 20)
    elif harm == "cut":
        del content[place:]
    elif harm == "header":
        content[:20] = b"x" * 20
    elif harm == "digests":
        digests.write_bytes(digests.read_bytes()[:-1] + b"!")
    else:
        digests.unlink()
    file.write_bytes(content)
    again = opened(tmp_path)
    assert (again.missing > 0) == (harm != "header")
    asked: list[int] = []

    def asking(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows)
        return values(rows)

    again.work(asking, 60)
    np.testing.assert_array_equal(again.gather(ROWS), values(ROWS))
    np.testing.assert_array_equal(np.load(file), values(ROWS))
    # Only the blocks that were harmed.
    assert len(asked) == {"no digests": 400, "header": 0, "digests": 16, "altered": BLOCK}.get(harm, BLOCK + 16)


WORKER = """
import sys, time
from pathlib import Path
import numpy as np
from tests.trainables.test_features import ROWS, opened, values
seen = []
def slowly(rows):
    print(*rows, flush=True)
    time.sleep(float(sys.argv[2]))
    return values(rows)
features = opened(Path(sys.argv[1]))
while features.missing:
    features.work(slowly, 60)
"""


def worker(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(folder), str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)


def test_workers_share_the_work(tmp_path: Path) -> None:
    """Two processes that want the same compute each block once, and both end with all of it."""
    workers = [worker(tmp_path, 0.5) for _ in range(2)]
    blocks = [[line.split() for line in process.communicate(timeout=60)[0].splitlines()] for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    done = [int(row) for own in blocks for block in own for row in block]
    assert sorted(done) == ROWS.tolist()
    assert opened(tmp_path).missing == 0


def test_a_killed_workers_block_is_another_ones(tmp_path: Path) -> None:
    """Its lock ends with it."""
    killed = worker(tmp_path, 600)
    assert killed.stdout
    first = killed.stdout.readline()
    features = opened(tmp_path)
    while features.missing > BLOCK:
        features.work(values, 0.5)
    features.work(values, 0.5)
    assert features.missing == BLOCK
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    features.work(values, 60)
    assert features.missing == 0
    np.testing.assert_array_equal(features.gather(ROWS), values(ROWS))
    assert first.split()[0] == "0"


def test_more_than_float16_holds(tmp_path: Path) -> None:
    for bad in (1e5, np.inf, np.nan):
        with pytest.raises(TooLarge):
            opened(tmp_path).work(functools.partial(everywhere, bad), 60)
    assert opened(tmp_path).missing == 400
    wide = opened(tmp_path / "wide", "float32")
    wide.work(functools.partial(everywhere, 1e5), 60)
    assert (wide.gather(ROWS[:1]) == 1e5).all()


def test_keys_tell_parts_apart() -> None:
    keys = [key_of(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"ab", b"c", b""])]
    assert len(set(keys)) == 4
    assert all(len(key) == 16 for key in keys)
    assert key_of([b"ab", b"c"]) == keys[0]


def test_the_oldest_go_first(tmp_path: Path) -> None:
    """By their last use: opening counts."""
    for n, name in enumerate(("first", "second", "third")):
        complete(tmp_path / name)
        os.utime(tmp_path / name / "features.json", (n, n))
    opened(tmp_path / "first")
    size = sum(file.stat().st_size for file in (tmp_path / "first").iterdir())
    make_room(tmp_path, 1000, 2 * size + 1000)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["first", "third"]
    make_room(tmp_path, 1000, size + 1000, keep=["third"])
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["third"]


def test_more_than_may_be_kept(tmp_path: Path) -> None:
    with pytest.raises(NoRoom) as caught:
        make_room(tmp_path, 3_000_000_000, 2_000_000_000)
    assert str(caught.value) == "features take 3.0 GB, but --cache-size is 2 GB"


def test_what_is_needed_now_counts(tmp_path: Path) -> None:
    """Also before it is written: it has its length from the start."""
    opened(tmp_path / "first")
    size = sum(file.stat().st_size for file in (tmp_path / "first").iterdir())
    with pytest.raises(NoRoom, match="--cache-size is"):
        make_room(tmp_path, 1000, size + 500, keep=["first"])
    make_room(tmp_path, 1000, size + 1000, keep=["first"])


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    features = opened(tmp_path / "key")
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoRoom) as caught:
        features.work(values, 60)
    assert str(caught.value) == f"features are kept on the disk, but {tmp_path} cannot be written (No space left on device)"


def test_cut_short_while_it_is_read(tmp_path: Path) -> None:
    features = complete(tmp_path)
    os.truncate(tmp_path / "features.npy", 1000)
    with pytest.raises(OSError, match="was cut short while it was read"):
        features.gather(ROWS[-3:])


def test_what_was_deleted_is_read_on(tmp_path: Path) -> None:
    """By who has it open, as when another run needs the room."""
    features = complete(tmp_path / "key")
    make_room(tmp_path, 1000, 1001)
    assert not (tmp_path / "key").exists()
    np.testing.assert_array_equal(features.gather(ROWS), values(ROWS))
