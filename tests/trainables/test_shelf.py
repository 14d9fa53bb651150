"""Features on their way between machines, here folders of their own: through a folder and a real S3 server."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps.s3 import store
from tests.trainables.trials import ROOT
from trainables.core.features import BLOCK, Features
from trainables.core.shelf import PIECE, Shelf

# Five pieces, the last of them short.
ROWS = np.arange(0, 2 * (4 * PIECE + 3) * BLOCK - 10, 2)
SHAPE = (3, 2)
KEY = "0123456789abcdef"


def values(rows: np.ndarray) -> np.ndarray:
    """Six numbers of their own for each row, exact in float16."""
    return (rows[:, None] % 1000 + np.arange(6)).reshape(-1, *SHAPE).astype(np.float32)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "storage/.features")
        return
    with store() as made:
        yield made.uri("runs/.features")


class Over(Exception):
    """The time for computing."""


class Machine:
    """With a disk of its own."""

    def __init__(self, root: Path, shelf: Shelf | None, key: str = KEY) -> None:
        self.features = Features(root / key, ROWS, SHAPE, "float16", {}, shelf)
        self.computed = 0

    def compute(self, rows: np.ndarray) -> np.ndarray:
        self.computed += len(rows)
        return values(rows)

    def work(self, seconds: float = 60.0) -> None:
        self.features.work(self.compute, seconds)

    def work_once(self, change: float = 0.0) -> None:
        """Fetch, then compute one block and no more, each value so much larger."""
        before = self.computed

        def compute(rows: np.ndarray) -> np.ndarray:
            if self.computed > before:
                raise Over
            return self.compute(rows) + np.float32(change)

        with suppress(Over):
            self.features.work(compute, 60)

    def is_whole(self) -> bool:
        return self.features.missing == 0 and np.array_equal(self.features.gather(ROWS), values(ROWS))


def test_another_machine_computes_none(tmp_path: Path, place: str) -> None:
    first, second = Machine(tmp_path / "a", Shelf(place, 10**9)), Machine(tmp_path / "b", Shelf(place, 10**9))
    first.work()
    assert (first.computed, first.is_whole()) == (len(ROWS), True)
    second.work()
    assert (second.computed, second.is_whole()) == (0, True)


def test_one_machine_alone_stores_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a", None)
    machine.work()
    assert machine.is_whole()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_machines_that_come_later_get_what_is_made_from_then_on(tmp_path: Path) -> None:
    shelf = Shelf(str(tmp_path / "storage"), 10**9)
    first, second = Machine(tmp_path / "a", None), Machine(tmp_path / "b", shelf)
    first.work_once()
    assert first.computed == BLOCK
    first.features.share(shelf)
    first.work()
    second.work()
    assert first.is_whole()
    assert (second.computed, second.is_whole()) == (0, True), "also of the piece that was begun before"


WORKER = """
import platform, sys
from pathlib import Path
platform.node = lambda: sys.argv[1]
from tests.trainables.test_shelf import Machine, Shelf
from trainables.core import shelf
shelf.LOOK_SECONDS = 0.0
machine = Machine(Path(sys.argv[2]) / sys.argv[1], Shelf(sys.argv[3], 10**9))
print("ready", flush=True)
sys.stdin.readline()
machine.work()
print(machine.computed, machine.is_whole())
"""


def test_two_processes_at_once(tmp_path: Path, place: str) -> None:
    """Each stores while the other fetches, and both end with all of it."""
    words = [[sys.executable, "-c", WORKER, name, str(tmp_path), place] for name in ("worker-1", "worker-2")]
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in words]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [whole for _, whole in answers] == ["True", "True"]
    assert sum(int(computed) for computed, _ in answers) >= len(ROWS)


def test_two_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block in turn. Each computes less than all; they may have one piece in work at the same time."""
    monkeypatch.setattr("trainables.core.shelf.LOOK_SECONDS", 0.0)
    machines = []
    for name in ("worker-1", "worker-2"):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        machines.append(Machine(tmp_path / name, Shelf(str(tmp_path / "storage"), 10**9)))
    while not all(machine.is_whole() for machine in machines):
        for machine in machines:
            machine.work_once()
    computed = [machine.computed for machine in machines]
    assert len(ROWS) <= sum(computed) <= len(ROWS) + 2 * PIECE * BLOCK
    assert max(computed) < len(ROWS)


def test_machines_have_orders_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for name in ("worker-1", "worker-2", "worker-1"):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        pieces = Shelf("nowhere", 10**9).of(KEY, 43, 1000)
        assert pieces is not None
        orders.append(pieces.order)
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(43))
    assert [block - orders[0][0] for block in orders[0][:PIECE]] == list(range(PIECE)), "a piece after another"


