"""`RedisPool`: the standard library's Pool, with a fleet of daemons behind it.

Called by users who move a `multiprocessing.Pool` program to workd by changing one line. Each item is one job:
it is retried, timed out and recovered by itself. Knows nothing of connections: a client sends and waits.
Functions must be tasks (`@task`) that the daemons have loaded: names travel, code does not.
"""

from __future__ import annotations

import threading
import weakref
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

from workd.client import commands, message, pool_feeding
from workd.client.forking import begin_with_each_process
from workd.client.message import DEFAULT_QUEUE
from workd.client.outcomes import value_or_error
from workd.client.pool_progress import Places, Progress
from workd.client.pool_results import Arrivals, AsyncResult, CallbackThread, MapResult, Shelf
from workd.client.sync import Client
from workd.errors import InvalidJobError, PoolClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from workd.client.handle import Handle, Job
    from workd.client.message import Draft
    from workd.client.pool_progress import OnProgress, Sink
    from workd.client.replies import JobKey, OnOutcome
    from workd.wire import Outcome

    Task = str | Callable[..., Any]

R = TypeVar("R")

_WINDOW = 1_000  # jobs that imap has under way, at most


class RedisPool:
    """A pool without processes of its own.

        with RedisPool("redis://localhost:6379/0") as pool:
            pool.map(square, [1, 2, 3, 4])                  # [1, 4, 9, 16]

    Takes a URL, or a client: `RedisPool(client.with_options(timeout=30))`. A job that did not return raises
    JobFailedError, JobCancelledError or JobExpiredError: the exception of the task itself stays where it was,
    as text. Enqueuing raises as `Client.enqueue`. `chunksize` is how many messages are sent in one call,
    nothing else.

    `max_pending`: a call waits, in the thread that makes it, while so many jobs have no outcome yet. `progress` of a
    map is called with the number of jobs that have ended and that of all (None while it is not known), in the
    thread of the callbacks; of what happens while it is running it is told once, with the last numbers.

    In a forked child it begins anew: what was asked for before the fork comes to the parent alone.
    """

    def __init__(
        self,
        source: str | Client,
        *,
        deadline_s: float = 2.0,
        queue: str = DEFAULT_QUEUE,
        max_pending: int | None = None,
        signing_key: str | None = None,
    ) -> None:
        """Check the arguments; `deadline_s`, `queue` and `signing_key` are for the client that is made from a URL."""
        self._max_pending = max_pending
        begin_with_each_process(self, RedisPool._begin)
        self._owns_client = isinstance(source, str)
        if isinstance(source, str):
            source = Client(source, deadline_s=deadline_s, queue=queue, signing_key=signing_key)
        self._client = source
        self._terminated = False
        self._open = True
        if not self._owns_client:
            self._client.core.tell_when_closed(self, RedisPool.terminate)

    def _begin(self) -> None:
        """Make what belongs to this process: at first, and in a forked child, which waits for none of the parent's."""
        self._places = Places(self._max_pending)
        self._callbacks = CallbackThread()
        self._changed = threading.Condition()
        self._outstanding: dict[JobKey, Sink] = {}
        self._ending = 0  # sinks that are being told
        self._feeding: weakref.WeakSet[Shelf[Any]] = weakref.WeakSet()

    def apply(self, func: Task, args: Iterable[Any] = (), kwds: Mapping[str, Any] | None = None) -> Any:
        """Run one job and return its value."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Task,
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[Any]:
        """Run one job; the callbacks are called in a thread of their own."""
        self._require_open()
        result: AsyncResult[Any] = AsyncResult(self._callbacks, callback, error_callback)
        draft = self._draft(func)
        raw = message.build(draft, tuple(args), kwds or {})
        self._send_some(draft, raw, iter(()), 1, iter([result.end]))
        return result

    def map(
        self,
        func: Task,
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> list[Any]:
        """Run one job for each item, and return the values in their order.

        Waits as long as it takes, as the standard library's does: also for a daemon that is yet to be started. For
        an end of the waiting, `map_async(...).get(timeout)`.
        """
        return self._told(self.map_async(func, iterable, chunksize, progress=progress), progress)

    def map_async(
        self,
        func: Task,
        iterable: Iterable[Any],
        chunksize: int | None = None,  # noqa: ARG002 (jobs are always sent as many to a call as fit)
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> MapResult[Any]:
        """Run one job for each item."""
        result = MapResult[Any](self._callbacks, callback, error_callback)
        return self._map(func, ((item,) for item in iterable), result, self._progress(progress, iterable))

    def starmap(
        self,
        func: Task,
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> list[Any]:
        """Run one job for each tuple of arguments, and return the values in their order."""
        return self._told(self.starmap_async(func, iterable, chunksize, progress=progress), progress)

    def starmap_async(
        self,
        func: Task,
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,  # noqa: ARG002 (jobs are always sent as many to a call as fit)
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        progress: OnProgress | None = None,
    ) -> MapResult[Any]:
        """Run one job for each tuple of arguments."""
        result = MapResult[Any](self._callbacks, callback, error_callback)
        return self._map(func, iterable, result, self._progress(progress, iterable))

    def imap(
        self, func: Task, iterable: Iterable[Any], chunksize: int = 1, *, progress: OnProgress | None = None
    ) -> Arrivals[Any]:
        """Run one job for each item, taken as they are needed; yields the values in their order."""
        return self._imap(func, iterable, chunksize, self._progress(progress, iterable), ordered=True)

    def imap_unordered(
        self, func: Task, iterable: Iterable[Any], chunksize: int = 1, *, progress: OnProgress | None = None
    ) -> Arrivals[Any]:
        """Run one job for each item, taken as they are needed; yields the values as they come."""
        return self._imap(func, iterable, chunksize, self._progress(progress, iterable), ordered=False)

    def close(self) -> None:
        """Take no more work. What is under way goes on."""
        self._open = False

    def terminate(self) -> None:
        """Take no more work and wait for nothing: what has not come raises PoolClosedError.

        Jobs that are enqueued are in Redis, where they stay and are run.
        """
        self._open = False
        self._places.close()
        gone = _gone()
        for shelf in list(self._feeding):
            shelf.no_more(gone)
        with self._changed:
            self._terminated = True
            sinks, self._outstanding = list(self._outstanding.values()), {}
            self._changed.notify_all()
        for sink in sinks:
            sink(None, gone)
        self._callbacks.stop(join=False)
        self._release()

    def join(self) -> None:
        """Wait until all jobs have ended and all callbacks have run; `close` or `terminate` it first.

        After `close` that includes all items of an `imap` that nobody has taken: they are read and enqueued now.
        """
        if self._open:
            raise ValueError("Pool is still running")
        for shelf in list(self._feeding):
            shelf.take_all()
        with self._changed:
            self._changed.wait_for(self._is_over)
        self._callbacks.stop(join=True)
        if not self._feeding:
            self._release()

    def __enter__(self) -> Self:
        """Return itself."""
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Terminate, as the standard library's Pool does."""
        self.terminate()

    def _map(
        self, func: Task, args_of_each: Iterable[Iterable[Any]], result: MapResult[Any], progress: Progress
    ) -> MapResult[Any]:
        self._require_open()
        result.begin()
        draft = self._draft(func)
        sinks = map(progress.counted, map(result.place, count()))
        for first in (raws := _messages(draft, args_of_each)):  # no place is taken for what is not there
            self._send_some(draft, first, raws, commands.MESSAGES_PER_CALL, sinks)
        progress.all_sent()
        result.no_more()
        return result

    def _told(self, result: MapResult[Any], progress: OnProgress | None) -> list[Any]:
        """Return the values when `progress` has been told that all are there."""
        result.wait()
        if progress is not None:
            self._callbacks.flush()
        return result.get()

    def _progress(self, callback: OnProgress | None, items: Iterable[Any]) -> Progress:
        return Progress(self._callbacks, callback, items)

    def _imap(
        self, func: Task, iterable: Iterable[Any], chunksize: int, progress: Progress, *, ordered: bool
    ) -> Arrivals[Any]:
        self._require_open()
        if chunksize < 1:
            raise ValueError(f"chunksize must be 1 or more, not {chunksize}")
        shelf: Shelf[Any] = Shelf(max(_WINDOW, chunksize), ordered=ordered)
        raws = _messages(draft := self._draft(func), ((item,) for item in iterable))
        self._feeding.add(shelf)
        pool_feeding.start(self._send_some, self._fed, shelf, draft, raws, chunksize, progress)
        return Arrivals(shelf, self)

    def _fed(self, shelf: Shelf[Any]) -> None:
        """Take note that nothing more will be put on this shelf; for the thread of an imap."""
        with self._changed:
            self._feeding.discard(shelf)
            self._changed.notify_all()

    def _send_some(self, draft: Draft, first: bytes, others: Iterator[bytes], most: int, sinks: Iterator[Sink]) -> None:
        """Enqueue `first` and what comes next, at most `most` in all and as there are places."""
        if not (places := self._places.take(most)):
            raise _gone()
        try:
            for handles in self._client.core.enqueue_many(draft, [first, *islice(others, places - 1)]):
                places -= len(handles)  # these are freed by their ends
                self._subscribe(handles, list(islice(sinks, len(handles))))
        finally:
            self._places.give_back(places)

    def _draft(self, func: Task) -> Draft:
        draft = self._client.draft(func)
        message.refuse_own_id(draft.own_id)
        if not draft.kept:
            raise InvalidJobError(f"{draft.target.name}: result_ttl=0 keeps no result, and a pool is there for them")
        return draft

    def _subscribe(self, handles: list[Handle[Any]], sinks: list[Sink]) -> None:
        jobs = [handle.job for handle in handles]
        with self._changed:
            terminated = self._terminated
            if not terminated:
                self._outstanding.update(zip((job.key for job in jobs), sinks, strict=True))
        if terminated:
            for sink in sinks:
                sink(None, _gone())
        else:
            self._client.core.subscribe(jobs, [self._on_outcome(job) for job in jobs])

    def _on_outcome(self, job: Job) -> OnOutcome:
        def on_outcome(outcome: Outcome) -> None:
            with self._changed:
                sink = self._outstanding.pop(job.key, None)
                if sink is None:  # the pool was terminated
                    return
                self._ending += 1
            self._places.give_back(1)
            sink(*value_or_error(outcome, job.adapter))
            with self._changed:
                self._ending -= 1
                self._changed.notify_all()

        return on_outcome

    def _is_over(self) -> bool:
        return not self._ending and (self._terminated or not (self._feeding or self._outstanding))

    def _require_open(self) -> None:
        if not self._open:
            raise PoolClosedError("the pool was closed: it takes no more work")

    def _release(self) -> None:
        if self._owns_client:
            self._client.close()


def _gone() -> PoolClosedError:
    return PoolClosedError("the pool was terminated: jobs that were enqueued still run, nobody waits for them")


def _messages(draft: Draft, args_of_each: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    return (message.build(draft, tuple(args), {}) for args in args_of_each)
