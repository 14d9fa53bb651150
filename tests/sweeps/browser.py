"""A browser to look at pages with: Debian's `chromium` and `chromium-driver`, by the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.needs import needed

FLAGS = [
    "headless=new",
    "no-sandbox",
    "hide-scrollbars",  # a picture is as wide as its page was laid out
    "disable-gpu",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
]


class Browser:
    """A session of chromedriver."""

    def __init__(self, at: str) -> None:
        self.http = requests.Session()
        self.http.trust_env = False
        options = {"args": [f"--{flag}" for flag in FLAGS]}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}}
        self.at = f"{at}/session/{self._value(self.http.post(f'{at}/session', json=wanted, timeout=60))['sessionId']}"

    @staticmethod
    def _value(answer: requests.Response) -> Any:
        value = answer.json()["value"]
        assert answer.ok, value
        return value

    def post(self, path: str, **body: Any) -> Any:
        return self._value(self.http.post(f"{self.at}/{path}", json=body, timeout=60))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.post("execute/sync", script=script, args=arguments)

    def until(self, condition: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return {condition}"):
            assert time.monotonic() < end, f"{condition} within {seconds} s"
            time.sleep(0.05)

    def log(self, kind: str) -> list[Any]:
        return list(self.post("se/log", type=kind))

    def open(self, page: Path, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Show a page, its window so wide and high (px)."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])
        self.devtools("Performance.enable", timeDomain="threadTicks")
        self.run("window.left = true")
        self.post("url", url=page.as_uri())
        # On a busy machine a page may be said to be loaded before its scripts have run.
        self.until("!window.left && typeof unopened !== 'undefined'")

    def page_seconds(self) -> float:
        """What the page's own thread has computed since it was opened (s), whatever else the machine did meanwhile."""
        metrics = {metric["name"]: metric["value"] for metric in self.devtools("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.post("goog/cdp/execute", cmd=command, params=parameters)

    def draw_all(self) -> None:
        """Have every run's charts drawn, as they are when one scrolls to them."""
        self.run("for (const section of unopened) openOnce(section)")
        self.until("[...document.querySelectorAll('.chart')].every((box) => box.querySelector('canvas'))", 60)

    def picture(self, file: Path, top: float = 0, height: float | None = None) -> None:
        """Save the page, or a part of it (px), as PNG."""
        size = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": top, "width": size[0], "height": height or size[1] - top, "scale": 1}
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def quiet(self) -> None:
        """AssertionError unless since the last time the page has said nothing to the console and asked for nothing but itself."""
        assert not self.log("browser")
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = {event["params"]["request"]["url"].partition(":")[0] for event in events if event["method"] == "Network.requestWillBeSent"}
        assert "file" in asked, "it was opened since the last time"
        assert asked <= {"file", "data", "blob", "about"}


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window."""
    program = needed("chromedriver", "the report is tested in a browser: `apt-get install chromium chromium-driver`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([program, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        try:
            for _ in range(200):
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            made = Browser(f"http://127.0.0.1:{port}")
            yield made
            made.http.delete(made.at, timeout=60)
        finally:
            driver.terminate()
