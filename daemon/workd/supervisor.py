"""The one place where the parts are put together: boot, run, drain, stop.

Called by `workd run`. It never imports user code, and nothing it calls blocks the loop. What can end the daemon is
listed in `_run`: a signal, a broken pool, or Redis where it is required. `states` draws its life.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from workd import log, orphans, parts, signals
from workd.answering import Answerer
from workd.broker.answering import Answering
from workd.broker.registry import Registry
from workd.clock import Clock
from workd.dispatcher import Dispatcher
from workd.drain import Drain, cancel
from workd.exits import Exit
from workd.health import HealthServer, addresses
from workd.lives import are_apart, consumer_of
from workd.log import get_logger
from workd.orders import Orders
from workd.pool.core import ProcessPool
from workd.presence import Card, Presence
from workd.reload import Reload
from workd.reporting import Reporter
from workd.scaling import Scaler
from workd.signals import SignalInbox
from workd.sizes import MAX_WORKERS
from workd.states import State
from workd.systemd import Notifier
from workd.verdicts import Clerk
from workd.vitals import Vitals
from workd.watching import watch
from workd.xray import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from workd.changes import Changes
    from workd.health import Pages
    from workd.pool.launcher import Forkserver
    from workd.pool.owner import PoolOptions
    from workd.settings import Settings

QUICK_BOOT_S = 1.0  # mostly it takes half of that
_ALLOCATIONS_PER_COLLECTION = 50_000
_STDERR = 2  # where the log goes, or what the journal takes as lines of ours

_log = get_logger("workd.supervisor")


def run(
    settings: Settings,
    *,
    read: Callable[[], Settings] | None = None,
    launched: Forkserver | None = None,
    watched: bool = False,
) -> int:
    """Run the daemon until it is told to stop; return its exit code. Raises `BootError` if it can't start.

    `read` reads the sources of the settings again, for a reload; `watched`: one follows each change of a task's file.
    """
    _collect_rarely()
    faulthandler.enable(_STDERR)  # systemd's watchdog sends SIGABRT: the stacks show where the loop stood still
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_live(settings, read, launched, watched=watched))
    finally:
        signals.pass_by()


def _collect_rarely() -> None:
    """Have the collector pass by what is imported, and look for garbage less often: jobs leave none in a circle.

    At its usual threshold it looks through the jobs in flight several times for each of them.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION)


async def _live(
    settings: Settings, read: Callable[[], Settings] | None, launched: Forkserver | None, *, watched: bool
) -> int:
    return await Supervisor(settings, read, launched, watched=watched).main()


