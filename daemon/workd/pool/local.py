"""`workd.Pool`: the supervised pool without Redis, with the words of `multiprocessing.Pool`.

The face alone: what runs behind it is in `engine.py`, what the workers run in `callwork.py`.
"""

from __future__ import annotations

import base64
import multiprocessing.pool
import multiprocessing.process
import os
import sys
import warnings
import weakref
from itertools import islice
from multiprocessing import spawn
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Self, TypeVar

from workd.pool import callwork
from workd.pool.engine import Engine
from workd.pool.launcher import LoadSpec
from workd.pool.owner import PoolOptions
from workd.pool.results import AsyncResult, MapResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

R = TypeVar("R")

CHUNKS_PER_WORKER = 4  # as the standard library cuts a map


class Pool:
    """A drop-in for `multiprocessing.Pool` in which a worker's death costs one call and nothing hangs."""

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        """Start `processes` workers (default: one a usable core). Raises `BootError` if they don't come up."""
        _check_not_in_main_import()
        size = processes if processes is not None else len(os.sched_getaffinity(0))
        if size < 1:
            msg = "Number of processes must be at least 1"  # the standard library's words
            raise ValueError(msg)
        self._size = size
        self._closed = False
        self._engine = Engine(PoolOptions(size, _load_spec(initializer, tuple(initargs))))
        self._engine.start()
        # At the end of the program, or when nobody holds the pool any more.
        self._finalizer = weakref.finalize(self, self._engine.stop, kill=True)

    def apply(self, func: Callable[..., R], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> R:
        """Run one call and return its value."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., R],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[R]:
        """Run one call in the background."""
        self._check_open()
        result: AsyncResult[R] = AsyncResult(callback, error_callback)
        self._engine.submit(func, tuple(args), kwds or {}, result)
        return result

    def map(self, func: Callable[[Any], R], iterable: Iterable[Any], chunksize: int | None = None) -> list[R]:
        """Call `func` with each item; return the values in order."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], R],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[R]]:
        """Run a map in the background."""
        mapper = multiprocessing.pool.mapstar  # type: ignore[attr-defined]
        return self._map(mapper, func, iterable, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., R], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[R]:
        """Call `func(*item)` for each item; return the values in order."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[R]]:
        """Run a starmap in the background."""
        mapper = multiprocessing.pool.starmapstar  # type: ignore[attr-defined]
        return self._map(mapper, func, iterable, chunksize, callback, error_callback)

    def close(self) -> None:
        """Take no more calls; those that were made are finished. Safe to call twice."""
        self._closed = True

    def terminate(self) -> None:
        """Kill the workers; calls without an outcome fail with `PoolClosedError`. Safe to call twice."""
        self._closed = True
        self._engine.stop(kill=True)
        self._finalizer.detach()

    def join(self) -> None:
        """Wait until every call has its outcome and every process is gone; `close` or `terminate` first."""
        if not self._closed:
            msg = "Pool is still running"
            raise ValueError(msg)
        self._engine.stop(kill=False)
        self._finalizer.detach()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and engine.running:
            warnings.warn(f"unclosed running pool {self!r}", ResourceWarning, source=self, stacklevel=1)

    def _map(
        self,
        mapper: Callable[..., list[R]],
        func: Callable[..., R],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[R]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> MapResult[R]:
        self._check_open()
        items = list(iterable)
        size = chunksize or max(1, -(-len(items) // (self._size * CHUNKS_PER_WORKER)))
        if size < 1:
            msg = f"Chunksize must be 1+, not {size}"
            raise ValueError(msg)
        chunks = _chunks(items, size)
        result: MapResult[R] = MapResult(len(chunks), callback, error_callback)
        for number, chunk in enumerate(chunks):
            self._engine.submit(mapper, ((func, chunk),), {}, result.chunk(number))
        return result

    def _check_open(self) -> None:
        if self._closed:
            msg = "Pool not running"
            raise ValueError(msg)


def _load_spec(initializer: object, initargs: tuple[Any, ...]) -> LoadSpec:
    if not (initializer is None or callable(initializer)):
        msg = "initializer must be a callable"  # the standard library's words
        raise TypeError(msg)
    preparation = spawn.get_preparation_data("workd-worker")
    preparation.pop("start_method", None)
    if not os.path.isfile(preparation.get("init_main_from_path", "")):  # noqa: PTH113 - `python -` calls it <stdin>
        preparation.pop("init_main_from_path", None)
    preparation["authkey"] = bytes(preparation["authkey"]).hex()
    pickled = bytes(ForkingPickler.dumps((initializer, initargs)))
    options = {"preparation": preparation, "initializer": base64.b64encode(pickled).decode()}
    return LoadSpec(callwork.FACTORY, options=options, path=tuple(sys.path))


def _check_not_in_main_import() -> None:
    """Refuse a pool that is made while a worker imports the script: the `if __name__ == "__main__"` is missing."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        msg = 'the script makes a pool while a worker imports it: put that under if __name__ == "__main__":'
        raise RuntimeError(msg)  # as the standard library does


def _chunks(items: list[Any], size: int) -> list[tuple[Any, ...]]:
    rest = iter(items)
    return list(iter(lambda: tuple(islice(rest, size)), ()))
