"""A process beside the driver's, on its machine, which has keras: the driver itself has not, and what it asks of networks before any worker has started
(a base, its layers, where networks are cut) need not wait for Ray.

It begins to import keras when it is started, answers one call after another, and ends with the driver, or when it was not asked for some time."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from trainables.core.devices import claim, import_keras

# Its memory, half a GB, is then free again.
IDLE_SECONDS = 60
COMMAND = [sys.executable, "-c", "from trainables.core.aside import serve; serve()"]


class AsideError(Exception):
    """The process ended before it answered, or the function raised; one line."""


class Aside:
    """The process. Arguments and results are JSON."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        """Have it import keras meanwhile."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
            )
        return self.process

    def end(self) -> None:
        """Have it go at once."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(*arguments)` there; AsideError when it raises, or its process ends."""
        wanted = json.dumps({"module": function.__module__, "name": function.__qualname__, "arguments": arguments})
        # It may have been idle for too long while this was written.
        answer = self._ask(wanted) or self._ask(wanted)
        if not answer:
            raise AsideError(
                f"{function.__name__} runs in a process of its own, but that ended with {self._code()}: see whether there is memory left"
            )
        found = json.loads(answer)
        if "error" in found:
            raise AsideError(f"{function.__name__} runs in a process of its own, but that failed ({found['error']})")
        return found["result"]

    def _ask(self, wanted: str) -> str:
        process = self.start()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(wanted + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        except KeyboardInterrupt:
            # Its answer would be read as that to the next call.
            process.kill()
            raise
        if not answer:
            # Its pipes are closed a moment before it has ended.
            process.wait()
        return answer

    def _code(self) -> str:
        assert self.process
        code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


ASIDE = Aside()


def serve() -> None:
    """What the process does."""
    # Ctrl-C goes to the whole group; the driver tells.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    claim(1, 0)
    # Keras shows a download's progress on standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # While the driver is busy elsewhere.
    import_keras()
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0] and (line := sys.stdin.readline()):
        wanted = json.loads(line)
        function = getattr(importlib.import_module(wanted["module"]), wanted["name"])
        try:
            answer = {"result": function(*wanted["arguments"])}
        except Exception as error:  # whatever it is, it is told
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
