"""The process beside the driver's: its answers, its errors, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from trainables.core.aside import Aside, AsideError
from trainables.core.files import resolve

DRIVER = """
import os, signal
from trainables.core.aside import Aside
print(Aside().call(os.getpid), flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.end()


def test_it_answers_one_call_after_another(aside: Aside) -> None:
    first = aside.call(os.getpid)
    assert first == aside.call(os.getpid) != os.getpid()
    assert aside.call(json.loads, '{"a": [1, null]}') == {"a": [1, None]}


def test_what_a_function_raises_is_told_in_a_line(aside: Aside) -> None:
    with pytest.raises(AsideError) as caught:
        aside.call(resolve, "s9://nowhere\nat all")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("resolve runs in a process of its own, but that failed (")
    assert aside.call(os.getpid) != os.getpid(), "it is there all the same"


def test_one_that_has_ended_is_started_again(aside: Aside) -> None:
    first = aside.call(os.getpid)
    psutil.Process(first).kill()
    assert aside.call(os.getpid) not in (first, os.getpid())


def test_one_that_dies_of_its_work(aside: Aside) -> None:
    with pytest.raises(AsideError) as caught:
        aside.call(os.abort)
    assert str(caught.value) == "abort runs in a process of its own, but that ended with SIGABRT: see whether there is memory left"


def test_it_ends_with_its_driver() -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        pid = int(driver.stdout.readline())
        assert psutil.pid_exists(pid)
        driver.kill()
    until = time.monotonic() + 20
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "it outlives its driver"
            time.sleep(0.05)
