"""A run on the terminal: one live screen, or a line a trial where the output is not a terminal."""

from __future__ import annotations

import threading
import time
from statistics import fmean
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.propose import trial_count
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished, total_trials
from sweeps.core.state import Row, RunState, Trial

ROWS = 12
POLL_SECONDS = 0.5


class Screen:
    """Shows runs, of which a study has several, while they work. `with Screen(...):` around the session."""

    def __init__(self, jobs: list[Job], console: Console) -> None:
        self.runs = [(job.spec, job.decisions.journal) for job in jobs]
        self.console = console
        self.live = (
            Live(get_renderable=self._render, console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        )
        self.stop = threading.Event()
        self.lines = threading.Thread(target=self._print_lines, daemon=True)

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        self.lines.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop.set()
        self.lines.join()
        if self.live:
            self.live.stop()

    def _render(self) -> RenderableType:
        if len(self.runs) == 1:
            ((spec, journal),) = self.runs
            with journal.lock:
                return Group(*overview(spec, journal.state, time.time()), trial_table(spec, journal.state, ROWS))
        table, trials, total, epochs, elapsed = runs_table(), 0, 0, 0, 0.0
        for spec, journal in self.runs:
            with journal.lock:
                state = journal.state
                table.add_row(*summary(spec, state))
                trials += sum(trial.end is not None for trial in state.trials.values())
                total += total_trials(spec, state)
                epochs += state.trained_epochs
                elapsed = max(elapsed, state.elapsed_at(time.time()) if state.sessions else 0.0)
        progress = Progress(TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("trials"))
        progress.add_task(next((spec.study for spec, _ in self.runs if spec.study), ""), total=total, completed=trials)
        return Group(progress, f"{epochs} epochs in {duration(elapsed)}", table)

    def _print_lines(self) -> None:
        shown = {(spec.run, index) for spec, journal in self.runs for index, _ in _ended(journal)}
        announced: set[int] = set()
        while True:
            last = self.stop.wait(POLL_SECONDS)
            for spec, journal in self.runs:
                prefix = f"{spec.part or spec.run}: " if len(self.runs) > 1 else ""
                for index, trial in _ended(journal):
                    if (spec.run, index) not in shown:
                        shown.add((spec.run, index))
                        # The live screen shows the others; what failed is to be read when it has gone, too.
                        if not self.live or trial.status == "failed":
                            self.console.print(prefix + line(spec, trial), soft_wrap=True, highlight=False)
                for text in _announcements(journal, announced):
                    self.console.print(prefix + text, soft_wrap=True, highlight=False)
            if last:
                return


def _ended(journal: Journal) -> list[tuple[int, Trial]]:
    with journal.lock:
        return [(index, trial) for index, trial in journal.state.trials.items() if trial.end]


def _announcements(journal: Journal, announced: set[int]) -> list[str]:
    """Of the final fits that have begun and are not in `announced`, where they go."""
    with journal.lock:
        trials = journal.state.trials
        new = [trial for trial in trials.values() if trial.final_of and not trial.end and id(trial) not in announced]
        announced |= {id(trial) for trial in new}
        return [announcement(trial, trials[trial.final_of]) for trial in new if trial.final_of]


def runs_table() -> Table:
    """A row a run: fill it with `summary`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "trials", "running", "epochs", "best val"):
        table.add_column(name, no_wrap=True, justify="left" if name == "run" else "right")
    return table


def summary(spec: RunSpec, state: RunState) -> tuple[str, ...]:
    """Name, trials that have ended of all, trials at work, epochs trained, best validation accuracy."""
    ended = sum(trial.end is not None for trial in state.trials.values())
    running = [trial for trial in state.trials.values() if not trial.end]
    at_work = ", ".join(f"{trial.last_epoch}/{trial.config['epochs']}" for trial in running)
    best = state.leader
    accuracy = f"{best.best['val_accuracy']:.4f}" if best and best.best else ""
    return spec.part or spec.run, f"{ended}/{total_trials(spec, state)}", at_work, str(state.trained_epochs), accuracy


def line(spec: RunSpec, trial: Trial) -> str:
    """A trial that has ended, in one line."""
    early = " (time budget)" if trial.end and trial.end["reason"] == "time budget" else ""
    what = f"trial {trial.trial_id} {trial.status}{early}: {point(spec, trial)}"
    if trial.status == "failed":
        return f"{what}: {trial.error}"
    if not trial.best:
        return what
    shared = f" (shared with {trial.shared_with:05d})" if trial.shared_with else ""
    done = f"{trial.last_epoch} of {trial.config['epochs']} epochs{shared}"
    if trial.final_of:
        return f"trial {trial.trial_id} {trial.status}: final fit of trial {trial.final_of:05d}, {done}"
    return f"{what}: val_accuracy {trial.best['val_accuracy']:.4f} at epoch {trial.best_epoch}, {done}"


def point(spec: RunSpec, trial: Trial) -> str:
    """The searched settings of a trial, and its seed where it repeats another."""
    settings = " ".join(f"{key}={_short(value)}" for key, value in searched(spec, trial).items()) or "no searched setting"
    return settings if trial.repeat_of is None else f"{settings} seed={trial.config['seed']}"


def searched(spec: RunSpec, trial: Trial) -> dict[str, object]:
    """The searched settings of a trial, those of AutoKeras in short: a network has some twenty."""
    if spec.sweep.searcher != "autokeras":
        return {key: trial.config[key] for key in spec.sweep.space}
    own = trial.config["hyperparameters"]
    kinds = [value for name, value in own.items() if name.endswith("/block_type")]
    training = {name: own[name] for name in ("optimizer", "learning_rate") if name in own}
    first = next(iter(trial.epochs.values()), None)
    size = {"parameters": first["parameters"]} if first else {}
    return {"network": "".join(map(str, kinds)), **size, **training}


def announcement(trial: Trial, of: Trial) -> str:
    """What a final fit will do, and how long that takes by the epochs of the trial that it is of."""
    seconds = fmean(result["epoch_seconds"] for result in of.epochs.values())
    epochs = trial.config["epochs"]
    validation = trial.config["validation_fraction"]
    trained = (1 - validation) * trial.config["data_fraction"]
    expected = seconds * epochs * (trained + validation) / trained
    return f"final fit of trial {of.trial_id} on train and validation: {epochs} epoch{'s' * (epochs > 1)}, about {duration(expected)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def overview(spec: RunSpec, state: RunState, now: float | None = None) -> list[RenderableType]:
    """Trials done of all, trials by state, best so far, speed and time left. `now` for a run that is working; None for one that may not be."""
    total = len(state.trials) if _time_is_up(spec, state, now) else total_trials(spec, state)
    ended = sum(trial.end is not None for trial in state.trials.values())
    progress = Progress(TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("trials"))
    progress.add_task(spec.run, total=total, completed=ended)
    states = ", ".join(f"{state.count(status)} {status}" for status in ("running", "completed", "stopped", "failed"))
    parts: list[RenderableType] = [progress, f"{states}; {pace(spec, state, total, now)}"]
    best = state.leader
    if best and best.best:
        parts.append(
            f"best so far: val_accuracy {best.best['val_accuracy']:.4f} ({point(spec, best)}, epoch {best.best_epoch}, trial {best.trial_id})"
        )
    parts += [announcement(trial, state.trials[trial.final_of]) for trial in state.trials.values() if trial.final_of and not trial.end]
    return parts


def _time_is_up(spec: RunSpec, state: RunState, now: float | None) -> bool:
    """Whether the time budget keeps further trials from coming."""
    budget, elapsed = spec.time_budget_seconds, state.elapsed_seconds if now is None else state.elapsed_at(now)
    return finished(spec, state) or (budget is not None and bool(state.trials) and elapsed >= budget)


def pace(spec: RunSpec, state: RunState, total: int, now: float | None) -> str:
    """Epochs trained, epochs per second and the time left, as far as they can be told."""
    epochs = state.trained_epochs
    elapsed = state.elapsed_seconds if now is None else state.elapsed_at(now)
    if not epochs or not elapsed:
        return "starting" if now else "no epoch reported yet"
    text = f"{epochs} epochs in {duration(elapsed)}, {epochs / elapsed:.2f} epochs/s"
    expected = _expected_epochs(spec, state, total)
    if not expected:
        return text
    left = max(0, expected - epochs) * elapsed / epochs
    if spec.time_budget_seconds is not None:
        left = min(left, max(0, spec.time_budget_seconds - elapsed))
    return f"{text}, about {duration(left)} left"


def _expected_epochs(spec: RunSpec, state: RunState, total: int) -> float | None:
    """To train in the whole run: a trial of the search has the mean of those that ended, a repeat all of its epochs; at least what is left of the trainings
    that trials share. None while nothing tells, or nothing is left."""
    ended = [trial for trial in state.trials.values() if trial.end and trial.epochs]
    lengths = [len(trial.own_epochs) for trial in ended if trial.of_search]
    if not lengths or len(ended) >= total or finished(spec, state):
        return None
    count = trial_count(spec.sweep, spec.samples)
    longest: int = max(len(trial.own_epochs) for trial in ended)
    return max(count * sum(lengths) / len(lengths) + (total - count) * longest, state.trained_epochs + _left_of_shared(state))


def _left_of_shared(state: RunState) -> int:
    """Epochs up to the end of the longest open trial of each training that has several."""
    several = {trial.mate_of for trial in state.trials.values()}
    left: dict[int, int] = {}
    for trial in state.trials.values():
        if not trial.end and trial.trajectory in several:
            left[trial.trajectory] = max(left.get(trial.trajectory, 0), trial.config["epochs"] - trial.last_epoch)
    return sum(left.values())


def sharing(state: RunState) -> str | None:
    """What trials had by one another's training."""
    shared, trained = state.shared_epochs, state.trained_epochs
    return f"shared: {shared} of {shared + trained} epochs are of a training of several trials, and were trained once" if shared else None


def account(state: RunState) -> str | None:
    """What interruptions left and what they cost; None where there were none."""
    trials, epochs = state.kept
    times = state.interruptions
    parts = [f"interrupted {times} time{'s' * (times > 1)}: {trials} trial{'s' * (trials != 1)} and {epochs} epochs kept"] if times else []
    if again := state.repeated_epochs:
        parts.append(f"{again} epoch{'s' * (again > 1)} begun again, {duration(state.repeated_seconds)} of training at most")
    return "; ".join(parts) or None


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(count: float) -> str:
    """Bytes: `12 MB`, `3.4 GB`."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def trial_table(spec: RunSpec, state: RunState, rows: int) -> Table:
    """The running trials first, then the best of the others."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    seed = ["seed"] if spec.seeds > 1 else []
    names = ["network", "params"] if spec.sweep.searcher == "autokeras" else list(spec.sweep.space)
    for name in ("trial", *names, *seed, "status", "epoch", "train acc", "val acc", "best val"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("trial", "status") else "right")
    for trial in sorted(state.trials.values(), key=_order)[:rows]:
        last = trial.epochs.get(trial.last_epoch)
        table.add_row(
            trial.trial_id,
            *_cells(spec, trial),
            *(str(trial.config[key]) for key in seed),
            _standing(trial),
            f"{trial.last_epoch}/{trial.config['epochs']}",
            f"{last['train_accuracy']:.4f}" if last else "",
            _figure(last),
            _figure(trial.best),
        )
    return table


def _standing(trial: Trial) -> str:
    """Its status; of one that computes features first, how far it is."""
    if trial.end is None and not trial.epochs and trial.stages and (left := trial.stages[-1])["images_done"] < left["images_total"]:
        return f"features {left['images_done'] / left['images_total']:.0%}"
    if trial.final_of and not trial.end:
        return "final fit"
    return f"{trial.status} with {trial.shared_with:05d}" if trial.shared_with else trial.status


def _cells(spec: RunSpec, trial: Trial) -> list[str]:
    """Of the searched settings; of AutoKeras' what 80 columns have room for."""
    own = searched(spec, trial)
    if spec.sweep.searcher != "autokeras":
        return [_short(value) for value in own.values()]
    parameters = own.get("parameters")
    return [str(own["network"]), f"{parameters / 1e6:.2f}M" if isinstance(parameters, int) else ""]


def _figure(result: Row | None) -> str:
    """Validation accuracy; nothing where there is none: no epoch yet, or a final fit."""
    value = (result or {}).get("val_accuracy")
    return "" if value is None else f"{value:.4f}"


def _order(trial: Trial) -> tuple[bool, float, int]:
    accuracy = (trial.best or {}).get("val_accuracy")
    return trial.end is not None, 1.0 if accuracy is None else -accuracy, trial.index
