"""A real `sweeps run` on a real terminal (`tmux`), looked at while it works; and what goes through a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import needed
from tests.sweeps.test_screen import job

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x1b\x9b]")
HEIGHT = 24
# A small network on few images: the same code as ever.
WORDS = (
    "run dropout --data digits --samples 3 --epochs 60 --set size=16 --set filters=4 --set depth=2 --set images=600 --run-name one --seed 3"
)
RUNNING = re.compile(r"^\d running, \d completed, \d stopped, \d failed$", re.MULTILINE)
SPLIT = "== the same, broken lines joined =="


@dataclass(frozen=True)
class Frame:
    """What the terminal shows: its lines, those with wrapped ones joined, and how many have scrolled away."""

    lines: list[str]
    joined: list[str]
    scrolled: int

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Terminal:
    """A tmux server of its own with one window. It stays after its command has ended, until `close`."""

    def __init__(self, width: int, command: str, folder: Path) -> None:
        program = needed("tmux", "the live screen is tested on a terminal: `apt-get install tmux`")
        self.tmux = [program, "-u", "-f", os.devnull, "-S", str(folder / "tmux")]
        environment = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        # COLUMNS of who runs the tests is not the width of this one.
        environment.pop("COLUMNS", None)
        new = [*self.tmux, "new-session", "-d", "-x", str(width), "-y", str(HEIGHT), f"{command}; echo ended $?; sleep 600"]
        subprocess.run(new, cwd=folder, env=environment, check=True, timeout=20)

    def frame(self) -> Frame:
        asked = ["capture-pane", "-p", ";", "display", "-p", SPLIT, ";", "capture-pane", "-pJ", ";", "display", "-p", "#{history_size}"]
        done = subprocess.run([*self.tmux, *asked], capture_output=True, text=True, check=True, timeout=20)
        shown, _, rest = done.stdout.partition(f"{SPLIT}\n")
        *joined, scrolled = [line.rstrip() for line in rest.splitlines()]
        return Frame([line.rstrip() for line in shown.splitlines()], joined, int(scrolled))

    def close(self) -> None:
        subprocess.run([*self.tmux, "kill-server"], check=False, timeout=20)


def frames(width: int, command: str, folder: Path, seconds: float = 600) -> Iterator[Frame]:
    """Ten a second until the command has ended."""
    terminal = Terminal(width, command, folder)
    try:
        until = time.monotonic() + seconds
        while True:
            frame = terminal.frame()
            yield frame
            if re.search(r"^ended \d+$", frame.text, re.MULTILINE):
                return
            assert time.monotonic() < until, frame.text
            time.sleep(0.1)
    finally:
        terminal.close()


@pytest.mark.parametrize("width", [80, 160])
def test_the_live_screen(tmp_path: Path, data_root: Path, width: int) -> None:
    seen = list(frames(width, f"echo before; {sys.executable} -m sweeps {WORDS} --data-root {data_root}", tmp_path))
    assert all(frame.scrolled == 0 for frame in seen), "nothing is pushed out of sight"
    assert all(frame.lines[0] in ("", "before") for frame in seen)
    for frame in seen:
        assert frame.lines == frame.joined, "no line goes on in the next"
        assert max(map(len, frame.lines)) <= width
    alive = [place for place, frame in enumerate(seen) if RUNNING.search(frame.text)]
    assert len(alive) > 10
    # A redraw longer than the terminal's buffer comes in two parts: once in a while a look falls between them.
    missing = alive[-1] - alive[0] + 1 - len(alive)
    assert missing <= max(1, len(alive) // 50), "it is there from its first frame to its last: no flicker"
    for frame in (seen[place] for place in alive):
        assert len(RUNNING.findall(frame.text)) == 1, "one screen, nothing of an earlier one left behind"
        assert len(re.findall(r"/3 trials", frame.text)) == 1
        assert frame.lines[1].startswith("one: How much dropout generalises best?")
    told = "\n".join(seen[place].text for place in alive)
    # At the right of the bar, which is one long.
    assert {len(found) for found in re.findall(r"^([━╸╺]+)  \d/3 trials", told, re.MULTILINE)} == {30}
    assert re.search(r"^\d+ epochs in .*, \d+\.\d\d epochs/s, [\d,]+ images/s, \d+ MB in memory$", told, re.MULTILINE)
    assert re.search(r"^best so far: val_accuracy 0\.\d{4} \(epoch \d+, trial 0000\d\)\n  dropout=", told, re.MULTILINE)
    assert re.search(r"^trial +dropout +status +epoch .*best val +curve", told, re.MULTILINE)
    assert re.search(r"^0000\d .* running +\d+/60 .* [▁▂▃▄▅▆▇█]+", told, re.MULTILINE)
    assert bool(re.search(r"^trial .*  memory$", told, re.MULTILINE)) == (width == 160)
    last = seen[-1].text
    assert "Best of one: trial 0000" in last
    assert "ended 0" in last
    assert not RUNNING.search(last), "it makes room for the result"


def piped(folder: Path, *words: str) -> str:
    """Of a command whose output is no terminal."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_goes_through_a_pipe_is_whole_lines_of_text(tmp_path: Path) -> None:
    name = "a-run-with-a-name-that-is-longer-than-the-eighty-columns-of-a-terminal-are-wide-and-goes-on"
    job(tmp_path / "runs", name, None, 20)
    told = {words: piped(tmp_path, *words.split()) for words in ("plan dropout", "status", f"status {name}")}
    for text in told.values():
        assert not CONTROL.search(text)
        assert not any(line.endswith("…") for line in text.splitlines())
    assert told["status"].splitlines()[1].startswith(name)
    assert (
        "shared     the prepared images, by all trials of a node; the workers' processes, one trial after another\n" in told["plan dropout"]
    )


def test_a_narrow_terminal_breaks_between_words(tmp_path: Path) -> None:
    (*_, last) = frames(60, f"{sys.executable} -m sweeps plan dropout", tmp_path, 60)
    assert last.lines == last.joined
    place = next(number for number, line in enumerate(last.lines) if line.startswith("shared "))
    assert last.lines[place : place + 3] == [
        "shared     the prepared images, by all trials of a node; the",
        "           workers' processes, one trial after another",
        "time       not known: no run of cnn on as many images of",
    ]
