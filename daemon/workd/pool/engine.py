"""What runs `workd.Pool` behind its face: the loop's thread, the callback thread, and what goes between them.

The caller's thread pickles and waits; the loop's runs the asyncio core and knows only bytes; the callback thread
unpickles results and calls back, so that user code never runs in the loop.
"""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
from collections import deque
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

from workd.errors import JobTimeoutError, PoolClosedError, WorkdError, WorkerDiedError
from workd.pool import frames
from workd.pool.core import ProcessPool
from workd.pool.deaths import Crashed, Killed, Lost, TimedOut
from workd.pool.launcher import Forkserver
from workd.pool.results import AsyncResult, Part
from workd.pool.slot import Job
from workd.systemd import VARIABLES as SERVICE_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.frames import Frame
    from workd.pool.owner import PoolOptions

Sink = AsyncResult[Any] | Part[Any]


class Engine:
    """The two threads of one pool."""

    def __init__(self, options: PoolOptions) -> None:
        """Prepare; `start` starts both."""
        self._options = options
        self._incoming: deque[Job] = deque()
        self._outcomes: queue.SimpleQueue[tuple[Sink, Frame | BaseException] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._woken = False
        self._ended = False  # nobody looks at what comes in any more
        self._started: threading.Event = threading.Event()
        self._boot_error: BaseException | None = None
        self._stop_asked: asyncio.Event
        self._kill = False
        self._loop: asyncio.AbstractEventLoop
        self._pool: ProcessPool
        self._loop_thread = threading.Thread(target=self._run_loop, name="workd-pool", daemon=True)
        self._callback_thread = threading.Thread(target=self._call_back, name="workd-pool-callbacks", daemon=True)
        self._key = 0

    @property
    def running(self) -> bool:
        """Whether the loop's thread has not ended."""
        return self._loop_thread.is_alive()

    def start(self) -> None:
        """Start the workers and wait until they are ready. Raises what their boot raised."""
        self._loop_thread.start()
        self._started.wait()
        if self._boot_error is not None:
            self._loop_thread.join()
            if isinstance(self._boot_error, WorkdError):  # it says all there is: our thread's frames tell nobody more
                raise self._boot_error.with_traceback(None) from None
            raise self._boot_error
        self._callback_thread.start()

    def submit(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], sink: Sink) -> None:
        """Pickle a call in the caller's thread and hand it to the loop."""
        try:
            body = bytes(ForkingPickler.dumps((func, args, kwargs)))
        except Exception as error:  # noqa: BLE001 - pickling runs user code; like the standard library's, it is the outcome
            self._outcomes.put((sink, error))
            return
        name = getattr(func, "__qualname__", "call")
        with self._lock:
            if self._ended:
                msg = "Pool not running"  # terminated by another thread since the caller looked
                raise ValueError(msg)
            self._key += 1
            self._incoming.append(Job(self._key, body, name, None, sink))
            if self._woken:
                return
            self._woken = True
        self._wake(self._take_incoming)

    def stop(self, *, kill: bool) -> None:
        """End the pool: after every call has its outcome, or at once.

        From a callback it only asks: what waits for the callbacks' thread can't be waited for in it.
        """
        if self.running:
            self._kill = self._kill or kill
            self._wake(self._ask_stop)
        if threading.current_thread() not in (self._loop_thread, self._callback_thread):
            self._loop_thread.join()
            self._callback_thread.join()

    def _wake(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: its thread answers what is left
            self._loop.call_soon_threadsafe(function)

    # ── the loop's thread ───────────────────────────────────────────────────────────────────────────────────────

    def _run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that makes the pool
            self._boot_error = error
        finally:
            self._started.set()
            self._fail_incoming()
            self._outcomes.put(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_asked = asyncio.Event()
        # The environment is the host program's: its functions may need all of it, but only it reports to systemd.
        self._pool = ProcessPool(self, self._options, Forkserver(hidden_variables=SERVICE_VARIABLES))
        try:
            await self._pool.start()
        except BaseException:
            await self._pool.stop(kill=True)
            raise
        self._started.set()
        await self._stop_asked.wait()
        self._take_incoming()
        if not self._kill:
            emptied = asyncio.ensure_future(self._pool.wait_empty())
            while not emptied.done() and not self._kill:
                self._stop_asked.clear()
                asked = asyncio.ensure_future(self._stop_asked.wait())
                await asyncio.wait({emptied, asked}, return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
            emptied.cancel()
        await self._pool.stop(kill=self._kill)

    def _ask_stop(self) -> None:
        self._stop_asked.set()

    def _take_incoming(self) -> None:
        with self._lock:
            jobs = list(self._incoming)
            self._incoming.clear()
            self._woken = False
        if jobs:
            self._pool.submit(jobs)

    def _fail_incoming(self) -> None:
        with self._lock:
            self._ended = True
            jobs = list(self._incoming)
            self._incoming.clear()
        self.on_returned(jobs)

    def on_result(self, job: Job, frame: Frame) -> None:
        """Pass an outcome on to the callback thread."""
        self._outcomes.put((job.ref, frame))

    def on_lost(self, job: Job, how: Lost) -> None:
        """Make a death the outcome of its call."""
        self._outcomes.put((job.ref, _error_of(job, how)))

    def on_returned(self, jobs: list[Job]) -> None:
        """Fail calls that nobody will start any more."""
        for job in jobs:
            self._outcomes.put((job.ref, PoolClosedError("the pool was terminated before this call was started")))

    def on_room(self) -> None:
        """Nothing waits outside the pool."""

    def on_change(self) -> None:
        """Nobody shows the state."""

    # ── the callback thread ─────────────────────────────────────────────────────────────────────────────────────

    def _call_back(self) -> None:
        while (item := self._outcomes.get()) is not None:
            sink, outcome = item
            if isinstance(outcome, BaseException):
                sink.fail(outcome)
                continue
            try:
                value = pickle.loads(outcome.payload)  # noqa: S301 - the host program's own workers
            except BaseException as error:  # noqa: BLE001 - unpickling runs user code; it is that call's outcome
                sink.fail(error)
                continue
            if outcome.kind == frames.RETURNED:
                sink.succeed(value)
            else:
                sink.fail(value)


def _error_of(job: Job, how: Lost) -> BaseException:
    died = how.died
    match how:
        case TimedOut(timeout_s):
            return JobTimeoutError(job.task, timeout_s)
        case Killed(why) if why:
            return PoolClosedError(f"{job.task}: {why}")
        case Crashed() | Killed():
            return WorkerDiedError(
                job.task,
                died.pid,
                signal=died.signal,
                exit_code=died.exit_code,
                peak_rss_bytes=died.peak_rss_bytes,
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed (the extra `daemon`); the standard loop does the same, slower."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
