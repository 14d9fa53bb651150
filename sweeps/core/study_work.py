"""The parts of a study, side by side: each a run, those that start from a network which the study trains after the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep import BadInput
from sweeps.core import bases, study
from sweeps.core.job import Job
from sweeps.core.journal import read_state
from sweeps.core.launch import Resolved, RunOptions, new_name, prepare_data
from sweeps.core.storage import RunStorage
from sweeps.core.study_table import show_study
from sweeps.core.work import Outcome, Taken, Work


@dataclass(frozen=True)
class StudyWork:
    """The trainings of a study in one command."""

    work: Work

    def check_nodes(self, parts: Iterable[Resolved]) -> None:
        """As `Work.check_nodes`, for all parts. (Of a base that cannot be had is told when the part that needs it has its turn.)"""
        if self.work.options.address is None:
            return
        parts = list(parts)
        folders = {prepare_data(part, self.work.options, self.work.console).path for part in parts}
        for part in parts:
            with suppress(BadInput):
                folders |= self.work.prepare_data_of_bases(part)
        self.work.check_nodes(folders)

    def new(self, question: str, parts: list[Resolved], fingerprints: dict[int, str]) -> Outcome:
        """A study and its runs."""
        first = parts[0]
        name = self.work.options.run_name or new_name(self.work.options.storage, first.name, first.data.partition(":")[0])
        storage = RunStorage(self.work.options.storage, name)
        own = tuple(replace(part, study=name) for part in parts)
        spec = study.StudySpec(study=name, question=question, parts=own, options=self.work.options, fingerprints=fingerprints)
        study.create(storage, spec)
        return self.go_through(spec, storage)

    def go_through(self, spec: study.StudySpec, storage: RunStorage) -> Outcome:
        """All parts, side by side; those whose base is trained in the study come after the others. What has ended is left as it is."""
        self.work.console.print(f"{spec.study}: {spec.question} {len(spec.parts)} parts, each a run", soft_wrap=True)
        outcomes: list[Outcome] = []
        with storage.lock(self.work.tell):
            study.rearrange(storage, self.work.resources)
            first, second = _waves(spec.parts)
            for parts, before in ((first, second), (second, [])):
                outcomes += self._wave(spec, parts, before)
                if "interrupted" in outcomes:
                    self.work.interrupted(spec.study)
                    return "interrupted"
        show_study(self.work.options.results, spec.study, self.work.console)
        self.work.console.print(f"results: {self.work.options.results}  {self.work.report()}  study: {storage.location}", soft_wrap=True)
        return "failed" if "failed" in outcomes else "done"

    def _wave(self, spec: study.StudySpec, parts: list[Resolved], later: list[Resolved]) -> list[Outcome]:
        """These parts, and the bases that later ones need."""
        jobs: list[Job] = []
        outcomes: list[Outcome] = []
        with ExitStack() as locks:
            try:
                # Why there is no base is said when the parts that need it have their turn.
                with suppress(BadInput):
                    jobs += self._bases(spec, later, locks)
                for part in parts:
                    with self._failing(outcomes):
                        jobs.append(self._part(spec, part, locks))
            except KeyboardInterrupt:
                return ["interrupted"]
            with self._failing(outcomes):
                # Also of what a part or a base began with, which may be elsewhere than what it would begin with now.
                self.work.check_nodes(Path(job.dataset_folder) for job in jobs)
                outcomes.append(self.work.carry_on(jobs))
        return outcomes

    @contextmanager
    def _failing(self, outcomes: list[Outcome]) -> Iterator[None]:
        """A part that cannot be trained or measured is told: the others are not kept from anyone by it."""
        try:
            yield
        except Taken:
            raise
        except BadInput as error:
            outcomes.append("failed")
            self.work.console.print(f"failed: {error}", soft_wrap=True)

    def _bases(self, spec: study.StudySpec, parts: list[Resolved], locks: ExitStack) -> Iterable[Job]:
        wanted: dict[RunOptions, bases.BaseRun] = {}
        for part in parts:
            if not RunStorage(self.work.options.storage, study.part_run(spec.study, part)).exists():
                dataset = prepare_data(part, self.work.options, self.work.console)
                for name in filter(bases.is_trained, bases.names(part)):
                    base = bases.base_run(name, part, self.work.options, dataset)
                    wanted[base.options] = base
        for options, base in wanted.items():
            if base.run is None:
                yield self.work.start(self.work.plan_of_base(options)[0], options, locks)
            elif not base.finished:
                yield self.work.open(RunStorage(options.storage, base.run), locks)

    def _part(self, spec: study.StudySpec, part: Resolved, locks: ExitStack) -> Job:
        options = spec.options_of(part)
        storage = RunStorage(options.storage, study.part_run(spec.study, part))
        if storage.exists():
            return self.work.open(storage, locks)
        # A budget of the part's own is its alone.
        if part.time_budget_seconds is not None and spec.options.time_budget is not None:
            part = replace(part, time_budget_seconds=max(1.0, part.time_budget_seconds - self._used(spec)))
        return self.work.start(part, options, locks, spec)

    def _used(self, spec: study.StudySpec) -> float:
        """Seconds that the parts that have begun, side by side, have taken."""
        runs = [RunStorage(self.work.options.storage, name) for name in study.runs(spec, self.work.options.storage)]
        return max((read_state(run).elapsed_seconds for run in runs), default=0.0)


def _waves(parts: Iterable[Resolved]) -> tuple[list[Resolved], list[Resolved]]:
    """(those that can start at once, those that start from a network which the study may train)."""
    first = [part for part in parts if not any(bases.is_trained(name) for name in bases.names(part))]
    return first, [part for part in parts if part not in first]
