"""Runs for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_end_info_plugin_data, parse_session_start_info_plugin_data

from data_prep import BadInput
from sweeps.core.rows import rows
from sweeps.core.to_tensorboard import write
from tests.sweeps import runs
from tests.sweeps.conftest import Sweeps
from tests.sweeps.test_screen import job


def read(folder: Path) -> Any:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def scalars(accumulator: Any, tag: str) -> Any:
    return [(event.step, pytest.approx(event.value)) for event in accumulator.Scalars(tag)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path, state: Any = None) -> Path:
    state = state or runs.evaluated()
    assert write(runs.RUN, rows(runs.spec(), state), folder) == len(state.trials)
    return folder / runs.RUN


def test_curves_and_the_figures_of_the_best_epoch(tmp_path: Path) -> None:
    best = read(written(tmp_path) / "00002")
    assert scalars(best, "accuracy/validation") == [(1, 0.5), (2, 0.7), (3, 0.65)]
    assert scalars(best, "accuracy/train") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert scalars(best, "loss/validation") == [(1, 1.25), (2, 1.25), (3, 1.25)]
    assert scalars(best, "images_per_second") == [(1, 100.0), (2, 50.0), (3, 50.0)]
    assert best.Scalars("accuracy/validation")[1].wall_time == runs.T0 + 129.5, "when the epoch ended"
    assert scalars(best, "best/val_accuracy") == [(2, 0.7)]
    assert scalars(best, "best/test_accuracy") == [(2, 0.85)]
    assert scalars(read(tmp_path / runs.RUN / "00001"), "best/val_accuracy") == [(2, 0.6)]
    assert "best/test_accuracy" not in read(tmp_path / runs.RUN / "00001").Tags()["scalars"], "test is read for the best alone"


def test_settings_for_the_hparams_tab(tmp_path: Path) -> None:
    folder = written(tmp_path)
    found = read(folder / "00002").SummaryMetadata("_hparams_/session_start_info").plugin_data
    start = parse_session_start_info_plugin_data(found.content)
    settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert {name: settings[name] for name in ("dropout", "depth", "schedule", "final_fit")} == {
        "dropout": 0.3,
        "depth": 1,
        "schedule": "constant",
        "final_fit": False,
    }
    assert not {"unfrozen_layers", "seed"} & settings.keys(), "cnn has no such setting; of seeds, see below"
    ends = {
        trial: parse_session_end_info_plugin_data(
            read(folder / trial).SummaryMetadata("_hparams_/session_end_info").plugin_data.content
        ).status
        for trial in ("00001", "00002", "00003")
    }
    assert ends == {"00001": 1, "00002": 1, "00003": 2}, "completed, stopped, failed"
    assert "_hparams_/session_end_info" not in read(folder / "00004").summary_metadata, "it is running"


def test_a_network_that_is_searched_has_its_own_parameters(tmp_path: Path) -> None:
    state = runs.state(rows=runs.autokeras_journal())
    write("autokeras-1", rows(runs.autokeras(), state), tmp_path)
    content = read(tmp_path / "autokeras-1" / "00004").SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert parse_session_start_info_plugin_data(content).hparams["image_block_1/block_type"].string_value == "residual"


def test_seeds_of_a_configuration_are_a_group(tmp_path: Path) -> None:
    repeat = {**runs.suggest(5, 160, dropout=0.3, depth=1), "repeat_of": 2}
    folder = written(tmp_path, runs.state(repeat, runs.start(5, 161)))
    for trial, group in (("00001", "00001"), ("00002", "00002"), ("00005", "00002")):
        content = read(folder / trial).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        assert parse_session_start_info_plugin_data(content).group_name == group


def test_again_it_is_the_same_and_a_longer_curve_goes_on(tmp_path: Path) -> None:
    """A TensorBoard that looks reads on from where it was."""
    shorter = runs.state(rows=runs.JOURNAL[:13])
    first = files(written(tmp_path, shorter))
    assert files(written(tmp_path, shorter)) == first
    later = files(written(tmp_path, runs.evaluated()))
    name = "00002/events.out.tfevents.sweeps"
    assert later[name] != first[name]
    assert later[name].startswith(first[name])
    assert {path.rpartition("/")[2] for path in later} == {"events.out.tfevents.sweeps"}, "one file a trial, nothing else"


def test_by_the_command(tmp_path: Path, sweeps: Sweeps) -> None:
    job(tmp_path / "runs", "one", None, 13)
    assert sweeps("export", "one", "--to", "tensorboard", "--out", "events") == (
        0,
        "one: 2 trials written to events: `tensorboard --logdir events` shows them\n",
        "",
    )
    assert scalars(read(tmp_path / "events" / "one" / "00002"), "accuracy/validation") == [(1, 0.5), (2, 0.7)]
    assert not (tmp_path / "results").exists()
    code, _, err = sweeps("export", "one", "--out", "events")
    assert (code, err) == (
        2,
        "error: --out is where --to tensorboard or mlflow writes, but got 'events' alone: for Parquet give --results\n",
    )


def test_a_uri_is_no_folder(tmp_path: Path, sweeps: Sweeps) -> None:
    job(tmp_path / "runs", "one", None, 13)
    code, _, err = sweeps("export", "one", "--to", "tensorboard", "--out", "s3://bucket/events")
    assert code == 2
    assert err == "error: --out of tensorboard is a folder of this machine, but got 's3://bucket/events': give one, and copy it there\n"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput) as error:
        written(tmp_path / "file")
    assert (
        str(error.value)
        == f"--out is a folder that can be written, but '{tmp_path}/file' cannot (Not a directory): make room or give another"
    )
