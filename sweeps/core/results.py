"""The results folder: runs as Parquet, each file replaced whole, all of one schema, with a README, the best models and the report's figures beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from filelock import BaseFileLock, FileLock, Timeout

from data_prep import BadInput
from sweeps.core import published
from sweeps.core.best import RUN_JSON, RUNS, best_models_markdown, best_models_table, read_json, show_best
from sweeps.core.journal import whole_rows
from sweeps.core.parquet import MOVE, as_table, check, table_files, upgrade, write_table, write_text
from sweeps.core.rows import rows, totals
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState
from sweeps.core.study_table import studies_markdown
from sweeps.core.tables import ROW_OF, readme

__all__ = ["best_models_table", "check_own", "check_results", "check_unused", "export", "run_folder", "show_best"]

LOCK: Final = ".lock"
LOCK_SECONDS: Final = 120
PARQUET: Final = "part-0.parquet"
README: Final = "README.md"
PUBLISHED: Final = published.FILE.name
BEST_MODELS_MD: Final = "best_models.md"


def run_folder(results: Path, table: str, spec: RunSpec) -> Path:
    """Where a run's rows of a table are; `runs` is the table of run.json."""
    return results / table / f"sweep={quote(spec.sweep_name, safe='')}" / f"run={quote(spec.run, safe='')}"


def export(spec: RunSpec, state: RunState, results: Path) -> None:
    """Write what the journal tells into the results folder, in place of what an earlier export of this run wrote. Equal input gives equal files.

    Works at any time: while the run runs, after a crash, beside another export. Files of older versions get the columns they lack."""
    with _locked(results), _writable(results):
        check_own(results, spec)
        upgrade(results)
        with whole_rows(spec.run):
            own = {table: as_table(table, found) for table, found in rows(spec, state).items()}
        for table, made in own.items():
            write_table(run_folder(results, table, spec) / PARQUET, made)
        folder = Path(spec.dataset_folder).name
        run = {**_without_paths(spec.model_dump(mode="json")), "dataset_folder": folder, "totals": totals(state)}
        write_text(run_folder(results, RUNS, spec) / RUN_JSON, json.dumps(run, indent=2) + "\n")
        write_text(results / README, readme())
        write_text(results / PUBLISHED, published.FILE.read_text(encoding="utf-8"))
        write_text(results / BEST_MODELS_MD, best_models_markdown(results) + studies_markdown(results))


def _without_paths(value: Any) -> Any:
    """Results go round, and where a file was on one machine tells nobody anything: `/home/me/data/x` as `x`, `images:/home/me/photos` as
    `images:photos`, at any depth. The run's own storage keeps the paths."""
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if not isinstance(value, str) or "://" in value:
        return value
    before, colon, after = value.rpartition(":")
    return f"{before}{colon}{Path(after).name}" if Path(after).is_absolute() else value


def check_results(results: Path) -> None:
    """BadInput unless a run can be exported here; called before it starts. Makes the folder."""
    with _locked(results):
        for table in (*ROW_OF, RUNS):
            if (results / table).exists() and not (results / table).is_dir():
                raise BadInput(f"a table of the results is a folder, but '{results / table}' is a file: {MOVE}")
        for path, table in table_files(results):
            check(path, table)


def check_unused(results: Path, run: str) -> None:
    """BadInput when the results hold a run of that name, of whichever sweep: a new one would take its place, or be mistaken for it."""
    if any((results / RUNS).glob(f"sweep=*/run={quote(run, safe='')}")):
        raise BadInput(
            f"a run's results stay its own, but '{results}' has a run {run!r} already: give another --run-name or --results folder"
        )


def check_own(results: Path, spec: RunSpec) -> None:
    """BadInput when the results hold another run of that name."""
    file = run_folder(results, RUNS, spec) / RUN_JSON
    then = read_json(file).get("created_at", spec.created_at) if file.exists() else spec.created_at
    if then != spec.created_at:
        raise BadInput(
            f"a run's results stay its own, but '{results}' has another run {spec.run!r}, begun {then} and not {spec.created_at}: "
            "give another --results folder"
        )


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    """Makes the folder and holds its lock, so that two exports do not write at once."""
    lock = _acquire(results)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writable(results: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"results go to a folder that can be written, but '{results}' cannot ({reason}): make room or give another --results folder, then "
            "`sweeps export` the run"
        ) from None


def _acquire(results: Path) -> BaseFileLock:
    lock = FileLock(results / LOCK, timeout=LOCK_SECONDS)
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BadInput(
            f"one export at a time writes '{results}', but another has held its {LOCK} for {LOCK_SECONDS} s: end that one"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(
            f"results go to a folder that can be written, but '{results}' cannot ({reason}): give another --results folder"
        ) from None
    return lock
