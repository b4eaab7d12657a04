"""What runs `workd.Pool` behind its face: the loop's thread with the core in it, and the ways from and to it.

The caller's thread pickles and hands over (`books.py`), the loop's runs the asyncio core and knows only bytes, and
outcomes are unpickled by whoever wants them; callbacks have a thread of their own. User code never runs in the loop. If
the core breaks, the pool ends visibly: every open call fails with the cause.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from workd.errors import PoolError, WorkdError
from workd.pool.api import waiting
from workd.pool.api.admission import Admission
from workd.pool.api.books import NOT_RUNNING, Books, closed_error
from workd.pool.api.callbacks import CallbackThread
from workd.pool.api.loops import new_loop
from workd.pool.api.losses import error_of
from workd.pool.api.questions import Questions
from workd.pool.core import ProcessPool
from workd.pool.deaths import Killed
from workd.pool.pickling import dump_call
from workd.pool.slot import Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from workd.pool.api.feeder import Feeder
    from workd.pool.api.outcomes import Outcome, Sink
    from workd.pool.api.start import Start
    from workd.pool.api.terms import Terms
    from workd.pool.api.waiting import Waiters
    from workd.pool.deaths import Lost
    from workd.pool.owner import PoolOptions
    from workd.pool.pickling import Call

T = TypeVar("T")

CALLBACK_PATIENCE_S = 1.0  # how long a terminate waits for a callback, which may be waiting for whoever terminates

log = logging.getLogger("workd.pool")


class Engine:
    """The threads of one pool. It does not know the pool, so that one that nobody holds is ended."""

    def __init__(self, options: PoolOptions, start: Start, max_pending: int | None) -> None:
        """Prepare; `start` is what has been started before, `Engine.start` starts the threads."""
        self.size = options.size  # how many workers there are to be
        self._options = options
        self._start = start
        self._books = Books(None if max_pending is None else Admission(max_pending))
        self._questions = Questions()
        self._callbacks = CallbackThread()
        self._keys = itertools.count(1)
        self._has_core = False  # which closes the forkserver
        self._woken = False  # the loop will look at what has come in
        self._closing = False  # it ends once it is idle
        self._killing = False  # it ends at once
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._to_wake: list[Waiters] = []  # whose outcomes have come in this turn of the loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event
        self._pool: ProcessPool
        self._boot: asyncio.Task[Any]
        self._thread = threading.Thread(target=self._run_loop, name="workd-pool", daemon=True)

    # ── called from any thread ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the workers and wait until they are ready. Raises what their boot raised."""
        try:
            self._callbacks.start()
            self._thread.start()
            self._started.wait()
        except BaseException:  # no thread can be had, or a KeyboardInterrupt
            if self._thread.ident is None:
                self._callbacks.stop()
                self._start.give_up()
            self.stop(kill=True)
            raise
        if self._failure is not None:
            self._thread.join()
            self._callbacks.join()
            if isinstance(self._failure, WorkdError):  # it says all there is: our thread's frames tell nobody more
                raise self._failure.with_traceback(None) from None
            raise self._failure

    def submit(self, call: Call, task: str, sink: Sink, number: int, terms: Terms) -> int:
        """Pickle a call and hand it to the loop; return its bytes. Waits for room if the pool has a limit.

        An exception of the pickling is the call's outcome, as in the standard library. Raises `ValueError` if the pool
        has ended.
        """
        books = self._books
        if books.ended or (books.admission is not None and not self._admit(books.admission)):
            raise ValueError(NOT_RUNNING)
        try:
            body = dump_call(call)
        except BaseException as error:  # pickling runs user code
            books.leave()
            if not isinstance(error, Exception):  # a KeyboardInterrupt
                raise
            self.decide(sink, number, error)
            return 0
        timeout_s, soft_timeout_s, memory_limit_bytes = terms
        key = next(self._keys)
        job = Job(key, body, task, timeout_s, (sink, number), False, soft_timeout_s, memory_limit_bytes)  # noqa: FBT003
        books.enter(job)
        if not self._woken:
            self._wake()
        if books.has_ended() and books.pending.pop(key, None) is not None:  # meanwhile
            raise ValueError(NOT_RUNNING)
        return len(body)

    def cancel(self, sink: Sink) -> bool:
        """Stop every call whose outcome is to go to `sink`; return whether there was one without an outcome."""
        cancelled = self._books.cancel(sink)
        self._wake()
        return cancelled

    def decide(self, sink: Sink, number: int, error: BaseException) -> None:
        """Make an error the outcome of a call that was never submitted."""
        self._books.decide(sink, number, error)
        self._wake()

    def ask(self, question: Callable[[ProcessPool], Awaitable[T]]) -> T:
        """Run a coroutine on the core in the loop and return its answer. Raises `ValueError` if the pool has ended."""
        answer = self._questions.ask(question)
        self._wake()
        if self._books.ended:
            self._questions.refuse(ValueError(NOT_RUNNING))
        try:
            return answer.result()
        except PoolError as error:
            if self._killing:  # what was under way for it can't be had any more
                raise ValueError(NOT_RUNNING) from error
            raise

    def call_back(self, call: Callable[[], None]) -> None:
        """Have `call` run in the callback thread."""
        self._callbacks.put(call)

    def in_callback(self) -> bool:
        """Tell whether the caller is in a callback: what it waits for must not need another one."""
        return self._callbacks.is_current()

    def add_feeder(self, feeder: Feeder) -> None:
        """Wait for this one, too, before a closed pool ends."""
        self._books.add_feeder(feeder, self._failure)

    def remove_feeder(self, feeder: Feeder) -> None:
        """It has handed in everything."""
        self._books.feeders.discard(feeder)
        self._wake()

    def close(self) -> None:
        """End once every call has its outcome."""
        self._closing = True
        self._books.close()
        self._wake()

    def stop(self, *, kill: bool) -> None:
        """End, after every call has its outcome or at once, and wait for it.

        From a callback it only asks: what waits for the callbacks' thread can't be waited for in it.
        """
        self._killing = self._killing or kill
        self.close()
        if self._thread.ident is None or threading.current_thread() is self._thread or self._callbacks.is_current():
            return
        self._thread.join()
        self._callbacks.join(CALLBACK_PATIENCE_S if kill else None)

    def _admit(self, admission: Admission) -> bool:
        if not self._callbacks.is_current():
            return admission.enter(lambda: self._books.ended or self._killing)
        admission.enter_at_once()
        return True

    def _wake(self) -> None:
        self._woken = True
        if self._loop is not None:  # else it is about to begin, and looks by itself
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._take)

    # ── the loop's thread ───────────────────────────────────────────────────────────────────────────────────────

    def _run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # raised in the thread that makes the pool, or said to all calls
            self._failure = error
            if self._started.is_set() and not self._pool.boots.failed.done():  # else it is in the log
                log.critical("the pool is broken and was stopped", exc_info=error)
        finally:
            (self._start.let_go if self._has_core else self._start.give_up)()
            self._wake_waiters()
            self._books.end(self._failure)
            self._questions.refuse(ValueError(NOT_RUNNING))
            self._callbacks.stop()
            self._started.set()

    async def _main(self) -> None:
        self._changed = asyncio.Event()
        self._pool = ProcessPool(self, self._options, self._start.server)
        self._has_core = True
        broken = self._pool.boots.failed
        broken.add_done_callback(lambda _: self._changed.set())
        self._boot = asyncio.create_task(self._pool.start())
        self._loop = asyncio.get_running_loop()
        try:
            self._take()
            await asyncio.wait((self._boot, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():  # nobody is left who would end the boot
                self._boot.cancel()
                await broken
            await self._boot
            self._started.set()
            while not (
                self._killing or broken.done() or (self._closing and self._books.is_idle() and not self._questions)
            ):
                self._changed.clear()
                await self._changed.wait()
            if broken.done():
                await broken
        except BaseException as error:
            self._failure = error
            await self._pool.stop(kill=True)
            raise
        await self._pool.stop(kill=self._killing)

    def _take(self) -> None:
        """Take everything that has come in. The flag goes first: what comes from here on wakes the loop again."""
        self._woken = False
        self._pool.guarded(self._take_in)(self._pool, self._books)
        if self._killing:
            self._boot.cancel()
        if self._closing:
            self._changed.set()

    def _take_in(self, pool: ProcessPool, books: Books) -> None:
        if books.incoming:
            pool.submit(books.take_incoming())
        if books.revoked:
            pool.cancel_many(books.take_revoked(), "cancelled")
        books.tell()
        self._questions.take(pool)

    def _wake_waiters(self) -> None:
        """Wake at the end of a turn: a thread that is woken in its middle fights with the loop for the interpreter."""
        to_wake, self._to_wake = self._to_wake, []
        for waiters in to_wake:
            waiting.wake(waiters)

    def _closed(self, job: Job) -> BaseException:
        return closed_error(f"{job.task} has no outcome", self._failure)

    # ── what the core says ──────────────────────────────────────────────────────────────────────────────────────

    def on_result(self, job: Job, frame: Outcome) -> None:
        """Give a call its outcome, unless it has one; whoever waits for it is woken at the end of this turn."""
        if waiters := self._books.settle(job, frame):
            if not self._to_wake:
                asyncio.get_running_loop().call_soon(self._pool.guarded(self._wake_waiters))
            self._to_wake.append(waiters)
        if self._closing and not self._books.pending:
            self._changed.set()

    def on_lost(self, job: Job, how: Lost) -> None:
        """Make a death the outcome of its call."""
        stopping = isinstance(how, Killed) and (self._killing or self._failure is not None)
        self.on_result(job, self._closed(job) if stopping else error_of(job.task, how))

    def on_returned(self, jobs: list[Job]) -> None:
        """Fail calls that nobody will start any more."""
        for job in jobs:
            self.on_result(job, self._closed(job))

    def on_unstartable(self, jobs: list[Job], cause: PoolError) -> None:
        """Fail calls that no worker could be started for."""
        for job in jobs:
            self.on_result(job, cause)

    def on_room(self) -> None:
        """Nothing waits outside the pool."""

    def on_change(self) -> None:
        """Nobody shows the state."""
