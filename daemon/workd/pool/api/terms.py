"""The terms of a call: how long it may run and how much memory it may use. Pure data.

Here the limits that a program gives become what the core and the wire can carry. Whatever can't be a limit is refused
in the thread that gives it: in the loop it would break the pool for everybody.
"""

from __future__ import annotations

import math
import operator
from typing import Final, NamedTuple, TypedDict, cast

ENDLESS: Final = 2**62  # programs say `sys.maxsize` for no limit; what is less can be added to without an overflow


class CallOptions(TypedDict, total=False):
    """What calls of a pool take beside the standard library's arguments; it holds for each call of the function.

    A map cuts its items one by one then, unless it is given a `chunksize`: a chunk gets the time of all its items.
    """

    timeout: float | None
    """Seconds that it may run; then its worker is killed and it ends with `JobTimeoutError`."""
    soft_timeout: float | None
    """Seconds until `SoftTimeout` is raised in it, so that it can clean up."""
    memory_limit: int | None
    """Bytes of resident memory that its worker may have; over it, it ends with `MemoryLimitError`."""


class Terms(NamedTuple):
    """What holds for one call; None: no limit. The names are the options'; seconds, seconds and bytes.

    A tuple, since every worker of a script that imports `workd.Pool` would load `dataclasses` for it.
    """

    timeout: float | None = None
    soft_timeout: float | None = None
    memory_limit: int | None = None

    def changed(self, options: CallOptions) -> Terms:
        """Return these terms with some of them replaced.

        Raises `TypeError` for an option that there is not and for a limit that is no number, `ValueError` for one that
        would stop every call at once.
        """
        if not options:
            return self
        timeout, soft_timeout, memory_limit = self
        for name, value in options.items():
            match name:
                case "timeout":
                    timeout = seconds(name, value)
                case "soft_timeout":
                    soft_timeout = seconds(name, value)
                case "memory_limit":
                    memory_limit = whole(name, value)
                case _:
                    msg = f"there is no option {name}"
                    raise TypeError(msg)
        return Terms(timeout, soft_timeout, memory_limit)

    def times(self, items: int) -> Terms:
        """Return the terms of a chunk: the time of all its items."""
        return self._replace(
            timeout=None if self.timeout is None else seconds("timeout", self.timeout * items),
            soft_timeout=None if self.soft_timeout is None else seconds("soft_timeout", self.soft_timeout * items),
        )


def seconds(name: str, value: object) -> float | None:
    """Return a limit in seconds as a float; None if there is none, or one that never comes.

    Raises `TypeError` for what is no number and `ValueError` for what is not more than 0; both name the option.
    """
    if value is None:
        return None
    if not (hasattr(value, "__float__") or hasattr(value, "__index__")):  # a string has neither
        raise TypeError(_wrong_type(name, "a number of seconds", value))
    try:
        limit_s = float(cast("float", value))
    except OverflowError:  # an int beyond all floats
        limit_s = math.inf if cast("int", value) > 0 else -math.inf
    except (TypeError, ValueError):  # an array of several, a number that is none
        raise TypeError(_wrong_type(name, "a number of seconds", value)) from None
    if not limit_s > 0:
        raise ValueError(_not_positive(name, value))
    return limit_s if limit_s < math.inf else None


def whole(name: str, value: object) -> int | None:
    """Return a limit that is counted, most often in bytes; None if there is none, or one that is never reached.

    Raises `TypeError` for what is no whole number and `ValueError` for what is not more than 0; both name the option.
    """
    if value is None:
        return None
    try:
        limit = operator.index(cast("int", value))
    except TypeError:
        raise TypeError(_wrong_type(name, "a whole number", value)) from None
    if limit <= 0:
        raise ValueError(_not_positive(name, value))
    return limit if limit < ENDLESS else None


def _wrong_type(name: str, what: str, value: object) -> str:
    return f"{name} must be {what} or None, not {value!r}"


def _not_positive(name: str, value: object) -> str:
    return f"{name} must be more than 0 or None, not {value!r}"


UNLIMITED = Terms()
