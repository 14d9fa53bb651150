"""Studies: several sweeps as one. `<storage>/<study>/study.json` says what it is; its parts are runs, `<study>.<part>`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from data_prep import BadInput, Dataset
from sweeps.core.extend import with_limits
from sweeps.core.journal import read_state
from sweeps.core.launch import Resolved, RunOptions, check_options, given_settings, resolve
from sweeps.core.standing import finished
from sweeps.core.storage import RunStorage
from sweeps.core.sweep import Study


class StudySpec(BaseModel):
    """What a study is, fixed when it starts: its parts with all settings, in the order of its table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    study: str
    question: str
    parts: tuple[Resolved, ...]
    options: RunOptions
    fingerprints: dict[int, str]

    def check_data(self, part: Resolved, dataset: Dataset) -> None:
        """BadInput unless a part that has not begun finds the data that the study began with. (One that has looks at its own run.json.)"""
        if dataset.fingerprint != self.fingerprints[part.size]:
            raise BadInput(
                f"a study is one data set, but {dataset.path} has the fingerprint {dataset.fingerprint} instead of "
                f"{self.fingerprints[part.size]}: give the --data-root of the first, or prepare it from the first source by `sweeps data`"
            )

    def options_of(self, part: Resolved) -> RunOptions:
        """Those of the part's own run."""
        return replace(self.options, run_name=part_run(self.study, part))


def part_run(study: str, part: Resolved) -> str:
    """Name of the run of a part."""
    return f"{study}.{part.part}"


def runs(spec: StudySpec, storage: str) -> list[str]:
    """The runs of those parts that have begun."""
    names = [part_run(spec.study, part) for part in spec.parts]
    return [name for name in names if RunStorage(storage, name).exists()]


def part_finished(spec: StudySpec, part: Resolved, storage: str) -> bool:
    """Whether the part's run has ended and its best model is measured."""
    run = RunStorage(storage, part_run(spec.study, part))
    return run.exists() and finished(with_limits(run.spec(), state := read_state(run)), state)


def resolve_parts(name: str, study: Study, options: RunOptions) -> list[Resolved]:
    """The parts as the options ask for them; BadInput when any trial of any would be impossible, or its data cannot be had."""
    check_options(options)
    sweeps = study.sweeps(given_settings(options))
    free = replace(options, settings=(), epochs=None, data=options.data or study.data)
    return [replace(resolve(name, sweep, free), part=part, part_number=number) for number, (part, sweep) in enumerate(sweeps, 1)]


def create(storage: RunStorage, spec: StudySpec) -> None:
    """Write study.json; BadInput when there is a run or study of that name."""
    storage.check_new()
    # Whoever reads it has found the storage already: its secrets are not kept in it.
    kept = spec.model_copy(update={"options": replace(spec.options, storage=storage.shown)})
    storage.write(storage.study_file, kept.model_dump_json(indent=1).encode())


def with_resources(spec: StudySpec, resources: tuple[int, float]) -> StudySpec:
    """The study whose trials have so many cores and GPUs each."""
    cpus, gpus = resources
    parts = tuple(replace(part, gpus=gpus) for part in spec.parts)
    return spec.model_copy(update={"parts": parts, "options": replace(spec.options, cpus=cpus, gpus=gpus)})


def rearrange(storage: RunStorage, resources: tuple[int, float]) -> None:
    """Have study.json say so. For who holds its lock."""
    before = load(storage)
    if (before.options.cpus, before.parts[0].gpus) != resources:
        storage.write(storage.study_file, with_resources(before, resources).model_dump_json(indent=1).encode())


def load(storage: RunStorage) -> StudySpec:
    """What study.json says; BadInput when it cannot be read."""
    try:
        return StudySpec.model_validate_json(storage.read_study())
    except ValidationError as error:
        problem = error.errors()[0]
        why = " ".join([*(str(place) for place in problem["loc"]), problem["msg"]])
        raise BadInput(f"study.json must be one that this version wrote, but that of {storage.run} is not ({why}): restore it") from None
