"""The small web site that is scraped: some pages that link to each other, on a free port of 127.0.0.1.

Pages under a gate are held back until it is opened. A request that hangs there is a worker that is in the middle of
a job, and stays there: that is how the demo knows whom to kill, and that a drain has something to wait for.
"""

from __future__ import annotations

import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from socket import socket
    from types import TracebackType

LATENCY_S = 0.05  # what the way to a site that is not one's own costs at the very least


class Gate:
    """Holds back the requests to some paths; `visitors` are the ports that they came from, in order."""

    def __init__(self, prefix: str) -> None:
        """Hold back the paths that begin with `prefix`."""
        self.prefix = prefix
        self.visitors: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._open = threading.Event()

    def wait(self, client_port: int) -> None:
        """Hold one request back."""
        self.visitors.put(client_port)
        self._open.wait()

    def open(self) -> None:
        """Let all go on, those who come later too. Safe twice."""
        self._open.set()


class Site:
    """Serves while its `with` block lasts."""

    def __init__(self) -> None:
        """Take a port; nothing is answered yet."""
        self._gates: list[Gate] = []
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="demo-site", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_address[1]

    def url(self, path: str) -> str:
        """Return the whole address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"

    def gate(self, prefix: str) -> Gate:
        """Hold back the pages under `prefix` from now on."""
        gate = Gate(prefix)
        self._gates.append(gate)
        return gate

    def answer(self, path: str, client_port: int) -> bytes:
        """Make a page, when it is time."""
        for gate in self._gates:
            if path.startswith(gate.prefix):
                gate.wait(client_port)
        time.sleep(LATENCY_S)
        return page(path)

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Open all gates and stop."""
        for gate in self._gates:
            gate.open()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def title(path: str) -> str:
    """Return the title of the page at `path`."""
    return f"The page {path}"


def page(path: str) -> bytes:
    """Return the page at `path`, with a link to the first one and some text."""
    text = f"<p>{'All of this is made up. ' * 40}</p>" * 20
    html = f'<html><head><title>{title(path)}</title></head><body><a href="/">first page</a>{text}</body></html>'
    return html.encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Say nothing of a client that is gone: the demo has killed it."""


def _handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = site.answer(self.path, self.client_address[1])
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            """Say nothing: the screen is the demo's."""

    return Handler
