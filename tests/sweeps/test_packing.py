"""Trials that share a GPU: as Ray places them, in a process of its own whose Ray believes that there is one."""

from __future__ import annotations

from tests.trainables.trials import in_new_process

PACKED = """
import json, os
import ray
from sweeps.core.runner import cluster
from trainables.core.devices import claim

class Part:
    def look(self, gpus):
        claim(1, gpus)
        return [os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION")]

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # as `cluster` sets it before it starts Ray
ray.init(address="local", num_cpus=5, num_gpus=1, include_dashboard=False, log_to_driver=False)
with cluster(None, 1, 0.25) as workers:
    parts = [ray.remote(Part).options(num_cpus=1, num_gpus=gpus).remote() for gpus in (*[0.25] * workers, 0)]
    found = ray.get([part.look.remote(gpus) for part, gpus in zip(parts, (*[0.25] * workers, 0))])
ray.shutdown()
print(json.dumps([workers, found]))
"""


def test_four_trials_share_a_gpu_and_its_memory_and_one_without_sees_none() -> None:
    """On JAX, which takes its part from the environment: TensorFlow needs a GPU to be told."""
    workers, found = in_new_process(PACKED, KERAS_BACKEND="jax", RAY_USAGE_STATS_ENABLED="0", CUDA_VISIBLE_DEVICES="0")
    assert workers == 4
    pids = {pid for pid, _, _ in found}
    assert len(pids) == 5, "at the same time"
    assert [part[1:] for part in found] == [*[["0", "0.225"]] * 4, ["-1", None]]
