"""Keeping the slots full: boots and their backoff, and the exit statuses of the dead.

A part of `core.py` that is told of deaths and answers with new workers. Boot failures are not crashes: they back off
exponentially, keep the last cause, and never end a pool that has run once.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from workd import faultpoints
from workd.errors import BootError, PoolError
from workd.pool import board
from workd.pool.channel import Channel, WorkerFailed, WorkerReady
from workd.pool.deaths import WorkerDied, read_status
from workd.pool.launcher import Forkserver
from workd.pool.logger import log
from workd.pool.memory import resident_bytes
from workd.pool.oom import OomWatch, find_counter
from workd.pool.requests import ExitStatus, Forked
from workd.pool.servers import FIRST_BACKOFF_S, MAX_BACKOFF_S, Servers
from workd.pool.slot import Slot, Tenant, TenantState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from workd.pool.core import ProcessPool

DEGRADED_AFTER = 3  # boot failures in a row
STEADY_AFTER_S = 1.0  # a worker that dies idle before that has hardly booted
REAP_PATIENCE_S = 2.0  # the news of a death do not wait longer for the exit status


class Boots:
    """The maternity ward and the graveyard of one pool."""

    def __init__(self, pool: ProcessPool, forkserver: Forkserver | None) -> None:
        """Prepare; `forkserver` may have been launched early."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self.servers = Servers(pool, forkserver or Forkserver(), self.count_failure)
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._forking = 0  # workers that are being made
        self._oom = OomWatch(find_counter())
        self.started = 0  # workers that were made
        self.failed_boots = 0
        self.failures = 0  # boot failures in a row
        self.last_error: BootError | None = None
        self._first_error: BootError | None = None  # in the first boot, one failure is one too many
        self.failing_since = 0.0  # loop time of the first of the failures in a row
        self.failed: asyncio.Future[None] = self._loop.create_future()  # set when the pool itself is broken

    @property
    def stopping(self) -> bool:
        """Whether no more workers are made."""
        return self._stopping

    @property
    def degraded(self) -> bool:
        """Whether workers fail to boot, again and again."""
        return self.failures >= DEGRADED_AFTER

    @property
    def forkserver_pid(self) -> int:
        """The pid of the process that makes the workers."""
        return self.servers.current.pid

    async def start(self) -> dict[str, Any]:
        """Load, fill every slot, return the catalogue. Raises `BootError` at the first failure."""
        catalogue = await self.servers.start()
        for slot in self._pool.slots:
            self.want(slot)
        while not all(slot.ready for slot in self._pool.slots):
            if self._first_error is not None:
                raise self._first_error
            await self.wait_change()
        return catalogue

    async def stop(self) -> None:
        """Let the forkservers go and wait for everything that still runs here. Safe to call twice."""
        self.quiet()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.servers.stop()

    async def wait_gone(self) -> None:
        """Wait until no slot has a worker, nor is one being made."""
        while self._forking or any(True for _ in self._pool.tenants()):
            await self.wait_change()

    def kill_births(self) -> None:
        """Wait no longer for workers that are being made."""
        if self._forking:
            self.servers.current.kill()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the loop; what it raises makes the pool fail visibly."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def quiet(self) -> None:
        """Make no more workers."""
        self._stopping = True
        self.servers.quiet()

    def fail(self, error: BaseException) -> None:
        """Say that the pool itself is broken: what must not happen has happened."""
        log.error("the pool is broken", exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # nobody need look: it is in the log

    async def reap(self, tenant: Tenant, ran_s: float | None) -> WorkerDied:
        """Return how a dead worker ended, as far as anybody knows."""
        status = ExitStatus(None, None)
        with suppress(PoolError, TimeoutError):  # dead, or stopped, or too busy: better no status than no news
            async with asyncio.timeout(REAP_PATIENCE_S):
                status = await tenant.forkserver.reap(tenant.pid)
        if status.status is None:
            status = ExitStatus(_adopted_status(tenant.pidfd), None)
        exit_code, signal_name = read_status(status.status)
        return WorkerDied(
            pid=tenant.pid,
            slot=tenant.slot.index,
            status_known=status.status is not None,
            exit_code=exit_code,
            signal=signal_name,
            peak_rss_bytes=status.peak_rss_bytes,
            ran_s=ran_s,
            note=tenant.note,
            oom=self._oom.explain(killed=signal_name == "SIGKILL" and not tenant.shot),
            stacks=board.read_stacks(tenant.channel.board_fd) if tenant.channel.board_fd >= 0 else "",
        )

    # ── boots ───────────────────────────────────────────────────────────────────────────────────────────────────

    def want(self, slot: Slot) -> None:
        """Have a worker made for this slot, now or after the backoff, unless one is being made."""
        if not slot.making and not self._stopping:
            slot.making = True
            self.spawn(self._make(slot))

    def after_death(self, tenant: Tenant, *, idle: bool) -> None:
        """Count a death in the cradle, and remember one soon after."""
        slot = tenant.slot
        dismissed = (
            self._stopping
            or slot.closing
            or tenant.kill_order is not None  # not needed any more; one that boots too long is killed without an order
            or tenant in self._pool.renewal.leaving
        )
        if tenant.state is TenantState.BOOTING and not dismissed:
            failure = tenant.boot_failure or WorkerFailed("")
            cause = failure.cause or tenant.note or "the worker died while it started"
            self.count_failure(BootError(failure.module, cause, failure.traceback))
        lived_s = self._loop.time() - tenant.ready_since
        slot.false_starts = slot.false_starts + 1 if idle and lived_s < STEADY_AFTER_S else 0
        self.note_change()

    async def _make(self, slot: Slot) -> None:
        try:
            while self._is_wanted(slot):
                # The first false start is free: somebody may have killed an idle worker.
                if failures := max(self.failures, slot.false_starts - 1):
                    await asyncio.sleep(_backoff_s(failures))
                server = await self.servers.loaded()
                if not self._is_wanted(slot) or await self._try(server, slot):
                    return
        finally:
            slot.making = False
            self.note_change()

    def _is_wanted(self, slot: Slot) -> bool:
        if self._stopping or slot.closing:
            return False
        return slot.tenant is None or (slot.successor is None and bool(slot.renewing))

    async def _try(self, server: Forkserver, slot: Slot) -> bool:
        """Make one worker; say whether it is there."""
        self._forking += 1
        try:
            channel, forked = await self._fork(server, slot)
        except (PoolError, OSError) as error:
            # A dead forkserver is no failure of this slot; the next one makes its worker.
            if server.alive and self._is_wanted(slot):
                self.count_failure(BootError("", str(error)))
            return False
        finally:
            self._forking -= 1
            self.note_change()
        faultpoints.hit("supervisor_forked")
        deadline = self._loop.time() + self._pool.options.boot_timeout_s
        tenant = Tenant(slot, forked.pid, forked.pidfd, channel, server, deadline)
        tenant.budget = self._pool.options.max_tasks or tenant.budget
        self.started += 1
        slot.boots += 1
        self._loop.add_reader(forked.pidfd, self._pool.guarded(self._pool.endings.on_death), tenant)
        self._loop.add_reader(channel.jobs.fileno(), self._pool.guarded(self._on_boot_message), tenant)
        self._pool.renewal.move_in(slot, tenant)
        self._pool.fill()  # its tick watches the boot, too
        return True

    async def _fork(self, server: Forkserver, slot: Slot) -> tuple[Channel, Forked]:
        options = self._pool.options
        early = server.early_fork(slot.index)
        channel = Channel(options.max_result_bytes) if early is None else early[0]
        try:
            async with asyncio.timeout(options.boot_timeout_s):
                if early is not None:
                    return channel, await early[1]
                return channel, await server.fork(slot.index, channel.worker_end.fileno(), options.nice)
        except BaseException as error:
            channel.close()
            if not isinstance(error, TimeoutError):
                raise
            server.kill()
            msg = f"the forkserver did not answer within {options.boot_timeout_s:g} s and was killed"
            raise PoolError(msg) from None

    def read_last_words(self, tenant: Tenant) -> None:
        """Take what a worker that died while it booted may have said before."""
        self._loop.remove_reader(tenant.channel.jobs.fileno())
        if isinstance(message := tenant.channel.read_boot(), WorkerFailed):
            tenant.boot_failure = message

    def _on_boot_message(self, tenant: Tenant) -> None:
        message = tenant.channel.read_boot()
        if message is None:
            return
        self._loop.remove_reader(tenant.channel.jobs.fileno())
        match message:
            case WorkerReady():
                self._on_ready(tenant)
            case WorkerFailed():
                tenant.boot_failure = message  # its death, which follows, counts the failure
                tenant.boot_deadline = self._loop.time()  # should it not leave by itself

    def _on_ready(self, tenant: Tenant) -> None:
        faultpoints.hit("supervisor_ready")
        tenant.state = TenantState.READY
        tenant.ready_since = self._loop.time()
        if self._pool.options.max_growth_bytes is not None:
            tenant.baseline_bytes = resident_bytes(tenant.pid)
        self.failures, self.last_error = 0, None
        self.servers.note_ready()
        self._pool.listening.start(tenant)
        self.note_change()
        self._pool.renewal.on_ready(tenant)
        self._pool.owner.on_change()
        self._pool.fill()
        self._pool.owner.on_room()

    def count_failure(self, error: BootError) -> None:
        """Keep the cause of a boot that failed."""
        if not self.failures:
            self.failing_since = self._loop.time()
        self.failures += 1
        self.failed_boots += 1
        self.last_error = error
        self._first_error = self._first_error or error
        first = {"traceback": error.traceback} if error.traceback and self.failures == 1 else {}
        log.error("a worker could not start", failures_in_a_row=self.failures, cause=error.cause, **first)
        self.note_change()
        self._pool.owner.on_change()

    # ── small things ────────────────────────────────────────────────────────────────────────────────────────────

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def wait_change(self) -> None:
        """Wait until a worker came or went, or a boot failed."""
        self._changed.clear()
        await self._changed.wait()

    def note_change(self) -> None:
        """Wake who waits for a change."""
        self._changed.set()


def _adopted_status(pidfd: int) -> int | None:
    """Return the wait status of a worker that this process inherited from a dead forkserver, if it did."""
    with suppress(ChildProcessError):
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        if result is not None:
            exited = result.si_code == os.CLD_EXITED
            return result.si_status << 8 if exited else result.si_status
    return None


def _backoff_s(failures: int) -> float:
    return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 63))