def new_daemon_id() -> str:
    """Return a name that no other start of any daemon has: a reused one would hide its own orphans."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Supervisor:
    """One life of a daemon. What can be asked of it while it runs: `stop`, `quiet`, `resume`, `scale`, `reload`."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings] | None = None,
        launched: Forkserver | None = None,
        *,
        watched: bool = False,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._settings = settings
        self._watched = watched
        self.daemon_id = new_daemon_id()
        log.configure(settings.log_level, settings.log_format, daemon=self.daemon_id)
        self._signals = SignalInbox()
        self._orders = Orders(self, self._signals)
        clock = Clock()
        self._started_at = clock.now_s()
        limits = parts.limits_of(settings)
        source = parts.source_of(settings, self.daemon_id)
        clerk = Clerk(
            self.daemon_id, wall=clock.now_s, max_message_bytes=limits.max_message_bytes, signing=limits.signing
        )
        self._dispatcher = Dispatcher(settings.queues, limits, clerk, clock, apart=are_apart(source))
        self._consumer = consumer_of(source, self._dispatcher)
        self._pool = ProcessPool(self._dispatcher, self.pool_options(settings), launched)
        self._vitals = Vitals(self._pool, self._dispatcher, self._consumer.pulse)
        self._scaler = Scaler(self._pool, self._dispatcher, self._vitals, settings)
        card = Card(self.daemon_id, settings.queues, self._pool, self._vitals.details, clock)
        self._presence = Presence(Registry(settings.redis_url, self.daemon_id), card, settings.lease_s)
        self._drain = Drain(self._pool, self._dispatcher, self._consumer, self._presence, settings.drain_s)
        self._reporter = Reporter(Notifier.take(os.environ), self._vitals, self._drain.time_left_s)
        self._reloading = Reload(self, self._pool, settings, read)
        self._stopping = asyncio.Event()
        self._inspector = Inspector(self._pool)
        answering = Answering(settings.redis_url, self.daemon_id)
        self._answerer = Answerer(
            self.daemon_id, settings.queues, answering, clock, self, self._inspector, lambda: self._settings.signing
        )

    # ── what can be asked of it ─────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Drain, and end; asked a second time, the deadline of the drain is now."""
        if self._stopping.is_set():
            _log.warning("told a second time: the deadline is now")
            self._drain.hurry()
        self._stopping.set()

    def stop_now(self) -> None:
        """End without waiting for what runs: it is killed, and handed back with the attempt refunded."""
        _log.warning("told to stop now: what runs is killed and handed back")
        self._drain.hurry()
        self._stopping.set()

    def quiet(self) -> bool:
        """Start nothing more and hand back what has not started, but stay. False if it is not running anyway."""
        if self._vitals.state is not State.RUNNING:
            return False
        self._dispatcher.gate.shut()
        self._consumer.look_again()
        self._enter(State.QUIET)
        _log.warning("quiet: nothing more is fetched or started here", running=len(self._pool.running()))
        return True

    def resume(self) -> bool:
        """Start jobs again after `quiet`. False if it was not quiet."""
        if self._vitals.state is not State.QUIET:
            return False
        self._enter(State.RUNNING)
        self._dispatcher.gate.unshut()
        _log.info("resumed")
        return True

    def scale(self, workers: int) -> bool:
        """Have so many workers from now on. False if it is starting, or stopping; raises ValueError out of bounds."""
        if self._vitals.state not in (State.RUNNING, State.QUIET):
            return False
        self._scaler.ask(workers)
        return True

    def scale_by(self, workers: int) -> bool:
        """Have so many workers more, or fewer, as far as the bounds allow."""
        if workers < 0 and not self._pool.size:  # where the load decides; one fewer must not bring one
            return self._vitals.state in (State.RUNNING, State.QUIET)
        return self.scale(min(MAX_WORKERS, max(1, self._pool.size + workers)))

    def reload(self) -> asyncio.Future[str]:
        """Load code and settings anew; the answer says what went wrong, and is empty if nothing did."""
        return self._reloading.ask()

    def xray(self) -> None:
        """Say in the log what runs."""
        self._inspector.write_to_log()

    @property
    def state(self) -> str:
        """Where it is in its life."""
        return str(self._vitals.state)

    @property
    def workers(self) -> int:
        """How many workers it is to have."""
        return self._pool.size

    # ── what a reload asks of it ────────────────────────────────────────────────────────────────────────────────

    def pool_options(self, settings: Settings) -> PoolOptions:
        """Return what the pool is made with, or goes on with."""
        return parts.pool_options_of(settings, self.daemon_id)

    def adopt(self, new: Changes, catalogue: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with these settings and tasks."""
        settings = self._settings = new.settings
        log.configure(settings.log_level, settings.log_format, daemon=self.daemon_id)
        self._dispatcher.adopt(parts.limits_of(settings), catalogue)
        self._dispatcher.timetable.take(settings.schedule, settings.queues, catalogue)
        self._drain.drain_s = settings.drain_s
        if self._vitals.state is not State.DRAINING:
            self._scaler.follow(settings)

    def note_reload(self, *, under_way: bool, trouble: str = "") -> None:
        """Tell systemd, and whoever looks, of a reload that begins or has ended."""
        self._vitals.note_reload(under_way=under_way, trouble=trouble)
        if under_way:
            self._reporter.reloading()
        else:
            self._reporter.reloaded()

    # ── life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def main(self) -> int:
        """Boot, run until the end comes, stop; return the exit code."""
        self._signals.start()
        where = addresses(self._settings.http, os.environ, os.getpid())
        server = HealthServer(self._vitals, where, self._make_pages)
        drained = False
        watching: set[asyncio.Future[None]] = {
            asyncio.ensure_future(self._orders.run()),
            asyncio.ensure_future(self._reporter.run()),
            *orphans.watching(),
        }
        try:
            if await self._boot(server):
                await self._run(watching)
                drained = True
            return Exit.OK
        finally:
            self._enter(State.STOPPED)
            try:
                await server.stop()
            finally:
                # Idle workers have a moment for what tasks want done at the end.
                await self._pool.stop(kill=not drained)
                await cancel(*watching)

    def _make_pages(self) -> Pages:
        from workd.pages import DaemonPages, Sources  # with the HTTP server, if there is one

        pulse = self._consumer.pulse
        read = (lambda: self._settings, self._pool, self._dispatcher, pulse, self._vitals)
        return DaemonPages(Sources(self.daemon_id, self._started_at, *read))

    def _enter(self, state: State) -> None:
        self._vitals.state = state
        self._presence.hurry()
        self._dispatcher.on_change()

    async def _boot(self, server: HealthServer) -> bool:
        """Load the tasks and fill the pool; False if a signal came first. Raises `BootError`."""
        settings = self._settings
        _log.info("starting", workers=settings.workers, queues=list(settings.queues))
        booting = asyncio.ensure_future(self._pool.start())
        stopping = asyncio.ensure_future(self._stopping.wait())
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
        parts.tell_of_tasks(catalogue, settings, self._pool)
        self._reloading.note_tasks(catalogue)
        self._dispatcher.attach(self._pool, catalogue)
        self._dispatcher.timetable.take(settings.schedule, settings.queues, catalogue)
        return True

    async def _run(self, watching: set[asyncio.Future[None]]) -> None:
        """Consume until told to stop, and drain. Raises what ended a part of the daemon before that."""
        self._enter(State.RUNNING)
        self._orders.begin()
        loops = [
            self._consumer.run(),
            self._presence.run(),
            self._reloading.run(),
            self._answerer.run(),
            self._scaler.run(),
        ]
        if self._watched:
            loops.append(watch(self._settings.modules, self.reload, Path.cwd()))
        parts_of_it = [asyncio.ensure_future(loop) for loop in loops]
        endless = {*parts_of_it, *watching, self._pool.boots.failed}  # none of these ends but by an exception
        draining = asyncio.ensure_future(self._drain_when_told())
        try:
            await asyncio.wait({draining, *endless}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (*endless, draining):
                if ended.done():
                    ended.result()
        finally:
            await cancel(draining, *parts_of_it)

    async def _drain_when_told(self) -> None:
        await self._stopping.wait()
        self._enter(State.DRAINING)
        self._reporter.stopping()
        self._reloading.stop()
        await self._drain.run()
