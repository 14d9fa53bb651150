"""What every malformed input must come to: a refusal in one line, or its bad parts skipped and counted; in time, in memory, and nothing else touched."""

from __future__ import annotations

import hashlib
import random
import re
import resource
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.core import cli

LIMIT_SECONDS = 20
# Of all cases of a process together: a bomb that went off would take gigabytes.
LIMIT_BYTES = 1 << 30
# They say who is at work, and are empty.
LOCK = ".lock"


@dataclass(frozen=True)
class Outcomes:
    """The command line in this process, in the folder `here`; everything beside that folder is outside."""

    here: Path
    random: random.Random
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def of(self, *words: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of `sweeps ...`."""
        self.monkeypatch.setattr("sys.argv", ["sweeps", *words])
        # As the interpreter sets it up; the fixture's own is strict.
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = self.capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in shown.out + shown.err
        return ended.value.code, shown.out, shown.err

    def refused(self, *words: str) -> str:
        """Refused in one line, which is given; no file is new or changed."""
        before = contents(self.here.parent)
        code, _, err = self.of(*words)
        assert (code, err.count("\n"), err[:7], err[-1:]) == (2, 1, "error: ", "\n"), err
        assert len(err) > 30, "it says what and why"
        assert contents(self.here.parent) == before
        return err

    def done(self, *words: str, into: str) -> str:
        """Done; what is new is in the folder `into`, and what was there is as it was. Gives what was shown."""
        before = contents(self.here.parent)
        code, out, err = self.of(*words)
        assert (code, err) == (0, "")
        after = contents(self.here.parent)
        assert before.items() <= after.items()
        new = {Path(name).parts[:2] for name in after.keys() - before.keys()}
        assert new <= {(self.here.name, into)}, new
        return out

    def skipped(self, *words: str, of: int) -> int:
        """Done, with the bad ones of so many images counted; how many these are."""
        out = self.done(*words, into="data")
        found = re.search(r": (\d+) images, \d+ classes, \d+ px(?:, (\d+) skipped)?: ", out)
        assert found, out
        skipped = int(found[2] or 0)
        assert int(found[1]) + skipped == of
        return skipped

    def refused_or_skipped(self, *words: str, of: int) -> int | None:
        """Whatever it comes to, it is one of the two: the number of skipped images, or None."""
        before = contents(self.here.parent)
        code, out, err = self.of(*words)
        if code == 0:
            found = re.search(r": (\d+) images, \d+ classes, \d+ px(?:, (\d+) skipped)?: ", out)
            assert found, out
            assert int(found[1]) + int(found[2] or 0) == of
            assert before.items() <= contents(self.here.parent).items()
            return int(found[2] or 0)
        assert (code, err.count("\n"), err[:7]) == (2, 1, "error: "), err
        assert contents(self.here.parent) == before
        return None


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder, but for locks; links as where they lead to, others as what they are."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(LOCK):
            continue
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not stat.S_ISDIR(mode):
            found[path.relative_to(folder).as_posix()] = str(path.readlink()) if stat.S_ISLNK(mode) else str(mode)
    return found


@pytest.fixture
def sweeps(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Outcomes]:
    """In an empty folder, 80 columns wide; its random numbers are those of the case's name."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "80")
    yield Outcomes(here, random.Random(request.node.name), monkeypatch, capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["here"], "nothing was written outside"


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing gets as far as a session of Ray."""

    def started(*arguments: object) -> None:
        pytest.fail("a session of Ray was started")

    monkeypatch.setattr("sweeps.core.runner.cluster", started)


def _too_long(number: int, frame: object) -> None:
    # Not an Exception: no reader takes it for a damaged file.
    pytest.fail(f"no outcome after {LIMIT_SECONDS} s")


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """In time, and without gigabytes of memory."""
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT_SECONDS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * (1 if sys.platform == "darwin" else 1024)
    assert grown < LIMIT_BYTES, f"{grown / 1e9:.1f} GB"
