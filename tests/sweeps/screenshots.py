"""The pictures of the report that README shows.

    python -m tests.sweeps.screenshots

Runs a small study on Fashion-MNIST (Debian's package `dataset-fashion-mnist`) in a folder of its own, then opens its report in a browser and writes
docs/report*.png."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.sweeps.browser import Browser, browsing

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Picture:
    """`width`, `height` in px; `begins`: a CSS selector of what it has at its top, of the page's last run."""

    name: str
    begins: str
    width: int
    height: int
    dark: bool = False


PICTURES: Final = (
    Picture("report.png", "section.run", 1440, 1750),
    Picture("report-mistakes.png", ".confusion", 1440, 1100),
    Picture("report-narrow.png", ".charts", 420, 1500, dark=True),
)
TOP: Final = "return [...document.querySelectorAll(arguments[0])].at(-1).getBoundingClientRect().top + scrollY"
STUDY: Final = """from sweeps import Part, Study, Sweep, choice, integers, log_uniform, uniform

SWEEP = Study(
    question="Which small network suits these images?",
    parts=(
        Part(name="network", sweep=Sweep(
            question="Which small network suits these images?", trainable="cnn", searcher="tpe", scheduler="asha", grace_epochs=2, samples=14,
            fixed={"epochs": 8},
            space={"dropout": uniform(0, 0.6), "depth": integers(1, 3), "learning_rate": log_uniform(3e-4, 1e-2)})),
        Part(name="epochs", sweep=Sweep(
            question="How long?", trainable="cnn", searcher="grid", scheduler="none", samples=4, space={"epochs": choice(2, 4, 6, 8)})),
    ),
)
"""


def main() -> None:
    """Run, look, write."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name:
        folder = Path(name)
        run_study(folder, "--data", "fashion-mnist", "--set", "images=4000", "--seeds", "3")
        with browsing() as browser:
            for picture in take(browser, folder / "results" / "report.html", ROOT / "docs"):
                print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1e3:.0f} kB")  # noqa: T201 - a script


def run_study(folder: Path, *options: str) -> None:
    """`sweeps run` of STUDY in a folder: its report is results/report.html there."""
    (folder / "small.py").write_text(STUDY)
    subprocess.run([sys.executable, "-m", "sweeps", "run", "small.py", "--run-name", "small", *options], cwd=folder, check=True)


def take(browser: Browser, page: Path, folder: Path) -> list[Path]:
    """Write PICTURES of a page into a folder, and say where."""
    taken = []
    for picture in PICTURES:
        browser.open(page, picture.width, dark=picture.dark)
        browser.draw_all()
        top = browser.run(TOP, picture.begins)
        taken.append(folder / picture.name)
        browser.picture(taken[-1], top, picture.height)
    return taken


if __name__ == "__main__":
    main()
