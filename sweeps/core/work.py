"""Runs that one command trains: begun or gone on with, carried to their ends or an interruption, exported."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from data_prep import BadInput, open_dataset, prepare
from sweeps.core import bases, disks, study
from sweeps.core import results as tables
from sweeps.core.best import best_models_table
from sweeps.core.decide import Decisions
from sweeps.core.events import Events
from sweeps.core.extend import Extension, extend, rearrange, with_limits, with_resources
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.launch import (
    Resolved,
    RunOptions,
    check_resources,
    new_run,
    notes,
    parse_size,
    places,
    prepare_data,
    resolve,
    split_sizes,
)
from sweeps.core.lease import RunTaken
from sweeps.core.report import REPORT, write_report
from sweeps.core.screen import Screen, account, sharing
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished, total_trials
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage, dataset_place
from sweeps.core.sweep import Study, Sweep, load_sweep
from trainables.core.aside import ASIDE, AsideError
from trainables.core.bases import fetch_imagenet, store
from trainables.core.datasets import at_hand, publish, published
from trainables.core.files import StorageLost

Outcome = Literal["done", "failed", "interrupted"]


class Taken(BadInput):
    """Another process works on the run."""


@dataclass(frozen=True)
class Planned:
    """What a command asks for: one run, or the parts of a study, which has a question of its own."""

    parts: list[Resolved]
    question: str | None = None


def planned(options: RunOptions) -> Planned:
    """BadInput for what can be refused without data or keras."""
    name, found = load_sweep(options.sweep)
    parts = study.resolve_parts(name, found, options) if isinstance(found, Study) else [resolve(name, found, options)]
    for part in parts:
        bases.check(part, options)
    check_resources(options.cpus, options.gpus, options.address)
    return Planned(parts, found.question if isinstance(found, Study) else None)


def tell_of_disks(storage: str, data_roots: Iterable[Path], sweeps: Iterable[Sweep], console: Console) -> None:
    """Whether the storage, or where features are kept, has too little room: a line each."""
    for note in disks.notes(storage, data_roots, sweeps):
        console.print(note, soft_wrap=True)


@dataclass(frozen=True)
class Work:
    """The trainings of one command, inside `cluster`, which gives `workers`: trials at a time, each with these `resources`: cores and GPUs."""

    options: RunOptions
    workers: int
    resources: tuple[int, float]
    console: Console
    events: Events | None = None

    @property
    def makers(self) -> bases.Makers:
        """How the bases of a run are made."""
        return bases.Makers(
            store=lambda task: _aside(store, task),
            fetch=lambda names: _aside(fetch_imagenet, names),
            run=self._train_base,
            resume=lambda name: _name_unless_interrupted(self.resume_run(name)),
        )

    def _train_base(self, options: RunOptions) -> str:
        return _name_unless_interrupted(replace(self, options=options).new_run(self.plan_of_base(options)[0]))

    def check_nodes(self, folders: Iterable[Path]) -> None:
        """BadInput when a node of a cluster cannot do its share. The data sets that one needs and does not have, or one that may come, are put on the
        storage, from where it copies them."""
        from sweeps.core.autoscaler import machines
        from sweeps.core.doctor import check

        if self.options.address is None:
            return
        folders = set(folders)
        missing = check(self.options.storage, folders, *self.resources, self.tell)
        for folder in sorted(folders if machines().most else missing):
            at = dataset_place(self.options.storage, folder.name)
            with _copying():
                if not published(at):
                    self.tell(f"{folder.name}: to the storage, from where each machine copies it to its own disk")
                    publish(open_dataset(folder), at)

    def plan_of_base(self, options: RunOptions) -> tuple[Resolved, Path]:
        """The base's run, and its data set's folder: it is prepared. BadInput when that cannot be had."""
        try:
            (plan,) = planned(options).parts
            return plan, prepare_data(plan, options, self.console).path
        except BadInput as error:
            raise BadInput(f"{error}; or start from another base: --set base={bases.HALF}") from None

    def prepare_data_of_bases(self, plan: Resolved) -> set[Path]:
        """Of bases that are to be trained; their folders. BadInput when it cannot be had."""
        folders = set()
        dataset = prepare_data(plan, self.options, self.console)
        for name in filter(bases.is_trained, bases.names(plan)):
            if (wanted := bases.base_run(name, plan, self.options, dataset)).run is None:
                folders.add(self.plan_of_base(wanted.options)[1])
        return folders

    def new_run(self, plan: Resolved) -> tuple[Outcome, str]:
        """A run of its own; gives its outcome and name."""
        with ExitStack() as locks:
            try:
                job = self.start(plan, self.options, locks)
            except KeyboardInterrupt:
                self.console.print("interrupted before its first trial: the same command again goes on with what it needs", soft_wrap=True)
                return "interrupted", ""
            outcome = self.carry_on([job])
            self._show(job, outcome)
            return outcome, job.run

    def resume_run(self, name: str, asked: Extension | None = None) -> tuple[Outcome, str]:
        """Go on with a run that has not ended, or beyond its limits where more is asked for."""
        storage = RunStorage(self.options.storage, name)
        with ExitStack() as locks:
            folder = self._enter(storage, locks)
            self.check_nodes([folder])
            if asked and asked.asked:
                extend(asked, storage)
            job = self._go_on(storage, folder)
            tell_of_disks(self.options.storage, [folder.parent], [job.spec.sweep], self.console)
            outcome = self.carry_on([job])
            self._show(job, outcome)
            return outcome, name

    def start(self, plan: Resolved, options: RunOptions, locks: ExitStack, of: study.StudySpec | None = None) -> Job:
        """A new run, also `of` a study, with the bases that it starts from; `locks` hold it for this process alone."""
        dataset = prepare_data(plan, options, self.console)
        if of:
            of.check_data(plan, dataset)
        started = time.monotonic()
        sources = bases.prepare_bases(plan, options, dataset, self.makers, self.console)
        if sources and plan.time_budget_seconds is not None:
            # The training of a base is part of the run's time.
            plan = replace(plan, time_budget_seconds=max(1.0, plan.time_budget_seconds - (time.monotonic() - started)))
        spec, storage = new_run(plan, options, dataset, lambda made: bases.store_bases(sources, made, plan, self.makers))
        locks.enter_context(storage.lock(self.tell))
        images = sum(split_sizes(plan, dataset))
        self.console.print(f"{spec.run}: {spec.sweep.question} {spec.sweep.trainable} on {spec.dataset} ({images} images)", soft_wrap=True)
        for note in notes(plan, options):
            self.console.print(note, soft_wrap=True)
        return Job(storage, Decisions(spec, Journal(storage)), str(dataset.path.absolute()), parse_size(spec.cache_size))

    def open(self, storage: RunStorage, locks: ExitStack) -> Job:
        """A run that was begun before; `locks` hold it for this process alone."""
        return self._go_on(storage, self._enter(storage, locks))

    def _enter(self, storage: RunStorage, locks: ExitStack) -> Path:
        """Have the run for this process alone; gives the folder of its data."""
        locks.enter_context(storage.lock(self.tell))
        return _find_data(storage, storage.spec(), self.options.data_root, self.console)

    def _go_on(self, storage: RunStorage, folder: Path) -> Job:
        journal = Journal(storage)
        spec = with_limits(storage.spec(), journal.state)
        if not finished(spec, journal.state):
            spec = with_resources(spec, self.resources)
        job = Job(storage, Decisions(spec, journal), str(folder), parse_size(self.options.cache_size or spec.cache_size))
        if not finished(spec, job.state):
            self.console.print(f"{spec.run}: {len(job.state.trials)} trials so far, {_what_is_left(spec, job.state)}", soft_wrap=True)
        return job

    def carry_on(self, jobs: list[Job]) -> Outcome:
        """Work on runs to their ends or an interruption, and export them, whatever happens."""
        from sweeps.core.runner import run_session
        from sweeps.core.tune import ClusterLost

        open_jobs = [job for job in jobs if not finished(job.spec, job.state)]
        done, ours = not open_jobs, True
        try:
            if open_jobs:
                for job in open_jobs:
                    rearrange(job.storage, job.decisions.journal, job.spec)
                with Screen(open_jobs, self.console, self.events):
                    done = run_session(open_jobs, self.workers, self.tell, partial(self._give_up, jobs))
        except KeyboardInterrupt:
            # A second Ctrl-C, or one outside the search: the epochs in flight are given up, too.
            done = False
        except RunTaken:
            ours, name = False, _name_of(jobs)
            raise Taken(
                f"one process at a time runs a run, but another one has taken {name} while this one was away: watch it with `sweeps status {name}`"
            ) from None
        except (StorageLost, ClusterLost) as error:
            done = False
            cure = "; make room, or see that the storage is there" if isinstance(error, StorageLost) else ""
            self.console.print(f"stopped: {error}{cure}", soft_wrap=True)
        finally:
            # Also after an error: what was reported is not kept from anyone.
            if ours:
                self._export(jobs, done)
                if self.events:
                    tell_ends(self.events, self.options.results, [(job.spec, job.state) for job in jobs])
        return outcome_of(job.state for job in jobs) if done else "interrupted"

    def tell(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, soft_wrap=True)

    def _export(self, jobs: list[Job], done: bool) -> None:
        refused: list[BadInput] = []
        for job in jobs:
            try:
                tables.export(job.spec, job.state, self.options.results)
            except BadInput as error:
                refused.append(error)
        if refused and done:
            raise refused[0]
        for reason in refused:
            # On the disk that is full, say.
            self.console.print(f"not exported: {reason}", soft_wrap=True)

    def _give_up(self, jobs: list[Job]) -> None:
        """Ray is gone, and the main thread waits for it in vain."""
        from sweeps.core.cli import INTERRUPTED

        # The live screen, which hides it, is not ended.
        self.console.show_cursor(True)
        self.console.print("stopped: Ray does not answer any more: its processes were ended", soft_wrap=True)
        self._export(jobs, done=False)
        self.interrupted(_name_of(jobs))
        if self.events:
            tell_ends(self.events, self.options.results, [(job.spec, job.state) for job in jobs])
            self.events.done("interrupted", str(self.options.results))
        sys.stdout.flush()
        os._exit(INTERRUPTED)

    def interrupted(self, name: str) -> None:
        """Tell how the run or study of that name is gone on with."""
        self.console.print(
            f"interrupted; everything reported is kept: go on with `sweeps resume {name}{places(self.options)}`", soft_wrap=True
        )

    def _show(self, job: Job, outcome: Outcome) -> None:
        if outcome == "interrupted":
            self.interrupted(job.run)
            return
        tables.show_best(self.options.results, job.run, self.console)
        for told in (sharing(job.state), account(job.state)):
            if told:
                self.console.print(told, soft_wrap=True, highlight=False)
        self.console.print(f"results: {self.options.results}  {self.report()}  run: {job.storage.location}", soft_wrap=True)

    def report(self) -> str:
        """Write it anew; where it is."""
        page = self.options.results / REPORT
        write_report(self.options.results, page)
        return f"report: {page}"


def _name_of(jobs: list[Job]) -> str:
    """What a user resumes: the study, whose bases are runs of their own, or the run."""
    return next((job.spec.study for job in jobs if job.spec.study), jobs[0].run)


def _what_is_left(spec: RunSpec, state: RunState) -> str:
    """Of a run that is not finished."""
    if state.open:
        return f"going on with: {', '.join(trial.trial_id for trial in state.open_trials)}"
    if more := total_trials(spec, state) - len(state.trials):
        return f"all ended; {more} to come" if state.trials else f"{more} to come"
    return "all ended; the best is still to be measured"


def _aside(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return ASIDE.call(function, *arguments)
    except AsideError as error:
        raise BadInput(str(error)) from None


def _name_unless_interrupted(ended: tuple[Outcome, str]) -> str:
    outcome, name = ended
    return "" if outcome == "interrupted" else name


@contextmanager
def _copying() -> Iterator[None]:
    """BadInput where a data set cannot be copied."""
    try:
        yield
    except StorageLost as error:
        raise BadInput(f"machines copy a data set from the storage, but {error}: make room, or share --data-root") from None


def _find_data(storage: RunStorage, spec: RunSpec, root: Path, console: Console) -> Path:
    """Where this machine has the run's data set; copied from the storage, or prepared, if it is not there. BadInput when it is another one."""
    # The folder's name holds the fingerprint, so it is the same in every root.
    for folder in (Path(spec.dataset_folder), root / Path(spec.dataset_folder).name):
        if (folder / "dataset.json").is_file():
            dataset = open_dataset(folder)
            break
    else:
        name = Path(spec.dataset_folder).name
        at = dataset_place(storage.root, name)
        with _copying():
            there = at_hand(root / name, at) if published(at) else None
        size = spec.sweep.config({}, spec.seed).size
        dataset = there or prepare(spec.dataset_source or spec.dataset, size=size, root=root, console=console)
    if dataset.fingerprint != spec.dataset_fingerprint:
        raise BadInput(
            f"a run is resumed on the data it began with, but {dataset.path} has the fingerprint {dataset.fingerprint} instead of "
            f"{spec.dataset_fingerprint}: give the --data-root of the first, or prepare it from the first source by `sweeps data`"
        )
    return dataset.path.absolute()


def outcome_of(states: Iterable[RunState]) -> Outcome:
    """Of runs that were not interrupted."""
    return "failed" if any(state.count("failed") for state in states) else "done"


def tell_ends(events: Events, results: Path, runs: Iterable[tuple[RunSpec, RunState]]) -> None:
    """Tell the events how each run ended, with its row of the best models."""
    best = {row["run"]: row for row in best_models_table(results)}
    for spec, state in runs:
        events.end(spec.run, outcome_of([state]) if finished(spec, state) else "interrupted", best.get(spec.run))
