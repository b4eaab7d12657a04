"""Whose results the loop hears of at once, and whose it goes to fetch a little later.

To be woken for each result costs the supervisor some 100 us, a tenth of two workers' time with jobs of 2 ms. A worker
that has enough short jobs to do needs no answer: its results are fetched by the watch, every 10 ms, or every 4 ms if
somebody waits for one of its jobs. Only where the pool's options allow it, as the daemon's do: the results of
`workd.Pool` are for the very program that reads them. A part of `core.py`, told of every read by `endings.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from workd.pool.balance import HEAD_PATIENCE_S
from workd.pool.slot import Tenant, TenantState

if TYPE_CHECKING:
    from workd.pool.core import ProcessPool
    from workd.pool.parsing import Frame

REST_S: Final = HEAD_PATIENCE_S
AWAITED_REST_S: Final = 0.004  # who waits behind so much work does not notice
ENOUGH_S: Final = 2 * HEAD_PATIENCE_S  # of work, by estimate: a worker must not run out of it meanwhile
SHORT_S: Final = HEAD_PATIENCE_S / 2  # of a job: with longer ones there is not much to be woken for
SMALL_BYTES: Final = 1024  # of a result: larger ones could fill the pipe, and their worker would wait


class Listening:
    """The readers of all result pipes."""

    def __init__(self, pool: ProcessPool) -> None:
        """Listen to nobody yet."""
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._seldom = pool.options.reads_seldom
        self._resting: set[Tenant] = set()  # without a reader

    def start(self, tenant: Tenant) -> None:
        """Hear of this worker's results from now on."""
        tenant.heard = True
        self._listen(tenant)

    def stop(self, tenant: Tenant) -> None:
        """Hear of nothing more. Safe to call twice, and for one that was never heard."""
        tenant.heard = False
        self._resting.discard(tenant)
        if tenant.channel.results_fd >= 0:
            self._loop.remove_reader(tenant.channel.results_fd)

    def after_read(self, tenant: Tenant, last: Frame | None) -> None:
        """Choose how to hear of what comes next; `last` is the last frame of the read that is over, if it had any."""
        if (
            self._seldom
            and tenant.load_s >= ENOUGH_S
            and len(tenant.jobs) > 1  # or it would soon have nothing to do
            and last is not None
            and last.ended_at - last.started_at <= SHORT_S
            and len(last.payload) <= SMALL_BYTES
            and tenant.state is TenantState.READY
            and tenant.heard
            and tenant.shares is None  # nothing waits in its socket: it would soon run out of work
        ):
            if tenant not in self._resting:
                self._resting.add(tenant)
                self._loop.remove_reader(tenant.channel.results_fd)
                self._pool.watch.plan()  # now it is the only one who looks
        elif tenant in self._resting:
            self._resting.discard(tenant)
            self._listen(tenant)

    def is_resting(self, tenant: Tenant) -> bool:
        """Tell whether there may be results of this worker that nobody has read yet."""
        return tenant in self._resting

    def next_read_s(self, tenant: Tenant) -> float:
        """Return how long after its last read a resting worker is to be read again."""
        return AWAITED_REST_S if tenant.impatient else REST_S

    def _listen(self, tenant: Tenant) -> None:
        on_results = self._pool.guarded(self._pool.endings.on_results)
        self._loop.add_reader(tenant.channel.results_fd, on_results, tenant)
