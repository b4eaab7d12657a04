"""How the daemon's queues are, as Redis said when it was last asked: for whoever wants figures, answered from memory.

A loop of the session. It asks every ten seconds while somebody reads the figures, else once in several minutes, so that
an idle daemon that nobody scrapes costs Redis nothing. A look is one script for each queue that counts and writes
nothing. What cannot be had is left out, said once, and never ends a session.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from workd.broker import keys, queue_state, scripts
from workd.errors import BrokerError, BrokerUnavailableError
from workd.log import get_logger
from workd.schedule import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.queue_state import QueueState
    from workd.broker.session import Session

EVERY_S: Final = 10.0
OFTEN_S: Final = 5.0
"""A reader who comes when the last look is older than this brings about the next one."""
READER_GONE_S: Final = 150.0
"""Scrapes are at most a minute or two apart: who has not come back by then has gone."""
UNREAD_EVERY_S: Final = 300.0
STALE_S: Final = 60.0
"""What is older is no metric any more: none at all is better than one of yesterday."""

log = get_logger("workd.queue_watch")


class Look(NamedTuple):
    """One queue, and the loop time at which it was looked at."""

    state: QueueState
    at: float


class QueueWatch:
    """The last looks at all queues."""

    def __init__(self) -> None:
        """Know of nothing."""
        self._clock = asyncio.get_running_loop().time
        self._looks: dict[str, Look] = {}
        self._read_at = -math.inf
        self._wanted = asyncio.Event()
        self._complained = False

    def read(self, max_age_s: float = STALE_S) -> dict[str, Look]:
        """Return what is known and not older, by queue; have it looked at again soon, if it is some seconds old."""
        now = self._read_at = self._clock()
        if any(now - look.at > OFTEN_S for look in self._looks.values()):
            self._wanted.set()
        return {queue: look for queue, look in self._looks.items() if now - look.at <= max_age_s}

    async def run(self, session: Session, queues: Sequence[str]) -> None:
        """Look at these queues until cancelled. Raises `BrokerError` when the session is broken."""
        while True:
            self._wanted.clear()
            for queue in queues:
                await self._look(session, queue)
            is_read = self._clock() - self._read_at < READER_GONE_S
            await until(self._wanted, asyncio.sleep(EVERY_S if is_read else UNREAD_EVERY_S))

    async def _look(self, session: Session, queue: str) -> None:
        try:
            answer = await session.run(
                scripts.QUEUE_STATE,
                "asking how a queue is",
                queue,
                queue_state.names_of(queue),
                keys.GROUP,
                keys.WAITING,
            )
        except BrokerUnavailableError:
            raise
        except BrokerError as error:  # a right is missing, most likely
            if not self._complained:
                self._complained = True
                log.warning("how the queues are cannot be told; jobs are run all the same", error=str(error))
            return
        self._looks[queue] = Look(queue_state.read(queue, answer), self._clock())
