"""`run.json`: what a run is, fixed when it starts. With the journal and the checkpoints beside it a run can be resumed anywhere."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sweeps.core.sweep import Sweep
from trainables.core.features import CACHE_BYTES

# Of a run that says no other.
CACHE_SIZE = f"{CACHE_BYTES // 10**9}GB"


class StoredBase(BaseModel):
    """A trained network that trials start from. `file` is its name among the run's bases and None where its weights are random; `source` is the run, file
    or weights that it was made from; `layers` as the report counts them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    file: str | None
    sha256: str | None
    layers: int
    parameters: int


class RunSpec(BaseModel):
    """The resolved sweep, its data, its resources and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run: str
    sweep_name: str
    sweep: Sweep
    samples: int
    seed: int
    seeds: int = 1
    deterministic: bool
    time_budget_seconds: float | None
    parallel: int | None = None
    cache_size: str = CACHE_SIZE
    cpus_per_trial: int
    gpus_per_trial: float
    dataset: str
    dataset_source: str | None
    dataset_folder: str
    dataset_fingerprint: str
    class_count: int
    bases: dict[str, StoredBase] = {}
    study: str | None = None
    part: str | None = None
    part_number: int | None = None
    created_at: str
    git_commit: str | None
    versions: dict[str, str]
    machine: dict[str, Any]
