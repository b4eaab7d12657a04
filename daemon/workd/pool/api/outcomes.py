"""How a call of a local pool ended, before and after anybody has unpickled it.

The loop's thread knows outcomes as frames or exceptions and passes them on; `read` unpickles them in the thread that
wants the value, so that code of the host program never runs in the loop.

The payload of a frame is a pickle: of the value, or of a pair, the pickle of the exception and the worker's traceback.
Apart, so that the traceback is there when the exception can't be unpickled.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from workd.pool.frames import RETURNED

if TYPE_CHECKING:
    from workd.pool.api.waiting import Waiters
    from workd.pool.parsing import Frame

    Outcome = Frame | BaseException

# Past what the class of an exception may make of attributes: some are frozen.
_set_cause: Final = vars(BaseException)["__cause__"].__set__


class Sink(Protocol):
    """Where outcomes go. A job's `ref` is a sink and the number of the job in it."""

    first_key: int  # of its jobs; 0 before there is one; whoever hands them in writes both
    last_key: int

    def settle(self, number: int, outcome: Outcome) -> Waiters:
        """Take one outcome; return those who are to be woken for it.

        Called in the loop's thread, or after its end. Must not block or run others' code.
        """


def read(outcome: Outcome, *, interruptible: bool = True) -> tuple[bool, Any]:
    """Return whether the call returned, and its value or exception. Unpickling runs code of the host program.

    What that raises is the outcome. Only a KeyboardInterrupt may be meant for the thread that unpickles: it goes on its
    way if that is `interruptible`, and the outcome can be read again.
    """
    if isinstance(outcome, BaseException):
        return False, outcome
    text = ""
    try:
        if outcome.kind == RETURNED:
            return True, pickle.loads(outcome.payload)  # noqa: S301 - the host program's own workers
        pickled, text = pickle.loads(outcome.payload)  # noqa: S301
        error = pickle.loads(pickled)  # noqa: S301
    except BaseException as unreadable:
        if interruptible and isinstance(unreadable, KeyboardInterrupt):
            raise
        error = unreadable
    return False, _with_traceback(error, text)


def _with_traceback(error: object, text: str) -> BaseException:
    """Return the exception of a call with the worker's traceback as its cause, whatever unpickling has made of it."""
    if not issubclass(type(error), BaseException):  # isinstance asks the object itself, which may pretend
        kind = type(error).__qualname__
        error = pickle.UnpicklingError(f"the exception that the call raised is a {kind} when unpickled, no exception")
    if text:
        from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]

        _set_cause(error, RemoteTraceback(text))
    return cast("BaseException", error)
