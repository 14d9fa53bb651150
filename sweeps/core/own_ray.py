"""Ray on this machine alone, for one command: without the processes that only a cluster or its dashboard has a use for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def _no_api_server(node: Any, **options: Any) -> None:
    # What Ray itself says of one without a dashboard.
    node._webui_url = ""


def _none(node: Any) -> None:
    pass


# The dashboard's, which is started without a dashboard, too, for statistics that are off, and waited for; the autoscaler's; what prints workers' logs.
# Each imports Ray on a core of its own.
NOT_NEEDED: dict[str, Callable[..., None]] = {"start_api_server": _no_api_server, "start_monitor": _none, "start_log_monitor": _none}


@contextmanager
def of_few_processes() -> Iterator[None]:
    """For `ray.init` of a Ray of our own. (Ray has no options for it; without these methods, of another version, all are started.)"""
    from ray._private.node import Node

    before = {name: getattr(Node, name) for name in NOT_NEEDED if hasattr(Node, name)}
    try:
        for name in before:
            setattr(Node, name, NOT_NEEDED[name])
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)
