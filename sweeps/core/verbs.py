"""What each command that trains nothing does, once its words are read; `work` has the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, Group

from data_prep import BadInput
from sweeps.core import results as tables
from sweeps.core import study
from sweeps.core.bases import stored_model
from sweeps.core.fit import Column, Fitted, say
from sweeps.core.frames import STATUSES
from sweeps.core.journal import read_state, whole_rows
from sweeps.core.launch import RunOptions, check_resources, local_gpus
from sweeps.core.plan import plan_row, show_plan
from sweeps.core.report import REPORT, write_report
from sweeps.core.rows import rows
from sweeps.core.runner import cluster
from sweeps.core.screen import account, line, overview, runs_table, searched, seconds_left, summary, trial_table
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished, total_trials
from sweeps.core.state import RunState, Trial
from sweeps.core.storage import RunStorage, run_names
from sweeps.core.study_table import show_study
from sweeps.core.work import planned
from trainables.core import files

if TYPE_CHECKING:
    from sweeps.core.doctor import Finding

Row = dict[str, Any]
Format = Literal["parquet", "tensorboard", "mlflow"]


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


def plan_rows(options: RunOptions) -> Row | list[Row]:
    """The same for scripts: of a sweep, or of each part of a study."""
    asked = planned(options)
    rows = [plan_row(resolved, options) for resolved in asked.parts]
    return rows if asked.question else rows[0]


def findings(storage: str, data_root: Path, address: str | None, cpus: int, gpus: float | None) -> Iterator[Finding]:
    """What is found on every node."""
    from sweeps.core.doctor import examine

    check_resources(cpus, gpus, address)
    wanted = gpus if gpus is not None else float(address is None and local_gpus() > 0)
    with cluster(address, cpus, wanted):
        yield from examine(storage, data_root, cpus, wanted)


def doctor(found: Iterable[Finding], console: Console) -> bool:
    """Say what was found, a line each as it comes; whether all is well."""
    good = True
    for finding in found:
        good &= finding.good
        say(console, finding.line, indent=5, style=None if finding.good else "red")
    return good


def doctor_rows(found: Iterable[Finding]) -> list[Row]:
    """The same for scripts."""
    return [{"node": finding.node, "what": finding.what, "good": finding.good, "text": finding.text} for finding in found]


def cluster_file_row(file: Path) -> Row:
    """What `cluster_file` says, for scripts."""
    from sweeps.core.cluster_file import problems

    told = list(problems(file))
    return {"file": str(file), "good": not told, "problems": told}


def cluster_file(file: Path, console: Console) -> bool:
    """Say all that is wrong with a cluster file; whether nothing is."""
    from sweeps.core.cluster_file import problems

    told = list(problems(file))
    for problem in told:
        say(console, f"FAIL {problem}", indent=5, style="red")
    if not told:
        say(
            console,
            f"ok   {file}: all filled in, and every key is one that is read: `RAY_UP_enable_autoscaler_v2=0 ray up {file}`",
            indent=5,
        )
    return not told


def status(name: str | None, storage_location: str, console: Console) -> None:
    """One run in full, the parts of a study, or a line for each run."""
    if name is not None and RunStorage(storage_location, name).is_study():
        _study_status(study.load(RunStorage(storage_location, name)), storage_location, console)
        return
    if name is not None:
        storage = RunStorage(storage_location, name)
        spec, state = storage.spec(), read_state(storage)
        # One that has finished has no trial that could be either.
        working = finished(spec, state) or storage.in_use() is not False
        with whole_rows(name):
            console.print(Group(*overview(spec, state, working=working), "", trial_table(spec, state, rows=50, working=working)))
            for trial in state.trials.values():
                if trial.status == "failed":
                    say(console, line(spec, trial), indent=2)
        if told := account(state):
            say(console, told, indent=2)
        console.print(_standing(storage, spec, state) + ("" if finished(spec, state) else _cure(storage)), soft_wrap=True)
        return
    names = run_names(storage_location)
    table = Fitted(
        [
            Column("run", right=False),
            Column("trials"),
            Column("epochs", give=1),
            Column("best val"),
            Column("state", right=False),
        ]
    )
    unreadable = []
    for run_name in names:
        try:
            table.add(run_name, *_summary(RunStorage(storage_location, run_name)))
        except BadInput as error:
            table.add(run_name, "", "", "", "unreadable")
            unreadable.append(f"{run_name} unreadable: {error}")
    console.print(table if names else f"no runs in {files.shown(storage_location)}")
    for told in unreadable:
        say(console, told, indent=2)


def standings(name: str | None, storage_location: str) -> Row | list[Row]:
    """What `status` says, for scripts: of one run, or of all of them or a study's parts. A damaged run has an `error` alone; BadInput where it is the one
    that was asked for."""
    if name is None:
        return [_standing_or_error(storage_location, run) for run in run_names(storage_location)]
    if RunStorage(storage_location, name).is_study():
        runs = study.runs(study.load(RunStorage(storage_location, name)), storage_location)
        return [_standing_or_error(storage_location, run) for run in runs]
    return _standing_row(RunStorage(storage_location, name))


def _standing_or_error(storage_location: str, run: str) -> Row:
    try:
        return _standing_row(RunStorage(storage_location, run))
    except BadInput as error:
        return {"run": run, "error": str(error)}


def _standing_row(storage: RunStorage) -> Row:
    spec, state = storage.spec(), read_state(storage)
    with whole_rows(spec.run):
        best = state.leader
        total = total_trials(spec, state)
        return {
            "run": spec.run,
            "state": _standing(storage, spec, state),
            "trials": total,
            **{status: state.count(status) for status in STATUSES},
            "epochs_trained": state.trained_epochs,
            "epochs_shared": state.shared_epochs,
            "elapsed_seconds": state.elapsed_seconds,
            "seconds_left": seconds_left(spec, state, total, None),
            "best": {
                "trial_id": best.trial_id,
                "epoch": best.best_epoch,
                "val_accuracy": best.best["val_accuracy"],
                "params": searched(spec, best),
            }
            if best and best.best
            else None,
        }


def _study_status(spec: study.StudySpec, storage_location: str, console: Console) -> None:
    table, open_parts = runs_table(), 0
    table.columns.append(Column("state", right=False))
    for part in spec.parts:
        storage = RunStorage(storage_location, study.part_run(spec.study, part))
        if not storage.exists():
            table.add(part.part or "", "", "", "", "", "to come")
            open_parts += 1
            continue
        run, state = storage.spec(), read_state(storage)
        table.add(*summary(run, state), _standing(storage, run, state))
        open_parts += not finished(run, state)
    console.print(table)
    storage = RunStorage(storage_location, spec.study)
    running = storage.in_use()
    cure = "" if running else f": `sweeps resume {spec.study}` goes on with it"
    console.print(f"{'running now' if running else 'not finished'}{cure}" if open_parts else "finished", soft_wrap=True)


def _summary(storage: RunStorage) -> tuple[str, ...]:
    spec, state = storage.spec(), read_state(storage)
    best = state.leader
    accuracy = f"{best.best['val_accuracy']:.4f}" if best and best.best else ""
    return str(len(state.trials)), str(state.trained_epochs), accuracy, _standing(storage, spec, state)


def _standing(storage: RunStorage, spec: RunSpec, state: RunState) -> str:
    if finished(spec, state):
        return "finished"
    return {True: "running now", False: "interrupted", None: "not finished"}[storage.in_use()]


def _cure(storage: RunStorage) -> str:
    return "" if storage.in_use() else f": `sweeps resume {storage.run}` goes on with it"


@dataclass(frozen=True)
class Target:
    """What `export` writes; `out`: where, unless the format's own place."""

    format: Format = "parquet"
    out: str | None = None


