"""WHICH trials: one file per sweep here; what runs them is in `core/`. A sweep file, shipped or your own, needs these names."""

from sweeps.core.space import choice as choice
from sweeps.core.space import integers as integers
from sweeps.core.space import log_uniform as log_uniform
from sweeps.core.space import uniform as uniform
from sweeps.core.sweep import Part as Part
from sweeps.core.sweep import Study as Study
from sweeps.core.sweep import Sweep as Sweep
