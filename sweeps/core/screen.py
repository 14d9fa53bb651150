"""A run on the terminal: one live screen, or a line a trial where the output is not a terminal."""

from __future__ import annotations

import math
import platform
import threading
import time
from collections.abc import Mapping
from statistics import fmean
from types import TracebackType
from typing import Any, Final

import psutil
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from sweeps.core.events import Events
from sweeps.core.fit import Column, Fitted, say, sparkline
from sweeps.core.fit import line as fitted
from sweeps.core.job import Job
from sweeps.core.journal import Journal
from sweeps.core.propose import trial_count
from sweeps.core.spec import RunSpec
from sweeps.core.standing import finished, total_trials
from sweeps.core.state import RunState, Trial

ROWS: Final = 12
# Above the table, and its own head; a terminal of fewer lines shows fewer trials.
HEAD_ROWS: Final = 9
POLL_SECONDS: Final = 0.5
# Often enough to be alive, seldom enough to be read.
REFRESHES_PER_SECOND: Final = 2
BAR: Final = 30
CURVE: Final = 16
# Of the trials at work, those that a run's row in a study names.
NAMED: Final = 3
# A trial that has not ended, where nobody works: a resume goes on with it.
OPEN: Final = "open"


class Screen:
    """Shows runs, of which a study has several, while they work. `with Screen(...):` around the session."""

    def __init__(self, jobs: list[Job], console: Console, events: Events | None = None) -> None:
        self.runs = [(job.spec, job.decisions.journal) for job in jobs]
        self.console = console
        self.events = events
        # A dumb terminal (an editor's, TERM=dumb) cannot go back: it gets lines.
        shown = console.is_terminal and not console.is_dumb_terminal and not console.quiet
        self.live = (
            Live(get_renderable=self._render, console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) if shown else None
        )
        # The trials whose ends are told, or were before: by run and number.
        self.told: set[tuple[str, int]] = set()
        self.stop = threading.Event()
        self.lines = threading.Thread(target=self._print_lines, daemon=True)

    def __enter__(self) -> Screen:
        # Not in the thread, which may have its first turn when another trial has ended.
        self.told = {(spec.run, index) for spec, journal in self.runs for index, _ in _ended(journal)}
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
        rows = max(1, min(ROWS, self.console.height - HEAD_ROWS))
        if len(self.runs) == 1:
            ((spec, journal),) = self.runs
            with journal.lock:
                memory = memory_of_workers(journal.state)
                return Group(*overview(spec, journal.state, time.time(), memory), "", trial_table(spec, journal.state, rows, memory))
        return self._of_several()

    def _of_several(self) -> RenderableType:
        table, trials, total, epochs, elapsed, images, memory = runs_table(), 0, 0, 0, 0.0, 0.0, 0
        table.columns += [Column("images/s", give=3), Column("memory", give=4)]
        for spec, journal in self.runs:
            with journal.lock:
                state = journal.state
                speed, held = images_per_second(state), sum(memory_of_workers(state).values())
                table.add(*summary(spec, state), f"{speed:,.0f}" if speed else "", amount(held) if held else "")
                trials += sum(trial.end is not None for trial in state.trials.values())
                total += total_trials(spec, state)
                epochs += state.trained_epochs
                elapsed = max(elapsed, state.elapsed_at(time.time()) if state.sessions else 0.0)
            images, memory = images + speed, memory + held
        name = next((spec.study for spec, _ in self.runs if spec.study), "")
        head = bar(trials / total, f"{trials}/{total} trials")
        told = _pace(epochs, elapsed, images, memory) if epochs and elapsed else "starting"
        return Group(fitted(name, "bold"), head, fitted(told), "", table)

    def _print_lines(self) -> None:
        announced: set[int] = set()
        while True:
            last = self.stop.wait(POLL_SECONDS)
            for spec, journal in self.runs:
                prefix = f"{spec.part or spec.run}: " if len(self.runs) > 1 else ""
                for index, trial in _ended(journal):
                    if (spec.run, index) not in self.told:
                        self.told.add((spec.run, index))
                        if self.events:
                            self.events.trial(spec, trial, searched(spec, trial))
                        # The live screen shows the others; what failed is to be read when it has gone, too.
                        if not self.live or trial.status == "failed":
                            say(self.console, prefix + line(spec, trial), indent=2)
                for text in _announcements(journal, announced):
                    say(self.console, prefix + text, indent=2)
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


def memory_of_workers(state: RunState) -> dict[int, int]:
    """Trial -> bytes that its process has for itself, of those that work on this machine and have reported an epoch."""
    found = {}
    for trial in state.open_trials:
        last: Mapping[str, Any] = trial.epochs.get(trial.last_epoch) or {}
        if last.get("pid") is not None and last.get("node") == platform.node() and not last.get("of"):
            try:
                memory = psutil.Process(last["pid"]).memory_info()
            except psutil.Error:
                # It has ended since.
                continue
            # The images are mapped, and shared by all.
            found[trial.index] = memory.rss - getattr(memory, "shared", 0)
    return found


