"""The one place where the parts are put together: boot, run, drain, stop.

    booting ──▶ running ──▶ draining ──▶ stopped

Called by `workd run`. It never imports user code, and nothing it calls blocks the loop. What can end the daemon is
listed in `_until_the_end`: a signal, a broken pool, or Redis where it is required.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import uvloop

from workd import log
from workd.broker.registry import Registry
from workd.clock import Clock
from workd.consumer import Source
from workd.dispatcher import Dispatcher
from workd.errors import BrokerError
from workd.exits import Exit
from workd.health import HealthServer, addresses
from workd.intake import Limits
from workd.lives import are_apart, consumer_of
from workd.log import get_logger
from workd.pool.core import ProcessPool
from workd.pool.owner import PoolOptions
from workd.pool.requests import TASK_WORK, LoadSpec
from workd.pool.stops import ask_all_to_stop
from workd.presence import Card, Presence
from workd.schedule import DeadLimits
from workd.signals import SignalInbox
from workd.systemd import Notifier
from workd.terms import without_room
from workd.verdicts import Clerk
from workd.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from workd.pool.launcher import Forkserver
    from workd.settings import Settings

WORKER_NICE = 5  # probes are answered on a machine whose cores are full
SHOWN_TASKS = 20
QUICK_BOOT_S = 1.0  # mostly it takes half of that
EXTEND_S = 30.0
SETTLE_GRACE_S = 3.0  # for what the end of a drain has produced
_ALLOCATIONS_PER_COLLECTION = 50_000
RESULT_HEADROOM_BYTES = 1024 * 1024  # an outcome's frame is larger than the value in it

_log = get_logger("workd.supervisor")


class State(StrEnum):
    """Where the daemon is in its life."""

    BOOTING = "booting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


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
        limits = Limits(
            timeout_s=settings.timeout_s,
            max_crashes=settings.max_crashes,
            max_takeovers=settings.max_takeovers,
            unknown_task_s=settings.unknown_task_s,
            max_message_bytes=settings.max_message_bytes,
            cancel_grace_s=settings.cancel_grace_s,
            async_concurrency=settings.async_concurrency,
            signing=settings.signing,
        )
        source = _source(settings, self.daemon_id)
        clerk = Clerk(
            self.daemon_id, wall=clock.now_s, max_message_bytes=limits.max_message_bytes, signing=limits.signing
        )
        self._dispatcher = Dispatcher(settings.queues, limits, clerk, clock, apart=are_apart(source))
        self._consumer = consumer_of(source, self._dispatcher)
        self._pool = ProcessPool(self._dispatcher, _pool_options(settings, modules, self.daemon_id), launched)
        self._vitals = Vitals(self._pool, self._dispatcher, self._consumer.pulse)
        card = Card(self.daemon_id, settings.queues, self._pool, self._vitals.details, clock)
        self._presence = Presence(Registry(settings.redis_url, self.daemon_id), card, settings.lease_s)
        self._hurry = asyncio.Event()

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
            await _cancel(booting, stopping)
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
        reporting = asyncio.ensure_future(self._report())
        showing = asyncio.ensure_future(self._presence.run())
        draining = asyncio.ensure_future(self._drain_when_told())
        parts = {consuming, reporting, showing, self._pool.boots.failed}  # none of these ends but by an exception
        try:
            await asyncio.wait({draining, *parts}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (*parts, draining):
                if ended.done():
                    ended.result()
        finally:
            await _cancel(draining, consuming, reporting, showing)

    async def _drain_when_told(self) -> None:
        await self._next_stop_signal()
        await self._drain()

    # ── the drain ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        """Start nothing more, hand back what has not started, wait for the rest, settle everything, leave."""
        loop, pool, drain_s = asyncio.get_running_loop(), self._pool, self._settings.drain_s
        deadline = loop.time() + drain_s
        self._enter(State.DRAINING)
        hurrying = asyncio.ensure_future(self._hear_second_signal())
        try:
            self._dispatcher.draining = True
            unstarted = pool.quiet()
            ask_all_to_stop(pool)
            self._dispatcher.on_returned(unstarted)
            running = len(pool.running())
            self._notifier.stopping(f"draining, {running} jobs are running")
            _log.info("draining", handed_back=len(unstarted), running=running, deadline_s=drain_s)
            await self._within(self._consumer.quiet(), deadline)
            if not await self._within(pool.wait_empty(), deadline):
                for job in pool.running():
                    about = {"job_id": job.ref.job_id, "task": job.task, "delivery": job.ref.delivery}
                    _log.warning("the deadline is over: killed and handed back", worker_pid=job.worker_pid, **about)
                pool.kill_running("the daemon is stopping")
                await pool.wait_empty()
            await self._settle_rest(deadline)
        finally:
            await _cancel(hurrying)

    async def _settle_rest(self, deadline: float) -> None:
        """Have everything recorded that can be, and give up the leases."""
        settler, pulse = self._dispatcher.settler, self._consumer.pulse
        await self._within(settler.wait_empty(), deadline)
        try:
            async with asyncio.timeout(SETTLE_GRACE_S if pulse.connected else 0):
                await settler.wait_empty()
                await self._consumer.depart()
                await self._presence.leave()
        except (TimeoutError, BrokerError) as error:
            trouble = pulse.trouble or str(error)
            _log.warning("the leases are left to run out", unrecorded=settler.unsettled, trouble=trouble)
        if settler.unsettled:
            _log.warning("not everything was recorded; others will run these jobs again", jobs=settler.unsettled)
        _log.info("stopped", ended=settler.ended, crashes=self._dispatcher.crashes)

    async def _within(self, work: Awaitable[None], deadline: float) -> bool:
        """Wait for `work` until the deadline or a second signal; say whether it was done."""
        working = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self._hurry.wait())
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            await asyncio.wait({working, hurry}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            return working.done()
        finally:
            await _cancel(working, hurry)

    async def _hear_second_signal(self) -> None:
        await self._next_stop_signal()
        _log.warning("told a second time: the deadline is now")
        self._hurry.set()

    async def _next_stop_signal(self) -> None:
        while await self._signals.next() not in (signal.SIGTERM, signal.SIGINT):
            pass  # SIGHUP asks for a reload, which is not there yet: it must not end a daemon

    # ── systemd ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _report(self) -> None:
        """Tell systemd when we are ready and, in time, that we live; keep the status line true."""
        notifier, vitals = self._notifier, self._vitals
        interval_s = min(1.0, notifier.watchdog_interval_s or 1.0)
        said_ready, status = False, ""
        while True:
            if not said_ready and vitals.ready().ok:
                said_ready = True
                notifier.ready()
                _log.info("ready", workers=self._settings.workers, queues=list(self._settings.queues))
            if (line := vitals.status_line()) != status:
                status = line
                notifier.status(line)
            if vitals.live().ok:
                notifier.watchdog()
                if not said_ready or vitals.state != State.RUNNING:
                    notifier.extend_timeout(EXTEND_S)  # a wait for Redis, or a long drain, is no reason to be killed
            await vitals.wait_change(interval_s)


async def _cancel(*futures: asyncio.Future[Any]) -> None:
    """Cancel and wait, without swallowing a cancellation of the caller."""
    for future in futures:
        future.cancel()
    await asyncio.wait(futures)


def _source(settings: Settings, daemon_id: str) -> Source:
    return Source(
        settings.redis_url,
        daemon_id,
        settings.queues,
        settings.inboxes,
        settings.lease_s,
        DeadLimits(settings.dead_max_bytes, settings.dead_max_age_s),
        settings.require_redis,
        settings.queue_weights,
    )


def _pool_options(settings: Settings, modules: Sequence[str], daemon_id: str) -> PoolOptions:
    options = {
        "modules": list(modules),
        "daemon_id": daemon_id,
        "max_result_bytes": settings.max_message_bytes,
        "log_level": settings.log_level,
        "log_format": settings.log_format,
        "queues": list(settings.queues),
    }
    spec = LoadSpec(TASK_WORK, tuple(modules), options, path=(os.getcwd(),))  # noqa: PTH109 - text for sys.path
    return PoolOptions(
        settings.workers,
        spec,
        nice=WORKER_NICE,
        boot_timeout_s=settings.boot_timeout_s,
        max_tasks=settings.worker_max_jobs or None,
        max_age_s=settings.worker_max_age_s or None,
        max_growth_bytes=settings.worker_max_growth_bytes or None,
        memory_limit_bytes=settings.memory_limit_bytes or None,
        max_result_bytes=settings.max_message_bytes + RESULT_HEADROOM_BYTES,
        return_waiting=True,
        reads_seldom=True,
    )
