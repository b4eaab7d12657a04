"""A TCP proxy that delays: what comes from either side goes on half a round trip later, and no slower than it came.

Run as a process of its own by `distance`: `python -m bench.curves.delay PORT ROUND_TRIP_MS` prints the port that it
listens on and ends when its standard input does. One thread and `select`, whose timeout counts in microseconds (epoll's
counts in milliseconds). What it holds back is bounded per direction; beyond that it reads no more, as a network would.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 256 * 1024
HELD_BYTES = 64 << 20
STOP_S = 5.0


class Flow:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay_s: float) -> None:
        """Carry from `source` to `sink`."""
        self.source = source
        self.sink = sink
        self.ended = False  # the source will send no more
        self.closed = False  # and the sink knows
        self._delay_s = delay_s
        self._held: deque[tuple[float, memoryview]] = deque()
        self._held_bytes = 0

    @property
    def wants_to_read(self) -> bool:
        """Whether there is room for more."""
        return not self.ended and self._held_bytes < HELD_BYTES

    def due_in_s(self, now: float) -> float | None:
        """Return how long until something has to go on; None if nothing waits."""
        return max(0.0, self._held[0][0] - now) if self._held else None

    def read(self, now: float) -> None:
        """Take what has come; the end travels as an empty piece."""
        try:
            piece = self.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.ended = not piece
        self._held_bytes += len(piece)
        self._held.append((now + self._delay_s, memoryview(piece)))

    def write(self, now: float) -> None:
        """Send on what is due, as far as the sink takes it."""
        while self._held and self._held[0][0] <= now:
            due, piece = self._held[0]
            if not piece:
                self._close()
                return
            try:
                sent = self.sink.send(piece)
            except BlockingIOError:
                return
            except OSError:
                self._close()
                return
            self._held_bytes -= sent
            if sent == len(piece):
                self._held.popleft()
            else:
                self._held[0] = (due, piece[sent:])

    def _close(self) -> None:
        self.ended = self.closed = True
        self._held.clear()
        with suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


class Proxy:
    """Listens, and carries every connection to a port on 127.0.0.1."""

    def __init__(self, target_port: int, round_trip_s: float) -> None:
        """Listen on a free port."""
        self._target_port = target_port
        self._delay_s = round_trip_s / 2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._flows: list[Flow] = []
        self.port: int = self._listener.getsockname()[1]

    def run(self, until_closed: int) -> None:
        """Carry until the descriptor `until_closed` becomes readable."""
        while True:
            now = time.monotonic()
            dues = [due for flow in self._flows if (due := flow.due_in_s(now)) is not None]
            blocked = [flow.sink for flow in self._flows if flow.due_in_s(now) == 0.0]
            sources: list[socket.socket] = [flow.source for flow in self._flows if flow.wants_to_read]
            timeout_s = min((due for due in dues if due), default=None)
            watched: list[int | socket.socket] = [until_closed, self._listener, *sources]
            readable, _, _ = select.select(watched, blocked, [], timeout_s)
            if until_closed in readable:
                return
            self._carry(set(readable))

    def _carry(self, readable: set[int | socket.socket]) -> None:
        now = time.monotonic()
        if self._listener in readable:
            self._accept()
        for flow in self._flows:
            if flow.source in readable:
                flow.read(now)
            flow.write(now)
        self._forget_closed()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target_port))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        self._flows += [Flow(near, far, self._delay_s), Flow(far, near, self._delay_s)]

    def _forget_closed(self) -> None:
        closed = {id(flow.source) for flow in self._flows if flow.closed}
        gone = [flow for flow in self._flows if flow.closed and id(flow.sink) in closed]
        if gone:
            for flow in gone:
                flow.source.close()
            self._flows = [flow for flow in self._flows if flow not in gone]


@contextmanager
def delayed(port: int, round_trip_ms: float) -> Iterator[int]:
    """Run a proxy to `port` in a process of its own, and give the port that it listens on."""
    command = [sys.executable, "-m", __name__, str(port), str(round_trip_ms)]
    tests = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=tests, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(STOP_S)


def main() -> None:
    """Serve one proxy until standard input ends."""
    target_port, round_trip_ms = sys.argv[1:]
    proxy = Proxy(int(target_port), float(round_trip_ms) / 1000)
    print(proxy.port, flush=True)
    proxy.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