def bar(part: float, text: str) -> RenderableType:
    """How much is done, and in words."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(ProgressBar(total=1.0, completed=part, width=BAR, complete_style="cyan", finished_style="green"), fitted(text))
    return grid


def runs_table() -> Fitted:
    """A row a run: fill it with `summary`."""
    return Fitted([Column("run", right=False), Column("trials"), Column("running", give=1), Column("epochs", give=2), Column("best val")])


def summary(spec: RunSpec, state: RunState) -> tuple[str, ...]:
    """Name, trials that have ended of all, trials at work, epochs trained, best validation accuracy."""
    ended = sum(trial.end is not None for trial in state.trials.values())
    running = [trial for trial in state.trials.values() if not trial.end]
    at_work = [f"{trial.last_epoch}/{trial.config['epochs']}" for trial in running[:NAMED]]
    more = [f"{len(running) - NAMED} more"] if len(running) > NAMED else []
    best = state.leader
    accuracy = f"{best.best['val_accuracy']:.4f}" if best and best.best else ""
    return spec.part or spec.run, f"{ended}/{total_trials(spec, state)}", ", ".join([*at_work, *more]), str(state.trained_epochs), accuracy


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


def overview(
    spec: RunSpec, state: RunState, now: float | None = None, memory: Mapping[int, int] | None = None, working: bool = True
) -> list[RenderableType]:
    """Trials done of all and the time left, trials by state, best so far, speed, what is shared: no line is wider than the terminal. `now` for a run that is
    working, `memory` of its trials (bytes); None for one that may not be. `working`: False where it is known that nobody does."""
    total = len(state.trials) if _time_is_up(spec, state, now) else total_trials(spec, state)
    ended = sum(trial.end is not None for trial in state.trials.values())
    left = seconds_left(spec, state, total, now)
    done = ended / total if total else 1.0
    if left is not None:
        elapsed = state.elapsed_seconds if now is None else state.elapsed_at(now)
        # A long training moves it, too.
        done = elapsed / ((elapsed + left) or 1.0)
    running = "running" if working else OPEN
    states = ", ".join(
        [f"{state.count('running')} {running}", *(f"{state.count(told)} {told}" for told in ("completed", "stopped", "failed"))]
    )
    parts: list[RenderableType] = [
        # Above the live screen stands the line that began the run.
        *([fitted(spec.run, "bold")] if now is None else []),
        bar(done, f"{ended}/{total} trials" + (f", {'about' if ended else 'at most'} {duration(left)} left" if left is not None else "")),
        fitted(states),
        fitted(pace(state, now, memory)),
    ]
    best = state.leader
    if best and best.best:
        figure = f"best so far: val_accuracy {best.best['val_accuracy']:.4f} (epoch {best.best_epoch}, trial {best.trial_id})"
        parts += [fitted(figure, "green"), fitted(f"  {point(spec, best)}", "green")]
    if told := sharing(state):
        parts.append(fitted(told))
    fits = (trial for trial in state.trials.values() if trial.final_of and not trial.end)
    parts += [fitted(announcement(trial, state.trials[trial.final_of])) for trial in fits if trial.final_of]
    return parts


def _time_is_up(spec: RunSpec, state: RunState, now: float | None) -> bool:
    """Whether the time budget keeps further trials from coming."""
    budget, elapsed = spec.time_budget_seconds, state.elapsed_seconds if now is None else state.elapsed_at(now)
    return finished(spec, state) or (budget is not None and bool(state.trials) and elapsed >= budget)


def pace(state: RunState, now: float | None, memory: Mapping[int, int] | None = None) -> str:
    """Epochs trained and epochs per second; of a run that works also the images per second and the memory of all that train now."""
    epochs = state.trained_epochs
    elapsed = state.elapsed_seconds if now is None else state.elapsed_at(now)
    if not epochs or not elapsed:
        return "starting" if now else "no epoch reported yet"
    return _pace(epochs, elapsed, images_per_second(state) if now else 0.0, sum((memory or {}).values()))


def _pace(epochs: int, elapsed: float, images: float, memory: int) -> str:
    text = f"{epochs} epochs in {duration(elapsed)}, {epochs / elapsed:.2f} epochs/s"
    text += f", {images:,.0f} images/s" if images else ""
    return f"{text}, {amount(memory)} in memory" if memory else text


def images_per_second(state: RunState) -> float:
    """Of all that train now, by the last epoch of each; 0 where there is none yet. Of a training that several trials share, once."""
    last = [trial.epochs[trial.last_epoch] for trial in state.open_trials if trial.epochs]
    return math.fsum(row["images_per_second"] for row in last if not row.get("of"))


def seconds_left(spec: RunSpec, state: RunState, total: int, now: float | None) -> float | None:
    """By the speed so far and what trials came to, at most while none has ended (see `_expected_epochs`); None before the first epoch and at the end."""
    epochs = state.trained_epochs
    elapsed = state.elapsed_seconds if now is None else state.elapsed_at(now)
    expected = _expected_epochs(spec, state, total) if epochs and elapsed else None
    if expected is None:
        return None
    left = max(0, expected - epochs) * elapsed / epochs
    return left if spec.time_budget_seconds is None else min(left, max(0, spec.time_budget_seconds - elapsed))


def _expected_epochs(spec: RunSpec, state: RunState, total: int) -> float | None:
    """To train in the whole run: a trial of the search has the mean of those that ended, a repeat all of its epochs; at least what is left of the trainings
    that trials share. While none has ended, each has the most that those at work may have. None where nothing is left."""
    ended = [trial for trial in state.trials.values() if trial.end and trial.epochs]
    lengths = [len(trial.own_epochs) for trial in ended if trial.of_search]
    if len(ended) >= total or finished(spec, state):
        return None
    if not lengths:
        return float(total * max((trial.config["epochs"] for trial in state.open_trials), default=0))
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
    saved = duration(state.shared_seconds)
    return f"shared: {shared} of {shared + trained} epochs are of another trial's training, {saved} saved" if shared else None


def account(state: RunState) -> str | None:
    """What interruptions left and what they cost; None where there were none."""
    trials, epochs = state.kept
    times = state.interruptions
    parts = [f"interrupted {times} time{'s' * (times > 1)}: {trials} trial{'s' * (trials != 1)} and {epochs} epochs kept"] if times else []
    if moved := state.moved:
        parts.append(f"{moved} time{'s' * (moved > 1)} a trial went on elsewhere, its machine lost or taken away")
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


def trial_table(spec: RunSpec, state: RunState, rows: int, memory: Mapping[int, int] | None = None, working: bool = True) -> Fitted:
    """The running trials first, then the best of the others. The curve is of validation accuracy, from the lowest to the highest of all trials shown.
    `working` as of `overview`."""
    names = ["network", "params"] if spec.sweep.searcher == "autokeras" else list(spec.sweep.space)
    seed = ["seed"] if spec.seeds > 1 else []
    table = Fitted(
        [
            Column("trial", right=False),
            *(Column(name, cut=True) for name in names),
            *(Column(name) for name in seed),
            Column("status", right=False),
            Column("epoch"),
            Column("train acc", give=4),
            Column("val acc", give=2),
            Column("best val"),
            Column("curve", give=1, right=False),
            Column("images/s", give=3),
            Column("memory", give=5),
        ]
    )
    trials = sorted(state.trials.values(), key=_order)[:rows]
    curves = {trial.index: [row["val_accuracy"] for row in trial.epochs.values() if row["val_accuracy"] is not None] for trial in trials}
    seen = [value for curve in curves.values() for value in curve]
    for trial in trials:
        last, own = trial.epochs.get(trial.last_epoch), (memory or {}).get(trial.index)
        table.add(
            trial.trial_id,
            *_cells(spec, trial),
            *(str(trial.config[key]) for key in seed),
            _standing(trial, working),
            f"{trial.last_epoch}/{trial.config['epochs']}",
            f"{last['train_accuracy']:.4f}" if last else "",
            _figure(last),
            _figure(trial.best),
            sparkline(curves[trial.index], min(seen), max(seen), CURVE) if seen else "",
            f"{last['images_per_second']:,.0f}" if last and not trial.end else "",
            amount(own) if own is not None else "",
            style="" if trial.end is None else "dim",
        )
    return table


def _standing(trial: Trial, working: bool) -> str:
    """Its status; of one that computes features first, how far it is."""
    if trial.end is None and not trial.epochs and trial.stages and (left := trial.stages[-1])["images_done"] < left["images_total"]:
        return f"features {left['images_done'] / left['images_total']:.0%}"
    if trial.final_of and not trial.end:
        return "final fit"
    status = trial.status if trial.end or working else OPEN
    return f"{status} with {trial.shared_with:05d}" if trial.shared_with else status


def _cells(spec: RunSpec, trial: Trial) -> list[str]:
    """Of the searched settings; of AutoKeras' what 80 columns have room for."""
    own = searched(spec, trial)
    if spec.sweep.searcher != "autokeras":
        return [_short(value) for value in own.values()]
    parameters = own.get("parameters")
    return [str(own["network"]), f"{parameters / 1e6:.2f}M" if isinstance(parameters, int) else ""]


def _figure(result: Mapping[str, Any] | None) -> str:
    """Validation accuracy; nothing where there is none: no epoch yet, or a final fit."""
    value = (result or {}).get("val_accuracy")
    return "" if value is None else f"{value:.4f}"


def _order(trial: Trial) -> tuple[bool, float, int]:
    accuracy = (trial.best or {}).get("val_accuracy")
    return trial.end is not None, 1.0 if accuracy is None else -accuracy, trial.index
