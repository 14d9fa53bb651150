"""A worker's share: what the back ends make of it, in processes of their own."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.trainables.trials import in_new_process
from trainables.core.devices import claim, name_of_device

NO_JAX = importlib.util.find_spec("jax") is None and "CI" not in os.environ
# Claim, compute something, and count the threads that are there then.
THREADS = """
import json, os, sys
from trainables.core.devices import claim

claim(int(sys.argv[1]), 0)
import keras

keras.ops.convert_to_numpy(keras.ops.matmul(keras.ops.ones((200, 200)), keras.ops.ones((200, 200))))
devices = keras.distribution.list_devices()
print(json.dumps([keras.backend.backend(), sorted({device.split(":")[0] for device in devices}), len(os.listdir("/proc/self/task"))]))
"""
JAX_MEMORY = """
import json
from trainables.core.devices import claim

claim(1, 0.25)
from jaxlib.xla_client import generate_pjrt_gpu_plugin_options
print(json.dumps(generate_pjrt_gpu_plugin_options()["memory_fraction"]))
"""
SET_BY_CLAIM = {
    "CUDA_VISIBLE_DEVICES",
    "JAX_PLATFORMS",
    "NPROC",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
}
THREADS_OF_3 = {"TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "1", "NPROC": "3"}


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.skipif(NO_JAX, reason="jax is not installed"))])
def test_threads(backend: str) -> None:
    """Two more cores are two more threads or more, whatever the machine has; and no GPU is seen."""
    with ThreadPoolExecutor() as pool:
        one, three = pool.map(lambda cpus: in_new_process(THREADS, cpus, KERAS_BACKEND=backend), ("1", "3"))
    assert one[:2] == three[:2] == [backend, ["cpu"]]
    assert three[2] - one[2] >= 2


@pytest.mark.parametrize(
    ("gpus", "backend", "expected"),
    [
        (0, "tensorflow", {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}),
        (1, "tensorflow", {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}),
        (2, "jax", {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}),
        (0.25, "jax", {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.225"}),
        (0.333, "jax", {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.300"}),
    ],
)
def test_environment(monkeypatch: pytest.MonkeyPatch, gpus: float, backend: str, expected: dict[str, str]) -> None:
    for name in SET_BY_CLAIM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    before = dict(os.environ)
    claim(3, gpus)
    changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
    assert changed == {**THREADS_OF_3, "TF_CPP_MIN_LOG_LEVEL": "2", **expected}


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    claim(1, 0)
    assert (os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["JAX_PLATFORMS"]) == ("0", "tpu")


@pytest.mark.skipif(NO_JAX, reason="jax is not installed")
def test_jax_takes_a_part_of_the_memory() -> None:
    """Nine tenths of the part: the rest is for the driver. What JAX would hand to its CUDA plugin, so no GPU is needed to see it."""
    assert in_new_process(JAX_MEMORY, KERAS_BACKEND="jax") == 0.225


def test_name() -> None:
    assert name_of_device(0) == "cpu"