@pytest.mark.parametrize("harm", ["cut", "empty", "altered"])
def test_what_is_torn_or_altered_is_computed_and_stored_anew(tmp_path: Path, harm: str) -> None:
    place = tmp_path / "storage"
    Machine(tmp_path / "a", Shelf(str(place), 10**9)).work()
    file = place / KEY / "000001"
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[:-5], "empty": b"", "altered": whole[:-1] + bytes([whole[-1] ^ 1])}[harm])
    second = Machine(tmp_path / "b", Shelf(str(place), 10**9))
    second.work()
    assert second.is_whole()
    assert second.computed == {"empty": PIECE * BLOCK}.get(harm, BLOCK), "the blocks that fit are taken"
    assert file.read_bytes() == whole


def test_what_is_damaged_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its blocks take longer to compute than a look is away."""
    monkeypatch.setattr("trainables.core.shelf.LOOK_SECONDS", 0.0)
    place = tmp_path / "storage"
    Machine(tmp_path / "a", Shelf(str(place), 10**9)).work()
    file = place / KEY / "000000"
    whole = file.read_bytes()
    file.write_bytes(b"")
    second = Machine(tmp_path / "b", Shelf(str(place), 10**9))
    pieces, fetched = second.features.pieces, list[int]()
    assert pieces
    plain = pieces.fetch

    def fetch(piece: int) -> bytes | None:
        fetched.append(piece)
        return plain(piece)

    monkeypatch.setattr(pieces, "fetch", fetch)
    second.work()
    assert (second.computed, second.is_whole()) == (PIECE * BLOCK, True)
    assert fetched.count(0) == 1, "though there is a look before each of its blocks"
    assert file.read_bytes() == whole


def test_without_the_storage_each_computes_its_own(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("no folder")
    for shelf in (Shelf(str(tmp_path / "storage"), 10**9), Shelf("s3://bucket?region=", 10**9)):
        machine = Machine(tmp_path / str(id(shelf)), shelf)
        machine.work()
        assert (machine.computed, machine.is_whole(), shelf.failed) == (len(ROWS), True, True)


def test_what_was_stored_longest_ago_makes_room(tmp_path: Path) -> None:
    place, size = tmp_path / "storage", len(ROWS) * 12
    for name, age in (("aaaa", 300), ("bbbb", 200)):
        folder = place / name
        folder.mkdir(parents=True)
        (folder / "000000").write_bytes(bytes(size))
        os.utime(folder / "000000", (age, age))
    machine = Machine(tmp_path / "a", Shelf(str(place), 2 * size + 1000))
    machine.work()
    assert sorted(path.name for path in place.iterdir()) == [KEY, "aaaa"]


def test_all_features_together_stay_within_the_limit(tmp_path: Path) -> None:
    """Also of keys that are stored at the same time."""
    place, size = tmp_path / "storage", len(ROWS) * 12
    shelf = Shelf(str(place), int(1.5 * size))
    machines = [Machine(tmp_path / name, shelf, name) for name in ("aaaa", "bbbb", "cccc")]
    while not all(machine.is_whole() for machine in machines):
        for machine in machines:
            machine.work_once()
        assert sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) <= shelf.limit
    assert any(place.iterdir())


def test_a_disk_is_not_filled_by_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.core.shelf.LEFT_FREE_BYTES", 10**18)
    machine = Machine(tmp_path / "a", Shelf(str(tmp_path / "storage"), 10**9))
    machine.work()
    assert machine.is_whole()
    assert not list((tmp_path / "storage").iterdir())


def test_a_block_that_is_made_meanwhile_stays(tmp_path: Path) -> None:
    """While a piece is fetched: somebody trains on it, and another machine's may differ in last bits."""
    place = str(tmp_path / "storage")
    Machine(tmp_path / "a", Shelf(place, 10**9)).work()
    second, beside = Machine(tmp_path / "b", Shelf(place, 10**9)), Machine(tmp_path / "b", None)
    pieces = second.features.pieces
    assert pieces is not None
    stored = pieces.fetch(0)
    beside.work_once(change=1)
    second.features._take(0, stored)
    made = ROWS[:BLOCK]
    assert np.array_equal(second.features.gather(made), values(made) + 1)
    others = ROWS[BLOCK : PIECE * BLOCK]
    assert np.array_equal(second.features.gather(others), values(others))


def test_more_than_may_be_stored_is_not(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a", Shelf(str(tmp_path / "storage"), 100))
    machine.work()
    assert machine.is_whole()
    assert not (tmp_path / "storage").exists()


def test_others_may_delete_meanwhile(tmp_path: Path) -> None:
    place = tmp_path / "storage"
    Machine(tmp_path / "a", Shelf(str(place), 10**9)).work()
    second = Machine(tmp_path / "b", Shelf(str(place), 10**9))
    assert second.features.pieces is not None
    second.features.pieces.look()
    (place / KEY / "000002").unlink()
    second.work()
    assert second.is_whole()
    assert second.computed == PIECE * BLOCK
    assert (place / KEY / "000002").exists()
