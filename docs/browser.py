"""One page of a headless Chromium, led over the pipe of its DevTools protocol.

Enough of a browser for a picture, without a package for it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

__all__ = ["Page"]

WAIT_S = 60.0
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Page:
    """A page; a context manager, since a browser runs behind it.

    Args:
        browser: The program, a Chromium or Chrome.
        width: Of the page, in CSS pixels.
        height: Of the page, in CSS pixels.
    """

    def __init__(self, browser: str, width: int, height: int) -> None:
        self.browser = browser
        self.size = {"width": width, "height": height}
        self._number = 0
        self._session: str | None = None

    def __enter__(self) -> Page:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        answers, answers_end = os.pipe()
        commands_end, commands = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        shell = f'exec "$0" "$@" 3<&{commands_end} 4>&{answers_end}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, self.browser, *_OPTIONS, f"--user-data-dir={self._profile.name}"],
            pass_fds=(commands_end, answers_end),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_end)
        os.close(answers_end)
        self._commands, self._answers = os.fdopen(commands, "wb", 0), os.fdopen(answers, "rb")
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call(
            "Emulation.setDeviceMetricsOverride", **self.size, deviceScaleFactor=1, mobile=False
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._commands.close()
        self._answers.close()
        self._profile.cleanup()

    def open(self, address: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """Run JavaScript in the page and return its value."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression holds."""
        until = time.monotonic() + WAIT_S
        while not self.run(condition):
            if time.monotonic() > until:
                sys.exit(f"the page did not come to: {condition}")
            time.sleep(0.3)

    def click(self, element: str) -> None:
        """Wait for an element, given as a JavaScript expression, and click it."""
        self.wait_for(f"!!({element})")
        self.run(f"({element}).click()")

    def type(self, text: str) -> None:
        """Replace the text of the field that has the focus."""
        self.run("document.activeElement.select()")
        self._call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, such as ``Escape``, and let it go."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def drag(self, element: str, right: int) -> None:
        """Drag an element by its left edge to the right by so many pixels."""
        self.wait_for(f"!!({element})")
        box = self.run(f"({element}).getBoundingClientRect().toJSON()")
        x, y = box["x"] + 1, box["y"] + box["height"] / 2
        steps = (
            ("mouseMoved", 0),
            ("mousePressed", 0),
            ("mouseMoved", right // 2),
            ("mouseMoved", right),
        )
        for kind, moved in (*steps, ("mouseReleased", right)):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind, x=x + moved, y=y, button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read())
            if answer.get("id") != self._number:  # an event
                continue
            if "error" in answer:
                sys.exit(f"{self.browser}: {method}: {answer['error']['message']}")
            result: dict[str, Any] = answer["result"]
            return result

    def _read(self) -> bytes:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                sys.exit(f"{self.browser} could not be started")
            message += byte
        return bytes(message)
