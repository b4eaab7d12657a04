"""`workd.Pool`: the supervised pool without Redis, a drop-in for `multiprocessing.Pool`.

The face alone. What can be called is in `api/calls.py`, what runs behind it in `api/engine.py`, what the workers run
in `child/callwork.py`. A script that imports this is imported by its workers too, so nothing heavy is imported before a
pool is made; and then the forkserver is started first, to boot while the rest is loaded here.
"""

from __future__ import annotations

import math
import multiprocessing.process
import os
import warnings
import weakref
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from workd.pool.api.calls import Calls
from workd.pool.api.start import Start
from workd.pool.api.terms import seconds, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from workd.pool.api.members import Member
    from workd.pool.core import ProcessPool
    from workd.pool.stats import PoolStats

RUN: Final = "RUN"  # the standard library's words
CLOSE: Final = "CLOSE"
TERMINATE: Final = "TERMINATE"


class Pool(Calls):
    """A drop-in for `multiprocessing.Pool` in which a worker's death costs one call and nothing hangs."""

    _state = "INIT"  # programs and CPython's own tests look at it, and set it

    def __init__(  # noqa: PLR0913 - the standard library's five, and one name for each thing that it can't do
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: BaseContext | None = None,
        *,
        max_pending: int | None = None,
        memory_limit: int | None = None,
        max_age: float | None = None,
        max_growth: int | None = None,
        boot_timeout: float | None = 60.0,
    ) -> None:
        """Start `processes` workers (default: one a usable core). Raises `BootError` if they don't come up.

        `context`: of which `multiprocessing` start method the workers are; None is a forkserver of workd's own.
        `max_pending`: a call waits in the thread that makes it while so many have no outcome.
        `memory_limit`: of every call, in bytes. A worker is replaced, between two calls, after `maxtasksperchild` of
        them, after `max_age` seconds, or when its memory has grown by `max_growth` bytes.
        `boot_timeout`: the seconds that a worker may take to start.
        """
        _check_not_in_main_import()
        size = len(os.sched_getaffinity(0)) if processes is None else processes
        _check_options(size, initializer, maxtasksperchild, context)
        most_pending = whole("max_pending", max_pending)
        limits = {
            "memory_limit_bytes": whole("memory_limit", memory_limit),
            "max_age_s": seconds("max_age", max_age),
            "max_growth_bytes": whole("max_growth", max_growth),
            "boot_timeout_s": seconds("boot_timeout", boot_timeout) or math.inf,
        }
        start = Start("forkserver" if context is None else context.get_start_method(), initializer, tuple(initargs))
        engine = start.engine(most_pending, size=size, max_tasks=maxtasksperchild, **limits)
        super().__init__(engine)
        engine.start()
        # At the end of the program, or when nobody holds the pool any more.
        self._finalizer = weakref.finalize(self, engine.stop, kill=True)
        self._state = RUN

    def close(self) -> None:
        """Take no more calls; those that were made are finished, then the workers leave. Safe to call twice."""
        if self._state == RUN:
            self._state = CLOSE
            self._engine.close()

    def terminate(self) -> None:
        """Kill the workers; calls without an outcome fail with `PoolClosedError`. Safe to call twice."""
        self._state = TERMINATE
        self._engine.stop(kill=True)
        self._finalizer.detach()

    def join(self) -> None:
        """Wait until every call has its outcome and every process is gone; `close` or `terminate` first."""
        if self._state == RUN:
            msg = "Pool is still running"
            raise ValueError(msg)
        if self._state not in {CLOSE, TERMINATE}:
            msg = "In unknown state"
            raise ValueError(msg)
        self._engine.stop(kill=False)
        self._finalizer.detach()

    def resize(self, processes: int) -> None:
        """Have so many workers from now on. Calls that run are finished by the workers that have to leave."""
        self._running_pool()
        _check_options(processes, None, None, None)

        async def resize(pool: ProcessPool) -> None:
            pool.resize(processes)

        self._engine.ask(resize)
        self._engine.size = processes

    def reload(self) -> None:
        """Load all code anew and replace the workers one by one; return when every worker has the new code.

        Nothing is lost or delayed by it. Raises `BootError` if the new code does not load, and changes nothing then.
        """
        self._running_pool()

        async def reload(pool: ProcessPool) -> None:
            await pool.reload()

        self._engine.ask(reload)

    def stats(self) -> PoolStats:
        """Return what there is to know about the pool and its workers now."""

        async def stats(pool: ProcessPool) -> PoolStats:
            return pool.stats()

        return self._engine.ask(stats)

    def __enter__(self) -> Self:
        self._running_pool()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} state={self._state} pool_size={self._processes}>"

    def __reduce__(self) -> NoReturn:
        msg = "pool objects cannot be passed between processes or pickled"
        raise NotImplementedError(msg)

    @property
    def _processes(self) -> int:
        """How many workers there are to be: programs read it of the standard library's pool."""
        return self._engine.size

    @property
    def _pool(self) -> list[Member]:
        """The workers there are now, each with `pid` and `is_alive()`: likewise, after the end of the pool too."""
        from workd.pool.api.members import Member

        try:
            workers = self.stats().workers
        except ValueError:  # it has ended
            return []
        return [Member(worker.pid) for worker in workers]

    def _running_pool(self) -> Pool:
        if self._state != RUN:
            msg = "Pool not running"
            raise ValueError(msg)
        return self


def _check_options(size: int, initializer: object, max_tasks: object, context: object) -> None:
    """Refuse what the standard library refuses, in its words; and a context that is none."""
    if size < 1:
        msg = "Number of processes must be at least 1"
        raise ValueError(msg)
    if max_tasks is not None and not (isinstance(max_tasks, int) and max_tasks > 0):
        msg = "maxtasksperchild must be a positive int or None"
        raise ValueError(msg)
    if initializer is not None and not callable(initializer):
        msg = "initializer must be a callable"
        raise TypeError(msg)
    if context is not None and not isinstance(context, BaseContext):
        msg = f"context must be one of multiprocessing.get_context() or None, not {context!r}"
        raise TypeError(msg)


def _check_not_in_main_import() -> None:
    """Refuse a pool that is made while a worker imports the script: the `if __name__ == "__main__"` is missing."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        msg = 'the script makes a pool while a worker imports it: put that under if __name__ == "__main__":'
        raise RuntimeError(msg)  # as the standard library does
