from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_prep import BadInput
from sweeps import Sweep, choice, integers, log_uniform, uniform
from sweeps.core.sweep import load_sweep, sweep_names


def sweep(**changes: Any) -> Sweep:
    return Sweep(**{"question": "How much?", "trainable": "cnn", "space": {"dropout": uniform(0.0, 0.5)}, **changes})


def test_settings_are_fixed_and_then_not_searched() -> None:
    made = sweep(
        space={"dropout": uniform(0, 0.5), "depth": choice(1, 2)}, known_points=({"dropout": 0.1, "depth": 1}, {"dropout": 0.1, "depth": 2})
    )
    fixed = made.with_settings({"depth": 2})
    assert list(fixed.space) == ["dropout"]
    assert fixed.fixed == {"depth": 2}
    assert fixed.known_points == ({"dropout": 0.1},), "equal points are tried once"
    assert (
        fixed.config({"dropout": 0.3}, 5).model_dump() | {"depth": 2, "dropout": 0.3, "seed": 5}
        == fixed.config({"dropout": 0.3}, 5).model_dump()
    )


def test_a_sweep_is_stored_and_read_whole() -> None:
    made = sweep(
        space={"dropout": uniform(0, 0.5), "depth": integers(1, 3), "learning_rate": log_uniform(1e-4, 1e-2), "batch_size": choice(32, 64)}
    )
    assert Sweep.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"trainable": "vit"}, "there is no trainable 'vit': use one of "),
        (
            {"space": {"droput": uniform(0, 0.5)}},
            "trainable 'cnn' has no setting 'droput': use one of augmentation, batch_size, classes, data_fraction, depth, ",
        ),
        (
            {"fixed": {"droput": 0.5}},
            "trainable 'cnn' has no setting 'droput': use one of augmentation, batch_size, classes, data_fraction, depth, ",
        ),
        ({"space": {"dropout": uniform(0, 1.5)}}, "trainable 'cnn': dropout must be less than 1, but got 1.5: give another dropout"),
        ({"fixed": {"epochs": 0}}, "trainable 'cnn': epochs must be greater than or equal to 1, but got 0: give another epochs"),
        (
            {"space": {"size": choice(32, 64)}},
            "'size' is one value in a run, but the sweep searches over it: move it to `fixed`, or start a run per value",
        ),
        (
            {"searcher": "grid"},
            "a grid needs choice(...) or integers(...), but 'dropout' is uniform: list its values, or use another searcher",
        ),
        (
            {"known_points": ({"depth": 2},)},
            "a known point gives every key of the space (dropout), but got {'depth': 2}: complete it",
        ),
        (
            {"space": {"final_fit": choice(True, False)}},
            "'final_fit' is one value in a run, but the sweep searches over it: move it to `fixed`, or start a run per value",
        ),
        (
            {"searcher": "autokeras", "space": {}},
            "searcher 'autokeras' proposes networks of trainable 'autokeras_search', but this is 'cnn': change one of them",
        ),
        (
            {"searcher": "autokeras", "trainable": "autokeras_search", "space": {"batch_size": choice(32, 64)}},
            "searcher 'autokeras' has a space of its own, but `space` or `known_points` are given: leave them out",
        ),
        (
            {"searcher": "autokeras", "trainable": "autokeras_search", "space": {}, "known_points": ({},)},
            "searcher 'autokeras' has a space of its own, but `space` or `known_points` are given: leave them out",
        ),
        (
            {"searcher": "autokeras", "trainable": "autokeras_search", "space": {}, "fixed": {"hyperparameters": {"learning_rate": 0.1}}},
            "searcher 'autokeras' gives the hyperparameters, but they are fixed: leave them out, or use another searcher",
        ),
    ],
)
def test_an_impossible_trial_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(BadInput) as refused:
        sweep(**changes).check()
    assert str(refused.value).startswith(text)


def test_searcher_autokeras_searches_without_a_space() -> None:
    made = sweep(searcher="autokeras", trainable="autokeras_search", space={})
    made.check()
    assert (made.searches, sweep(space={}).searches, sweep().searches) == (True, False, True)
    # Its networks with another searcher: the space is that of the sweep.
    sweep(trainable="autokeras_search", space={"batch_size": choice(32, 64)}).check()
    assert not sweep(trainable="autokeras_search", space={}).searches


