from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.core import token
from sweeps.core.runner import cluster

JOIN = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('joined')"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_token_that_we_alone_can_read(home: Path) -> None:
    token.keep_to_us()
    made = home / ".ray" / "auth_token"
    assert len(bytes.fromhex(made.read_text())) == 32
    assert mode(made) == 0o600
    assert list(made.parent.iterdir()) == [made]
    before = made.read_text()
    token.keep_to_us()
    assert made.read_text() == before


def test_the_token_of_ray_is_kept_and_closed(home: Path) -> None:
    made = home / ".ray" / "auth_token"
    made.parent.mkdir()
    made.write_text("0" * 64)
    made.chmod(0o644)
    token.keep_to_us()
    assert made.read_text() == "0" * 64
    assert mode(made) == 0o600


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_another_token_than_the_file_s(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "disabled")
    token.keep_to_us()
    assert not (home / ".ray").exists()


def test_no_statistics_of_use_unless_asked_for(ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.usage.usage_lib import usage_stats_enabled

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with cluster(None, 1, 0):
        assert not usage_stats_enabled()
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with cluster(None, 1, 0):
        assert usage_stats_enabled()


OURS = """
import sys
from sweeps.core.runner import cluster
with cluster(None, 1, 0.0):
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.readline()
"""


def test_who_has_no_token_cannot_join_our_ray(tmp_path: Path) -> None:
    """Of a user who has never run Ray; the token is there before it."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", OURS], env=plain | {"HOME": str(mine)}, **pipes) as running:
        assert running.stdin
        assert running.stdout
        address = running.stdout.readline().strip()
        assert mode(mine / ".ray" / "auth_token") == 0o600
        settings = {
            "none": {"HOME": str(other), "RAY_AUTH_MODE": "disabled"},
            "wrong": {"HOME": str(other), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "ours": {"HOME": str(mine), "RAY_AUTH_MODE": "token"},
        }
        joining = {
            name: subprocess.Popen([sys.executable, "-c", JOIN, address], env=plain | own, **pipes) for name, own in settings.items()
        }
        ended = {name: process.communicate(timeout=120) for name, process in joining.items()}
        running.communicate("\n", timeout=60)
    assert {name: "joined" in out for name, (out, _) in ended.items()} == {"none": False, "wrong": False, "ours": True}, ended
    for name in ("none", "wrong"):
        assert "AuthenticationError" in ended[name][1] or "Unauthenticated" in ended[name][1], ended[name][1]
