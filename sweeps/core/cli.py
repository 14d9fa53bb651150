"""The command line. Exit codes: 0 done, 1 some trials failed, 2 bad input, 130 interrupted (resumable)."""

from __future__ import annotations

import atexit
import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from data_prep import BadInput, prepare, source_names
from sweeps.core import train, verbs
from sweeps.core.events import Events, as_json
from sweeps.core.extend import Extension
from sweeps.core.launch import RunOptions
from sweeps.core.spec import CACHE_SIZE
from sweeps.core.sweep import load_sweep, sweep_names
from sweeps.core.work import Outcome
from trainables import get_trainable, trainable_names

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="sweeps",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# A pipe has no width: what reads it gets whole lines.
PIPE_COLUMNS = 10_000
# typer carries click inside and names only some of its exceptions.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="a sweep's name, or the path of a Python file that defines SWEEP")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="a run's name")]
Data = Annotated[str | None, typer.Option(help="data set: see `sweeps list`")]
DataRoot = Annotated[Path, typer.Option(help="folder of the prepared data sets")]
Samples = Annotated[int | None, typer.Option(help="number of trials")]
Epochs = Annotated[int | None, typer.Option(help="epochs of a trial, at most")]
Setting = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="fix a setting of the trainable; may be repeated")]
Seed = Annotated[int, typer.Option(help="of searcher, weights, shuffling and dropout")]
Seeds = Annotated[int, typer.Option(help="train the 3 best configurations with so many seeds; the best mean is chosen")]
Deterministic = Annotated[bool, typer.Option("--deterministic", help="decide in trial order: equal trials whatever the number of workers")]
Cpus = Annotated[int, typer.Option(help="cores a trial")]
Gpus = Annotated[float | None, typer.Option(help="GPUs a trial, or a part of one (0.25); default: one where the machine has any")]
Storage = Annotated[str, typer.Option(help="folder or URI (s3://...) of the runs")]
Results = Annotated[Path, typer.Option(help="folder of the Parquet tables")]
Address = Annotated[str | None, typer.Option(help="of a running Ray cluster (auto); default: this machine alone")]
TimeBudget = Annotated[str | None, typer.Option(help="wall time of the whole run over all its sessions: 90s, 20m, 3h; none: no limit")]
Parallel = Annotated[int | None, typer.Option(help="trials at a time, at most; default: all there is room for, of autokeras one")]
CacheSize = Annotated[
    str, typer.Option(help="disk that stored features of frozen layers may take beside the data sets, oldest out: 500MB, 20GB")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors; the exit code says how it ended")]
Json = Annotated[
    bool, typer.Option("--json", help="for scripts: a JSON object a line on standard output, for each trial and run that ends")
]
OneJson = Annotated[bool, typer.Option("--json", help="for scripts: JSON")]
RunName = Annotated[str | None, typer.Option(help="name of the new run; default: sweep, data set and time")]


def screen(quiet: bool = False) -> Console:
    """Of standard output as it is now. Text is text: an error may hold [brackets]."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(markup=False, highlight=False, quiet=quiet, width=PIPE_COLUMNS if piped else None)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"sweeps {metadata.version('keras-sweeps')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def whole(
    version: Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="print the version and stop")] = False,
) -> None:
    """How much dropout, how deep, how many epochs? Searches over Keras image classifiers with Ray Tune, resumable, with results as Parquet."""


@app.command("list")
def list_all(json: OneJson = False) -> None:
    """The sweeps, trainables and data sets there are."""
    rows = [
        ("sweeps", "question", [(name, load_sweep(name)[1].question) for name in sweep_names()]),
        ("trainables", "summary", [(name, get_trainable(name).summary) for name in trainable_names()]),
        ("data sets", "summary", source_names()),
    ]
    if json:
        found = {title.replace(" ", "_"): [{"name": name, told: text} for name, text in entries] for title, told, entries in rows}
        print(as_json(found, indent=2))  # noqa: T201
        return
    console = screen()
    for place, (title, _, entries) in enumerate(rows):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, summary in entries:
            table.add_row(name, summary)
        console.print("\n" * bool(place) + title, style="bold")
        console.print(table)


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="data set: see `sweeps list`; your own: images:PATH, a sub-folder a class")],
    source: Annotated[str | None, typer.Option(help="archive, folder or URL to read instead of the usual place")] = None,
    size: Annotated[int, typer.Option(help="height and width of the prepared images, px")] = 32,
    root: DataRoot = Path("data"),
) -> None:
    """Prepare a data set. Again: nothing to do."""
    console = screen()
    dataset = prepare(name, size=size, root=root, source=source, console=console)
    skipped = f", {dataset.skipped} skipped" if dataset.skipped else ""
    console.print(
        f"{dataset.name}: {len(dataset.labels)} images, {len(dataset.classes)} classes, {size} px{skipped}: {dataset.path}", soft_wrap=True
    )


@app.command()
def plan(
    sweep: SweepArgument,
    data: Data = None,
    data_root: DataRoot = Path("data"),
    samples: Samples = None,
    epochs: Epochs = None,
    settings: Setting = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    deterministic: Deterministic = False,
    cpus: Cpus = 1,
    gpus: Gpus = None,
    storage: Storage = "runs",
    results: Results = Path("results"),
    address: Address = None,
    time_budget: TimeBudget = None,
    parallel: Parallel = None,
    cache_size: CacheSize = CACHE_SIZE,
    run_name: RunName = None,
    json: OneJson = False,
) -> None:
    """What a run would do: its trials, what they share, the expected time. Starts nothing."""
    options = _options({name: value for name, value in locals().items() if name != "json"})
    if json:
        print(as_json(verbs.plan_rows(options), indent=2))  # noqa: T201
    else:
        verbs.plan(options, screen())


@app.command()
def run(
    sweep: SweepArgument,
    data: Data = None,
    data_root: DataRoot = Path("data"),
    samples: Samples = None,
    epochs: Epochs = None,
    settings: Setting = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    deterministic: Deterministic = False,
    cpus: Cpus = 1,
    gpus: Gpus = None,
    storage: Storage = "runs",
    results: Results = Path("results"),
    address: Address = None,
    time_budget: TimeBudget = None,
    parallel: Parallel = None,
    cache_size: CacheSize = CACHE_SIZE,
    run_name: RunName = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Search, with live progress; then measure the best model, write the results and print the table."""
    options = {name: value for name, value in locals().items() if name not in ("quiet", "json")}
    events = Events(sys.stdout) if json else None
    _end(train.run(_options(options), screen(quiet or json), events), events, results)


def _options(given: dict[str, object]) -> RunOptions:
    return RunOptions(**{**given, "settings": tuple(given["settings"] or ())})  # type: ignore[arg-type]


@app.command()
def resume(
    run: RunArgument,
    storage: Storage = "runs",
    results: Results = Path("results"),
    data_root: DataRoot = Path("data"),
    address: Address = None,
    cache_size: Annotated[str | None, typer.Option(help="as of `run`; default: the run's own")] = None,
    samples: Annotated[str | None, typer.Option(metavar="+N", help="so many trials more than the run had, or N in all")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="of a trial, at most: those that ended by their limit go on from their last checkpoint")
    ] = None,
    time_budget: Annotated[str | None, typer.Option(help="more than the run had, over all sessions: 5h; none: no limit")] = None,
    cpus: Annotated[
        int | None,
        typer.Option(help="cores a trial from now on; default: the run's own. Other numbers of cores may change the last bits of figures"),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs a trial from now on; default: the run's own. Figures differ a little from those of CPUs")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Go on with a run or a study after any interruption. A finished one: says so, does nothing, unless it is given higher limits."""
    given = {"storage": storage, "results": results, "data_root": data_root, "address": address, "cache_size": cache_size}
    asked = Extension(samples=samples, epochs=epochs, time_budget=time_budget, cpus=cpus, gpus=gpus)
    events = Events(sys.stdout) if json else None
    options = RunOptions(sweep="", **given)  # type: ignore[arg-type]
    _end(train.resume(run, options, screen(quiet or json), asked, events), events, results)


@app.command()
def status(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="a run's name; none: all runs")] = None,
    storage: Storage = "runs",
    json: OneJson = False,
) -> None:
    """Trials by state, the best so far, epochs per second, time left. Reads the storage only."""
    if json:
        print(as_json(verbs.standings(run, storage), indent=2))  # noqa: T201
    else:
        verbs.status(run, storage, screen())


