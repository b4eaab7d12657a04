"""A daemon's claim on what it fetched, and taking over the claims of the dead.

Loops of the consumer. Renewal is the supervisor's, never a worker's: a task that holds the GIL or the CPU can't lose
the lease. Each pass of the takeover renews too, so a daemon that holds no jobs of a queue sends nothing else for it. A
renewal that finds the lease gone raises `FencedError`, and the daemon lets go of everything of that
queue.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from workd import faultpoints
from workd.errors import FencedError
from workd.flights import Backlog
from workd.log import get_logger
from workd.schedule import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.broker.session import Session
    from workd.dispatcher import Dispatcher
    from workd.pulse import Pulse

TAKEOVER_EVERY_S = 1.0
HEARD_TOO_EARLY_S = 0.25  # until a job that somebody wants stopped is surely known here, if it is on its way to us
TAKEOVER_BOUND_S = 30.0  # for a pass that brings a thousand jobs

log = get_logger("workd.leases")


async def renew(
    session: Session,
    dispatcher: Dispatcher,
    queues: Sequence[str],
    lease_s: float,
    pulse: Pulse,
    departing: asyncio.Event,
    missed: asyncio.Event,
) -> None:
    """Renew every third of a lease, and hear of cancelled jobs, until `departing`.

    Soon after `missed` is set, too: somebody wants a job stopped that is not known here, and it may be on its way.
    """
    loop = asyncio.get_running_loop()
    while not departing.is_set():
        for queue in queues:
            job_ids = dispatcher.books[queue].job_ids()
            if not job_ids and loop.time() - dispatcher.renewed_at.get(queue, -lease_s) < lease_s / 3:
                continue  # by a takeover pass, and nothing is here that could have been cancelled
            reply = await session.renew(queue, job_ids)
            if reply.fenced:
                raise FencedError(queue)
            if reply.cancelled:
                dispatcher.cancel(queue, reply.cancelled)
        pulse.expect("the renewal of the lease", lease_s)
        await until(departing, missed.wait(), timeout_s=lease_s / 3)
        if missed.is_set():
            missed.clear()
            await until(departing, asyncio.sleep(HEARD_TOO_EARLY_S))
    pulse.rest("the renewal of the lease")


def pass_every_s(queues: int) -> float:
    """Return the time between two passes over one queue: a second, and up to two if there are many.

    Each queue has its keys in a place of its own, so each needs a script of its own.
    """
    return TAKEOVER_EVERY_S * (2 - 1 / queues)


async def take_over(
    session: Session, dispatcher: Dispatcher, queue: str, pulse: Pulse, quiet: asyncio.Event, queues: int = 1
) -> None:
    """Once a second, take the jobs of daemons whose lease has run out, until `quiet`; it is one of so many queues.

    A pass that took some is followed by the next as soon as the pool has room: a daemon may leave thousands behind.
    """
    name = f"the look for jobs of dead daemons in queue {queue}"
    while not quiet.is_set():
        pulse.expect(name, TAKEOVER_BOUND_S)
        async with dispatcher.taking[queue]:
            took = await _take_over_once(session, dispatcher, queue)
        if took:
            await until(quiet, dispatcher.wait_room(), timeout_s=pass_every_s(queues))
        else:
            await until(quiet, asyncio.sleep(pass_every_s(queues)))
    pulse.rest(name)


async def _take_over_once(session: Session, dispatcher: Dispatcher, queue: str) -> int:
    """Return how many jobs were taken over."""
    asked_at, asked_at_s = asyncio.get_running_loop().time(), time.time()
    reply = await session.takeover(queue)
    if reply.fenced:
        raise FencedError(queue)
    dispatcher.renewed_at[queue] = asked_at
    dispatcher.clock.set_by(
        reply.server_ms, asked_at_s
    )  # clocks drift and are set: a measure at the connection would grow old
    dispatcher.alarms[queue].note(reply.next_due_ms)
    if dispatcher.gate.note_paused(queue, reply.paused):
        await session.interrupt()  # what is being read is read of the queues that were open before
    dispatcher.gate.note_waiting(queue, reply.waiting)
    dispatcher.backlogs[queue] = Backlog(reply.oldest_ms, reply.undelivered)
    if reply.entries:
        faultpoints.hit("after_takeover")
        dispatcher.tallies.by_queue[queue].redeliveries += len(reply.entries)
        dead = list(reply.taken_from)
        log.warning("took over jobs of dead daemons", queue=queue, jobs=len(reply.entries), daemons=dead)
        await dispatcher.take(session, reply.entries)
    return len(reply.entries)
