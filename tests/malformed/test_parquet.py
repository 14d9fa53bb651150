"""`sweeps export`, `best` and `report` beside results that are damaged or of other columns: what is there is not overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.core.results import export
from sweeps.core.storage import RunStorage
from sweeps.core.tables import ROW_OF, schema
from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES
from tests.sweeps import runs

VERBS = (["export", "one"], ["best", "one"], ["report"])


def a_run_and_results() -> None:
    """A run `one` to export, and results of another."""
    storage = RunStorage("runs", "one")
    storage.create(runs.spec("one"))
    Path(storage.folder, "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in runs.JOURNAL))
    export(runs.spec(), runs.evaluated(), Path("results"))


def file_of(table: str) -> Path:
    return Path("results", table, "sweep=dropout", f"run={runs.RUN}", "part-0.parquet")


@pytest.mark.parametrize("table", ROW_OF)
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("draw", range(2))
def test_damaged_at_random(sweeps: Outcomes, table: str, how: str, draw: int) -> None:
    """One that still reads is left as it is, or gets what the next export gives it."""
    a_run_and_results()
    path = file_of(table)
    path.write_bytes(DAMAGES[how](path.read_bytes(), sweeps.random))
    damaged = path.read_bytes()
    for words in VERBS:
        code, _, err = sweeps.of(*words)
        assert (code, err.count("\n"), err[:7]) in ((2, 1, "error: "), (0, 0, ""))
        assert code == 0 or path.read_bytes() == damaged


def _written(make: Callable[[Any], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pq.write_table(make(pq.ParquetFile(path).read()), path)

    return write


def _bytes(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.parquet")


def _typed(name: str, kind: Any) -> Callable[[Any], Any]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, pa.nulls(len(table), kind))


REFUSED: dict[str, Callable[[Path], None]] = {
    "no bytes": _bytes(b""),
    "text": _bytes(b"trial_id,epoch\n1,2\n"),
    "magic alone": _bytes(b"PAR1PAR1"),
    "foot of 4 GB": _bytes(b"PAR1" + b"\xff\xff\xff\xff" + b"PAR1"),
    "zeros": _bytes(bytes(4096)),
    "feather": _bytes(b"ARROW1\0\0" + bytes(64) + b"ARROW1"),
    "encrypted": _bytes(b"PARE" + bytes(64) + b"PARE"),
    "a folder": a_folder,
    "a link to nowhere": a_link_to_nowhere,
    "a column more": _written(lambda table: table.append_column("colour", pa.nulls(len(table), pa.string()))),
    "no columns but others": _written(lambda table: pa.table({"a": [1]})),
    "a column twice": _written(lambda table: table.append_column("trial_id", pa.nulls(len(table), pa.string()))),
    "ids are numbers": _written(_typed("trial_id", pa.int64())),
    "ids are lists": _written(_typed("trial_id", pa.list_(pa.string()))),
    "ids are bytes": _written(_typed("trial_id", pa.binary())),
    "not utf-8": _written(
        lambda table: table.set_column(
            table.schema.get_field_index("trial_id"), "trial_id", pa.array([b"\xff"] * len(table), pa.binary()).view(pa.string())
        )
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("table", ["trials", "best_models"])
def test_export_refuses(sweeps: Outcomes, table: str, what: str) -> None:
    a_run_and_results()
    REFUSED[what](file_of(table))
    if what != "not utf-8":
        sweeps.refused("export", "one")
        return
    # Values are read for the page of the best models alone, after the run's own tables were written.
    damaged = file_of(table).read_bytes()
    code, _, err = sweeps.of("export", "one")
    assert (code, err.count("\n")) == ((2, 1) if table == "best_models" else (0, 0))
    assert file_of(table).read_bytes() == damaged


@pytest.mark.parametrize("name", ["trials", "run_seconds", "seeds", "trial_id", "trainable", "config_json", "evaluated", "dataset"])
@pytest.mark.parametrize("how", ["null", "missing"])
def test_best_models_without_a_value(sweeps: Outcomes, name: str, how: str) -> None:
    """As an older version may have left it."""
    a_run_and_results()
    kind = schema("best_models").field(name).type
    change = _typed(name, kind) if how == "null" else lambda table: table.drop_columns([name])
    _written(change)(file_of("best_models"))
    for words in (["report"], *VERBS, ["best", "one"]):
        code, _, err = sweeps.of(*words)
        assert (code, err.count("\n"), err[:7]) in ((2, 1, "error: "), (0, 0, ""))


JSON: dict[str, bytes] = {
    "no bytes": b"",
    "list": b"[]",
    "deep": b"[" * 100_000,
    "not utf-8": b'{"run": "\xff"}',
    "sweep is a list": b'{"sweep": [], "run": "x"}',
    "space is a number": b'{"sweep": {"space": 3}, "run": "x"}',
    "sweep is null": b'{"sweep": null}',
    "searcher without a network": b'{"sweep": {"searcher": "autokeras"}}',
    "a study of nothing": b'{"study": "s", "run": "x"}',
    "a study that is a list": b'{"study": ["s"], "run": "x"}',
    "a study of lists": b'{"study": "s", "run": "x", "part_number": "1", "bases": [], "sweep": {"fixed": [], "trainable": 1}, "part": 1}',
    "a run that is a list": b'{"run": ["x"]}',
}


@pytest.mark.parametrize("what", JSON)
def test_run_json_of_another_run(sweeps: Outcomes, what: str) -> None:
    """The next export does not stop at it."""
    a_run_and_results()
    file = Path("results", "runs", "sweep=dropout", f"run={runs.RUN}", "run.json")
    file.write_bytes(JSON[what])
    for words in VERBS:
        assert sweeps.of(*words)[0] == 0
    assert file.read_bytes() == JSON[what]


def test_a_table_that_is_a_file(sweeps: Outcomes) -> None:
    a_run_and_results()
    shutil.rmtree("results/epochs")
    Path("results/epochs").write_text("epochs")
    sweeps.refused("export", "one")
