"""A worker's share of the machine, given to Keras' backend before it starts. Ray reserves cores and GPUs but does not enforce them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def claim(cpus: int, gpus: float) -> None:
    """Hold this process to `cpus` threads (TensorFlow's to one more for moments) and `gpus` GPUs. To be called before keras is imported; what is already
    running is not changed.

    TensorFlow and JAX start a thread per core of the machine whatever OMP_NUM_THREADS says; an actor with no GPU sees all of them (Ray since 2026-04);
    a part of a GPU does not limit the memory (ray#13680).
    """
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(cpus)
    # A convolution's two gradients do not wait for each other (`bench/training_steps.py`).
    os.environ["TF_NUM_INTEROP_THREADS"] = str(min(cpus, 2))
    os.environ["NPROC"] = str(cpus)  # XLA's, so JAX's, threads
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        return
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if gpus < 1:
        os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * gpus:.3f}"
        _limit_tensorflow_memory(gpus)


def import_keras() -> None:
    """Import keras without two packages that no training needs: scikit-learn, for Keras' wrapper of it, and JAX, for TensorFlow's converter of JAX's
    functions. They take a quarter of the time. (Who imports them later has them, but for that wrapper and that converter.)"""
    if "keras" in sys.modules:
        return
    without = ({"sklearn"} if _jax_trains() else {"sklearn", "jax"}) - sys.modules.keys()
    # As where they are not installed.
    sys.modules.update(dict.fromkeys(without))  # type: ignore[arg-type]
    try:
        importlib.import_module("keras")
    finally:
        for name in without:
            del sys.modules[name]


def _jax_trains() -> bool:
    if named := os.environ.get("KERAS_BACKEND"):
        return named == "jax"
    # Keras' own file, in the first of these that there is and may be written to.
    for home in (os.environ.get("KERAS_HOME", "~/.keras"), "/tmp/.keras"):  # noqa: S108 - read, as Keras does
        # RuntimeError: a user without a home.
        with suppress(OSError, RuntimeError):
            if '"jax"' in (Path(home).expanduser() / "keras.json").read_text():
                return True
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native code writes to standard error off the screen: TensorFlow's greeting has no other switch. Exceptions pass."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _limit_tensorflow_memory(gpus: float) -> None:
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    # Only TensorFlow's own call limits its GPU memory: Keras has none and there is no environment variable.
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        os.environ.pop("TF_FORCE_GPU_ALLOW_GROWTH", None)
        limit = int(_gpu_memory_mib() * 0.9 * gpus)
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration(memory_limit=limit)])


def _gpu_memory_mib() -> float:
    import subprocess

    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    shown = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    return min(float(line) for line in shown.splitlines() if line.strip())


def name_of_device(gpus: float) -> str:
    """For the results: `cpu`, or Keras' name of the first GPU."""
    if gpus == 0:
        return "cpu"
    import keras

    devices = [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]
    return devices[0] if devices else "cpu"
