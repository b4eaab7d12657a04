"""`Client`: enqueue jobs and wait for their results, from threads or plain scripts.

Called by users, `RedisPool` and the command line. Knows options and handles; commands, connections and
waiting are its core's. A job that is sent twice is queued once: see sending.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from workd.client import gathering, group_sync, groups, message
from workd.client.core import Core
from workd.client.group_handle import GroupHandle
from workd.client.group_messages import Writer
from workd.client.handle import Handle, Job
from workd.client.message import DEFAULT_QUEUE, Drafts, JobOptions
from workd.client.sending import DEFAULT_RETRIES, Sending
from workd.errors import ClientError
from workd.signing import Signing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType
    from typing import Unpack

    from workd.client.daemons import DaemonInfo
    from workd.client.gathering import DoneAndNotDone, ReturnWhen
    from workd.client.groups import Chain, Group, Step, Work
    from workd.client.message import Draft, Options
    from workd.client.outcomes import CancelState

P = ParamSpec("P")
R = TypeVar("R")


class Client:
    """A producer. Safe for threads and across fork; costs nothing until the first call.

        client = Client("redis://localhost:6379/0")
        handle = client.enqueue(square, 4)              # a function made with @task, or its name: "square"
        handle.get(timeout=5)                           # 16

    No call but waiting takes longer than `deadline_s`; `enqueue_many` makes many. `queue` is for tasks that name none
    themselves; outcomes are kept an hour unless the task or `with_options(result_ttl=...)` says otherwise.

    A call whose answer was lost is sent again, up to `retries` times within the deadline; its jobs are queued once.
    With `durable` a job counts as enqueued when the server has it on its disk, and `durable_replicas` of its replicas
    have it, too. With `signing_key` its messages are signed, for daemons with `signing_keys`. docs/clients.md has more.
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
        self.core = Core(url, deadline_s, Signing.of_client(signing_key))
        self._queue = queue
        self._options = JobOptions()
        self._drafts = Drafts(self._options, queue, self._sending)

    def with_options(self, **options: Unpack[Options]) -> Client:
        """Return a view of this client, sharing its connections, whose jobs are enqueued with these options.

        `queue`, `id` (a second message with it is a duplicate), `run_at` and `expires_at` (aware datetime or
        epoch seconds), `delay_s`, `timeout` and `soft_timeout` (seconds), `start_by` (expired if its first run has
        not started so many seconds after it was due), `max_retries`, `unique` (at most one queued or running
        job with this key), `result_ttl` (seconds; 0 keeps no outcome), `meta`, `trace`; and how they are sent:
        `retries`, `durable`, `durable_replicas`. Raises InvalidJobError.
        """
        view = object.__new__(type(self))
        view.core = self.core
        view._queue = self._queue
        view._options = message.merged(self._options, options)
        view._sending = self._sending.changed(options)
        view._drafts = Drafts(view._options, self._queue, view._sending)
        return view

    @overload
    def enqueue(self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    def enqueue(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Handle[R]: ...
    @overload
    def enqueue(self, task: str, /, *args: object, **kwargs: object) -> Handle[Any]: ...

    def enqueue(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Put one job on its queue and return its handle once Redis has it.

        Raises InvalidJobError (nothing was sent), ServerUnavailableError (refused, or no connection held),
        EnqueueTimeoutError (no answer within the deadline), NotDurableError (queued all the same, or `durable` is
        not to be had here). If `in_doubt` of the error is true the job may be queued: only with an `id` of one's own
        is it harmless to enqueue it again.
        """
        draft = self.draft(task)
        return self.core.enqueue(draft, message.build(draft, args, kwargs))

    @overload
    def enqueue_many(
        self, task: Callable[..., Coroutine[Any, Any, R]], args_of_each: Iterable[tuple[Any, ...]], /
    ) -> list[Handle[R]]: ...
    @overload
    def enqueue_many(self, task: Callable[..., R], args_of_each: Iterable[tuple[Any, ...]], /) -> list[Handle[R]]: ...
    @overload
    def enqueue_many(self, task: str, args_of_each: Iterable[tuple[Any, ...]], /) -> list[Handle[Any]]: ...

    def enqueue_many(
        self, task: str | Callable[..., Any], args_of_each: Iterable[tuple[Any, ...]], /
    ) -> list[Handle[Any]]:
        """Put one job per tuple of arguments on the queue, some hundred to a call; their handles are in order.

        Raises as `enqueue`; the error's note says how many had been queued before.
        """
        message.refuse_own_id(self._options.id)
        draft = self.draft(task)
        raws = (message.build(draft, args, {}) for args in args_of_each)
        handles: list[Handle[Any]] = []
        try:
            for some in self.core.enqueue_many(draft, raws):
                handles += some
        except ClientError as error:
            error.add_note(f"{len(handles)} jobs had been queued before")
            raise
        return handles

    def result(self, id: str, /) -> Handle[Any]:
        """Return a handle to a job of this client's queue, whoever enqueued it. Asks nobody."""
        return Handle(self.core, Job.elsewhere(self._options.queue or self._queue, id))

    def cancel(self, id: str, /) -> CancelState:
        """Stop a job of this client's queue, whoever enqueued it; as `Handle.cancel`, or InvalidJobError."""
        message.check_job_id(id)
        return self.result(id).cancel()

    @overload
    def enqueue_chain(self, work: Chain[R] | Step[R], /) -> Handle[R]: ...
    @overload
    def enqueue_chain(self, *works: Work) -> Handle[Any]: ...

    def enqueue_chain(self, *works: Work) -> Handle[Any]:
        """Put steps on their queue that run one after the other, and return a handle to the last one's value.

        Each gets the value of the one before as its first argument (`step.after` and `chain.after` make one that does
        not). A step that is dead, cancelled or expired ends the chain, and `get` raises as for a job. This client's
        options hold for all steps (`timeout`, `max_retries`, `queue`) or for the chain as a whole (all others).
        Raises as `enqueue`.
        """
        return group_sync.enqueue_chain(self.core, self._writer(), groups.chain(*works))

    def enqueue_group(self, group: Group, /) -> GroupHandle:
        """Put jobs on one queue that are counted together, some hundred to a call; `group` says how.

        Its `then` runs once, when all have ended or `deadline_s` is over, and gets as its first argument an object
        with `id`, `total`, `succeeded`, `failed`, `unfinished`, `sealed` and, with `results=True`, `outcomes`. With
        `cancel_rest` what has not ended by the deadline is cancelled, else it goes on. Raises as `enqueue`, and
        GroupEndedError; the error's note says how many members had been queued before.
        """
        return group_sync.enqueue_group(self.core, self._writer(), group)

    def group(self, id: str, /) -> GroupHandle:
        """Return a handle to a group of this client's queue, whoever enqueued it. Asks nobody."""
        job = Job.elsewhere(self._options.queue or self._queue, id)
        return GroupHandle(self.core, job, (), None)

    def wait(
        self,
        handles: Iterable[Handle[Any]],
        timeout: float | None = None,
        return_when: ReturnWhen = "ALL_COMPLETED",
    ) -> DoneAndNotDone[Handle[Any]]:
        """Wait for the jobs' ends, at most `timeout` seconds; return the handles in two sets, `done` and `not_done`.

        As concurrent.futures.wait: `return_when` is FIRST_COMPLETED, FIRST_EXCEPTION (any end but a return) or
        ALL_COMPLETED. Raises ResultGoneError (one was enqueued with result_ttl=0), ValueError (another word; a handle
        of another client). While Redis is away this waits on.
        """
        return gathering.wait(self.core, handles, timeout, return_when)

    def as_completed(self, handles: Iterable[Handle[Any]], timeout: float | None = None) -> Iterator[Handle[Any]]:
        """Yield each handle when its job has ended, however that was; ResultTimeoutError after `timeout` in all.

        Raises otherwise as `wait`.
        """
        return gathering.completed(self.core, list(handles), timeout)

    def daemons(self) -> list[DaemonInfo]:
        """Return the daemons that serve this Redis, as each told of itself a moment ago.

        Raises ServerUnavailableError, EnqueueTimeoutError.
        """
        return self.core.daemons()

    def close(self) -> None:
        """Close the connections and end the waiting thread; safe twice. Views share them."""
        self.core.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _writer(self) -> Writer:
        return Writer(self._options, self._queue, self.core.replies.name, self._sending, self.core.sender.signing)

    def draft(self, task: str | Callable[..., Any]) -> Draft:
        """Say what all messages of one call have in common; for this package's use."""
        return self._drafts.of(task, self.core.replies.name)
