"""What each command does, once its words are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from data_prep import BadInput, open_dataset, prepare
from sweeps.core import results as tables
from sweeps.core.decide import Decisions, finished
from sweeps.core.journal import Journal, read_state
from sweeps.core.launch import RunOptions, check_resources, check_storage, new_run, notes, prepare_data, resolve
from sweeps.core.plan import show_plan
from sweeps.core.screen import Screen, overview, trial_table
from sweeps.core.spec import RunSpec
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage, run_names

Outcome = Literal["done", "failed", "interrupted"]


def plan(options: RunOptions, console: Console) -> None:
    """Show what a run would do."""
    resolved = resolve(options)
    check_resources(options)
    show_plan(resolved, options, console)


def run(options: RunOptions, console: Console) -> Outcome:
    """A new run, to its end or an interruption."""
    from sweeps.core.runner import check_address, cluster

    resolved = resolve(options)
    check_resources(options)
    check_address(options.address)
    tables.check_results(options.results)
    check_storage(options)
    if options.run_name:
        tables.check_unused(options.results, options.run_name)
    dataset = prepare_data(resolved, options, console)
    with cluster(options.address, options.cpus, resolved.gpus) as workers:
        spec, storage = new_run(resolved, options, dataset)
        with storage.lock():
            console.print(
                f"{spec.run}: {spec.sweep.question} {spec.sweep.trainable} on {spec.dataset} ({len(dataset.labels)} images)", soft_wrap=True
            )
            for note in notes(resolved, options):
                console.print(note, soft_wrap=True)
            decisions = Decisions(spec, Journal(storage))
            return _work(storage, decisions, options.results, workers, str(dataset.path.absolute()), console)


def resume(name: str, storage_location: str, results: Path, data_root: Path, address: str | None, console: Console) -> Outcome:
    """Go on with a run, from its storage alone."""
    from sweeps.core.runner import cluster

    storage = RunStorage(storage_location, name)
    spec = storage.spec()
    tables.check_results(results)
    state = read_state(storage)
    if finished(spec, state):
        # It may have been killed between its last row and its export.
        tables.export(spec, state, results)
        console.print(f"{name} is finished: nothing to do. `sweeps best {name}` shows its best model.", soft_wrap=True)
        return _outcome(state)
    storage.check_writable()
    with storage.lock():
        decisions = Decisions(spec, Journal(storage))
        folder = _find_data(spec, data_root, console)
        open_trials = ", ".join(trial.trial_id for trial in decisions.open_trials()) or "none"
        console.print(f"{name}: {len(state.trials)} trials so far, going on with: {open_trials}", soft_wrap=True)
        with cluster(address, spec.cpus_per_trial, spec.gpus_per_trial) as workers:
            return _work(storage, decisions, results, workers, folder, console)


def _find_data(spec: RunSpec, root: Path, console: Console) -> str:
    """Where this machine has the run's data set; prepared if it is not there. BadInput when it is another one."""
    # The folder's name holds the fingerprint, so it is the same in every root.
    for folder in (Path(spec.dataset_folder), root / Path(spec.dataset_folder).name):
        if (folder / "dataset.json").is_file():
            dataset = open_dataset(folder)
            break
    else:
        dataset = prepare(spec.dataset_source or spec.dataset, size=spec.sweep.config({}, spec.seed).size, root=root, console=console)
    if dataset.fingerprint != spec.dataset_fingerprint:
        raise BadInput(
            f"a run is resumed on the data it began with, but {dataset.path} has the fingerprint {dataset.fingerprint} instead of "
            f"{spec.dataset_fingerprint}: give the --data-root of the first, or prepare it from the first source by `sweeps data`"
        )
    return str(dataset.path.absolute())


def _work(storage: RunStorage, decisions: Decisions, results: Path, workers: int, dataset_folder: str, console: Console) -> Outcome:
    from sweeps.core.runner import run_session

    spec, journal = decisions.spec, decisions.journal
    try:
        with Screen(spec, journal, console):
            done = run_session(storage, decisions, workers, dataset_folder)
    except KeyboardInterrupt:
        # A second Ctrl-C, or one outside the search: the epochs in flight are given up, too.
        done = False
    finally:
        # Also after an error: what was reported is not kept from anyone.
        tables.export(spec, journal.state, results)
    if not done:
        console.print(f"interrupted; everything reported is kept: go on with `sweeps resume {spec.run}`", soft_wrap=True)
        return "interrupted"
    tables.show_best(results, spec.run, console)
    console.print(f"results: {results}  run: {storage.location}", soft_wrap=True)
    return _outcome(journal.state)


