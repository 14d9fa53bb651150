"""A study without Ray, and its parts as runs to export."""

from __future__ import annotations

from typing import Any

from sweeps import Part, Study, Sweep, log_uniform
from sweeps.core.launch import RunOptions
from sweeps.core.space import Distribution
from sweeps.core.spec import RunSpec
from sweeps.core.study import StudySpec, resolve_parts
from tests.sweeps import runs
from tests.sweeps.runs import T0, Row

RATE: dict[str, Distribution] = {"learning_rate": log_uniform(1e-4, 1e-2)}


def a_sweep(trainable: str, space: dict[str, Distribution] = RATE, **changes: Any) -> Sweep:
    return Sweep(**{"question": "How far?", "trainable": trainable, "space": space, "searcher": "random", "scheduler": "none", **changes})


STUDY = Study(
    question="How far does each get?",
    settings={"epochs": 7, "dropout": 0.1, "base": "half"},
    parts=(
        Part(name="small", sweep=a_sweep("cnn", fixed={"filters": 4, "size": 16})),
        Part(name="fixed", sweep=a_sweep("cnn", fixed={"dropout": 0.3, "epochs": 9, "size": 16})),
        Part(name="tuned", sweep=a_sweep("fine_tune", fixed={"size": 16})),
    ),
)


def a_study(name: str = "one", **changes: Any) -> StudySpec:
    options = RunOptions(sweep="mine.py", samples=2, epochs=3, seeds=2, settings=("small.depth=1",), time_budget="3h", **changes)
    return StudySpec(
        study=name,
        question=STUDY.question,
        parts=tuple(resolve_parts("mine", STUDY, options)),
        options=options,
        fingerprints={16: "0" * 12},
    )


def a_part(part: str, number: int | None, sweep: Sweep, **changes: Any) -> RunSpec:
    """Of the study `one`."""
    return runs.spec(
        **{"run": f"one.{part}", "sweep": sweep, "study": "one", "part": part, "part_number": number, "sweep_name": "study", **changes}
    )


def ended(spec: RunSpec, point: Row, test_accuracies: tuple[float, ...], **result: Any) -> list[Row]:
    """A journal: one trial, then the same with other seeds; all of them measured."""
    config = spec.sweep.config(point, 0).model_dump()
    rows: list[Row] = [{"kind": "session", "time": T0}]
    for trial in range(1, len(test_accuracies) + 1):
        suggestion = {"trial": trial, "config": {**config, "seed": trial - 1}, "repeat_of": 1 if trial > 1 else None}
        rows.append({"kind": "suggest", "time": T0 + trial, **suggestion})
        rows += [runs.start(trial, trial), runs.result(trial, 1, trial, 0.5, **result), runs.end(trial, trial)]
    for trial, accuracy in enumerate(test_accuracies, 1):
        measured = runs.evaluation(trial, 1, 10)
        measured["splits"]["test"]["accuracy"] = accuracy
        rows.append(measured)
    return rows
