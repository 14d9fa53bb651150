"""Take the picture of a run at work that README shows: `python docs/terminal.py` (needs tmux; some minutes). A real run on a real terminal, in a folder of
its own; the picture is what the terminal shows once five of its trials have ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS, LINES = 108, 22
WORDS = "run dropout --data fashion-mnist --set images=2000 --epochs 10 --run-name dropout-fashion-mnist"
WANTED = re.compile(r"^.*\b5/8 trials, about .* left$", re.MULTILINE)
SECONDS = 900


def shown(folder: Path) -> str:
    """The terminal in that moment, with its colours as escape sequences."""
    tmux = ["tmux", "-u", "-f", os.devnull, "-S", str(folder / "tmux")]
    environment = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    program = Path(sys.executable).with_name("sweeps")
    new = [*tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), f"{program} {WORDS}; sleep 60"]
    subprocess.run(new, cwd=folder, env=environment, check=True)
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            plain, coloured = (
                subprocess.run([*tmux, "capture-pane", "-p", *more], capture_output=True, text=True, check=True).stdout
                for more in ([], ["-e"])
            )
            if WANTED.search(plain) and plain.count(" running ") >= 2:
                return coloured
            time.sleep(0.2)
    finally:
        # Its run has nothing to keep.
        subprocess.run([*tmux, "kill-server"], check=False)
    raise TimeoutError(f"the run showed five of its trials ended within {SECONDS} s")


def picture(terminal: str) -> str:
    """As an SVG that asks the network for nothing: the reader's own fixed-width font will do."""
    console = Console(width=COLUMNS, record=True, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text(f"$ sweeps {WORDS}", style="bold"))
    console.print(Text.from_ansi(terminal.rstrip()))
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="sweeps run", theme=MONOKAI, code_format=without_fonts)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(picture(shown(Path(folder))), encoding="utf-8")
