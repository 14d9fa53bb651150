"""`sweeps plan mine.py` and `sweeps run mine.py`: refused before a data set is opened or Ray is started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES

HEAD = "from sweeps import Part, Study, Sweep, choice, integers, log_uniform, uniform\n"
WHOLE = HEAD + (
    "SWEEP = Sweep(question='Which?', trainable='cnn', space={'depth': choice(1, 2), 'dropout': uniform(0.0, 0.5)}, "
    "fixed={'epochs': 3}, searcher='random', samples=4)\n"
)


def sweep(**fields: str) -> str:
    """A file with these fields of its sweep, as Python."""
    values = {"question": "'q'", "trainable": "'cnn'", "space": "{'depth': choice(1, 2)}", "searcher": "'grid'", **fields}
    return f"{HEAD}SWEEP = Sweep({', '.join(f'{key}={value}' for key, value in values.items())})\n"


WRONG: dict[str, str | bytes] = {
    "no bytes": "",
    "nul bytes": b"\0\0\0\0",
    "not utf-8": b"x = '\xff\xfe'\n" + WHOLE.encode(),
    "utf-16": WHOLE.encode("utf-16"),
    "no python": "SWEEP = {",
    "json": '{"SWEEP": null}',
    "raises": "raise ValueError('two\\nlines')",
    "raises without a word": "raise ValueError",
    "raises itself": "class E(Exception):\n    def __str__(self):\n        raise self\nraise E",
    "exits": "raise SystemExit(0)",
    "exits at once": "import sys\nsys.exit('bye')",
    "recursion": "def f(): f()\nf()",
    "deep": "x = " + "(" * 500 + ")" * 500,
    "deep list": "x = " + "-" * 100_000 + "1",
    "another type": "SWEEP = 'dropout'",
    "a class": HEAD + "SWEEP = Sweep",
    "a list": WHOLE + "SWEEP = [SWEEP]",
    "no such module": "import no_such_module",
    "no field": HEAD + "SWEEP = Sweep()",
    "unknown field": sweep(colour="'red'"),
    "empty question": sweep(question="''"),
    "question of bytes": sweep(question="b'\\xff'"),
    "question of half a character": sweep(question="'\\ud800'"),
    "question of a number": sweep(question="7"),
    "unknown trainable": sweep(trainable="'../cnn'"),
    "trainable of the core": sweep(trainable="'core'"),
    "trainable nothing": sweep(trainable="''"),
    "trainable half a character": sweep(trainable="None"),
    "unknown searcher": sweep(searcher="'magic'"),
    "unknown scheduler": sweep(scheduler="'magic'"),
    "space is a list": sweep(space="['depth']"),
    "space of lists": sweep(space="{'depth': [1, 2]}"),
    "space of a number": sweep(space="{3: choice(1, 2)}"),
    "space of a dictionary": sweep(space="{'depth': {'kind': 'magic'}}"),
    "empty choice": sweep(space="{'depth': choice()}"),
    "choice of a list": sweep(space="{'depth': choice([1, 2])}"),
    "choice of none": sweep(space="{'depth': choice(None)}"),
    "choice of another type": sweep(space="{'depth': choice('deep')}"),
    "choice of nan": sweep(space="{'dropout': choice(float('nan'))}"),
    "swapped": sweep(space="{'depth': integers(3, 1)}"),
    "equal": sweep(space="{'depth': integers(2, 2)}"),
    "nan range": sweep(space="{'dropout': uniform(float('nan'), 0.5)}", searcher="'random'"),
    "nan end": sweep(space="{'dropout': uniform(0.0, float('nan'))}", searcher="'random'"),
    "infinite range": sweep(space="{'learning_rate': log_uniform(1e-5, float('inf'))}", searcher="'random'"),
    "log of zero": sweep(space="{'learning_rate': log_uniform(0, 1)}", searcher="'random'"),
    "log of a negative": sweep(space="{'learning_rate': log_uniform(-1, 1)}", searcher="'random'"),
    "fractions of integers": sweep(space="{'depth': integers(1.5, 3)}"),
    "huge integers": sweep(space="{'depth': integers(1, 10**30)}"),
    "a grid of a range": sweep(space="{'dropout': uniform(0, 0.5)}"),
    "size searched": sweep(space="{'size': choice(16, 32)}"),
    "seed searched": sweep(space="{'seed': integers(0, 9)}"),
    "fixed and searched": sweep(fixed="{'depth': 3}"),
    "fixed is a list": sweep(fixed="['depth']"),
    "fixed unknown": sweep(fixed="{'colour': 1}"),
    "fixed seed": sweep(fixed="{'seed': 1}"),
    "fixed nan": sweep(fixed="{'dropout': float('nan')}"),
    "fixed infinite": sweep(fixed="{'learning_rate': float('inf')}"),
    "fixed huge": sweep(fixed="{'size': 10**400}"),
    "fixed of itself": HEAD + "loop = []\nloop.append(loop)\n" + sweep(fixed="{'epochs': loop}"),
    "no samples": sweep(samples="0"),
    "samples of text": sweep(samples="'many'"),
    "samples nan": sweep(samples="float('nan')"),
    "budget of no unit": sweep(time_budget="'3'"),
    "endless budget": sweep(time_budget="'9' * 400 + 'h'"),
    "negative budget": sweep(time_budget="'-3h'"),
    "reduction of one": sweep(reduction_factor="1"),
    "no parallel": sweep(parallel="0"),
    "unknown data": sweep(data="'imagenet'"),
    "data of nothing": sweep(data="''"),
    "data of nowhere": sweep(data="'images:/nowhere'"),
    "known point incomplete": sweep(known_points="({'dropout': 0.1},)", searcher="'random'"),
    "known point outside": sweep(known_points="({'depth': 4},)", searcher="'random'"),
    "known point of text": sweep(known_points="({'depth': 'deep'},)", searcher="'random'"),
    "known point none": sweep(space="{'dropout': uniform(0, 0.5)}", known_points="({'dropout': None},)", searcher="'random'"),
    "known point a list": sweep(space="{'dropout': uniform(0, 0.5)}", known_points="({'dropout': [1]},)", searcher="'random'"),
    "unknown published": sweep(published="'never'"),
    "autokeras of cnn": sweep(searcher="'autokeras'"),
    "empty study": HEAD + "SWEEP = Study(question='q', parts=())",
    "study of parts of one name": WHOLE + "SWEEP = Study(question='q', parts=(Part(name='a', sweep=SWEEP), Part(name='a', sweep=SWEEP)))",
    "study of a bad name": WHOLE + "SWEEP = Study(question='q', parts=(Part(name='../a', sweep=SWEEP),))",
    "study of a study": WHOLE + "S = Study(question='q', parts=(Part(name='a', sweep=SWEEP),))\nSWEEP = Study(question='q', parts=(S,))",
}


def test_a_grid_of_billions_is_not_made(sweeps: Outcomes) -> None:
    """Its first points are tried."""
    text = sweep(space="{'epochs': integers(1, 100_000), 'batch_size': integers(1, 65_536), 'depth': integers(1, 4)}", samples="9")
    (sweeps.here / "mine.py").write_text(text)
    assert "trials     9, by grid" in sweeps.done("plan", "mine.py", into="nothing")


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize("what", WRONG)
def test_refused(sweeps: Outcomes, no_start: None, what: str, verb: str) -> None:
    content = WRONG[what]
    (sweeps.here / "mine.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    sweeps.refused(verb, "mine.py")


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(sweeps: Outcomes, how: str, draw: int) -> None:
    """It is a sweep or it is refused; a plan writes nothing."""
    (sweeps.here / "mine.py").write_bytes(DAMAGES[how](WHOLE.encode(), sweeps.random))
    code, _, err = sweeps.of("plan", "mine.py")
    assert (code, err.count("\n"), err[:7]) in ((2, 1, "error: "), (0, 0, ""))
    assert [path.name for path in sweeps.here.iterdir()] == ["mine.py"]


def a_folder(place: Path) -> None:
    place.mkdir()


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_device(place: Path) -> None:
    place.symlink_to("/dev/zero")


def a_link_to_nowhere(place: Path) -> None:
    place.symlink_to("nowhere.py")


def a_link_to_itself(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.parametrize("make", [a_folder, a_pipe, a_device, a_link_to_nowhere, a_link_to_itself])
def test_what_is_no_file(sweeps: Outcomes, make: Callable[[Path], None]) -> None:
    make(sweeps.here / "mine.py")
    sweeps.refused("plan", "mine.py")


@pytest.mark.parametrize("name", ["1.py", "-.py", ".py", "a b.py", "\u00e4.py", "a=b.py", "a" * 130 + ".py", os.fsdecode(b"\xff.py")])
def test_names_that_no_run_can_have(sweeps: Outcomes, name: str) -> None:
    (sweeps.here / name).write_text(WHOLE)
    sweeps.refused("plan", f"./{name}")
