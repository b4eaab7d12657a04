"""The signals that can end the demo, each turned into an exception in the main thread.

Ctrl-C, SIGTERM and SIGHUP become KeyboardInterrupt; a child that failed and a demo that does not come to an end become
`DemoError`. An exception between the start of a process and the note that it was started would leave it behind, and
one in the middle of a thread's start breaks that thread, so such places are `held`: what comes is raised after them.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

Value = TypeVar("Value")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OURS: Final = (*_ENDING, signal.SIGALRM, signal.SIGCHLD)


class Interrupts:
    """What may interrupt the main thread, from `listening` to its end or `ignore`."""

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self._depth = 0
        self._waiting: BaseException | None = None
        self._check_children: Callable[[], BaseException | None] = lambda: None

    def watch(self, check_children: Callable[[], BaseException | None]) -> None:
        """Ask this, whenever a child has ended, whether there is a reason to stop."""
        self._check_children = check_children

    @contextmanager
    def listening(self, limit_s: int, too_late: Callable[[], BaseException]) -> Iterator[None]:
        """Listen during the block, `limit_s` seconds at most; put everything back after it."""
        before = {number: signal.getsignal(number) for number in _OURS}
        for number in _ENDING:
            signal.signal(number, lambda _number, _frame: self._interrupt(KeyboardInterrupt()))
        signal.signal(signal.SIGALRM, lambda _number, _frame: self._interrupt(too_late()))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._interrupt(self._check_children()))
        signal.alarm(limit_s)
        try:
            yield
        finally:
            signal.alarm(0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the block end before anything is raised."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            raise waiting

    @contextmanager
    def entered(self, context: AbstractContextManager[Value]) -> Iterator[Value]:
        """Enter something that starts threads, and leave it, but raise nothing in the middle of its start."""
        with ExitStack() as stack:
            with self.held():
                value = stack.enter_context(context)
            yield value

    def ignore(self) -> None:
        """Be deaf from here on: what was started is put away, and that must not be cut short."""
        signal.alarm(0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, error: BaseException | None) -> None:
        if error is None:
            return
        if self._depth:
            self._waiting = self._waiting or error
            return
        raise error
