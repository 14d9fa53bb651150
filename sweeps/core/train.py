"""The commands that train: `sweeps run` and `sweeps resume`, of a run or of a study. What can be refused without Ray is refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

from rich.console import Console

from data_prep import BadInput
from sweeps.core import bases, study
from sweeps.core import results as tables
from sweeps.core.events import Events
from sweeps.core.extend import Extension, with_limits
from sweeps.core.extend import check as check_limits
from sweeps.core.journal import read_state
from sweeps.core.launch import RunOptions, check_resources, check_storage, parse_size, prepare_data
from sweeps.core.standing import finished
from sweeps.core.storage import RunStorage
from sweeps.core.study_work import StudyWork
from sweeps.core.work import Outcome, Work, outcome_of, planned, tell_ends, tell_of_disks
from trainables.core.aside import ASIDE


def run(options: RunOptions, console: Console, events: Events | None = None) -> Outcome:
    """A new run or study, to its end or an interruption. `events` are told of what happens, beside the console."""
    from sweeps.core.runner import check_address, cluster

    plan = planned(options)
    if any(map(bases.asks_keras, plan.parts)):
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
    tell_of_disks(options.storage, [folder.parent for folder in folders], [part.sweep for part in plan.parts], console)
    resources = options.cpus, plan.parts[0].gpus
    with _told(cluster(options.address, *resources), console) as workers:
        work = Work(options, workers, resources, console, events)
        parts = [bases.prepare_weights(part, work.makers, console) for part in plan.parts]
        for part in parts:
            bases.check_fit(part, options, work.makers)
            folders |= work.prepare_data_of_bases(part)
        work.check_nodes(folders)
        return StudyWork(work).new(plan.question, parts, fingerprints) if plan.question else work.new_run(parts[0])[0]


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
            tell_ends(events, options.results, [(spec, state)])
        console.print(f"{spec.run} is finished: nothing to do. {then}.", soft_wrap=True)
        return outcome_of([state])
    resources = asked.resources(spec.cpus_per_trial, spec.gpus_per_trial)
    check_resources(*resources, options.address)
    storage.check_writable()
    storage.check_free()
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
            tell_ends(events, options.results, ended)
        console.print(f"{spec.study} is finished: nothing to do. `sweeps best {spec.study}` shows its table.", soft_wrap=True)
        return outcome_of(state for _, state in ended)
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
    storage.check_free()
    for name in study.runs(spec, options.storage):
        tables.check_own(options.results, RunStorage(options.storage, name).spec())
    with _told(cluster(options.address, *resources), console) as workers:
        parts = StudyWork(Work(spec.options, workers, resources, console, events))
        parts.check_nodes(spec.parts)
        tell_of_disks(options.storage, [options.data_root], [part.sweep for part in spec.parts], console)
        return parts.go_through(spec, storage)


@contextmanager
def _told(cluster: AbstractContextManager[int], console: Console) -> Iterator[int]:
    """The cluster, which takes seconds to begin: a terminal says so."""
    with ExitStack() as stack:
        with console.status("starting Ray"):
            workers = stack.enter_context(cluster)
        yield workers
