"""What a run's charts get to draw."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import BadInput
from sweeps.core.charts import charts
from sweeps.core.results import export
from tests.sweeps.runs import JOURNAL, RUN, T0, autokeras, autokeras_journal, end, evaluated, result, spec, start, state, suggest


def drawn(
    results: Path, sweep: str = "dropout", run: str = RUN, space: dict[str, Any] | None = None, best: str | None = None
) -> dict[str, Any]:
    made = charts(results, f"sweep={sweep}", f"run={run}", space or {}, best)
    assert made
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(made.packed)))
    return content


def test_settings_in_which_trials_differ(tmp_path: Path) -> None:
    export(spec(), evaluated(), tmp_path)
    space = {name: searched.model_dump() for name, searched in spec().sweep.space.items()}
    found = drawn(tmp_path, space=space)
    assert found["params"] == {"dropout": [0.1, 0.3, 0.1, 0.1], "depth": [2, 1, 2, 2]}
    assert found["kinds"] == {"dropout": "uniform", "depth": "choice"}
    assert (found["drawn"], found["sharing"]) == (4, [])


def test_what_a_final_fit_has_of_its_own_was_not_searched(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"kind": "session", "time": T0}]
    for trial in (1, 2):
        rows += [suggest(trial, trial, dropout=trial / 10), start(trial, trial), result(trial, 1, trial, 0.5), end(trial, trial)]
    rows += [{**suggest(3, 5, dropout=0.1, epochs=1), "final_of": 1}, start(3, 5)]
    export(spec(), state(rows=rows), tmp_path)
    assert list(drawn(tmp_path)["params"]) == ["dropout"]


def test_what_autokeras_chose_from(tmp_path: Path) -> None:
    """Its names without the block that every network has; what is the same in all is left out."""
    export(autokeras(), state(rows=autokeras_journal()), tmp_path)
    found = drawn(tmp_path, "autokeras", "autokeras-1")["params"]
    assert found["block_type"] == ["residual", "plain", "plain", "residual"]
    assert not any(name.startswith(("image_block", "classification_head")) for name in found)
    assert "head/dropout" not in found


def test_the_most_important_setting_is_the_first(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"kind": "session", "time": T0}]
    for trial in range(1, 31):
        rows += [suggest(trial, trial, dropout=(trial * 7 % 30) / 100, depth=1 + trial % 3), start(trial, trial)]
        rows += [result(trial, 1, trial, 0.2 * (1 + trial % 3)), end(trial, trial)]
    export(spec(), state(rows=rows), tmp_path)
    assert list(drawn(tmp_path)["params"]) == ["depth", "dropout"]


def test_a_run_without_a_trial(tmp_path: Path) -> None:
    export(spec(), state(rows=JOURNAL[:1]), tmp_path)
    assert charts(tmp_path, "sweep=dropout", f"run={RUN}", {}) is None


def test_the_best_is_that_of_the_table(tmp_path: Path) -> None:
    export(spec(), evaluated(), tmp_path)
    assert drawn(tmp_path, best="00001")["best"] == 0
    assert drawn(tmp_path)["best"] is None


@pytest.mark.parametrize(("table", "column"), [("epochs", "val_loss"), ("trials", "val_accuracy")])
def test_a_table_of_other_types(tmp_path: Path, table: str, column: str) -> None:
    export(spec(), evaluated(), tmp_path)
    path = tmp_path / table / "sweep=dropout" / f"run={RUN}" / "part-0.parquet"
    found = pq.ParquetFile(path).read()
    pq.write_table(found.set_column(found.column_names.index(column), column, pa.array(["much"] * len(found))), path)
    with pytest.raises(BadInput) as refused:
        drawn(tmp_path)
    assert str(refused.value).startswith(f"{path} has column {column} of type string, but this version writes double: ")
