"""WHICH trials: one file per sweep here; what runs them is in `core/`. A sweep file, shipped or your own, needs Sweep, Study
and the ranges; a notebook `trials`, `epochs`, `best`, `class_reports`, `confusions` and `mistakes`: the tables of a results folder as DataFrames."""

import sys as _sys
from types import ModuleType as _ModuleType

from sweeps.core.frames import best as best
from sweeps.core.frames import class_reports as class_reports
from sweeps.core.frames import confusions as confusions
from sweeps.core.frames import epochs as epochs
from sweeps.core.frames import mistakes as mistakes
from sweeps.core.frames import trials as trials
from sweeps.core.space import choice as choice
from sweeps.core.space import integers as integers
from sweeps.core.space import log_uniform as log_uniform
from sweeps.core.space import uniform as uniform
from sweeps.core.sweep import Part as Part
from sweeps.core.sweep import Study as Study
from sweeps.core.sweep import Sweep as Sweep


class _Package(_ModuleType):
    """A sweep may be called as a function above is (`epochs` is): importing its file, which Python would then store here under that name, leaves the
    function in place. `from sweeps.epochs import SWEEP` works as ever."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, _ModuleType) and callable(self.__dict__.get(name))):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package
