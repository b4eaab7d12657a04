"""The calls of a pool: the standard library's, each with a time limit, a memory limit and a way to cancel it.

The base of `Pool` and of the view that `with_options` returns. What is not said here is as in `multiprocessing.Pool`:
chunks, the order of callbacks, exceptions of iterables and of pickling.

A script imports this with `workd.Pool`, and so do its workers with the script: it must not import anything heavy.
"""

from __future__ import annotations

import functools
from collections.abc import Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from workd.pool.api.feeder import Feeder
from workd.pool.api.imap import FlatIterator, IMapIterator, IMapUnorderedIterator, Stream
from workd.pool.api.results import AsyncResult, MapResult
from workd.pool.api.terms import UNLIMITED
from workd.pool.chunks import map_chunk, starmap_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import ParamSpec, Unpack

    from workd.pool.api.engine import Engine
    from workd.pool.api.futures import PoolFuture
    from workd.pool.api.terms import CallOptions, Terms
    from workd.pool.pickling import Call

    P = ParamSpec("P")

R = TypeVar("R")

CHUNKS_PER_WORKER: Final = 4  # as the standard library cuts a map


class Calls:
    """What can be called. `terms` holds for every call that has no options of its own."""

    def __init__(self, engine: Engine, terms: Terms = UNLIMITED) -> None:
        self._engine = engine
        self._terms = terms

    def apply(
        self,
        func: Callable[..., R],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> R:
        """Run one call and return its value."""
        return self.apply_async(func, args, kwds, **options).get()

    def apply_async(
        self,
        func: Callable[..., R],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Run one call in the background."""
        pool = self._running_pool()
        terms = self._terms.changed(options) if options else self._terms
        result: AsyncResult[R] = AsyncResult(self._engine, pool, callback, error_callback)
        self._engine.submit((func, args, kwds or {}), _name(func), result, 0, terms)
        return result

    def submit(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> PoolFuture[R]:
        """Run one call in the background; return a `concurrent.futures.Future`. For limits, use `with_options`."""
        from workd.pool.api.futures import PoolFuture

        future: PoolFuture[R] = PoolFuture(self._engine, self._running_pool())
        self._engine.submit((func, args, kwargs), _name(func), future, 0, self._terms)
        return future

    def map(
        self,
        func: Callable[[Any], R],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **options: Unpack[CallOptions],
    ) -> list[R]:
        """Call `func` with each item; return the values in order."""
        return self.map_async(func, iterable, chunksize, **options).get()

    def map_async(
        self,
        func: Callable[[Any], R],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> MapResult[R]:
        """Run a map in the background."""
        return self._map(map_chunk, func, iterable, chunksize, callback, error_callback, options)

    def starmap(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        **options: Unpack[CallOptions],
    ) -> list[R]:
        """Call `func(*item)` for each item; return the values in order."""
        return self.starmap_async(func, iterable, chunksize, **options).get()

    def starmap_async(
        self,
        func: Callable[..., R],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[R]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> MapResult[R]:
        """Run a starmap in the background."""
        return self._map(starmap_chunk, func, iterable, chunksize, callback, error_callback, options)

    def imap(
        self, func: Callable[[Any], R], iterable: Iterable[Any], chunksize: int = 1, **options: Unpack[CallOptions]
    ) -> IMapIterator[R] | FlatIterator[R]:
        """Call `func` with each item while you read the values, in order. The iterable may be endless."""
        stream = self._feed(func, iterable, chunksize, options)
        values: IMapIterator[Any] = IMapIterator(self._engine, self._running_pool(), stream)
        return values if chunksize == 1 else FlatIterator(values)

    def imap_unordered(
        self, func: Callable[[Any], R], iterable: Iterable[Any], chunksize: int = 1, **options: Unpack[CallOptions]
    ) -> IMapUnorderedIterator[R] | FlatIterator[R]:
        """Call `func` with each item while you read the values, in the order in which they come."""
        stream = self._feed(func, iterable, chunksize, options)
        values: IMapUnorderedIterator[Any] = IMapUnorderedIterator(self._engine, self._running_pool(), stream)
        return values if chunksize == 1 else FlatIterator(values)

    def with_options(self, **options: Unpack[CallOptions]) -> Calls:
        """Return the same calls under other limits: `pool.with_options(timeout=5).submit(work)`."""
        return _CallsOfPool(self._running_pool(), self._engine, self._terms.changed(options))

    def _running_pool(self) -> Calls:
        """Return the pool; raise `ValueError` if it takes no calls."""
        raise NotImplementedError

    def _map(
        self,
        mapper: Callable[..., list[R]],
        func: Callable[..., R],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[R]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        options: CallOptions,
    ) -> MapResult[R]:
        pool, engine = self._running_pool(), self._engine
        terms = self._terms.changed(options)
        _check_chunksize(chunksize)
        try:
            items = iterable if isinstance(iterable, list | tuple | range) else list(iterable)
        except Exception as error:
            if not hasattr(iterable, "__len__"):
                raise
            result: MapResult[R] = MapResult(engine, pool, 1, callback, error_callback)
            engine.decide(result, 0, error)
            return result
        if chunksize is None:
            in_parts = -(-len(items) // (engine.size * CHUNKS_PER_WORKER))
            chunksize = max(1, in_parts) if terms == UNLIMITED else 1
        result = MapResult(engine, pool, -(-len(items) // chunksize), callback, error_callback)
        for number, (call, its_terms) in enumerate(_chunks(mapper, func, items, chunksize, terms)):
            engine.submit(call, _name(func, chunksize), result, number, its_terms)
        return result

    def _feed(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int, options: CallOptions) -> Stream:
        self._running_pool()
        _check_chunksize(chunksize)
        terms = self._terms.changed(options)
        calls = (
            _singles(func, iterable, terms) if chunksize == 1 else _chunks(map_chunk, func, iterable, chunksize, terms)
        )
        stream = Stream(waits_for_reader=not isinstance(iterable, Sized))
        Feeder(self._engine, stream, calls, _name(func, chunksize)).start()
        return stream


class _CallsOfPool(Calls):
    """Another pool's calls under terms of their own; keeps that pool alive."""

    def __init__(self, pool: Calls, engine: Engine, terms: Terms) -> None:
        super().__init__(engine, terms)
        self._pool = pool

    def _running_pool(self) -> Calls:
        return self._pool._running_pool()  # noqa: SLF001 - the same class


def _singles(func: Callable[..., Any], iterable: Iterable[Any], terms: Terms) -> Iterator[tuple[Call, Terms]]:
    for item in iterable:
        yield (func, (item,), {}), terms


def _chunks(
    mapper: Callable[..., Any], func: Callable[..., Any], iterable: Iterable[Any], chunksize: int, terms: Terms
) -> Iterator[tuple[Call, Terms]]:
    rest = iter(iterable)
    while chunk := tuple(islice(rest, chunksize)):
        yield (mapper, (func, chunk), {}), terms if terms is UNLIMITED else terms.times(len(chunk))


def _check_chunksize(chunksize: int | None) -> None:
    if chunksize is not None and chunksize < 1:
        msg = f"Chunksize must be 1+, not {chunksize}"  # the standard library's words
        raise ValueError(msg)


def _name(func: Callable[..., Any], chunksize: int = 1) -> str:
    """Return what a call is called in errors, and what its run times are averaged under."""
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__qualname__", type(func).__qualname__)
    return name if chunksize == 1 else f"{name} (in chunks of {chunksize})"
