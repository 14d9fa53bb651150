"""What Ray's autoscaler on the head buys first: a type of machine that could be had when it was last asked for.

Ray (2.60) notes that a cloud has no more spot machines of a type, and asks for the same type again: trials would wait for hours beside an on-demand type.
Named in cluster.yaml, `RAY_AUTOSCALER_UTILIZATION_SCORER=sweeps.core.fall_back.score`, which the autoscaler's version 1 knows. Ray forgets after half an
hour that a type was not to be had. Of types that are equally good the last by name is bought: `..._spot` before `..._on_demand`.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def score(resources: dict[str, Any], demands: list[dict[str, Any]], kind: str, *, node_availability_summary: Any) -> tuple[Any, ...] | None:
    """How good a machine of that type is for these demands, to compare; None where none of them fits on it."""
    plain = _default_utilization_scorer(resources, demands, kind, node_availability_summary=node_availability_summary)
    if plain is None:
        return None
    known = node_availability_summary.node_availabilities.get(kind)
    return (known is None or known.is_available, *plain)
