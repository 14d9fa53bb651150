"""The rooms stay apart: arrows point down (sweeps -> trainables -> data_prep), siblings do not know each other, and few files may import what is slow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Upper to lower: a room may use those to its right.
ROOMS = ["sweeps", "trainables", "data_prep"]
FILES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]

# Who may import what costs seconds, or ties us to one back end or cluster. A new name here needs a reason in the file itself.
ALLOWED = {
    "ray": {
        "sweeps/core/autoscaler.py",
        "sweeps/core/doctor.py",
        "sweeps/core/fall_back.py",
        "sweeps/core/own_ray.py",
        "sweeps/core/propose.py",
        "sweeps/core/runner.py",
        "sweeps/core/tune.py",
        "trainables/core/worker.py",
    },
    "mlflow": {"sweeps/core/to_mlflow.py"},
    "tensorboardX": {"sweeps/core/to_tensorboard.py"},
    "tensorflow": {"trainables/core/devices.py", "trainables/core/stand_ins.py", "trainables/core/steps.py"},
}


def imports(file: Path) -> Iterator[str]:
    """Full names of the modules that a file imports at any depth, for type checkers only or not; `from a import b` may mean module a.b, so gives both."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(file.parts[: len(file.parts) - node.level]) if node.level else ""
            module = ".".join(part for part in (package, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_file_of_a_room(module: str, room: str) -> bool:
    """Whether `room.<name>` is a flat file, one of the siblings."""
    parts = module.split(".")
    return parts[0] == room and len(parts) > 1 and not parts[1].startswith("_") and (ROOT / room / f"{parts[1]}.py").is_file()


def test_there_are_files_to_look_at() -> None:
    assert {file.parts[0] for file in FILES} == set(ROOMS)


def test_the_eyes_see(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text("import a.b\nfrom c import d\ndef f():\n    if x:\n        from e.f import g as h\n    import i as j\n")
    assert set(imports(file)) == {"a.b", "c", "c.d", "e.f", "e.f.g", "i"}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_arrows_point_down(file: Path) -> None:
    above = ROOMS[: ROOMS.index(file.parts[0])]
    assert not [module for module in imports(file) if module.split(".")[0] in above]


@pytest.mark.parametrize("file", [file for file in FILES if len(file.parts) == 2 and not file.name.startswith("_")], ids=str)
def test_siblings_never_import_each_other(file: Path) -> None:
    assert not [module for module in imports(file) if is_file_of_a_room(module, file.parts[0])]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_is_named_by_another(file: Path) -> None:
    """The file name is the registry: the cores and upper rooms find sweeps, trainables and sources by name, never by an import."""
    assert not [module for module in imports(file) for room in ROOMS if is_file_of_a_room(module, room)]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_few_files_import(package: str) -> None:
    users = {file.as_posix() for file in FILES if any(module.split(".")[0] == package for module in imports(file))}
    assert users == ALLOWED[package], "a file that no longer needs it leaves the list"


@pytest.mark.parametrize("module", ["sweeps.core.cli", "sweeps.core.results", "trainables", "data_prep"])
def test_nothing_slow_comes_with(module: str) -> None:
    """`sweeps list`, and `sweeps plan` where no base has to be asked, answer at once: ray, tensorflow and keras come when a trial starts."""
    code = f"import sys, {module}; print(*({{'ray', 'tensorflow', 'keras'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
