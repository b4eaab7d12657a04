"""Lines on their way to a target that may be slow, full, broken or gone.

What a line may cost depends on who writes it. The supervisor never waits: what does not fit is kept, up to a bound,
and a thread that lives only as long brings it away. A worker has no such thread, since a kill would cost the lines that
it has: it waits for a slow reader, but out of a purse of patience that holds a second and is filled by a hundredth of
the time that passes. So a reader that is merely slow loses nothing, and one that has gone to sleep costs each worker
one second, once. What is lost is counted, and said as soon as the target takes something again.

Every process has its own sinks. Safe for threads, and for signal handlers that log.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.output.targets import Target

PATIENCE_S: Final = 1.0
REFILL: Final = 0.01  # of each second that passes
LEAST_WAIT_S: Final = 0.001
BACKLOG_BYTES: Final = 1024 * 1024
AGAIN_S: Final = 0.2  # a broken target is tried so soon while lines are kept for it, then less and less often
LONGEST_PAUSE_S: Final = 10.0

_sinks: Final[weakref.WeakSet[Sink]] = weakref.WeakSet()


def _say_plainly(count: int) -> bytes:
    return f"workd: {count} lines were dropped here: nothing took them\n".encode()


class Sink:
    """The one way to one target."""

    def __init__(self, find: Callable[[], Target], say_dropped: Callable[[int], bytes] = _say_plainly) -> None:
        """`find` returns the target of this moment; `say_dropped` makes a line of how many were dropped."""
        self._find = find
        self.say_dropped = say_dropped
        self.waits = False  # as a worker does
        self.dropped = 0  # since the process began
        self._untold = 0
        self._is_torn = False  # half a line was written
        self._is_broken = False  # by the last that was heard of it
        self._purse_s, self._filled_at = PATIENCE_S, time.monotonic()
        self._begin()
        _sinks.add(self)

    def _begin(self) -> None:
        """Start with nothing of another process's: its thread is not here, and its lines are its own."""
        self._lock = threading.RLock()
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._carrier: threading.Thread | None = None

    def forget(self) -> None:
        """Leave to the parent, after a fork, what is the parent's."""
        self._begin()
        self._untold = 0

    def write(self, line: bytes) -> None:
        """Bring a line (or an entry) away, keep it, or count it as dropped; never raises `OSError`."""
        with self._lock:
            if self.waits:
                if not (self._tell() and self._put(line, self._patience_s())):
                    self._drop()
            elif self._carrier is not None or (left := self._push(line, 0.0)):
                self._keep(line if self._carrier is not None else left)

    def flush(self, timeout_s: float) -> None:
        """Wait until what is kept is brought away, so long at the most, and not at all for what is broken."""
        carrier = self._carrier
        if carrier is not None and not self._is_broken:
            carrier.join(timeout_s)
        with self._lock:
            if self._carrier is None:
                self._tell()

    # ── one line ────────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, line: bytes, patience_s: float) -> bool:
        """Write a line as a whole; False if it is lost, or half of it."""
        return not self._push(b"\n" + line if self._is_torn else line, patience_s)

    def _push(self, data: bytes, patience_s: float) -> bytes:
        """Write what fits within so much patience; return the rest."""
        try:
            target = self._find()
            while data:
                try:
                    size = target.write(data)
                except BlockingIOError:
                    self._is_broken = False
                    if patience_s < LEAST_WAIT_S:
                        return data
                    patience_s = self._wait(target, patience_s)
                else:
                    data = data[size:]
                    self._is_torn = bool(data)
            self._is_broken = False
        except OSError:  # whoever read our log is gone, or its disk is full
            self._is_broken = True
        return data

    def _wait(self, target: Target, patience_s: float) -> float:
        """Wait for room; return what is left of the patience."""
        began = time.monotonic()
        target.wait(patience_s)
        took_s = time.monotonic() - began
        self._purse_s = max(0.0, self._purse_s - took_s)
        return patience_s - took_s

    def _patience_s(self) -> float:
        now = time.monotonic()
        self._purse_s = min(PATIENCE_S, self._purse_s + REFILL * (now - self._filled_at))
        self._filled_at = now
        return self._purse_s

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1

    def _tell(self) -> bool:
        """Say how many lines were dropped, if any were; False if even that finds no room."""
        if self._untold:
            count = self._untold
            if not self._put(self.say_dropped(count), 0.0):
                return False
            self._untold -= count
        return True

    # ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────

    def _keep(self, line: bytes) -> None:
        if self._backlog_bytes + len(line) > BACKLOG_BYTES:
            self._drop()
        else:
            if self._untold:
                self._append(self.say_dropped(self._untold))
                self._untold = 0
            self._append(line)
        if self._carrier is None:
            self._carrier = threading.Thread(target=self._carry, name="workd-log", daemon=True)
            try:
                self._carrier.start()
            except RuntimeError:  # no more threads are to be had, or the interpreter is on its way out
                self._carrier = None
                self._give_up()

    def _append(self, line: bytes) -> None:
        self._backlog.append(line)
        self._backlog_bytes += len(line)

    def _give_up(self) -> None:
        for _ in self._backlog:
            self._drop()
        self._backlog.clear()
        self._backlog_bytes = 0

    def _carry(self) -> None:
        """Bring away what was kept, say what was dropped, and end."""
        pause_s = AGAIN_S
        while (is_stuck := self._carry_some()) is not None:
            with contextlib.suppress(OSError):
                self._find().wait(AGAIN_S)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if is_stuck and self._is_broken else AGAIN_S / 2
            if is_stuck:  # what is broken says at once that it can be written to
                time.sleep(pause_s)

    def _carry_some(self) -> bool | None:
        """Bring away what fits; return None when there is no more, else whether nothing fitted at all."""
        with self._lock:
            before = self._backlog_bytes
            while self._backlog:
                line = self._backlog.popleft()
                left = self._push(line, 0.0)
                self._backlog_bytes -= len(line) - len(left)
                if left:
                    self._backlog.appendleft(left)
                    return self._backlog_bytes == before
            if not self._tell():
                return self._backlog_bytes == before
            self._carrier = None
            return None


def _forget_all() -> None:
    for sink in list(_sinks):
        sink.forget()


os.register_at_fork(after_in_child=_forget_all)


class FdTarget:
    """The target behind a descriptor, found again when another file was put in its place."""

    def __init__(self, fd: int, make: Callable[[int], Target]) -> None:
        """`make` is called for each file that is found behind `fd`."""
        self._fd = fd
        self._make = make
        self._target: Target | None = None
        self._identity: tuple[int, int, int] | None = None

    def __call__(self) -> Target:
        """Return the target; raises `OSError` where there is none."""
        found = os.fstat(self._fd)
        identity = (found.st_dev, found.st_ino, found.st_mode)
        if self._target is None or identity != self._identity:
            if self._target is not None:
                self._target.close()
                self._target = None
            self._target, self._identity = self._make(self._fd), identity
        return self._target
