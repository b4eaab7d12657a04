"""How a local pool begins: what its workers load, and the order in which things are started.

Used by `local.py` alone, when a pool is made. The forkserver is started before the engine and its event loop are
imported, so that both load at the same time; and before any thread is, since with the start method `fork` it is a fork
of this process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from workd.pool import frames
from workd.pool.interpreter import SERVICE_VARIABLES
from workd.pool.launcher import Forkserver
from workd.pool.requests import LoadSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.api.engine import Engine
    from workd.pool.requests import StartMethod


class Start:
    """A forkserver that boots, and what it is to load."""

    def __init__(
        self, method: str | None, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        """Start the forkserver, and only then import what tells what it is to load."""
        self.let_go: Callable[[], None] = _nothing  # to be called when there are no workers any more
        # The environment is the host program's: its functions may need all of it, but only it reports to systemd.
        if method == "fork":
            from workd.pool.child.callwork import CallWork

            work = CallWork(lambda: (initializer, initargs))
            self.server = Forkserver(hidden_variables=SERVICE_VARIABLES, template=work)
            self._spec = LoadSpec("", start_method="fork")
        else:
            self.server = Forkserver(hidden_variables=SERVICE_VARIABLES)
            try:
                from workd.pool.api.preparation import prepare

                self._spec, self.let_go = prepare(cast("StartMethod", method), initializer, initargs)
                self.server.request_load(self._spec)
            except BaseException:
                self.give_up()
                raise

    def engine(self, max_pending: int | None, **options: Any) -> Engine:
        """Return the engine, not started; `options` are those of `PoolOptions`."""
        try:
            self._ask_for_workers(options["size"])
            from workd.pool.api.engine import Engine
            from workd.pool.owner import PoolOptions

            # Nothing waits for ever: while no worker can be started, calls fail with the cause.
            settled = PoolOptions(
                spec=self._spec, max_result_bytes=frames.MAX_PAYLOAD_BYTES, fail_waiting=True, **options
            )
            return Engine(settled, self, max_pending)
        except BaseException:
            self.give_up()
            raise

    def _ask_for_workers(self, size: int) -> None:
        """Have the forkserver make the first workers as soon as it has loaded: the engine finds them made."""
        from workd.pool.channel import Channel

        for slot in range(size):
            self.server.request_fork(slot, Channel(frames.MAX_PAYLOAD_BYTES))

    def give_up(self) -> None:
        """End the forkserver, which nobody has taken over."""
        self.let_go()
        self.server.close()
        self.server.lifeline.close()
        self.server.wait(1.0)


def _nothing() -> None:
    """Hold nothing for the workers: forks have all there is."""
