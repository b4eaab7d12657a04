"""Objects that do not survive the way to a worker of a `workd.Pool`, or the way back."""

from __future__ import annotations

import threading
import time
from typing import Any, NoReturn

from support.fault_calls import FOREVER_S, exit_now, throw


class NotPicklable:
    def __reduce__(self) -> NoReturn:
        raise ValueError("not to be pickled")


class NotPicklableWithoutWords(NotPicklable):
    def __repr__(self) -> str:
        raise ValueError("not to be shown")


class ExitsWhenPickled:
    def __reduce__(self) -> NoReturn:
        raise SystemExit(5)


class RaisesWhenUnpickled:
    def __init__(self, kind: type[BaseException] = LookupError) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return throw, (self.kind, "not to be unpickled")


class HangsWhenPickled:
    def __reduce__(self) -> NoReturn:
        while True:
            time.sleep(FOREVER_S)


class SlowToPickle:
    def __reduce__(self) -> tuple[Any, ...]:
        time.sleep(0.3)
        return str, ("pickled",)


class HangsWhenUnpickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (FOREVER_S,)


class DiesWhenUnpickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return exit_now, (9,)


class NeedsArgumentsError(Exception):
    def __init__(self, first: int, second: int, *, third: int = 3) -> None:
        super().__init__(f"{first}, {second}, {third}")


class HoldsALockError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class RaisesWhenShownError(Exception):
    def __str__(self) -> str:
        raise ValueError("not to be shown")


class RaisesWhenUnpickledError(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        return throw, (LookupError, "not to be unpickled")
