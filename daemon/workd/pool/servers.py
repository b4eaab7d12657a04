"""The forkservers of one pool: loading, replacing a dead one, and two side by side while code is reloaded.

A part of `core.py`, asked by `boots.py` for a forkserver to make workers with. One that is no longer current stays
until its last worker has been dealt with, since only it can say how that worker ended.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workd.errors import BootError, PoolError
from workd.pool.logger import log
from workd.pool.requests import ForkserverDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd.pool.core import ProcessPool
    from workd.pool.launcher import Forkserver

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 10.0
LEAVE_S = 1.0  # how long a forkserver may take to leave when its socket closes


class Servers:
    """Which forkserver makes the next worker."""

    def __init__(self, pool: ProcessPool, first: Forkserver, on_failure: Callable[[BootError], None]) -> None:
        """`first` may have been launched early; `on_failure` hears of loads that fail after the first."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._on_failure = on_failure
        self._loaded = asyncio.Event()
        self._loading = asyncio.Lock()  # one change of the current forkserver at a time
        self._former: list[Forkserver] = []
        self._leaving: list[Forkserver] = []
        self._kept: Forkserver | None = None  # not to be let go while nobody knows whether the next one is of use
        self._stopping = False
        self._deaths = 0  # in a row, of forkservers from which no worker got ready
        self.current = first

    async def start(self) -> dict[str, Any]:
        """Load the first one and return the catalogue. Raises `BootError`."""
        self.current.attach(self._loop, _ignore, self._pool.guarded)
        try:
            catalogue = await self._load(self.current)
        except ForkserverDiedError as error:
            raise BootError("", str(error)) from None
        self.current.attach(self._loop, self._on_death, self._pool.guarded)
        self._loaded.set()
        return catalogue

    async def loaded(self) -> Forkserver:
        """Return the current forkserver, as soon as it has loaded."""
        await self._loaded.wait()
        return self.current

    async def load_anew(self) -> tuple[Forkserver, dict[str, Any]]:
        """Start one beside the current one, make it the current one, return the former one and the catalogue.

        Raises `BootError` if the code does not load, and then nothing has changed.
        """
        async with self._loading:
            fresh = self.current.successor()
            fresh.attach(self._loop, _ignore, self._pool.guarded)
            try:
                catalogue = await self._load(fresh)
            except BaseException as error:
                self._leaving.append(fresh)
                await self._let_go(fresh)
                if isinstance(error, PoolError) and not isinstance(error, BootError):
                    raise BootError("", str(error)) from None
                raise
            former, self.current = self.current, fresh
            self._former.append(former)
            fresh.attach(self._loop, self._on_death, self._pool.guarded)
            self._loaded.set()
            return former, catalogue

    def note_ready(self) -> None:
        """Hear that a worker got ready: the forkserver is of use."""
        self._deaths = 0

    def go_back(self, former: Forkserver) -> None:
        """Make a former one the current one again, if it lives."""
        if former.alive and former in self._former:
            self._former.remove(former)
            self._former.append(self.current)
            self.current = former

    @contextmanager
    def keeping(self, former: Forkserver) -> Iterator[None]:
        """Let a former one not go meanwhile, also if all of its workers die: `go_back` may want it."""
        self._kept = former
        try:
            yield
        finally:
            self._kept = None
            self.tidy()

    def tidy(self) -> None:
        """Let former ones go that have no worker left."""
        unused = [server for server in self._former if server is not self._kept and not self._in_use(server)]
        for server in unused:
            self._former.remove(server)
            self._leaving.append(server)
            self._pool.boots.spawn(self._let_go(server))

    def quiet(self) -> None:
        """Replace none any more."""
        self._stopping = True

    async def stop(self) -> None:
        """Let all of them go. Safe to call twice."""
        self.quiet()
        everyone = [self.current, *self._former, *self._leaving]
        for server in everyone:
            server.close()
        self.current.lifeline.close()
        for server in everyone:
            await server.gone(LEAVE_S)

    def _in_use(self, server: Forkserver) -> bool:
        return any(tenant.forkserver is server for tenant in self._pool.tenants())

    async def _load(self, server: Forkserver) -> dict[str, Any]:
        patience_s = self._pool.options.boot_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                loaded = await server.load(self._pool.options.spec)
        except TimeoutError:
            server.kill()
            raise BootError(server.importing, f"it was not loaded within {patience_s:g} s") from None
        if loaded.threads:
            log.warning(
                "task modules started threads on import; they do not exist in workers, and locks they held stay locked",
                threads=list(loaded.threads),
            )
        return loaded.catalogue

    async def _let_go(self, server: Forkserver) -> None:
        server.close()
        await server.gone(LEAVE_S)
        self._leaving.remove(server)

    def _on_death(self, server: Forkserver) -> None:
        if self._stopping or server is not self.current:
            return
        log.error("the forkserver died; its workers go on, a new one is started", forkserver_pid=server.pid)
        self._loaded.clear()
        self._deaths += 1
        if self._deaths > 1:
            self._on_failure(BootError("", "the forkserver died again before it had made a worker"))
        # The first death is free: somebody may have killed it.
        delay_s = FIRST_BACKOFF_S * 2.0 ** min(self._deaths - 2, 16) if self._deaths > 1 else 0.0
        self._pool.boots.spawn(self._replace(server, delay_s))

    async def _replace(self, dead: Forkserver, delay_s: float) -> None:
        await dead.gone(LEAVE_S)
        while not self._stopping:
            await asyncio.sleep(min(MAX_BACKOFF_S, delay_s))
            try:
                if not self._loaded.is_set():
                    await self.load_anew()
            except (PoolError, OSError) as error:
                self._on_failure(error if isinstance(error, BootError) else BootError("", str(error)))
                delay_s = max(FIRST_BACKOFF_S, delay_s * 2)
                continue
            self.tidy()
            return


def _ignore(server: Forkserver) -> None:
    """Do nothing: the load that is under way fails by itself."""
