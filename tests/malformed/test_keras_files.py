"""`.keras` files of a user, as a base: opened in Keras' safe mode, and refused in one line where they are damaged or bring code."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.malformed.conftest import Outcomes
from tests.malformed.damage import DAMAGES
from trainables.core.bases import store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A network that is a base; the same bytes at every time, so that what is drawn damages the same."""
    import keras

    path = tmp_path_factory.mktemp("keras") / "base.keras"
    layers = keras.layers
    keras.utils.set_random_seed(0)
    keras.utils.clear_session()
    keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3, name="conv"), layers.ReLU(), layers.Flatten(), layers.Dense(2)]).save(
        path
    )
    return rewritten(path.read_bytes(), lambda name, data: dated(data) if name == "metadata.json" else data)


def dated(metadata: bytes) -> bytes:
    return json.dumps({**json.loads(metadata), "date_saved": "2026-11-01@00:00:00"}).encode()


def refused(sweeps: Outcomes, content: bytes) -> str:
    """Why, in one line; nothing runs and nothing is written."""
    Path("mine.keras").write_bytes(content)
    found = store({"base": "mine.keras", "file": "mine.keras", "size": 16, "folder": str(sweeps.here / "bases")})
    error = found["error"]
    assert isinstance(error, str)
    assert "\n" not in error
    assert [path.name for path in sweeps.here.iterdir()] == ["mine.keras"]
    return error


def rewritten(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), change(name, old.read(name)))
    return file.getvalue()


def configured(content: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """With another config.json."""
    return rewritten(content, lambda name, data: json.dumps(change(json.loads(data))).encode() if name == "config.json" else data)


def test_the_whole_one_is_a_base(sweeps: Outcomes, whole: bytes) -> None:
    Path("mine.keras").write_bytes(whole)
    assert "error" not in store({"base": "mine.keras", "file": "mine.keras", "size": 16, "folder": str(sweeps.here / "bases")})


def test_a_lambda_is_refused(sweeps: Outcomes) -> None:
    """Its code would run where the file is opened."""
    import keras

    path = Path("made.keras")
    keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: os.system("touch sprung") or x)]).save(path)
    content = path.read_bytes()
    path.unlink()
    Path("sprung").unlink(missing_ok=True)
    assert refused(sweeps, content) == (
        "Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda. This carries a potential risk of arbitrary code "
        "execution and thus it is disallowed by default"
    )


def test_a_function_of_a_module_is_not_called(sweeps: Outcomes, whole: bytes) -> None:
    call = {"module": "os", "class_name": "system", "config": {"command": "touch sprung"}, "registered_name": None}
    refused(sweeps, configured(whole, lambda config: call))
    refused(sweeps, configured(whole, lambda config: {**config, "module": "subprocess", "class_name": "Popen", "registered_name": None}))


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_at_random(sweeps: Outcomes, whole: bytes, how: str) -> None:
    """A file whose archive still reads is a network."""
    Path("mine.keras").write_bytes(DAMAGES[how](whole, sweeps.random))
    found = store({"base": "mine.keras", "file": "mine.keras", "size": 16, "folder": str(sweeps.here / "bases")})
    assert "\n" not in found.get("error", "")
    assert {path.name for path in sweeps.here.iterdir()} <= {"mine.keras", "bases"}


@pytest.mark.parametrize(
    "make",
    [
        lambda whole: b"",
        lambda whole: b"no model",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: configured(whole, lambda config: {}),
        lambda whole: configured(whole, lambda config: []),
        lambda whole: rewritten(whole, lambda name, data: b"[" * 100_000 if name == "config.json" else data),
        lambda whole: rewritten(whole, lambda name, data: b"" if name.endswith(".h5") else data),
        lambda whole: rewritten(whole, lambda name, data: b"\x89HDF\r\n\x1a\n" + bytes(500) if name.endswith(".h5") else data),
    ],
    ids=["no bytes", "text", "half", "no config", "a list", "deep", "no weights", "damaged weights"],
)
def test_refused(sweeps: Outcomes, whole: bytes, make: Callable[[bytes], bytes]) -> None:
    refused(sweeps, make(whole))
