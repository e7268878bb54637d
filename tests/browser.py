"""A real Chromium, driven through a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

import pytest

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def find_chromium():
    """The command of a Chromium; without one the test is skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    absent = os.environ.get("SPEECHPROMPT_NO_CHROMIUM") or "install the package chromium"
    pytest.skip(f"no Chromium on this machine: {absent}")


class Page:
    """A page in a browser of its own."""

    def __init__(self, read, write, stop_at):
        self.read, self.write, self.stop_at = read, write, stop_at
        self.number, self.buffer, self.session = 0, b"", None
        self.console, self.loaded = [], False
        (target,) = (t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        """Call a method of the protocol; return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self.number:
            pass
        assert "error" not in found, found
        return found["result"]

    def open(self, address):
        """Open an address and wait until it is loaded."""
        self.loaded = False
        self("Page.navigate", url=address)
        while not self.loaded:
            self._next()

    def run(self, script):
        """The value of an expression, which may be a promise."""
        wanted = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self("Runtime.evaluate", expression=script, **wanted)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script, seconds=30):
        """Wait until an expression is true; return its value."""
        until = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < until, (script, self.console)
            time.sleep(0.1)
        return value

    def look(self, width, height=900, dark=False, scale=1):
        """Show the page at a size, light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[theme])

    def shoot(self, path, whole=True):
        """Write a picture of the page, PNG."""
        found = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def _next(self):
        while b"\0" not in self.buffer:
            left = self.stop_at - time.monotonic()
            assert select.select([self.read], [], [], max(left, 0))[0], "Chromium is stuck"
            chunk = os.read(self.read, 1 << 20)
            assert chunk, "Chromium has ended"
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(line)
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.console.append(message["params"])
        return message


@contextlib.contextmanager
def browse(folder, *flags, seconds=120):
    """Start a Chromium with an empty profile in a folder, and end it."""
    command = [find_chromium(), *QUIET, NO_NETWORK, f"--user-data-dir={folder / 'profile'}", *flags]
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # The protocol is spoken on the descriptors 3 and 4.
    shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"]
    process = subprocess.Popen(
        [*shell, *command, "--remote-debugging-pipe", "about:blank"],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in (theirs_in, theirs_out):
        os.close(descriptor)
    try:
        yield Page(ours_in, ours_out, time.monotonic() + seconds)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
