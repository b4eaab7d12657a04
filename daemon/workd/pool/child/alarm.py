"""Soft timeouts, the worker's side: an exception that hits one job and can never hit the next.

The supervisor writes the key of the job whose time is up onto the worker's board and sends `ORDER_SIGNAL`. The
handler, in the worker's main thread, raises only if that very job is under way, and only between `arm` and `disarm`,
which stand directly around the call of the user's function. An order that comes too late finds another key, or
nobody armed, and does nothing; one that comes before `arm` is found by it on the board.

The rule for runners: `arm()` and the call stand in a `try` whose `finally` says `disarm()`, and around that stands
another `try` that takes `BaseException`. The handler disarms before it raises, so there is one exception a job at
most; it may surface anywhere between the two, the `finally` included, hence the outer `try`.

State of one worker process and its main thread; where no worker is being run (a unit test of a runner), nothing
happens.
"""

from __future__ import annotations

import faulthandler
import signal
from typing import TYPE_CHECKING, NoReturn

from workd.pool import board

if TYPE_CHECKING:
    from collections.abc import Callable

_board_fd = -1
_key = 0  # of the job under way, if it has a soft timeout; no job has the key 0
_armed = False
on_loop: Callable[[int], None] | None = None  # what `looping` does about an order, if this worker has a loop


def install(board_fd: int) -> None:
    """Obey the orders on this board, and have stacks written onto it. Called once, in the worker's main thread."""
    global _board_fd  # noqa: PLW0603 - one worker, one board
    _board_fd = board_fd
    signal.signal(board.ORDER_SIGNAL, _on_order)
    faulthandler.register(board.STACKS_SIGNAL, file=board_fd, all_threads=True)
    faulthandler.register(board.OWN_STACK_SIGNAL, file=board_fd, all_threads=False)
    if not faulthandler.is_enabled():  # somebody who enabled it wants the stacks elsewhere
        faulthandler.enable(file=board_fd, all_threads=False)


def begin(key: int) -> None:
    """Say that a job with a soft timeout is under way, and with 0 that it is no more."""
    global _key  # noqa: PLW0603 - the state of one process
    _key = key


def arm() -> None:
    """From here on the job's time may be up."""
    global _armed  # noqa: PLW0603 - the state of one process
    _armed = True
    if _key and board.read_order(_board_fd) == _key:
        _armed = False
        _raise()


def disarm() -> None:
    """The user's function is over: nothing may hit what follows."""
    global _armed  # noqa: PLW0603 - the state of one process
    _armed = False


def _on_order(_number: int, _frame: object) -> None:
    global _armed  # noqa: PLW0603 - the state of one process
    if on_loop is not None:
        on_loop(_board_fd)
    if _armed and _key and board.read_order(_board_fd) == _key:
        _armed = False
        _raise()


def _raise() -> NoReturn:
    from workd_tasks.errors import SoftTimeout

    raise SoftTimeout
