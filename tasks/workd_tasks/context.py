"""What a running task can know of itself and tell the daemon.

The worker makes a `Context` for each run and sets it for the time of the run; tasks get it by `context()`. It
holds no connection and no process: `should_stop` and `progress` go through callables that whoever runs the
task gives.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from workd_tasks.errors import NoContextError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from structlog.typing import FilteringBoundLogger


def never() -> bool:
    """Answer that there is no reason to stop."""
    return False


def unheard(done: float, total: float | None, note: str) -> None:
    """Take a progress report and do nothing with it."""


@dataclass(slots=True)  # not frozen: one is made for each run, and a frozen one takes four times as long
class Context:
    """One run of one job. `attempt` and `delivery` count from 1, `enqueued_at` is in epoch seconds."""

    id: str
    task: str
    attempt: int = 1
    delivery: int = 1
    daemon: str = ""
    _should_stop: Callable[[], bool] = field(default=never, repr=False, compare=False)
    _progress: Callable[[float, float | None, str], None] = field(default=unheard, repr=False, compare=False)
    queue: str = ""
    enqueued_at: float = 0.0
    _deadline: float | None = field(default=None, repr=False, compare=False)  # of the monotonic clock
    _message: bytes = field(default=b"{}", repr=False, compare=False)  # with or without its arguments

    @property
    def meta(self) -> Mapping[str, str]:
        """What the producer gave along as `meta`; empty if it gave nothing."""
        return self._field("meta")

    @property
    def trace(self) -> Mapping[str, str]:
        """The producer's W3C trace context (`traceparent`, `tracestate`); empty if it gave none."""
        return self._field("trace")

    def _field(self, name: str) -> dict[str, Any]:
        from pydantic_core import from_json  # which whoever defines tasks need not have loaded

        return from_json(self._message).get(name) or {}

    def remaining_s(self) -> float | None:
        """Return how many seconds are left until this run is killed, 0 or more; None if it has no timeout."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    @property
    def log(self) -> FilteringBoundLogger:
        """A structlog logger that names the job, the task and the delivery in each line."""
        import structlog  # 20 ms that a task which does not log need not pay

        logger: FilteringBoundLogger = structlog.get_logger("workd.task")
        return logger.bind(job_id=self.id, task=self.task, delivery=self.delivery)

    def should_stop(self) -> bool:
        """Tell whether the job was cancelled or the daemon drains: then save what you have, and return."""
        return self._should_stop()

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far this run has come, for people to see."""
        self._progress(done, total, note)


current: Final[ContextVar[Context]] = ContextVar("workd_tasks.context")
"""Set by whoever runs tasks, and only by them."""


def context() -> Context:
    """Return the context of the task that is running here; raises `NoContextError` if none is."""
    try:
        return current.get()
    except LookupError:
        raise NoContextError from None


@contextmanager
def running(context: Context) -> Iterator[Context]:
    """Set the context for a block, as a worker does for a run: the way to test a task that asks for it."""
    token = current.set(context)
    try:
        yield context
    finally:
        current.reset(token)
