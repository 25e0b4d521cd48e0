"""A headless Chromium for the tests of pages, driven over the WebDriver protocol (W3C) that chromedriver speaks.

Needs nothing but the two programs; Debian has them as chromium and chromium-driver.
"""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
# Without a sandbox as tests may run as root; shared memory is small in containers.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
LEFT_ARROW, RIGHT_ARROW, HOME, END, SHIFT = "\ue012", "\ue014", "\ue011", "\ue010", "\ue008"  # keys of WebDriver
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element


class Browser:
    """One window of a running browser."""

    def __init__(self, server: str, *, profile: Path) -> None:
        self._address = f"{server}/session"
        options = {"binary": CHROMIUM, "args": [*OPTIONS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._address += f"/{session['sessionId']}"

    def _call(self, method: str, path: str, content: object = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._address + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def resize(self, width: int, height: int) -> None:
        """Make the page's area that large, CSS pixels."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **values)

    def command(self, name: str, **values: object) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": values})

    def dark(self, wanted: bool) -> None:
        """Prefer dark colours, or light ones."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> None:
        self._call("POST", "/url", {"url": page.resolve().as_uri()})

    def before_pages(self, script: str) -> str:
        """Run a script before those of every page that is opened from now on; returns its name, for `no_more`."""
        return self.command("Page.addScriptToEvaluateOnNewDocument", source=script)["identifier"]

    def no_more(self, name: str) -> None:
        self.command("Page.removeScriptToEvaluateOnNewDocument", identifier=name)

    def run(self, script: str) -> Any:
        """What a script, the body of a function, returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, condition: str, *, seconds: float = 20) -> None:
        """Wait until an expression is true; AssertionError if it does not become so."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"in vain: {condition}; the page is {self.state()}; {self.log()}"
            time.sleep(0.03)

    def state(self) -> dict[str, str]:
        """The data attributes of the page's root."""
        return self.run("return {...document.documentElement.dataset}")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element, CSS pixels."""
        found = f"const box = document.querySelector('{selector}').getBoundingClientRect();"
        left, top, width, height = self.run(f"{found} return [box.x, box.y, box.width, box.height]")
        return left, top, width, height

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/click", {})

    def _find(self, selector: str) -> str:
        return self._call("POST", "/element", {"using": "css selector", "value": selector})[_ELEMENT]

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other, whatever has the focus."""
        acts = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": acts}]})

    def drag(self, selector: str, start: tuple[float, float], by: tuple[int, int] = (0, 0)) -> None:
        """Press the mouse in an element, at shares of its width and height, and move by pixels before letting go."""
        left, top, width, height = self.box(selector)
        x, y = round(left + start[0] * width), round(top + start[1] * height)
        acts: list[dict[str, object]] = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}]
        if by != (0, 0):
            acts.append({"type": "pointerMove", "x": x + by[0], "y": y + by[1], "duration": 50})
        acts.append({"type": "pointerUp", "button": 0})
        self._call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": acts}]})

    def wheel(self, selector: str, by: int) -> None:
        """Turn the mouse wheel over an element."""
        origin = {_ELEMENT: self._find(selector)}
        act = {"type": "scroll", "x": 0, "y": 0, "deltaX": 0, "deltaY": by, "origin": origin}
        self._call("POST", "/actions", {"actions": [{"type": "wheel", "id": "wheel", "actions": [act]}]})

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def log(self) -> list[str]:
        """What the page and the browser complained about since the last look."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def close(self) -> None:
        self._call("DELETE", "")


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a browser that keeps its own files in an empty folder."""
    assert DRIVER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(port)
        window = Browser(f"http://127.0.0.1:{port}", profile=folder)
        try:
            yield window
        finally:
            window.close()
    finally:
        driver.terminate()
        driver.wait()


def _await_port(port: int) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("chromedriver did not start")
