"""What each command that trains nothing does, once its words are read; `work` has the others."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_prep import BadInput
from sweeps.core import results as tables
from sweeps.core import study
from sweeps.core.bases import stored_model
from sweeps.core.journal import read_state
from sweeps.core.launch import RunOptions
from sweeps.core.plan import show_plan
from sweeps.core.report import REPORT, write_report
from sweeps.core.screen import account, line, overview, runs_table, sharing, summary, trial_table
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage, run_names
from sweeps.core.study_table import show_study
from sweeps.core.work import planned


def plan(options: RunOptions, console: Console) -> None:
    """Show what a run would do."""
    asked = planned(options)
    if asked.question:
        console.print(f"{asked.parts[0].name}: {asked.question} {len(asked.parts)} parts, each a run\n", soft_wrap=True)
    trials = epochs = 0
    for resolved in asked.parts:
        more_trials, more_epochs = show_plan(resolved, options, console)
        trials, epochs = trials + more_trials, epochs + more_epochs
        if asked.question:
            console.print()
    if asked.question:
        console.print(f"in all     {trials} trials and {epochs} epochs at most, bases that are to be trained not counted", highlight=False)


def status(name: str | None, storage_location: str, console: Console) -> None:
    """One run in full, the parts of a study, or a line for each run."""
    if name and RunStorage(storage_location, name).is_study():
        _study_status(study.load(RunStorage(storage_location, name)), storage_location, console)
        return
    if name:
        storage = RunStorage(storage_location, name)
        spec, state = storage.spec(), read_state(storage)
        for part in overview(spec, state):
            console.print(part)
        console.print(trial_table(spec, state, rows=50))
        for trial in state.trials.values():
            if trial.status == "failed":
                console.print(line(spec, trial), soft_wrap=True)
        for told in (sharing(state), account(state)):
            if told:
                console.print(told, soft_wrap=True, highlight=False)
        console.print(_standing(storage, spec, state) + ("" if finished(spec, state) else _cure(storage)), soft_wrap=True)
        return
    names = run_names(storage_location)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "trials", "epochs", "best val", "state"):
        # Names are to be copied: never cut.
        width = max(map(len, names), default=0) if column == "run" else None
        table.add_column(column, justify="left" if column in ("run", "state") else "right", min_width=width, no_wrap=column == "run")
    for run_name in names:
        table.add_row(run_name, *_summary(RunStorage(storage_location, run_name)))
    console.print(table if names else f"no runs in {storage_location}")


def _study_status(spec: study.StudySpec, storage_location: str, console: Console) -> None:
    table, open_parts = runs_table(), 0
    table.add_column("state")
    for part in spec.parts:
        storage = RunStorage(storage_location, study.part_run(spec.study, part))
        if not storage.exists():
            table.add_row(part.part, "", "", "", "", "to come")
            open_parts += 1
            continue
        run, state = storage.spec(), read_state(storage)
        table.add_row(*summary(run, state), _standing(storage, run, state))
        open_parts += not finished(run, state)
    console.print(table)
    storage = RunStorage(storage_location, spec.study)
    running = storage.in_use()
    cure = "" if running else f": `sweeps resume {spec.study}` goes on with it"
    console.print(f"{'running now' if running else 'not finished'}{cure}" if open_parts else "finished", soft_wrap=True)


def _summary(storage: RunStorage) -> tuple[str, ...]:
    try:
        spec, state = storage.spec(), read_state(storage)
    except BadInput as error:
        return "", "", "", f"unreadable: {error}"
    best = state.leader
    accuracy = f"{best.best['val_accuracy']:.4f}" if best and best.best else ""
    return str(len(state.trials)), str(state.trained_epochs), accuracy, _standing(storage, spec, state)


def _standing(storage: RunStorage, spec: RunSpec, state: RunState) -> str:
    if finished(spec, state):
        return "finished"
    return {True: "running now", False: "interrupted", None: "not finished"}[storage.in_use()]


def _cure(storage: RunStorage) -> str:
    return "" if storage.in_use() else f": `sweeps resume {storage.run}` goes on with it"


def export(name: str, storage_location: str, results: Path, console: Console) -> None:
    """Storage to Parquet; of a study, all its parts."""
    storage = RunStorage(storage_location, name)
    if storage.is_study():
        for run in study.runs(study.load(storage), storage_location):
            export(run, storage_location, results, console)
        return
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
    if storage.is_study():
        _best_of_study(study.load(storage), save, storage_location, results, console)
        return
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


def report(results: Path, out: Path | None, console: Console) -> None:
    """All results as one page."""
    target = out or results / REPORT
    runs = write_report(results, target)
    console.print(f"{runs} run{'s' * (runs != 1)} from {results} written to {target}", soft_wrap=True)


def _best_of_study(spec: study.StudySpec, save: Path | None, storage_location: str, results: Path, console: Console) -> None:
    runs = study.runs(spec, storage_location)
    if save:
        raise BadInput(
            f"a study has a best model for each part, but --save names one file: `sweeps best RUN --save` of {', '.join(runs) or 'none yet'}"
        )
    tables.check_results(results)
    for run in runs:
        storage = RunStorage(storage_location, run)
        tables.export(storage.spec(), read_state(storage), results)
    show_study(results, spec.study, console)


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
            model = load_model(stored_model(spec, storage, trial))
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
