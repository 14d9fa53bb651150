"""The commands that train: `sweeps run` and `sweeps resume`, of a run or of a study."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
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
from sweeps.core.extend import check as check_limits
from sweeps.core.job import Job
from sweeps.core.journal import Journal, read_state
from sweeps.core.launch import (
    Resolved,
    RunOptions,
    check_resources,
    check_storage,
    new_name,
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
from sweeps.core.study_table import show_study
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


def run(options: RunOptions, console: Console, events: Events | None = None) -> Outcome:
    """A new run or study, to its end or an interruption. `events` are told of what happens, beside the console."""
    from sweeps.core.runner import check_address, cluster

    plan = planned(options)
    if any(bases.names(part) for part in plan.parts):
        # It imports keras meanwhile.
        ASIDE.start()
    check_address(options.address)
    tables.check_results(options.results)
    check_storage(options)
    if options.run_name:
        for name in [options.run_name, *(study.part_run(options.run_name, part) for part in plan.parts if part.part)]:
            RunStorage(options.storage, name).check_new()
            tables.check_unused(options.results, name)
    fingerprints, folders = {}, set()
    for part in plan.parts:
        dataset = prepare_data(part, options, console)
        fingerprints[part.size] = dataset.fingerprint
        folders.add(dataset.path)
        bases.check_classes(part, dataset)
        bases.check_split(part, options, dataset)
    _tell_of_disks(options.storage, [folder.parent for folder in folders], [part.sweep for part in plan.parts], console)
    resources = options.cpus, plan.parts[0].gpus
    with _told(cluster(options.address, *resources), console) as workers:
        work = Work(options, workers, resources, console, events)
        parts = [bases.prepare_weights(part, work.makers, console) for part in plan.parts]
        for part in parts:
            bases.check_fit(part, options, work.makers)
            folders |= work.prepare_data_of_bases(part)
        work.check_nodes(folders)
        return work.new_study(plan.question, parts, fingerprints) if plan.question else work.new_run(parts[0])[0]


def resume(name: str, options: RunOptions, console: Console, asked: Extension, events: Events | None = None) -> Outcome:
    """Go on with a run or a study, from its storage alone; a run also beyond its first limits, both also with other resources a trial. `options`: storage,
    results, data_root and address are used. `events` as of `run`."""
    storage = RunStorage(options.storage, name)
    if options.cache_size is not None:
        parse_size(options.cache_size)
    tables.check_results(options.results)
    if not storage.is_study():
        return _resume_run(storage, options, console, asked, events)
    if asked.asked:
        raise BadInput(
            f"a study is extended part by part, but {name} is a study: `sweeps resume` one of {', '.join(study.runs(study.load(storage), options.storage))}"
        )
    return _resume_study(storage, options, console, asked, events)


def _resume_run(storage: RunStorage, options: RunOptions, console: Console, asked: Extension, events: Events | None) -> Outcome:
    from sweeps.core.runner import cluster

    state = read_state(storage)
    spec = with_limits(storage.spec(), state)
    if asked.asked:
        check_limits(asked, spec)
    elif finished(spec, state):
        # It may have been killed between its last row and its export.
        tables.export(spec, state, options.results)
        then = (
            f"`sweeps best {spec.run}` shows its best model"
            if state.best_trial
            else f"`sweeps status {spec.run}` shows why it has no model"
        )
        if events:
            _tell_ends(events, options.results, [(spec, state)])
        console.print(f"{spec.run} is finished: nothing to do. {then}.", soft_wrap=True)
        return _outcome([state])
    resources = asked.resources(spec.cpus_per_trial, spec.gpus_per_trial)
    check_resources(*resources, options.address)
    storage.check_writable()
    tables.check_own(options.results, spec)
    with _told(cluster(options.address, *resources), console) as workers:
        return Work(options, workers, resources, console, events).resume_run(spec.run, asked)[0]


def _resume_study(storage: RunStorage, options: RunOptions, console: Console, asked: Extension, events: Events | None) -> Outcome:
    from sweeps.core.runner import cluster

    spec = study.load(storage)
    if all(study.part_finished(spec, part, options.storage) for part in spec.parts):
        # It may have been killed between its last row and its export.
        runs = [RunStorage(options.storage, name) for name in study.runs(spec, options.storage)]
        ended = [(run.spec(), read_state(run)) for run in runs]
        for of, state in ended:
            tables.export(of, state, options.results)
        if events:
            _tell_ends(events, options.results, ended)
        console.print(f"{spec.study} is finished: nothing to do. `sweeps best {spec.study}` shows its table.", soft_wrap=True)
        return _outcome(state for _, state in ended)
    resources = asked.resources(spec.options.cpus, spec.parts[0].gpus)
    check_resources(*resources, options.address)
    spec = study.with_resources(spec, resources)
    spec = spec.model_copy(
        update={
            "options": replace(
                spec.options,
                storage=options.storage,
                results=options.results,
                data_root=options.data_root,
                address=options.address,
                cache_size=options.cache_size or spec.options.cache_size,
            )
        }
    )
    storage.check_writable()
    for name in study.runs(spec, options.storage):
        tables.check_own(options.results, RunStorage(options.storage, name).spec())
    with _told(cluster(options.address, *resources), console) as workers:
        work = Work(spec.options, workers, resources, console, events)
        work.check_nodes_of(spec.parts)
        _tell_of_disks(options.storage, [options.data_root], [part.sweep for part in spec.parts], console)
        return work.go_through(spec, storage)


def _tell_of_disks(storage: str, data_roots: Iterable[Path], sweeps: Iterable[Sweep], console: Console) -> None:
    for note in disks.notes(storage, data_roots, sweeps):
        console.print(note, soft_wrap=True)


@contextmanager
def _told(cluster: AbstractContextManager[int], console: Console) -> Iterator[int]:
    """The cluster, which takes seconds to begin: a terminal says so."""
    with ExitStack() as stack:
        with console.status("starting Ray"):
            workers = stack.enter_context(cluster)
        yield workers


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
        return _name_unless_interrupted(replace(self, options=options).new_run(self._plan_of_base(options)[0]))

    def check_nodes_of(self, parts: Iterable[Resolved]) -> None:
        """The same for the parts of a study. (Of a base that cannot be had is told when the part that needs it has its turn.)"""
        if self.options.address is None:
            return
        parts = list(parts)
        folders = {prepare_data(part, self.options, self.console).path for part in parts}
        for part in parts:
            with suppress(BadInput):
                folders |= self.prepare_data_of_bases(part)
        self.check_nodes(folders)

    def check_nodes(self, folders: Iterable[Path]) -> None:
        """BadInput when a node of a cluster cannot do its share. The data sets that one needs and does not have, or one that may come, are put on the
        storage, from where it copies them."""
        from sweeps.core.autoscaler import machines
        from sweeps.core.doctor import check

        if self.options.address is None:
            return
        folders = set(folders)
        missing = check(self.options.storage, folders, *self.resources, self._tell)
        for folder in sorted(folders if machines().most else missing):
            at = dataset_place(self.options.storage, folder.name)
            with _copying():
                if not published(at):
                    self._tell(f"{folder.name}: to the storage, from where each machine copies it to its own disk")
                    publish(open_dataset(folder), at)

    def _plan_of_base(self, options: RunOptions) -> tuple[Resolved, Path]:
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
                folders.add(self._plan_of_base(wanted.options)[1])
        return folders

    def new_run(self, plan: Resolved) -> tuple[Outcome, str]:
        """A run of its own; gives its outcome and name."""
        with ExitStack() as locks:
            try:
                job = self._start(plan, self.options, locks)
            except KeyboardInterrupt:
                self.console.print("interrupted before its first trial: the same command again goes on with what it needs", soft_wrap=True)
                return "interrupted", ""
            outcome = self._carry_on([job])
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
            _tell_of_disks(self.options.storage, [folder.parent], [job.spec.sweep], self.console)
            outcome = self._carry_on([job])
            self._show(job, outcome)
            return outcome, name

    def new_study(self, question: str, parts: list[Resolved], fingerprints: dict[int, str]) -> Outcome:
        """A study and its runs."""
        first = parts[0]
        name = self.options.run_name or new_name(self.options.storage, first.name, first.data.partition(":")[0])
        storage = RunStorage(self.options.storage, name)
        own = tuple(replace(part, study=name) for part in parts)
        spec = study.StudySpec(study=name, question=question, parts=own, options=self.options, fingerprints=fingerprints)
        study.create(storage, spec)
        return self.go_through(spec, storage)

    def go_through(self, spec: study.StudySpec, storage: RunStorage) -> Outcome:
        """All parts, side by side; those whose base is trained in the study come after the others. What has ended is left as it is."""
        self.console.print(f"{spec.study}: {spec.question} {len(spec.parts)} parts, each a run", soft_wrap=True)
        outcomes: list[Outcome] = []
        with storage.lock(self._tell):
            study.rearrange(storage, self.resources)
            first, second = _waves(spec.parts)
            for parts, before in ((first, second), (second, [])):
                outcomes += self._wave(spec, parts, before)
                if "interrupted" in outcomes:
                    self._interrupted(spec.study)
                    return "interrupted"
        show_study(self.options.results, spec.study, self.console)
        self.console.print(f"results: {self.options.results}  {self._report()}  study: {storage.location}", soft_wrap=True)
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
                self.check_nodes(Path(job.dataset_folder) for job in jobs)
                outcomes.append(self._carry_on(jobs))
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
            self.console.print(f"failed: {error}", soft_wrap=True)

    def _bases(self, spec: study.StudySpec, parts: list[Resolved], locks: ExitStack) -> Iterable[Job]:
        wanted: dict[RunOptions, bases.BaseRun] = {}
        for part in parts:
            if not RunStorage(self.options.storage, study.part_run(spec.study, part)).exists():
                dataset = prepare_data(part, self.options, self.console)
                for name in filter(bases.is_trained, bases.names(part)):
                    base = bases.base_run(name, part, self.options, dataset)
                    wanted[base.options] = base
        for options, base in wanted.items():
            if base.run is None:
                yield self._start(self._plan_of_base(options)[0], options, locks)
            elif not base.finished:
                yield self._open(RunStorage(options.storage, base.run), locks)

    def _part(self, spec: study.StudySpec, part: Resolved, locks: ExitStack) -> Job:
        options = spec.options_of(part)
        storage = RunStorage(options.storage, study.part_run(spec.study, part))
        if storage.exists():
            return self._open(storage, locks)
        # A budget of the part's own is its alone.
        if part.time_budget_seconds is not None and spec.options.time_budget is not None:
            part = replace(part, time_budget_seconds=max(1.0, part.time_budget_seconds - self._used(spec)))
        return self._start(part, options, locks, spec)

    def _used(self, spec: study.StudySpec) -> float:
        """Seconds that the parts that have begun, side by side, have taken."""
        runs = [RunStorage(self.options.storage, name) for name in study.runs(spec, self.options.storage)]
        return max((read_state(run).elapsed_seconds for run in runs), default=0.0)

    def _start(self, plan: Resolved, options: RunOptions, locks: ExitStack, of: study.StudySpec | None = None) -> Job:
        dataset = prepare_data(plan, options, self.console)
        if of:
            of.check_data(plan, dataset)
        started = time.monotonic()
        sources = bases.prepare_bases(plan, options, dataset, self.makers, self.console)
        if sources and plan.time_budget_seconds is not None:
            # The training of a base is part of the run's time.
            plan = replace(plan, time_budget_seconds=max(1.0, plan.time_budget_seconds - (time.monotonic() - started)))
        spec, storage = new_run(plan, options, dataset, lambda made: bases.store_bases(sources, made, plan, self.makers))
        locks.enter_context(storage.lock(self._tell))
        images = sum(split_sizes(plan, dataset))
        self.console.print(f"{spec.run}: {spec.sweep.question} {spec.sweep.trainable} on {spec.dataset} ({images} images)", soft_wrap=True)
        for note in notes(plan, options):
            self.console.print(note, soft_wrap=True)
        return Job(storage, Decisions(spec, Journal(storage)), str(dataset.path.absolute()), parse_size(spec.cache_size))

    def _open(self, storage: RunStorage, locks: ExitStack) -> Job:
        return self._go_on(storage, self._enter(storage, locks))

    def _enter(self, storage: RunStorage, locks: ExitStack) -> Path:
        """Have the run for this process alone; gives the folder of its data."""
        locks.enter_context(storage.lock(self._tell))
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

    def _carry_on(self, jobs: list[Job]) -> Outcome:
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
                    done = run_session(open_jobs, self.workers, self._tell, partial(self._give_up, jobs))
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
                    _tell_ends(self.events, self.options.results, [(job.spec, job.state) for job in jobs])
        return _outcome(job.state for job in jobs) if done else "interrupted"

    def _tell(self, text: str) -> None:
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
        self._interrupted(_name_of(jobs))
        if self.events:
            _tell_ends(self.events, self.options.results, [(job.spec, job.state) for job in jobs])
            self.events.done("interrupted", str(self.options.results))
        sys.stdout.flush()
        os._exit(INTERRUPTED)

    def _interrupted(self, name: str) -> None:
        self.console.print(
            f"interrupted; everything reported is kept: go on with `sweeps resume {name}{places(self.options)}`", soft_wrap=True
        )

    def _show(self, job: Job, outcome: Outcome) -> None:
        if outcome == "interrupted":
            self._interrupted(job.run)
            return
        tables.show_best(self.options.results, job.run, self.console)
        for told in (sharing(job.state), account(job.state)):
            if told:
                self.console.print(told, soft_wrap=True, highlight=False)
        self.console.print(f"results: {self.options.results}  {self._report()}  run: {job.storage.location}", soft_wrap=True)

    def _report(self) -> str:
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


def _waves(parts: Iterable[Resolved]) -> tuple[list[Resolved], list[Resolved]]:
    """(those that can start at once, those that start from a network which the study may train)."""
    first = [part for part in parts if not any(bases.is_trained(name) for name in bases.names(part))]
    return first, [part for part in parts if part not in first]


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


def _outcome(states: Iterable[RunState]) -> Outcome:
    return "failed" if any(state.count("failed") for state in states) else "done"


def _tell_ends(events: Events, results: Path, runs: Iterable[tuple[RunSpec, RunState]]) -> None:
    best = {row["run"]: row for row in best_models_table(results)}
    for spec, state in runs:
        events.end(spec.run, _outcome([state]) if finished(spec, state) else "interrupted", best.get(spec.run))
