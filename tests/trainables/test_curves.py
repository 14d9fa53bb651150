"""Curves beside the checkpoints, read back by TensorBoard's own reader."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from trainables.core import curves
from trainables.core.curves import CURVES, NAME, Curves, record, scalar, version

LOCAL = fs.LocalFileSystem()
HISTORY: list[dict[str, Any]] = [
    {
        "epoch": epoch,
        "train_loss": 2 / epoch,
        "train_accuracy": 0.1 * epoch,
        "val_loss": 3 / epoch,
        "val_accuracy": 0.11 * epoch,
        "learning_rate": 0.001,
        "epoch_seconds": 1.5,
        "images_per_second": 1234.5,
        "finished_at": 1_750_000_000.25 + 2 * epoch,
    }
    for epoch in range(1, 201)
]


def watched(folder: Path) -> Any:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def curve(accumulator: Any, tag: str = "loss/train") -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def expected(history: Sequence[dict[str, Any]], name: str = "train_loss") -> list[tuple[int, float]]:
    return [(row["epoch"], float(np.float32(row[name]))) for row in history]


@pytest.mark.parametrize("value", [0.0, -1.5, 1 / 3, 1e-30, 1e39, math.inf, math.nan])
@pytest.mark.parametrize("step", [1, 127, 128, 20_000, 2**40])
def test_an_event_is_as_protobuf_makes_it(value: float, step: int) -> None:
    for tag in ("learning_rate", "t" * 130):
        made = Event(wall_time=1.25e9, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
        assert scalar(1.25e9, step, tag, value) == made.SerializeToString()


def test_a_file_is_as_tensorboardx_makes_it(tmp_path: Path) -> None:
    writer = RecordWriter(str(tmp_path / "theirs"))
    events = [Event(wall_time=7.5, file_version="brain.Event:2").SerializeToString(), bytes(range(256)), b""]
    for event in events:
        writer.write(event)
    writer.close()
    assert version(7.5) == events[0]
    assert (tmp_path / "theirs").read_bytes() == b"".join(map(record, events))


def test_a_tensorboard_that_watches_sees_each_epoch(tmp_path: Path) -> None:
    written = Curves(LOCAL, str(tmp_path))
    written.write([])
    assert list(tmp_path.iterdir()) == [], "nothing without an epoch"
    written.write(HISTORY[:1])
    reader = watched(tmp_path)
    for count in (1, 2, 3, 150):
        written.write(HISTORY[:count])
        reader.Reload()
        for name, tag in CURVES.items():
            assert curve(reader, tag) == expected(HISTORY[:count], name)
    assert [event.wall_time for event in reader.Scalars("loss/train")] == [row["finished_at"] for row in HISTORY[:150]]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_final_fit_has_no_figures_of_validation(tmp_path: Path) -> None:
    Curves(LOCAL, str(tmp_path)).write([{**row, "val_loss": None, "val_accuracy": None} for row in HISTORY[:2]])
    assert set(watched(tmp_path).Tags()["scalars"]) == {*CURVES.values()} - {"loss/validation", "accuracy/validation"}


def test_who_goes_on_adds_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    Curves(LOCAL, str(tmp_path)).write(HISTORY[:3])
    reader, before = watched(tmp_path), (tmp_path / NAME).read_bytes()
    again = Curves(LOCAL, str(tmp_path))
    again.write(HISTORY[:3])
    assert (tmp_path / NAME).read_bytes() == before
    # The checkpoint of a fourth was stored, and then came the kill.
    Curves(LOCAL, str(tmp_path)).write(HISTORY[:4])
    reader.Reload()
    assert curve(reader) == expected(HISTORY[:4])


@pytest.mark.parametrize("left", [1, 5, 11, 13, 60])
def test_a_torn_record_is_made_whole(tmp_path: Path, left: int) -> None:
    """Also for a reader that has met it."""
    Curves(LOCAL, str(tmp_path)).write(HISTORY[:2])
    file = tmp_path / NAME
    whole = len(file.read_bytes())
    Curves(LOCAL, str(tmp_path)).write(HISTORY[:3])
    file.write_bytes(file.read_bytes()[: whole + left])
    reader = watched(tmp_path)
    assert curve(reader) == expected(HISTORY[:2])
    later = Curves(LOCAL, str(tmp_path))
    later.write(HISTORY[:3])
    later.write(HISTORY[:4])
    for each in (reader, watched(tmp_path)):
        each.Reload()
        assert curve(each) == expected(HISTORY[:4])


@pytest.mark.parametrize("what", ["trained again", "behind", "zeros", "altered"])
def test_what_does_not_fit_is_written_anew(tmp_path: Path, what: str) -> None:
    Curves(LOCAL, str(tmp_path)).write(HISTORY[:4])
    file, history = tmp_path / NAME, HISTORY[:4]
    content = file.read_bytes()
    if what == "trained again":
        history = [*HISTORY[:2], *({**row, "finished_at": row["finished_at"] + 900} for row in HISTORY[2:4])]
    elif what == "behind":
        history = HISTORY[:2]
    elif what == "zeros":
        # As a power cut leaves a file whose size was on the disk and whose end was not.
        file.write_bytes(content[:-100] + bytes(100))
    else:
        file.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    later = Curves(LOCAL, str(tmp_path))
    later.write(history)
    assert curve(watched(tmp_path)) == expected(history)
    later.write([*history, HISTORY[len(history)]])
    assert curve(watched(tmp_path)) == expected(HISTORY[: len(history) + 1])
    assert [path.name for path in tmp_path.iterdir()] == [NAME], "no draft is left"


def test_trouble_with_the_disk_is_not_told_and_mended_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Curves(LOCAL, str(tmp_path))
    written.write(HISTORY[:1])
    whole = (tmp_path / NAME).stat().st_size

    def full(file: Path, content: bytes) -> None:
        # A disk that fills up takes a part.
        with file.open("ab") as opened:
            opened.write(content[:30])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(curves, "_append", full)
        written.write(HISTORY[:2])
    assert (tmp_path / NAME).stat().st_size == whole + 30
    assert curve(watched(tmp_path)) == expected(HISTORY[:1])
    written.write(HISTORY[:3])
    assert curve(watched(tmp_path)) == expected(HISTORY[:3])


@pytest.mark.parametrize("there", ["a folder of that name", "no folder"])
def test_where_nothing_can_be_written_nothing_is(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "00001"
    if there != "no folder":
        (folder / NAME).mkdir(parents=True)
    written = Curves(LOCAL, str(folder))
    written.write(HISTORY[:1])
    written.write(HISTORY[:2])
    assert not (folder / NAME).is_file()


def test_an_object_store_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = Curves(fs.S3FileSystem(anonymous=True, region="eu-west-1"), "bucket/runs/one/checkpoints/00001")
    written.write(HISTORY[:2])
    assert list(tmp_path.rglob("*")) == []
