"""Keeping the slots full: the forkserver's life, boots, backoff, and the exit statuses of the dead.

A part of `core.py` that is told of deaths and answers with new workers. Boot failures are not crashes: they back off
exponentially, keep the last cause, and never end a pool that has run once.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from workd.errors import BootError, PoolError
from workd.pool.channel import Channel, WorkerFailed, WorkerReady
from workd.pool.deaths import WorkerDied, read_status
from workd.pool.launcher import ExitStatus, Forked, Forkserver, ForkserverDiedError
from workd.pool.slot import Slot, Tenant, TenantState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from workd.pool.core import ProcessPool

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 10.0
DEGRADED_AFTER = 3  # boot failures in a row
STEADY_AFTER_S = 1.0  # a worker that dies idle before that has hardly booted
REAP_PATIENCE_S = 2.0  # the news of a death do not wait longer for the exit status

log = structlog.get_logger("workd.pool")


class Boots:
    """The maternity ward and the graveyard of one pool."""

    def __init__(self, pool: ProcessPool, forkserver: Forkserver | None) -> None:
        """Prepare; `forkserver` may have been launched early."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._forkserver = forkserver or Forkserver()
        self._loaded = asyncio.Event()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._forking = 0  # workers that are being made
        self.failures = 0  # boot failures in a row
        self.last_error: BootError | None = None
        self.failed: asyncio.Future[None] = self._loop.create_future()  # set when the pool itself is broken

    @property
    def degraded(self) -> bool:
        """Whether workers fail to boot, again and again."""
        return self.failures >= DEGRADED_AFTER

    @property
    def forkserver_pid(self) -> int:
        """The pid of the process that makes the workers."""
        return self._forkserver.pid

    async def start(self) -> dict[str, Any]:
        """Load, fill every slot, return the catalogue. Raises `BootError` at the first failure."""
        self._forkserver.attach(self._loop, _ignore)
        try:
            catalogue = await self._load()
        except ForkserverDiedError as error:
            raise BootError("", str(error)) from None
        self._forkserver.attach(self._loop, self._on_forkserver_death)
        self._loaded.set()
        for slot in self._pool.slots:
            self.spawn(self._boot(slot))
        while not all(slot.ready for slot in self._pool.slots):
            if self.last_error is not None:
                raise self.last_error
            await self._wait_change()
        return catalogue

    async def stop(self) -> None:
        """Let the forkserver go and wait for everything that still runs here. Safe to call twice."""
        self.quiet()
        self._forkserver.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._forkserver.lifeline.close()
        await asyncio.to_thread(self._forkserver.wait, 1.0)

    async def wait_gone(self) -> None:
        """Wait until no slot has a worker, nor is one being made."""
        while self._forking or any(slot.tenant for slot in self._pool.slots):
            await self._wait_change()

    def kill_births(self) -> None:
        """Wait no longer for workers that are being made."""
        if self._forking:
            self._forkserver.kill()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the loop; what it raises makes the pool fail visibly."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def quiet(self) -> None:
        """Make no more workers."""
        self._stopping = True

    def _is_quiet(self) -> bool:
        return self._stopping

    def fail(self, error: BaseException) -> None:
        """Say that the pool itself is broken: what must not happen has happened."""
        log.error("the pool is broken", exc_info=error)
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # nobody need look: it is in the log

    def after_death(self, slot: Slot, tenant: Tenant) -> None:
        """Count a death in the cradle, and put a new worker into the slot."""
        if tenant.state is TenantState.BOOTING and not self._stopping:
            cause = tenant.note or "the worker died while it started"
            self._count_failure(BootError("", _last_line(tenant.boot_report) or cause, tenant.boot_report))
        lived_s = self._loop.time() - tenant.ready_since
        idle = tenant.state is TenantState.READY and not tenant.jobs and tenant.kill_order is None
        slot.false_starts = slot.false_starts + 1 if idle and lived_s < STEADY_AFTER_S else 0
        self._note_change()
        if not self._stopping:
            self.spawn(self._boot(slot))

    async def reap(self, slot: Slot, tenant: Tenant, ran_s: float | None) -> WorkerDied:
        """Return how a dead worker ended, as far as anybody knows."""
        status = ExitStatus(None, None)
        with suppress(PoolError, TimeoutError):  # dead, or stopped, or too busy: better no status than no news
            async with asyncio.timeout(REAP_PATIENCE_S):
                status = await tenant.forkserver.reap(tenant.pid)
        if status.status is None:
            status = ExitStatus(_adopted_status(tenant.pidfd), None)
        exit_code, signal_name = read_status(status.status)
        known = status.status is not None
        return WorkerDied(
            tenant.pid, slot.index, known, exit_code, signal_name, status.peak_rss_bytes, ran_s, tenant.note
        )

    # ── boots ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _boot(self, slot: Slot) -> None:
        # The first false start is free: somebody may have killed an idle worker.
        if failures := max(self.failures, slot.false_starts - 1):
            await asyncio.sleep(_backoff_s(failures))
        await self._loaded.wait()
        if self._is_quiet() or slot.tenant is not None:
            return
        server = self._forkserver
        self._forking += 1
        try:
            channel, forked = await self._fork(server, slot)
        except (PoolError, OSError) as error:
            if not self._is_quiet():
                if server.alive:  # a dead one is not a failure of this slot; the next one makes its worker
                    self._count_failure(BootError("", str(error)))
                self.spawn(self._boot(slot))
            return
        finally:
            self._forking -= 1
            self._note_change()
        deadline = self._loop.time() + self._pool.options.boot_timeout_s
        slot.tenant = Tenant(forked.pid, forked.pidfd, channel, server, deadline)
        slot.boots += 1
        self._loop.add_reader(forked.pidfd, self._pool.on_death, slot)
        self._loop.add_reader(channel.jobs.fileno(), self._on_boot_message, slot, slot.tenant)
        if self._is_quiet():
            slot.tenant.kill()
        self._pool.fill()  # its tick watches the boot, too

    async def _fork(self, server: Forkserver, slot: Slot) -> tuple[Channel, Forked]:
        options = self._pool.options
        channel = Channel(options.max_result_bytes)
        try:
            async with asyncio.timeout(options.boot_timeout_s):
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
            tenant.boot_report = message.traceback

    def _on_boot_message(self, slot: Slot, tenant: Tenant) -> None:
        message = tenant.channel.read_boot()
        if message is None:
            return
        self._loop.remove_reader(tenant.channel.jobs.fileno())
        match message:
            case WorkerReady():
                tenant.state = TenantState.READY
                tenant.ready_since = self._loop.time()
                self.failures, self.last_error = 0, None
                self._loop.add_reader(tenant.channel.results_fd, self._pool.on_results, slot)
                self._note_change()
                self._pool.owner.on_change()
                self._pool.fill()
                self._pool.owner.on_room()
            case WorkerFailed(traceback=traceback):
                tenant.boot_report = traceback  # its death, which follows, counts the failure
                tenant.boot_deadline = self._loop.time()  # should it not leave by itself

    def _count_failure(self, error: BootError) -> None:
        self.failures += 1
        self.last_error = error
        log.error("a worker could not start", failures_in_a_row=self.failures, cause=error.cause)
        self._note_change()
        self._pool.owner.on_change()

    # ── the forkserver ──────────────────────────────────────────────────────────────────────────────────────────

    async def _load(self) -> dict[str, Any]:
        loaded = await self._forkserver.load(self._pool.options.spec)
        if loaded.threads:
            log.warning(
                "task modules started threads on import; they do not exist in workers, and locks they held stay locked",
                threads=list(loaded.threads),
            )
        return loaded.catalogue

    def _on_forkserver_death(self, server: Forkserver) -> None:
        if self._stopping:
            return
        log.error("the forkserver died; its workers go on, a new one is started", forkserver_pid=server.pid)
        self._loaded.clear()
        self.spawn(self._replace_forkserver(server))

    async def _replace_forkserver(self, dead: Forkserver) -> None:
        await asyncio.to_thread(dead.wait, 1.0)
        delay_s = 0.0
        while not self._stopping:
            await asyncio.sleep(delay_s)
            try:
                self._forkserver = dead.successor()
                self._forkserver.attach(self._loop, _ignore)
                await self._load()
                self._forkserver.attach(self._loop, self._on_forkserver_death)
            except (PoolError, OSError) as error:
                self._forkserver.close()
                await asyncio.to_thread(self._forkserver.wait, 1.0)
                cause = error if isinstance(error, BootError) else BootError("", str(error))
                self._count_failure(cause)
                delay_s = min(MAX_BACKOFF_S, max(FIRST_BACKOFF_S, delay_s * 2))
                continue
            self._loaded.set()
            return

    # ── small things ────────────────────────────────────────────────────────────────────────────────────────────

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    async def _wait_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _note_change(self) -> None:
        self._changed.set()


def _ignore(server: Forkserver) -> None:
    """Do nothing: the load that is under way fails by itself."""


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


def _last_line(report: str) -> str:
    lines = report.strip().splitlines()
    return lines[-1] if lines else ""
