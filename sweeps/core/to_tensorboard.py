"""A run for TensorBoard: an event file a trial, with its curves and its settings for the HParams tab."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

from data_prep import BadInput
from sweeps.core.rows import settings_of
from sweeps.core.tables import BEST_MODELS, EPOCHS, FIGURES, TRIALS
from trainables.core.curves import NAME, epoch_events, record, scalar, version
from trainables.core.files import sync_folder

Row = Mapping[str, Any]

# Of the best epoch, as the HParams tab compares trials: it shows the last value of a tag.
AT_BEST: Final = {"val_accuracy": "best/val_accuracy", "val_loss": "best/val_loss", "train_seconds": "best/train_seconds"}
# Of the protocol: api.proto of TensorBoard's plugin.
SUCCESS, FAILURE = 1, 2


def write(run: str, tables: Mapping[str, Iterable[Row]], folder: Path) -> int:
    """Write `folder/<run>/<trial_id>/` for each trial that has started, in place of what an earlier export wrote; gives how many. `tables`: as `rows` gives them.
    Equal input gives equal files, and a longer curve one that begins with the shorter: a TensorBoard that looks goes on. BadInput where it cannot be written."""
    epochs: dict[str, list[Row]] = {}
    for row in tables[EPOCHS]:
        epochs.setdefault(row["trial_id"], []).append(row)
    best = {row["trial_id"]: row for row in tables[BEST_MODELS]}
    written = 0
    for trial in tables[TRIALS]:
        if trial["started_at"] is None:
            continue
        try:
            _replace(folder / run / trial["trial_id"], _records(trial, epochs.get(trial["trial_id"], []), best.get(trial["trial_id"])))
        except OSError as error:
            raise BadInput(
                f"--out is a folder that can be written, but '{folder}' cannot ({error.strerror or error}): make room or give another"
            ) from None
        written += 1
    return written


def _replace(folder: Path, records: Iterable[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads what has `tfevents` in its name.
    temporary = folder / ".new"
    temporary.write_bytes(b"".join(records))
    temporary.replace(folder / NAME)
    sync_folder(folder)


def _records(trial: Row, epochs: list[Row], best: Row | None) -> Iterator[bytes]:
    started = trial["started_at"].timestamp()
    yield record(version(started))
    # Trials of one configuration with several seeds are a group, which the tab averages.
    start = SessionStartInfo(start_time_secs=started, group_name=trial["repeat_of"] or trial["trial_id"])
    for name, value in settings_of(trial).items():
        if name == "seed":
            continue
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    yield _session(started, "session_start_info", start)
    for row in epochs:
        yield epoch_events({**row, "finished_at": row["finished_at"].timestamp()})
    if trial["finished_at"] is None:
        return
    ended = trial["finished_at"].timestamp()
    if trial["best_epoch"] is not None:
        figures = {tag: trial[name] for name, tag in AT_BEST.items()}
        figures |= {f"best/test_{figure}": (best or {}).get(f"test_{figure}") for figure in FIGURES}
        yield from (record(scalar(ended, trial["best_epoch"], tag, value)) for tag, value in figures.items() if value is not None)
    status = FAILURE if trial["status"] == "failed" else SUCCESS
    yield _session(ended, "session_end_info", SessionEndInfo(status=status, end_time_secs=ended))


def _session(moment: float, name: str, info: Any) -> bytes:
    content = HParamsPluginData(version=0, **{name: info}).SerializeToString()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="hparams", content=content))
    event = Event(wall_time=moment, summary=Summary(value=[Summary.Value(tag=f"_hparams_/{name}", metadata=metadata)]))
    return record(event.SerializeToString())
