"""The one place where the parts are put together: boot, run, drain, stop.

Called by `workd run`. It never imports user code, and nothing it calls blocks the loop. What can end the daemon is
listed in `_run`: a signal, a broken pool, or Redis where it is required. `states` draws its life.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
from typing import TYPE_CHECKING

import uvloop

from workd import log, parts
from workd.broker.registry import Registry
from workd.clock import Clock
from workd.dispatcher import Dispatcher
from workd.drain import Drain, cancel
from workd.exits import Exit
from workd.health import HealthServer, addresses
from workd.lives import are_apart, consumer_of
from workd.log import get_logger
from workd.pool.core import ProcessPool
from workd.presence import Card, Presence
from workd.reporting import Reporter
from workd.signals import SignalInbox
from workd.states import State
from workd.systemd import Notifier
from workd.terms import without_room
from workd.verdicts import Clerk
from workd.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workd.pool.launcher import Forkserver
    from workd.settings import Settings

SHOWN_TASKS = 20
QUICK_BOOT_S = 1.0  # mostly it takes half of that
_ALLOCATIONS_PER_COLLECTION = 50_000

_log = get_logger("workd.supervisor")


def run(settings: Settings, modules: Sequence[str], *, launched: Forkserver | None = None) -> int:
    """Run the daemon until it is told to stop; return its exit code. Raises `BootError` if it can't start."""
    _collect_rarely()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_live(settings, modules, launched))


def _collect_rarely() -> None:
    """Have the collector pass by what is imported, and look for garbage less often: jobs leave none in a circle.

    At its usual threshold it looks through the jobs in flight several times for each of them.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)


async def _live(settings: Settings, modules: Sequence[str], launched: Forkserver | None) -> int:
    return await Supervisor(settings, modules, launched).main()


def new_daemon_id() -> str:
    """Return a name that no other start of any daemon has: a reused one would hide its own orphans."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Supervisor:
    """One life of a daemon."""

    def __init__(self, settings: Settings, modules: Sequence[str], launched: Forkserver | None) -> None:
        """Put the parts together; nothing runs yet."""
        self._settings = settings
        self.daemon_id = new_daemon_id()
        log.configure(settings.log_level, settings.log_format, daemon=self.daemon_id)
        self._notifier = Notifier.take(os.environ)
        self._signals = SignalInbox()
        clock = Clock()
        limits = parts.limits_of(settings)
        source = parts.source_of(settings, self.daemon_id)
        clerk = Clerk(
            self.daemon_id, wall=clock.now_s, max_message_bytes=limits.max_message_bytes, signing=limits.signing
        )
        self._dispatcher = Dispatcher(settings.queues, limits, clerk, clock, apart=are_apart(source))
        self._consumer = consumer_of(source, self._dispatcher)
        options = parts.pool_options_of(settings, modules, self.daemon_id)
        self._pool = ProcessPool(self._dispatcher, options, launched)
        self._vitals = Vitals(self._pool, self._dispatcher, self._consumer.pulse)
        card = Card(self.daemon_id, settings.queues, self._pool, self._vitals.details, clock)
        self._presence = Presence(Registry(settings.redis_url, self.daemon_id), card, settings.lease_s)
        self._drain = Drain(self._pool, self._dispatcher, self._consumer, self._presence, settings.drain_s)
        self._reporter = Reporter(self._notifier, self._vitals)

    async def main(self) -> int:
        """Boot, run until the end comes, stop; return the exit code."""
        self._signals.start()
        server = HealthServer(self._vitals, addresses(self._settings.http, os.environ, os.getpid()))
        drained = False
        try:
            if await self._boot(server):
                await self._run()
                drained = True
            return Exit.OK
        finally:
            self._enter(State.STOPPED)
            try:
                await server.stop()
            finally:
                await self._pool.stop(
                    kill=not drained
                )  # idle workers have a moment for what tasks want done at the end

    def _enter(self, state: State) -> None:
        self._vitals.state = state
        self._presence.hurry()

    async def _boot(self, server: HealthServer) -> bool:
        """Load the tasks and fill the pool; False if a signal came first. Raises `BootError`."""
        settings = self._settings
        _log.info("starting", workers=settings.workers, queues=list(settings.queues))
        booting = asyncio.ensure_future(self._pool.start())
        stopping = asyncio.ensure_future(self._next_stop_signal())
        try:
            await asyncio.wait({booting, stopping}, return_when=asyncio.FIRST_COMPLETED, timeout=QUICK_BOOT_S)
            await server.start()  # after a boot that is quick, so as not to slow it down; during one that is not
            await asyncio.wait({booting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                _log.info("told to stop before it was ready")
                return False
            catalogue = booting.result()
        finally:
            await cancel(booting, stopping)
        if catalogue:
            _log.info("tasks are loaded", tasks=sorted(catalogue)[:SHOWN_TASKS], count=len(catalogue))
        else:
            _log.warning("the task modules define no task: every message will be a dead letter")
        worker_bytes = max((worker.rss_bytes for worker in self._pool.stats().workers), default=0)
        if tight := without_room(catalogue, settings.memory_limit_bytes, worker_bytes):
            _log.warning(
                "a memory limit is less than a worker has before its first job: raise it",
                tasks=tight[:SHOWN_TASKS],
                worker_bytes=worker_bytes,
            )
        self._dispatcher.attach(self._pool, catalogue)
        self._dispatcher.timetable.take(settings.schedule, settings.queues, catalogue)
        return True

    async def _run(self) -> None:
        """Consume until a signal, and drain. Raises what ended a part of the daemon before that."""
        self._enter(State.RUNNING)
        consuming = asyncio.ensure_future(self._consumer.run())
        reporting = asyncio.ensure_future(self._reporter.run())
        showing = asyncio.ensure_future(self._presence.run())
        draining = asyncio.ensure_future(self._drain_when_told())
        endless = {consuming, reporting, showing, self._pool.boots.failed}  # none of these ends but by an exception
        try:
            await asyncio.wait({draining, *endless}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (*endless, draining):
                if ended.done():
                    ended.result()
        finally:
            await cancel(draining, consuming, reporting, showing)

    async def _drain_when_told(self) -> None:
        await self._next_stop_signal()
        self._enter(State.DRAINING)
        self._notifier.stopping("draining")
        hurrying = asyncio.ensure_future(self._hear_second_signal())
        try:
            await self._drain.run()
        finally:
            await cancel(hurrying)

    async def _hear_second_signal(self) -> None:
        await self._next_stop_signal()
        _log.warning("told a second time: the deadline is now")
        self._drain.hurry()

    async def _next_stop_signal(self) -> None:
        while await self._signals.next() not in (signal.SIGTERM, signal.SIGINT):
            pass  # SIGHUP asks for a reload, which is not there yet: it must not end a daemon
