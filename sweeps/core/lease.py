"""Who works on a run whose storage has no locks: an object that its process renews, and that another one waits for to be left alone.

Nothing is told by clocks: a lease that does not change for STALE_SECONDS is nobody's. Two that begin in the same moment both write; the later one has it."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pyarrow import fs

from data_prep import BadInput
from trainables.core import files

RENEW_SECONDS = 5.0
STALE_SECONDS = 30.0
# Until a process that began in the same moment has written, too.
SETTLE_SECONDS = 1.0
LOOK_SECONDS = 1.0


def _now() -> float:
    # Of Linux: it goes on while the machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class RunTaken(files.StorageLost):
    """Another process works on the run: nothing may be written any more."""


class Lease:
    """`with Lease(...)` around a session. BadInput where another process has it. `lost`: another process has taken it, as after minutes without network."""

    def __init__(self, system: fs.FileSystem, path: str, run: str, tell: Callable[[str], Any]) -> None:
        self.system, self.path, self.run, self.tell = system, path, run, tell
        self.token, self.count, self.lost = uuid.uuid4().hex, 0, False
        self.renewed = _now()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles whatever its searcher holds, for a restore that is never done here.
        return {}

    def __enter__(self) -> Lease:
        self._wait_for_another()
        self._write()
        time.sleep(SETTLE_SECONDS)
        if not self._mine():
            raise self._refusal()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop.set()
        self.thread.join()
        try:
            if self._mine():
                self.system.delete_file(self.path)
        except OSError:
            # It is stale soon.
            return

    def check(self) -> None:
        """RunTaken where it is lost. Where it may have been taken since it was last renewed, the store is asked."""
        if not self.lost and _now() - self.renewed > STALE_SECONDS:
            self.lost = not self._mine()
        if self.lost:
            raise RunTaken("another process has taken the run")

    def _wait_for_another(self) -> None:
        found = self._read()
        if found is None or _ended(found):
            return
        host = found.get("host")
        self.tell(f"{self.run}: waiting up to {STALE_SECONDS:.0f} s to see whether process {found.get('pid')} on {host} still works on it")
        until = time.monotonic() + STALE_SECONDS
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            now = self._read()
            if now is None:
                return
            if now != found:
                raise self._refusal()

    def _refusal(self) -> BadInput:
        return BadInput(f"one process at a time runs a run, but {self.run} is running already: watch it with `sweeps status {self.run}`")

    def _renew(self) -> None:
        while not self.stop.wait(RENEW_SECONDS):
            try:
                if not self._mine():
                    self.lost = True
                    return
                self._write()
            except OSError:
                # The store is gone for a while, perhaps from here alone.
                continue

    def _write(self) -> None:
        self.count += 1
        held = {"token": self.token, "count": self.count, "host": platform.node(), "pid": os.getpid()}
        before = _now()
        files.write(self.system, self.path, json.dumps(held).encode())
        self.renewed = before

    def _mine(self) -> bool:
        return (self._read() or {}).get("token") == self.token

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(files.read(self.system, self.path))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def held(system: fs.FileSystem, path: str) -> bool:
    """Whether somebody has renewed it lately, by the store's clock and ours."""
    (info,) = system.get_file_info([path])
    return bool(info.type == fs.FileType.File and time.time() - info.mtime.timestamp() < STALE_SECONDS)


def _ended(found: dict[str, Any]) -> bool:
    """Whether it is that of a process of this machine that is no more."""
    pid = found.get("pid")
    if found.get("host") != platform.node() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