@pytest.mark.parametrize(("key", "value"), [("parallel", 0), ("parallel", -1), ("searcher", "greedy")])
def test_a_sweep_says_only_what_can_be(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"(?s)^1 validation error for Sweep\n{key}\n"):
        sweep(**{key: value})


def test_shipped_sweeps_are_found_by_their_files() -> None:
    files = {path.stem for path in (Path(__file__).parents[2] / "sweeps").glob("*.py")} - {"__init__", "__main__"}
    assert set(sweep_names()) == files
    assert {"dropout", "depth"} <= files


def test_a_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text("from sweeps import Sweep, choice\nSWEEP = Sweep(question='q', trainable='cnn', space={'depth': choice(1, 2)})\n")
    name, made = load_sweep(str(file))
    assert isinstance(made, Sweep)
    assert (name, made.space) == ("my_sweep", {"depth": choice(1, 2)})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "there is no file '{file}': give the path of a Python file that defines SWEEP"),
        ("", "{file} must define SWEEP = Sweep(...), but it defines nothing of that name: add it (README, section 'Your own sweep')"),
        ("SWEEP = {}", "{file} must define SWEEP = Sweep(...), but it defines dict: add it (README, section 'Your own sweep')"),
        (
            "import nothing_like_that",
            "{file} must run as Python, but got ModuleNotFoundError: No module named 'nothing_like_that': mend that line",
        ),
        ("SWEEP = Sweep(", "{file} must run as Python, but got SyntaxError: '(' was never closed (bad.py, line 1): mend that line"),
        (
            "from sweeps import *\nfrom sweeps import Sweep\nSWEEP = Sweep(question='q', trainable='cnn', spce={})",
            "sweep '{file}' has no setting 'spce': did you mean 'space'?",
        ),
        (
            "from sweeps import Sweep\nSWEEP = Sweep(question='q', trainable='cnn', space={'dropout': [0.1, 0.2]})",
            "sweep '{file}': a searched setting is choice(...), integers(...), uniform(...) or log_uniform(...), but dropout is [0.1, 0.2]: "
            "write for example choice(0.1, 0.2), or put one value into `fixed`",
        ),
        ("from sweeps import choice\nchoice([2, 3])", "choice takes its values one by one, but got [2, 3]: write choice(2, 3)"),
        (
            "from sweeps import Sweep, uniform\nSWEEP = Sweep(question='q', trainable='cnn', space={'dropout': uniform(0.5, 0.1)})",
            "sweep '{file}': low must be less than high, but got low=0.5 and high=0.1: swap or widen them",
        ),
    ],
)
def test_a_users_file_that_is_no_sweep(tmp_path: Path, content: str | None, text: str) -> None:
    file = tmp_path / "bad.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadInput) as refused:
        load_sweep(str(file))
    assert str(refused.value) == text.format(file=file)


def test_a_users_file_imports_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "depths_of_mine.py").write_text("DEPTHS = (1, 2)\n")
    file = tmp_path / "my_sweep.py"
    file.write_text(
        "from depths_of_mine import DEPTHS\nfrom sweeps import Sweep, choice\n"
        "SWEEP = Sweep(question='q', trainable='cnn', space={'depth': choice(*DEPTHS)})\n"
    )
    before = list(sys.path)
    _, made = load_sweep(str(file))
    assert isinstance(made, Sweep)
    assert made.space == {"depth": choice(1, 2)}
    assert sys.path == before


def test_an_unknown_name() -> None:
    with pytest.raises(BadInput) as refused:
        load_sweep("vit")
    names = ", ".join(sweep_names())
    assert str(refused.value) == f"there is no sweep 'vit': use one of {names}, or the path of a .py file that defines SWEEP"


def test_a_seed_is_no_setting() -> None:
    """Repeats would train with a seed that the search has had."""
    with pytest.raises(BadInput) as refused:
        Sweep(question="q?", trainable="cnn", space={}, fixed={"seed": 1}).check()
    assert str(refused.value) == "the seed is not a setting but an option: take it out of `fixed`, and give --seed N"
