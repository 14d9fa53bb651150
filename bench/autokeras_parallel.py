"""How much sooner a search of so many candidates ends with two at a time than with one: `python bench/autokeras_parallel.py`.

Both are `sweeps run autokeras` with the same seed on one core a candidate, in a process of its own, start of Ray and of the workers included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

WORDS = ["run", "autokeras", "--data", "digits", "--seed", "1"]


def seconds(folder: str, parallel: int, samples: int, epochs: int) -> float:
    """Wall time of one search."""
    words = [*WORDS, "--samples", str(samples), "--epochs", str(epochs), "--parallel", str(parallel), "--run-name", f"at-a-time-{parallel}"]
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sweeps", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "sweeps", "data", "digits"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        one, two = (seconds(folder, parallel, options.samples, options.epochs) for parallel in (1, 2))
    print(f"{options.samples} candidates of {options.epochs} epochs: one at a time {one:.1f} s, two {two:.1f} s, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