def export(name: str, storage_location: str, results: Path, console: Console, target: Target) -> None:
    """Storage to Parquet, or to another program's files; of a study, all its parts."""
    if target.out is not None and target.format == "parquet":
        raise BadInput(f"--out is where --to tensorboard or mlflow writes, but got {target.out!r} alone: for Parquet give --results")
    storage = RunStorage(storage_location, name)
    if storage.is_study():
        for run in study.runs(study.load(storage), storage_location):
            export(run, storage_location, results, console, target)
        return
    spec = storage.spec()
    if target.format == "parquet":
        tables.check_results(results)
    state = read_state(storage)
    with whole_rows(name):
        written = _exported(spec, state, results, target)
    console.print(f"{name}: {written}", soft_wrap=True)


def _exported(spec: RunSpec, state: RunState, results: Path, target: Target) -> str:
    """What was written, and where."""
    if target.format == "tensorboard":
        from sweeps.core import to_tensorboard

        if "://" in (target.out or ""):
            raise BadInput(
                f"--out of tensorboard is a folder of this machine, but got {files.shown(target.out or '')!r}: give one, and copy it there"
            )
        folder = Path(target.out or target.format)
        trials = to_tensorboard.write(spec.run, rows(spec, state), folder)
        return f"{trials} trials written to {folder}: `tensorboard --logdir {folder}` shows them"
    if target.format == "mlflow":
        from sweeps.core import to_mlflow

        trials, store = to_mlflow.write(spec, rows(spec, state), target.out)
        return f"{trials} trials written to {files.shown(store)}, experiment {spec.run}"
    tables.export(spec, state, results)
    return f"{len(state.trials)} trials, {sum(len(t.epochs) for t in state.trials.values())} epochs written to {results}"


def best(name: str, save: Path | None, storage_location: str, results: Path, console: Console) -> list[Row]:
    """The table, and the model as a file. Gives the rows of best_models, with `settings`: the searched ones."""
    storage = RunStorage(storage_location, name)
    if storage.is_study():
        runs = _best_of_study(study.load(storage), save, storage_location, results, console)
        return [row for row in tables.best_models_table(results) if row["run"] in runs]
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
    return [row for row in tables.best_models_table(results) if row["run"] == name]


def report(results: Path, out: Path | None, console: Console) -> None:
    """All results as one page."""
    target = out or results / REPORT
    runs = write_report(results, target)
    console.print(f"{runs} run{'s' * (runs != 1)} from {results} written to {target}", soft_wrap=True)


def _best_of_study(spec: study.StudySpec, save: Path | None, storage_location: str, results: Path, console: Console) -> list[str]:
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
    return runs


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