def _outcome(state: RunState) -> Outcome:
    return "failed" if state.count("failed") else "done"


def status(name: str | None, storage_location: str, console: Console) -> None:
    """One run in full, or a line for each."""
    if name:
        storage = RunStorage(storage_location, name)
        spec, state = storage.spec(), read_state(storage)
        for part in overview(spec, state):
            console.print(part)
        console.print(trial_table(spec, state, rows=50))
        console.print(_standing(storage, spec, state) + ("" if finished(spec, state) else _cure(storage)), soft_wrap=True)
        return
    names = run_names(storage_location)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "trials", "epochs", "best val", "state"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for run_name in names:
        table.add_row(run_name, *_summary(RunStorage(storage_location, run_name)))
    console.print(table if names else f"no runs in {storage_location}")


def _summary(storage: RunStorage) -> tuple[str, ...]:
    try:
        spec, state = storage.spec(), read_state(storage)
    except BadInput as error:
        return "", "", "", f"unreadable: {error}"
    best = state.best_trial
    epochs = sum(len(trial.epochs) for trial in state.trials.values())
    accuracy = f"{best.best['val_accuracy']:.4f}" if best and best.best else ""
    return str(len(state.trials)), str(epochs), accuracy, _standing(storage, spec, state)


def _standing(storage: RunStorage, spec: RunSpec, state: RunState) -> str:
    if finished(spec, state):
        return "finished"
    return {True: "running now", False: "interrupted", None: "not finished"}[storage.in_use()]


def _cure(storage: RunStorage) -> str:
    return "" if storage.in_use() else f": `sweeps resume {storage.run}` goes on with it"


def export(name: str, storage_location: str, results: Path, console: Console) -> None:
    """Storage to Parquet."""
    storage = RunStorage(storage_location, name)
    spec = storage.spec()
    tables.check_results(results)
    state = read_state(storage)
    tables.export(spec, state, results)
    console.print(
        f"{name}: {len(state.trials)} trials, {sum(len(t.epochs) for t in state.trials.values())} epochs written to {results}",
        soft_wrap=True,
    )


def best(name: str, save: Path | None, storage_location: str, results: Path, console: Console) -> None:
    """The table, and the model as a file."""
    storage = RunStorage(storage_location, name)
    spec, state = storage.spec(), read_state(storage)
    trial = state.best_trial
    if trial is None or trial.best_epoch is None:
        raise BadInput(f"a best model needs an epoch that was reported, but {name} has none yet: see `sweeps status {name}`")
    if save and save.suffix != ".keras":
        raise BadInput(f"a model is saved as a .keras file, but got {str(save)!r}: end the name in .keras")
    tables.check_results(results)
    tables.export(spec, state, results)
    tables.show_best(results, name, console)
    if save:
        _save(spec, storage, trial, save)
        console.print(
            f"saved to {save}: images in as {spec.sweep.config({}, spec.seed).size} px RGB values 0..255, class probabilities out{_outputs(state)}",
            soft_wrap=True,
        )


def _outputs(state: RunState) -> str:
    evaluation = state.current_evaluation
    names = [row["name"] for row in evaluation["classes"]] if evaluation else []
    return f" ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})" if names else ""


def _save(spec: RunSpec, storage: RunStorage, trial: Trial, target: Path) -> None:
    from trainables.core.devices import claim, quiet
    from trainables.core.evaluation import load_model

    claim(1, 0)
    with quiet():
        try:
            model = load_model(
                spec.sweep.trainable, trial.config, spec.class_count, storage.trial_checkpoints(trial.trial_id), trial.best_epoch or 0
            )
        except (OSError, ValueError) as error:
            raise BadInput(
                f"the best model is in the checkpoint of epoch {trial.best_epoch} of trial {trial.trial_id}, but that cannot be read: {error}"
            ) from None
    try:
        model.save(target)
    except OSError as error:
        raise BadInput(
            f"--save names a file that can be written, but {str(target)!r} cannot ({error.strerror or error}): give another"
        ) from None
