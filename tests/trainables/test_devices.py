"""A worker's share: what the back ends make of it, in processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_prep import BadInput, Dataset
from tests.trainables.trials import in_new_process
from trainables import get_trainable
from trainables.core.devices import claim, name_of_device, quiet

# Claim, compute something, and count the threads that came with it. Without keras, which would double the time.
THREADS = """
import json, os, sys
from trainables.core.devices import claim

claim(int(sys.argv[1]), 0)
{load}
before = len(os.listdir("/proc/self/task"))
{compute}
print(json.dumps(len(os.listdir("/proc/self/task")) - before))
"""
CODE = {
    "tensorflow": THREADS.format(load="import tensorflow as tf", compute="tf.matmul(tf.ones((200, 200)), tf.ones((200, 200))).numpy()"),
    "jax": THREADS.format(load="import jax.numpy as jnp", compute="(jnp.ones((200, 200)) @ jnp.ones((200, 200))).block_until_ready()"),
}
JAX_MEMORY = """
import json
from trainables.core.devices import claim

claim(1, 0.25)
from jaxlib.xla_client import generate_pjrt_gpu_plugin_options
print(json.dumps(generate_pjrt_gpu_plugin_options()["memory_fraction"]))
"""
# Train on two threads with so many operations at once: metrics, and a digest of the state.
AT_ONCE = """
import hashlib, json, os, sys
from pathlib import Path

from data_prep import open_dataset
from trainables.core.devices import claim

claim(2, 0)
os.environ["TF_NUM_INTEROP_THREADS"] = sys.argv[2]
from tests.trainables.trials import metrics, training

one = training(open_dataset(Path(sys.argv[1])), size=32, classes=None, images=900, depth=3, filters=32, augmentation="flip_shift")
told = [metrics(one.run_epoch()) for _ in range(2)]
print(json.dumps([told, hashlib.sha256(b"".join(value.tobytes() for value in one.state().values())).hexdigest()]))
"""
# What has come with keras; and what is there for who wants it.
LEAN = """
import json, sys
from trainables.core.devices import claim, import_keras

claim(1, 0)
import_keras()
import keras
import numpy as np

come = [name for name in ("keras", "sklearn", "jax") if name in sys.modules]
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(loss="mse")
model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
import_keras()
from sklearn.metrics import accuracy_score
print(json.dumps([come, accuracy_score([1], [1])]))
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
THREADS_OF_3 = {"TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "2", "NPROC": "3"}


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_threads(backend: str) -> None:
    """Unclaimed they start up to two threads a core of the machine and a few: so many that those do not pass."""
    cpus = 4 * (os.cpu_count() or 1) + 20
    assert in_new_process(CODE[backend], str(cpus)) >= cpus - 1


@pytest.mark.tensorflow
def test_two_operations_at_once_change_no_number(digits: Dataset) -> None:
    """To the last bit: which of them ends first is seen nowhere."""
    one, *two = (in_new_process(AT_ONCE, str(digits.path), count) for count in "122")
    assert two == [one, one]
    assert one[0][1]["train_loss"] < one[0][0]["train_loss"]


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


def test_jax_takes_a_part_of_the_memory() -> None:
    """Nine tenths of the part: the rest is for the driver. What JAX would hand to its CUDA plugin, so no GPU is needed to see it."""
    assert in_new_process(JAX_MEMORY, KERAS_BACKEND="jax") == 0.225


def test_name() -> None:
    assert name_of_device(0) == "cpu"


def test_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """What native code writes, past sys.stderr, is gone; exceptions pass, and what comes later is seen."""
    os.write(2, b"before ")
    with quiet():
        os.write(2, b"native ")
    with pytest.raises(BadInput, match="no trainable 'nope'"), quiet():
        get_trainable("nope")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


@pytest.mark.parametrize(("backend", "come"), [("tensorflow", ["keras"]), ("jax", ["keras", "jax"])])
def test_keras_comes_without_what_no_training_needs(backend: str, come: list[str]) -> None:
    assert in_new_process(LEAN, KERAS_BACKEND=backend) == [come, 1.0]


def test_keras_own_file_may_name_the_back_end(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = "import json, os\nos.environ.pop('KERAS_BACKEND', None)\n" + LEAN.replace(
        "json.dumps([", "json.dumps([keras.backend.backend(), "
    )
    assert in_new_process(code, KERAS_HOME=str(tmp_path)) == ["jax", ["keras", "jax"], 1.0]
