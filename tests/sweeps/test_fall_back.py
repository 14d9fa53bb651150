from __future__ import annotations

import itertools

from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilityRecord, NodeAvailabilitySummary

from sweeps.core.fall_back import score

ONE, FOUR = {"CPU": 8, "GPU": 1}, {"CPU": 48, "GPU": 4}
TYPES = {"gpu_1_spot": ONE, "gpu_4_spot": FOUR, "gpu_1_on_demand": ONE}


def order(demands: list[dict[str, float]], failed: set[str]) -> list[str]:
    """Types that fit, the best first, as Ray sorts them: by score, then by name."""
    known = NodeAvailabilitySummary({kind: NodeAvailabilityRecord(kind, kind not in failed, 0.0, None) for kind in failed})
    scores = [(score(resources, demands, kind, node_availability_summary=known), kind) for kind, resources in TYPES.items()]
    return [kind for _, kind in sorted(((found, kind) for found, kind in scores if found is not None), reverse=True)]


def test_spot_before_on_demand_and_what_failed_last() -> None:
    whole = [{"CPU": 1.0, "GPU": 1.0}]
    assert order(whole, set()) == ["gpu_1_spot", "gpu_1_on_demand", "gpu_4_spot"]
    assert order(whole, {"gpu_1_spot"}) == ["gpu_1_on_demand", "gpu_4_spot", "gpu_1_spot"]
    assert order(whole, {"gpu_1_spot", "gpu_1_on_demand"})[0] == "gpu_4_spot"


def test_what_does_not_fit_is_never_bought() -> None:
    for count, failed in itertools.product((0, 1), ({"gpu_4_spot"}, set[str]())):
        assert order([{"CPU": 1.0 + count, "GPU": 4.0}], failed) == ["gpu_4_spot"]
