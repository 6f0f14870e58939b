"""A proxy in front of a real server that answers as broken servers, proxies and networks do."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Literal

__all__ = ["Answer", "Proxy", "proxy_to"]

Answer = Literal["pass", "500", "503", "page", "reset", "lost", "late"]
"""How a request is met: passed on; answered with an error; with a page of a login and status 200;
the connection reset before the request is passed on; after it, so that the answer is lost; or long
before it, as a server that hung reads what waits for it when it thaws."""

_PAGE = b"<html><body>Please log in to use this network</body></html>"


class Proxy:
    """Where a proxy listens, and how it meets requests.

    Attributes:
        uri: Its address.
        answer: Asked with the method and the path of each request.
        met: How often each answer was given.
        came_late: How many requests were passed on late by now.
        thawed: When it is set, the late ones are passed on.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.met: dict[Answer, int] = {}
        self.came_late = 0
        self.thawed = threading.Event()
        self._lock = threading.Lock()
        self.answer: Callable[[str, str], Answer] = lambda method, path: "pass"

    def choose(self, method: str, path: str) -> Answer:
        """Return how a request is met."""
        with self._lock:
            answer = self.answer(method, path)
            self.met[answer] = self.met.get(answer, 0) + 1
        return answer


@contextlib.contextmanager
def proxy_to(server: str) -> Iterator[Proxy]:
    """Run a proxy to ``http://host:port`` in the block."""
    host = server.removeprefix("http://")

    class Handler(http.server.BaseHTTPRequestHandler):
        def _meet(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = proxy.choose(self.command, self.path)
            if answer in ("500", "503"):
                self._write(int(answer), "text/plain", b"no")
            elif answer == "page":
                self._write(200, "text/html", _PAGE)
            elif answer == "reset":
                self._reset()
            elif answer == "late":
                threading.Thread(target=self._ask_late, args=(body,), daemon=True).start()
                self._reset()  # which happens when this method returns
            else:
                status, kind, content = self._ask(body)
                if answer == "lost":
                    self._reset()
                else:
                    self._write(status, kind, content)

        def _ask_late(self, body: bytes) -> None:
            proxy.thawed.wait()
            self._ask(body)
            proxy.came_late += 1

        def _ask(self, body: bytes) -> tuple[int, str, bytes]:
            connection = http.client.HTTPConnection(host, timeout=60)
            try:
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("host", "connection", "content-length")
                }
                connection.request(self.command, self.path, body, headers)
                found = connection.getresponse()
                return found.status, found.getheader("Content-Type") or "", found.read()
            finally:
                connection.close()

        def _write(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _reset(self) -> None:
            at_once = struct.pack("ii", 1, 0)  # closing sends a reset instead of an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RD)
            self.connection.close()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *arguments: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._meet)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        proxy = Proxy(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.thawed.set()
            listening.shutdown()
            thread.join()
