"""`python -m sweeps`: the same as `sweeps`."""

from sweeps.core.cli import program

program()