@app.command()
def export(
    run: RunArgument,
    storage: Storage = "runs",
    results: Results = Path("results"),
    to: Annotated[
        verbs.Format, typer.Option(help="parquet; tensorboard: event files for `tensorboard --logdir`; mlflow: runs in a tracking store")
    ] = "parquet",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="of tensorboard a folder (tensorboard), of mlflow a tracking URI (MLFLOW_TRACKING_URI, or sqlite:///mlflow.db)",
        ),
    ] = None,
) -> None:
    """Write a run's results as Parquet; also while it runs and after a crash."""
    verbs.export(run, storage, results, screen(), verbs.Target(to, out))


@app.command()
def best(
    run: RunArgument,
    save: Annotated[Path | None, typer.Option(metavar="MODEL.keras", help="store the best model in this file")] = None,
    storage: Storage = "runs",
    results: Results = Path("results"),
    json: OneJson = False,
) -> None:
    """The best-model table of a run; --save stores the model for keras.models.load_model."""
    rows = verbs.best(run, save, storage, results, screen(quiet=json))
    if json:
        print(as_json(rows, indent=2))  # noqa: T201


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(metavar="REPORT.html", help="the page; default: report.html in the results")] = None,
) -> None:
    """The report over all runs in the results: one page that needs no network."""
    verbs.report(results, out, screen())


