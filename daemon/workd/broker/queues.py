"""Pausing a queue: a key that every daemon hears of with its next takeover pass, within a second or two.

What a paused queue does not do is start jobs. What runs goes on, what comes by the inbox or becomes due goes into the
stream, and what daemons had fetched goes back. Called by the session and by the commands for people; the pure halves
(`pause_command`, `resume_command`, `read`) serve callers with a connection of another kind.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic_core import from_json
from redis.exceptions import ResponseError

from workd.broker import faults, keys
from workd.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable

MAX_PAUSE_S: Final = 10 * 366 * 86_400.0
_MAX_TEXT: Final = 500
_MAX_TIME_S: Final = 1e11  # above are milliseconds, or nothing that a calendar has


@dataclass(frozen=True, slots=True)
class Paused:
    """Why a queue is paused. Times are epoch seconds by the clock of who paused it."""

    reason: str = ""
    by: str = ""
    at: float | None = None
    until: float | None = None
    """When the pause ends by itself; None: when somebody resumes the queue."""


class Caller(Protocol):
    """A connection: `broker.link.Link`, or what answers like it (bytes, errors raised)."""

    def call(self, *command: str | bytes | float) -> Awaitable[Any]:
        """Send a command and return its reply."""


def pause_command(
    queue: str, reason: str = "", *, by: str = "", for_s: float | None = None, now_s: float | None = None
) -> tuple[str | bytes | int, ...]:
    """Return the command that pauses a queue, for `for_s` seconds or until it is resumed; a later pause replaces it.

    `reason` and `by` are for whoever wonders, at most 500 characters. Raises `SettingsError` for a span that is none.
    A key of another type in that place is an error of the command, and stays.
    """
    if for_s is not None and not (math.isfinite(for_s) and 0.001 <= for_s <= MAX_PAUSE_S):  # noqa: PLR2004  (a ms)
        raise SettingsError(
            "for_s", f"{for_s!r} s is no time to pause a queue for: give at least 0.001, at most ten years"
        )
    now_s = time.time() if now_s is None else now_s
    until = None if for_s is None else now_s + for_s
    told = Paused(reason[:_MAX_TEXT], by[:_MAX_TEXT], now_s, until)
    value = json.dumps(asdict(told), ensure_ascii=False).encode()
    expiry: tuple[str | int, ...] = () if for_s is None else ("PX", int(for_s * 1000))
    return ("SET", keys.paused(queue), value, *expiry, "GET")  # GET: refused where the key is no string


def resume_command(queue: str) -> tuple[str, ...]:
    """Return the command that resumes a queue; it answers what `read` reads: the pause that is over."""
    return ("GETDEL", keys.paused(queue))


def read(value: bytes | None) -> Paused | None:
    """Read the value of the key; whatever is in it, the queue is paused if there is one."""
    if value is None:
        return None
    try:
        told = from_json(value)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return Paused(reason=value.decode(errors="replace")[:_MAX_TEXT])
    at, until = _time(told.get("at")), _time(told.get("until"))
    return Paused(str(told.get("reason") or "")[:_MAX_TEXT], str(told.get("by") or "")[:_MAX_TEXT], at, until)


def _time(word: Any) -> float | None:
    return float(word) if isinstance(word, int | float) and 0 <= word < _MAX_TIME_S else None


async def pause(link: Caller, queue: str, reason: str = "", *, by: str = "", for_s: float | None = None) -> None:
    """Pause a queue: no daemon starts a job of it until it is resumed, or `for_s` seconds are over."""
    await link.call(*pause_command(queue, reason, by=by, for_s=for_s))


async def resume(link: Caller, queue: str) -> Paused | None:
    """Resume a queue; return the pause that is over, None if there was none."""
    return read(await link.call(*resume_command(queue)))


async def state(link: Caller, queue: str) -> Paused | None:
    """Say whether a queue is paused, and why."""
    return read(await link.call("GET", keys.paused(queue)))


async def state_if_any(link: Caller, queue: str) -> Paused | None:
    """As `state`, for the daemon: a stranger's key in that place pauses nothing."""
    try:
        return await state(link, queue)
    except ResponseError as error:
        if faults.is_wrong_type(error):
            return None
        raise
