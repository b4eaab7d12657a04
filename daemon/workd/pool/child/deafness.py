"""Signals that are meant for the program as a whole pass by its workers and forkservers.

They obey their sockets alone. What their tasks start is another matter: those children are ordinary ones, which SIGTERM
ends, or a task that terminates its own children would wait for ever.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

IGNORED_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    # What else tells a daemon something: `systemctl kill -s …` sends it to every process of the unit.
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)

_masks: dict[int, set[signal.Signals | int]] = {}  # of the threads that are in the middle of a fork


def ignore_signals() -> None:
    """Have signals meant for the program pass by, and all others come through. Only in the main thread.

    A handler instead of SIG_IGN: programs that a task starts would inherit SIG_IGN and could not be terminated. What a
    task forks, without executing a program, has the handlers, too: the hooks below give it the default ones back.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, _pass_by)
    # Both of these are inherited, over exec too: a program that waits for its signals in a thread blocks them all, and
    # one that ignores SIGCHLD has its kernel reap the children, which would take the workers' exit statuses from us.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _pass_by(number: int, frame: object) -> None:
    """Do nothing."""


def _hold() -> None:
    """Keep signals waiting during a fork: one that came before the child has its own handlers would be lost."""
    if any(signal.getsignal(number) is _pass_by for number in IGNORED_SIGNALS):
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)


def _let_through() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _heed() -> None:
    for number in IGNORED_SIGNALS:
        if signal.getsignal(number) is _pass_by:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _let_through()


os.register_at_fork(before=_hold, after_in_parent=_let_through, after_in_child=_heed)
