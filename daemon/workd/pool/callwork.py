"""What a worker of `workd.Pool` runs: pickled calls. The factory that the local pool's `LoadSpec` names.

Imported by the forkserver. The host program's main module is imported there once, under the name `__mp_main__`, as
the standard library does it for its own spawned workers, so that functions of a script can be found.
"""

from __future__ import annotations

import base64
import multiprocessing.process
import pickle
from multiprocessing import spawn
from multiprocessing.pool import ExceptionWithTraceback, MaybeEncodingError  # type: ignore[attr-defined]
from multiprocessing.reduction import ForkingPickler
from typing import Any

from workd.pool import frames

FACTORY = "workd.pool.callwork:make"

_NO_MAIN = "workers can't import a main module that was typed in or came from stdin; define it in a module of its own"
_NOT_AT_TOP_LEVEL = 'workers import the script without what is under if __name__ == "__main__": define it above that'


class CallWork:
    """Runs `(function, args, kwargs)` and returns the pickled value or exception."""

    def __init__(self, initializer: bytes, *, has_main: bool) -> None:
        """`initializer`: the pickled pair of a function (or None) and its arguments."""
        self._initializer = initializer
        self._has_main = has_main

    def start(self, slot: int) -> None:  # noqa: ARG002 - what every runner is told
        """Run the initializer in the worker."""
        initializer, initargs = self._unpickle(self._initializer)
        if initializer is not None:
            initializer(*initargs)

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one call. Whatever it raises, and whatever can't be pickled, is an outcome."""
        try:
            function, args, kwargs = self._unpickle(body)
            value = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - a SystemExit or KeyboardInterrupt of a call ends the call alone
            return frames.RAISED, _dump(ExceptionWithTraceback(error, error.__traceback__), error)
        try:
            return frames.RETURNED, bytes(ForkingPickler.dumps(value))
        except Exception as error:  # noqa: BLE001 - pickling runs user code
            return frames.RAISED, _dump(MaybeEncodingError(error, value), error)

    def _unpickle(self, pickled: bytes | memoryview) -> Any:
        try:
            return pickle.loads(pickled)  # noqa: S301 - the host program's own
        except AttributeError as error:
            if "_main__'" not in str(error):
                raise
            hint = _NOT_AT_TOP_LEVEL if self._has_main else _NO_MAIN
            raise AttributeError(f"{error}: {hint}") from None


def _dump(outcome: object, cause: BaseException) -> bytes:
    try:
        return bytes(ForkingPickler.dumps(outcome))
    except Exception as error:  # noqa: BLE001 - pickling runs user code
        return bytes(ForkingPickler.dumps(MaybeEncodingError(error, cause)))


def make(preparation: dict[str, Any], initializer: str) -> tuple[CallWork, dict[str, Any]]:
    """Import the host program's main module and return the runner; there is no catalogue."""
    process = multiprocessing.process.current_process()
    # The standard library's mark for "the main module is being imported": a pool that it makes unguarded is refused.
    process._inheriting = True  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        spawn.prepare(preparation | {"authkey": bytes.fromhex(preparation["authkey"])})
    finally:
        del process._inheriting  # type: ignore[attr-defined]  # noqa: SLF001
    has_main = not preparation.keys().isdisjoint({"init_main_from_name", "init_main_from_path"})
    return CallWork(base64.b64decode(initializer), has_main=has_main), {}
