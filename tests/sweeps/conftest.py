from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from data_prep import Dataset, open_dataset, prepare
from sweeps.core import cli
from sweeps.core.launch import RunOptions
from trainables.core.aside import ASIDE


class Sweeps(Protocol):
    """Runs the command line in this process: `(exit code, standard output, standard error)`."""

    def __call__(self, *words: str) -> tuple[int, str, str]: ...


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sweeps:
    """`sweeps ...` in an empty folder, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sweeps", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    return call


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits at 16 px, prepared once."""
    root = tmp_path_factory.mktemp("data")
    prepare("digits", size=16, root=root)
    return root


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run says first where a disk has little left is not of the machine that tests."""
    for module in ("disks", "doctor"):
        monkeypatch.setattr(f"sweeps.core.{module}.LEAST_BYTES", 1)


@pytest.fixture(autouse=True)
def no_run_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a test of runs in processes of their own fails, they do not take the cores of those that follow."""
    yield
    if request.node.get_closest_marker("kill"):
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.cmdline()[1:3] == ["-m", "sweeps"]:
                    for member in (*child.children(recursive=True), child):
                        member.kill()


@pytest.fixture(scope="package", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every process that is started here reaches no network but this machine, and has no downloads of Keras."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        # Nobody listens there: refused at once, where a network that is not there may take a minute.
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:1")
        patch.setenv("no_proxy", "localhost,127.0.0.1")
        yield
    ASIDE.end()


@pytest.fixture(scope="package")
def ray(offline: None) -> Iterator[None]:
    """One Ray for all tests here: runs started in this process use it."""
    import ray

    # Ray gives a node 30 s to come up, and then raises a bare Exception.
    for tries_left in (2, 1, 0):
        try:
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
            break
        except Exception:
            ray.shutdown()
            if not tries_left:
                raise
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def digits(data_root: Path) -> Dataset:
    """What `data_root` holds."""
    (folder,) = data_root.glob("digits-16px-*")
    return open_dataset(folder)


@pytest.fixture
def options(tmp_path: Path, data_root: Path) -> RunOptions:
    """Those of a run `own` on the digits, for tests without Ray."""
    return RunOptions(sweep="mine", storage=str(tmp_path), data_root=data_root, samples=4, seeds=3, epochs=6, run_name="own")
