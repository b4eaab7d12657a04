"""What a worker of `workd.Pool` runs: pickled calls. The factory is what the local pool's `LoadSpec` names.

Imported by the forkserver. The host program's main module is imported there once, under the name `__mp_main__`, as
the standard library does it for its own spawned workers, so that functions of a script can be found.
"""

from __future__ import annotations

import multiprocessing.process
import pickle
import traceback
from multiprocessing import spawn
from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any

from workd.pool import (
    chunks,  # noqa: F401 - chunks: maps call for it by name
    frames,
)
from workd.pool.child import alarm
from workd.pool.pickling import dumps, load_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NO_MAIN = "workers can't import a main module that was typed in or came from stdin; define it in a module of its own"
_NOT_AT_TOP_LEVEL = 'workers import the script without what is under if __name__ == "__main__": define it above that'


class CallWork:
    """Runs `(function, args, kwargs)` and returns the pickled value or exception."""

    def __init__(
        self, prepare: Callable[[], tuple[Callable[..., object] | None, Iterable[Any]]], hint: str = _NOT_AT_TOP_LEVEL
    ) -> None:
        """`prepare` returns the initializer and its arguments; `hint` is for functions that main does not have."""
        self._prepare = prepare
        self._hint = hint

    def start(self, slot: int) -> None:  # noqa: ARG002 - what every runner is told
        """Run the initializer in the worker."""
        try:
            initializer, initargs = self._prepare()
        except AttributeError as error:
            raise self._hinted(error) from None
        if initializer is not None:
            initializer(*initargs)

    def stop(self) -> None:
        """Do nothing: the standard library's pool has no such hook."""

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one call. Whatever it raises, and whatever can't be pickled, is an outcome."""
        try:
            try:
                function, args, kwargs = load_call(body)
            except AttributeError as error:
                raise self._hinted(error) from None
            try:
                alarm.arm()
                value = function(*args, **kwargs)
            finally:
                alarm.disarm()
        except BaseException as error:  # noqa: BLE001 - a SystemExit or KeyboardInterrupt of a call ends the call alone
            return frames.RAISED, _dump_error(error)
        try:
            payload = dumps(value)
        except BaseException as error:  # noqa: BLE001 - pickling runs user code
            return frames.RAISED, _dump_unsendable(error, value)
        if len(payload) > frames.MAX_PAYLOAD_BYTES:
            too_large = ValueError(
                f"it has {len(payload):,} bytes; {frames.MAX_PAYLOAD_BYTES:,} are the most that can be sent"
            )
            return frames.RAISED, _dump_unsendable(too_large, type(value))
        return frames.RETURNED, payload

    def _hinted(self, error: AttributeError) -> AttributeError:
        """Say what to do about a function of the main module that is not there."""
        return AttributeError(f"{error}: {self._hint}") if "_main__'" in str(error) else error


def _dump_error(error: BaseException) -> bytes:
    text = _trace(error)
    try:
        return dumps((dumps(error), text))
    except BaseException as unsendable:  # noqa: BLE001 - pickling runs user code
        return _dump_unsendable(unsendable, error, text)


def _dump_unsendable(error: BaseException, value: object, text: str = "") -> bytes:
    """Say instead of what can't be sent why it can't, in the standard library's words."""
    return dumps((dumps(MaybeEncodingError(_Shown(error), _Shown(value))), text or _trace(error)))


class _Shown:
    """A repr that never fails."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        try:
            return repr(self._value)
        except BaseException:  # noqa: BLE001 - user code; the call must not cost the worker
            return object.__repr__(self._value)


def _trace(error: BaseException) -> str:
    """Return the traceback in the form of the standard library's `RemoteTraceback`."""
    return f'\n"""\n{"".join(traceback.format_exception(error))}"""'


def make(preparation: dict[str, Any], initializer: str) -> tuple[CallWork, dict[str, Any]]:
    """Import the host program's main module and return the runner; there is no catalogue.

    `initializer`: the pickled pair of a function (or None) and its arguments, in hex; unpickled in each worker.
    """
    process = multiprocessing.process.current_process()
    # The standard library's mark for "the main module is being imported": a pool that it makes unguarded is refused.
    process._inheriting = True  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        spawn.prepare(preparation | {"authkey": bytes.fromhex(preparation["authkey"])})
    finally:
        del process._inheriting  # type: ignore[attr-defined]  # noqa: SLF001
    has_main = not preparation.keys().isdisjoint({"init_main_from_name", "init_main_from_path"})
    pickled = bytes.fromhex(initializer)
    return CallWork(lambda: pickle.loads(pickled), _NOT_AT_TOP_LEVEL if has_main else _NO_MAIN), {}  # noqa: S301
