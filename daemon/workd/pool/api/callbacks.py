"""The one thread that calls back into the host program, so that no callback ever runs in the loop."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("workd.pool")  # not structlog: an unconfigured one prints to the host program's stdout


class CallbackThread:
    """Runs callbacks one after the other. One that raises is logged and costs nobody else."""

    def __init__(self) -> None:
        """Prepare; `start` starts it."""
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="workd-pool-callbacks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, call: Callable[[], None]) -> None:
        """Have `call` run in the thread, or here and now if that has ended."""
        self._calls.put(call)
        if self._over:
            self._run_rest()

    def stop(self) -> None:
        """Let the thread leave once it has run everything."""
        self._calls.put(None)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for its end. In the thread itself there is nothing to wait for."""
        if self._thread.ident is not None and not self.is_current():
            self._thread.join(timeout_s)

    def is_current(self) -> bool:
        """Tell whether the caller is in a callback."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            run(call)
            del call  # or it would keep its value alive until the next one
        self._over = True
        self._run_rest()

    def _run_rest(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None:
                run(call)


def run(call: Callable[[], None]) -> None:
    """Call back; what that raises is logged and costs nobody else."""
    try:
        call()
    except BaseException:  # a SystemExit of one callback must not cost the outcomes of all others
        log.exception("a callback of the pool raised")
