"""Parquet files of the results: all of a table's schema, read with one line for what is wrong with them, replaced whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import BadInput
from sweeps.core.tables import ROW_OF, schema
from trainables.core.files import sync_folder

# Rows that are Python's before they are Arrow's.
BATCH: Final = 10_000
# Rows that are encoded at once.
GROUP: Final = 100_000
MOVE: Final = "give another --results folder, or move the old one away"


def table_files(results: Path) -> Iterator[tuple[Path, str]]:
    """(file, its table) of all files that readers see."""
    for table in ROW_OF:
        for path in sorted((results / table).rglob("*.parquet")):
            if not any(part.startswith((".", "_")) for part in path.relative_to(results).parts):
                yield path, table


def check(path: Path, table: str) -> None:
    """BadInput when a file's columns are not those of this version, or fewer."""
    wanted = {field.name: field.type for field in schema(table)}
    found = _schema_of(path)
    if twice := [name for name in wanted if found.names.count(name) > 1]:
        raise BadInput(f"results have each column once, but {path} has {twice[0]} {found.names.count(twice[0])} times: {MOVE}")
    for field in found:
        if field.name not in wanted:
            raise BadInput(f"results have the columns of this version, but {path} has {field.name}, which it does not know: {MOVE}")
        if field.type != wanted[field.name]:
            raise BadInput(f"{path} has column {field.name} of type {field.type}, but this version writes {wanted[field.name]}: {MOVE}")


def read_table(path: Path) -> Any:
    """A file's own columns, without those of its path; BadInput when it is damaged."""
    return _reading(path, lambda file: _validated(pq.ParquetFile(file).read()))


def _validated(table: Any) -> Any:
    # Arrow looks at a text's bytes when it is told to; Python would raise where it is shown.
    table.validate(full=True)
    return table


def _schema_of(path: Path) -> Any:
    return _reading(path, pq.read_schema)


def _reading(path: Path, read: Callable[[BinaryIO], Any]) -> Any:
    try:
        # Opened here: Arrow takes no path that is not UTF-8.
        with path.open("rb") as file:
            return read(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        cure = "move it away, then `sweeps export` its run again"
        raise BadInput(f"results are whole Parquet files, but {path} cannot be read ({reason}): {cure}") from None


def upgrade(results: Path) -> None:
    """Give older files the columns they lack, null. Readers take the columns of the first file that they meet for those of the table."""
    behind = []
    for path, table in table_files(results):
        check(path, table)
        if not _schema_of(path).equals(schema(table)):
            behind.append((path, table))
    for path, table in behind:
        write_table(path, with_all_columns(read_table(path), schema(table)))


def with_all_columns(old: Any, wanted: Any) -> Any:
    """A table of an older version in the schema `wanted`; null where it lacks a column."""
    have = set(old.column_names)
    return pa.table([old[field.name] if field.name in have else pa.nulls(len(old), field.type) for field in wanted], schema=wanted)


def as_table(table: str, found: Iterable[dict[str, Any]]) -> Any:
    """Rows as an Arrow table; what a row lacks is null."""
    wanted, found = schema(table), iter(found)
    batches = []
    while some := list(islice(found, BATCH)):
        shapes = {tuple(row) for row in some}
        # Nobody would miss them otherwise.
        if unknown := set().union(*shapes) - set(wanted.names):
            raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
        values = _by_column(some, shapes)
        columns = [
            pa.array(values[field.name], field.type) if field.name in values else pa.nulls(len(some), field.type) for field in wanted
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=wanted))
    return pa.Table.from_batches(batches, schema=wanted)


def _by_column(rows: list[dict[str, Any]], shapes: set[tuple[str, ...]]) -> dict[str, Sequence[Any]]:
    if len(shapes) == 1:
        # A third of the time; a long run has a million epochs.
        return dict(zip(*shapes, zip(*(row.values() for row in rows), strict=True), strict=True))
    return {name: [row.get(name) for row in rows] for name in set().union(*shapes)}


def write_table(path: Path, table: Any) -> None:
    """Replace a Parquet file whole."""
    _write(path, lambda file: pq.write_table(table, file, compression="zstd", row_group_size=GROUP))


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole."""
    _write(path, lambda file: file.write(text.encode()))


def _write(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Replace a file whole: a reader sees the old or the new one, also after a crash. Under the lock, so a leftover of a crash is written over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readers skip names that start with a dot, and this one does not end in .parquet.
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
