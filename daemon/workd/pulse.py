"""What the consumer and its loops say about themselves, for health and the watchdog.

Written by the loops, read by `vitals`, all in one event loop. Each loop says by when it will have shown up again; one
that is later than that is stuck. A loop that rests, or waits for something that may take as long as it likes, expects
nothing.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SAY_AGAIN_S = 30.0


@dataclass(slots=True)
class Pulse:
    """The state of the connection, and by when each loop is to be heard of again."""

    connected: bool = False
    consuming: bool = False  # a fetch of this session has come back
    trouble: str = "not connected yet"
    sessions: int = 0  # connections over which jobs were fetched
    failures: int = 0  # sessions that broke, or never came to be
    fetched_at: float | None = None  # loop time at which the last fetch came back; None: none of this session has
    warnings: tuple[str, ...] = ()  # what the server's settings can cost
    waits_for_room: bool = False  # the fetcher sleeps until the pool has room, or a queue is open
    _due: dict[str, float] = field(default_factory=dict)  # loop time, by what is expected
    _said: str = ""
    _said_at: float = 0.0

    def expect(self, what: str, within_s: float) -> None:
        """Say that `what` will be over, or said again, within this time."""
        self._due[what] = asyncio.get_running_loop().time() + within_s

    def rest(self, what: str) -> None:
        """Say that `what` is over."""
        self._due.pop(what, None)

    def rest_all(self) -> None:
        """Say that the session is over, and all of its loops."""
        self._due.clear()
        self.fetched_at = None

    def silent_s(self, now: float) -> float:
        """Return for how long no fetch of this session has come back; 0 while none is sent, infinite before the first.

        `now` is loop time.
        """
        if self.waits_for_room:
            return 0.0
        return math.inf if self.fetched_at is None else now - self.fetched_at

    def overdue(self, patience_s: float) -> list[tuple[str, float]]:
        """Return what is overdue by more than `patience_s`, and by how many seconds."""
        now = asyncio.get_running_loop().time()
        return [(what, now - due) for what, due in self._due.items() if now > due + patience_s]

    def should_say(self, text: str) -> bool:
        """Whether a warning is news, or old enough to be said again."""
        now = asyncio.get_running_loop().time()
        if text == self._said and now - self._said_at < SAY_AGAIN_S:
            return False
        self._said, self._said_at = text, now
        return True


class Standstill:
    """What should not be as it is for long, told by looking at it again and again: it must go away, or move on."""

    def __init__(self) -> None:
        """Nothing has been seen yet."""
        self._since: dict[str, tuple[object, float]] = {}

    def overdue(self, seen: Mapping[str, object], patience_s: float) -> list[tuple[str, float]]:
        """Take what is seen now, each with what changes when it moves on; return what has stood still for too long."""
        now = asyncio.get_running_loop().time()
        before, self._since = self._since, {}
        for what, state in seen.items():
            known = before.get(what)
            self._since[what] = known if known is not None and known[0] == state else (state, now)
        return [(what, now - since) for what, (_, since) in self._since.items() if now - since > patience_s]


class Pulses:
    """What several consumers say about themselves, as one: all is well where all are well."""

    def __init__(self, of: Mapping[str, Pulse]) -> None:
        """Watch these, each under the name of its queue."""
        self._of = of

    @property
    def connected(self) -> bool:
        """Whether all are."""
        return all(pulse.connected for pulse in self._of.values())

    @property
    def consuming(self) -> bool:
        """Whether all are."""
        return all(pulse.consuming for pulse in self._of.values())

    @property
    def trouble(self) -> str:
        """What is wrong with the first that is in trouble."""
        return next((f"queue {queue}: {pulse.trouble}" for queue, pulse in self._of.items() if pulse.trouble), "")

    @property
    def waits_for_room(self) -> bool:
        """Whether all fetchers sleep until the pool has room."""
        return all(pulse.waits_for_room for pulse in self._of.values())

    @property
    def sessions(self) -> int:
        """Connections over which jobs were fetched."""
        return sum(pulse.sessions for pulse in self._of.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the settings of all servers can cost."""
        return tuple(dict.fromkeys(text for pulse in self._of.values() for text in pulse.warnings))

    def silent_s(self, now: float) -> float:
        """Return what it is where it is longest."""
        return max(pulse.silent_s(now) for pulse in self._of.values())

    @property
    def failures(self) -> int:
        """Sessions that broke, or never came to be."""
        return sum(pulse.failures for pulse in self._of.values())

    def overdue(self, patience_s: float) -> list[tuple[str, float]]:
        """Return what is overdue, and for which queue."""
        return [
            (f"{what} of queue {queue}", late_s)
            for queue, pulse in self._of.items()
            for what, late_s in pulse.overdue(patience_s)
        ]