@app.command()
def doctor(
    address: Address = None,
    storage: Storage = "runs",
    data_root: DataRoot = Path("data"),
    cpus: Cpus = 1,
    gpus: Gpus = None,
    cluster: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="look at a cluster file instead, before `ray up`")] = None,
    json: OneJson = False,
) -> None:
    """Look at every node: versions, storage, data, GPUs in Keras, memory a trial, clock, disk. A line each; exit code 1 where one fails."""
    where = (storage, data_root, address, cpus, gpus)
    if json:
        found = [verbs.cluster_file_row(cluster)] if cluster is not None else verbs.doctor_rows(verbs.findings(*where))
        print(as_json(found, indent=2))  # noqa: T201
        good = all(row["good"] for row in found)
    elif cluster is not None:
        good = verbs.cluster_file(cluster, screen())
    else:
        good = verbs.doctor(verbs.findings(*where), screen())
    raise typer.Exit(0 if good else FAILED)


def _end(outcome: Outcome, events: Events | None, results: Path) -> None:
    if events:
        events.done(outcome, str(results))
    code = {"done": 0, "failed": FAILED, "interrupted": INTERRUPTED}[outcome]
    raise typer.Exit(code)


def _asked(error: Exception) -> str:
    """The command that a usage error is of: `sweeps run`; `sweeps` where there is no such command."""
    context = getattr(error, "ctx", None)
    return context.command_path if context else "sweeps"


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A folder's name need not be text, and what was done can be told all the same; standard error is like this from the start.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="sweeps", standalone_mode=False)
    except (BadInput, UsageError) as error:
        text = f"{error.format_message()} See `{_asked(error)} --help`." if hasattr(error, "format_message") else str(error)
        Console(stderr=True).print(f"error: {text}", style="red", highlight=False, markup=False, soft_wrap=True)
        code = BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def program() -> None:
    """The command `sweeps`: `main`, and no more. Taking Ray, Arrow and NumPy apart in memory takes Python a second, which whoever waits for the prompt has
    no use for."""
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        try:
            if sys.stdout:
                sys.stdout.flush()
        except OSError:
            # Whoever read it is gone: Python says so, with an exit code of its own.
            raise end from None
        os._exit(end.code if isinstance(end.code, int) else 1)
