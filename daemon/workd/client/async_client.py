"""`AsyncClient`: enqueue jobs and await their results.

Called by users inside an event loop. The same words and rules as `Client` (sync.py), awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from workd.client import async_gathering, group_async, groups, message
from workd.client.async_core import AsyncCore
from workd.client.group_async import AsyncGroupHandle
from workd.client.group_messages import Writer
from workd.client.handle import AsyncHandle, Job
from workd.client.message import DEFAULT_QUEUE, Drafts, JobOptions
from workd.client.sending import DEFAULT_RETRIES, Sending
from workd.errors import ClientError
from workd.signing import Signing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
    from types import TracebackType
    from typing import Unpack

    from workd.client.daemons import DaemonInfo
    from workd.client.gathering import DoneAndNotDone, ReturnWhen
    from workd.client.groups import Chain, Group, Step, Work
    from workd.client.message import Draft, Options
    from workd.client.outcomes import CancelState

P = ParamSpec("P")
R = TypeVar("R")


class AsyncClient:
    """A producer in one event loop at a time.

        async with AsyncClient("redis://localhost:6379/0") as client:
            handle = await client.enqueue(square, 4)
            await handle.get(timeout=5)             # 16

    Close it (`async with`, or `await close()`): a task waits for results once somebody has. It may be used in one loop
    after the other, as `asyncio.run` makes them, but not in two at a time: that is a RuntimeError. Of many calls at
    once some 30 are under way and the others wait their turn, with which their deadline begins. A call that is
    cancelled in the middle may or may not have enqueued its job.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float = 2.0,
        queue: str = DEFAULT_QUEUE,
        retries: int = DEFAULT_RETRIES,
        durable: bool = False,
        durable_replicas: int = 0,
        signing_key: str | None = None,
    ) -> None:
        """Check the arguments; SettingsError for a URL, deadline or key that is none. Connects at the first call."""
        message.check_queue(queue)
        self._sending = Sending(retries, durable, durable_replicas)
        self.core = AsyncCore(url, deadline_s, Signing.of_client(signing_key))
        self._queue = queue
        self._options = JobOptions()
        self._drafts = Drafts(self._options, queue, self._sending)

    def with_options(self, **options: Unpack[Options]) -> AsyncClient:
        """Return a view of this client for jobs with these options; see `Client.with_options`."""
        view = object.__new__(type(self))
        view.core = self.core
        view._queue = self._queue
        view._options = message.merged(self._options, options)
        view._sending = self._sending.changed(options)
        view._drafts = Drafts(view._options, self._queue, view._sending)
        return view

    @overload
    async def enqueue(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncHandle[R]: ...
    @overload
    async def enqueue(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncHandle[R]: ...
    @overload
    async def enqueue(self, task: str, /, *args: object, **kwargs: object) -> AsyncHandle[Any]: ...

    async def enqueue(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncHandle[Any]:
        """Put one job on its queue and return its handle once Redis has it. Raises as `Client.enqueue`."""
        draft = self.draft(task)
        return await self.core.enqueue(draft, message.build(draft, args, kwargs))

    @overload
    async def enqueue_many(
        self, task: Callable[..., Coroutine[Any, Any, R]], args_of_each: Iterable[tuple[Any, ...]], /
    ) -> list[AsyncHandle[R]]: ...
    @overload
    async def enqueue_many(
        self, task: Callable[..., R], args_of_each: Iterable[tuple[Any, ...]], /
    ) -> list[AsyncHandle[R]]: ...
    @overload
    async def enqueue_many(self, task: str, args_of_each: Iterable[tuple[Any, ...]], /) -> list[AsyncHandle[Any]]: ...

    async def enqueue_many(
        self, task: str | Callable[..., Any], args_of_each: Iterable[tuple[Any, ...]], /
    ) -> list[AsyncHandle[Any]]:
        """Put one job per tuple of arguments on the queue; see `Client.enqueue_many`."""
        message.refuse_own_id(self._options.id)
        draft = self.draft(task)
        raws = (message.build(draft, args, {}) for args in args_of_each)
        handles: list[AsyncHandle[Any]] = []
        try:
            async for some in self.core.enqueue_many(draft, raws):
                handles += some
        except ClientError as error:
            error.add_note(f"{len(handles)} jobs had been queued before")
            raise
        return handles

    def result(self, id: str, /) -> AsyncHandle[Any]:
        """Return a handle to a job of this client's queue, whoever enqueued it. Asks nobody."""
        return AsyncHandle(self.core, Job.elsewhere(self._options.queue or self._queue, id))

    async def cancel(self, id: str, /) -> CancelState:
        """Stop a job of this client's queue, whoever enqueued it; as `Handle.cancel`, or InvalidJobError."""
        message.check_job_id(id)
        return await self.result(id).cancel()

    @overload
    async def enqueue_chain(self, work: Chain[R] | Step[R], /) -> AsyncHandle[R]: ...
    @overload
    async def enqueue_chain(self, *works: Work) -> AsyncHandle[Any]: ...

    async def enqueue_chain(self, *works: Work) -> AsyncHandle[Any]:
        """Put a chain on its queue and return the handle of its last step's value; see `Client.enqueue_chain`."""
        return await group_async.enqueue_chain(self.core, self._writer(), groups.chain(*works))

    async def enqueue_group(self, group: Group, /) -> AsyncGroupHandle:
        """Put jobs on one queue that are counted together; see `Client.enqueue_group`."""
        return await group_async.enqueue_group(self.core, self._writer(), group)

    def group(self, id: str, /) -> AsyncGroupHandle:
        """Return a handle to a group of this client's queue, whoever enqueued it. Asks nobody."""
        job = Job.elsewhere(self._options.queue or self._queue, id)
        return AsyncGroupHandle(self.core, job, (), None)

    async def wait(
        self,
        handles: Iterable[AsyncHandle[Any]],
        timeout: float | None = None,
        return_when: ReturnWhen = "ALL_COMPLETED",
    ) -> DoneAndNotDone[AsyncHandle[Any]]:
        """Wait for the jobs' ends, at most `timeout` seconds; see `Client.wait`."""
        return await async_gathering.wait(self.core, handles, timeout, return_when)

    def as_completed(
        self, handles: Iterable[AsyncHandle[Any]], timeout: float | None = None
    ) -> AsyncIterator[AsyncHandle[Any]]:
        """Yield each handle when its job has ended (`async for`); see `Client.as_completed`."""
        return async_gathering.completed(self.core, list(handles), timeout)

    async def daemons(self) -> list[DaemonInfo]:
        """Return the daemons that serve this Redis, as each told of itself a moment ago.

        Raises ServerUnavailableError, EnqueueTimeoutError.
        """
        return await self.core.daemons()

    async def close(self) -> None:
        """Close the connections and end the waiting task; safe twice. Views share them."""
        await self.core.close()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _writer(self) -> Writer:
        return Writer(self._options, self._queue, self.core.replies.name, self._sending, self.core.sender.signing)

    def draft(self, task: str | Callable[..., Any]) -> Draft:
        """Say what all messages of one call have in common; for this package's use."""
        return self._drafts.of(task, self.core.replies.name)
