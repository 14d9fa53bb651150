"""How fast and how large `prepare` is on 100,000 images in Tiny ImageNet's layout, beside Pillow alone on one core.

    python bench/prepare_images.py [--images 100000] [--size 64]

Makes an archive of 64 x 64 px JPEGs in a temporary folder (a few hundred encodings under many names: the decoder cannot tell), prepares it in a
process of its own, and prints images a second, the peak resident memory (over all processes together, and of the largest), and the use of the
cores. Pillow's speed is of the same work on the same JPEGs, already in memory: open, convert to RGB, crop and resample. Nothing is written by it.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
PIXELS = 64
CLASSES = 200
DISTINCT = 300
SAMPLE_S = 0.05
PREPARE = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from data_prep import prepare
began = time.perf_counter()
dataset = prepare("tiny-imagenet", size=int(sys.argv[2]), root=Path(sys.argv[3]), source=sys.argv[1])
print(len(dataset.images), time.perf_counter() - began, dataset.path)
"""


def encodings() -> list[bytes]:
    """JPEGs of noise under a gradient, of about 2 kB: the size of Tiny ImageNet's."""
    random = np.random.default_rng(0)
    files = []
    for i in range(DISTINCT):
        ramp = np.linspace(0, 60 + i % 60, PIXELS)[:, None, None] * [1, 0.5, 0.8]
        pixels = (ramp + random.integers(0, 40, (PIXELS, PIXELS, 3)) + i % 90).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=75)
        files.append(file.getvalue())
    return files


def make_archive(path: Path, images: int, jpegs: list[bytes]) -> None:
    """`images` JPEGs over 200 classes, stored as they are."""
    wnids = [f"n{i:08d}" for i in range(CLASSES)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(images):
            wnid = wnids[i % CLASSES]
            archive.writestr(f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{i // CLASSES}.JPEG", jpegs[i % len(jpegs)])
        archive.writestr("tiny-imagenet-200/wnids.txt", "\n".join(wnids))
        archive.writestr("tiny-imagenet-200/words.txt", "".join(f"{wnid}\tclass {i}\n" for i, wnid in enumerate(wnids)))


def pillow_alone(jpegs: list[bytes], size: int) -> float:
    """Images a second of Pillow on one core."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        for data in jpegs:
            with Image.open(io.BytesIO(data)) as image:
                np.asarray(ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BICUBIC))
        count += len(jpegs)
    return count / (time.perf_counter() - began)


def family(pid: int) -> list[int]:
    """A process and all below it; Linux."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        # A child belongs to the thread that started it.
        threads = [task.name for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
        children += " ".join(Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads)
    except OSError:
        return []
    return [pid, *(p for child in children.split() for p in family(int(child)))]


def resident(pid: int) -> int:
    """Bytes in memory, shared pages included."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def busy() -> float:
    """CPU seconds of the whole machine since it started, all but idle and waiting; Linux."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What a command printed, its peak bytes together and in one process, the CPU seconds of it with its children, and of all others."""

    output: str
    together: int
    largest: int
    cpu: float
    others: float


def measured(command: list[str]) -> Measured:
    """Run a command to its end."""
    before, busy_before = os.times(), busy()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    together = largest = 0
    while process.poll() is None:
        sizes = [resident(pid) for pid in family(process.pid)]
        together, largest = max(together, sum(sizes)), max(largest, *sizes, 0)
        time.sleep(SAMPLE_S)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    after, busy_after = os.times(), busy()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    mine = after.user + after.system - before.user - before.system
    return Measured(output, together, largest, cpu, busy_after - busy_before - cpu - mine)


def main() -> None:
    """Make, prepare, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    jpegs = encodings()
    alone = pillow_alone(jpegs, options.size)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "tiny-imagenet-200.zip"
        make_archive(archive, options.images, jpegs)
        print(
            f"{options.images:,} JPEGs of {PIXELS} px, {np.mean([len(j) for j in jpegs]):,.0f} bytes each, to {options.size} px; {cores} cores"
        )
        run = measured([sys.executable, "-c", PREPARE, str(archive), str(options.size), f"{folder}/data"])
        count, seconds, path = run.output.split()
        again_began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", PREPARE, str(archive), str(options.size), f"{folder}/data"], check=True, cwd=ROOT, capture_output=True
        )
        again = time.perf_counter() - again_began
        stored = sum(file.stat().st_size for file in Path(path).iterdir())
    rate = int(count) / float(seconds)
    print(f"prepare: {float(seconds):.1f} s, {rate:,.0f} images/s, {stored / 1e6:,.0f} MB stored; again: {again:.1f} s with its imports")
    print(f"Pillow alone on one core: {alone:,.0f} images/s; prepare is {rate / alone:.2f} of it, {rate / alone / cores:.2f} a core")
    print(f"peak resident memory: {run.together / 1e6:,.0f} MB in all processes, {run.largest / 1e6:,.0f} MB in the largest")
    print(f"CPU: {run.cpu:.1f} s, {run.cpu / float(seconds) / cores:.0%} of {cores} cores; others on this machine took {run.others:.1f} s")


if __name__ == "__main__":
    main()
