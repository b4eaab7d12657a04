"""Many jobs waited for together: the first that ends, all of them, or each as it comes.

Called by the clients. Replies are delivered to one queue for all handles; those jobs whose reply may never come here
(somebody else enqueued them, or they have ids of their own and may be duplicates) are looked for again and again, all
of a queue in one command.
"""

from __future__ import annotations

import math
import queue
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from workd.client.outcomes import CLOSED_AGAIN_S, is_about_another, poll_pauses
from workd.errors import ResultTimeoutError
from workd.wire import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from workd.client.async_core import AsyncCore
    from workd.client.core import Core
    from workd.client.handle import AsyncHandle, Handle, Job
    from workd.client.replies import JobKey, OnOutcome
    from workd.wire import Outcome

H = TypeVar("H", bound="Handle[Any] | AsyncHandle[Any]")

ReturnWhen = Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]
"""The same words as in concurrent.futures and asyncio, whose constants may be given."""

_WORDS = ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")
_NAMED = 3


class DoneAndNotDone(NamedTuple, Generic[H]):
    """What `wait` returns: handles of jobs that have ended, however that was, and of those that have not."""

    done: set[H]
    not_done: set[H]


class Waiting(Generic[H]):
    """The handles of one wait, by their place, and what has come for them. No I/O: the clients do that."""

    def __init__(self, core: Core | AsyncCore, handles: Iterable[H]) -> None:
        """Sort them. ResultGoneError if one's outcome is kept by nobody, ValueError if it is another client's."""
        self.ended: list[H] = []
        self.pending: dict[int, H] = {}
        self._core = core
        for place, handle in enumerate(handles):
            if handle.known_outcome is not None:
                self.ended.append(handle)
                continue
            handle.job.require_kept()
            if handle.core is not core:
                raise ValueError(f"{handle!r} belongs to another client: wait for it there")
            self.pending[place] = handle

    def tellers(self, put: Callable[[tuple[int, Outcome]], None]) -> dict[int, OnOutcome]:
        """Make for each place what is to be called with its outcome.

        The handle has it from then on, whether anybody still waits here or not: it is delivered once.
        """

        def teller(place: int, handle: H) -> OnOutcome:
            def tell(outcome: Outcome) -> None:
                if _is_last_word(handle, outcome):
                    handle.note(outcome)
                put((place, outcome))

            return tell

        return {place: teller(place, handle) for place, handle in self.pending.items()}

    def jobs(self) -> list[Job]:
        """List the jobs that are waited for, in the order of their places."""
        return [handle.job for handle in self.pending.values()]

    def key(self, place: int) -> JobKey:
        """Name the job at a place."""
        return self.pending[place].job.key

    def polled(self) -> list[Job]:
        """List the jobs that have to be looked for."""
        return [job for job in self.jobs() if self._core.must_look_for(job)]

    def pauses(self) -> Iterator[float]:
        """Yield the pauses in seconds between two looks, for what has to be looked for by then."""
        between_looks = poll_pauses()
        while True:
            yield next(between_looks) if self.polled() else CLOSED_AGAIN_S

    def take(self, place: int, outcome: Outcome) -> H | None:
        """Say whose outcome this is; None if it is not the last word."""
        return self.pending.pop(place) if _is_last_word(self.pending[place], outcome) else None

    def forget(self, tellers: Mapping[int, OnOutcome]) -> None:
        """Expect nothing more."""
        for place in self.pending:
            self._core.replies.forget(self.key(place), tellers[place])

    def late(self, timeout_s: float) -> ResultTimeoutError:
        """Say which jobs have not ended in time."""
        ids = [handle.id for handle in self.pending.values()]
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        return ResultTimeoutError(", ".join(ids[:_NAMED]) + more, timeout_s)


def _is_last_word(handle: Handle[Any] | AsyncHandle[Any], outcome: Outcome) -> bool:
    return not is_about_another(outcome, own_id=handle.job.own_id, unique=handle.job.unique)


def split(handles: Iterable[H]) -> DoneAndNotDone[H]:
    """Tell those whose jobs have ended from the others."""
    given = set(handles)
    done = {handle for handle in given if handle.known_outcome is not None}
    return DoneAndNotDone(done, given - done)


def timeout_of(until_s: float) -> float | None:
    """Give the seconds until that moment as a timeout."""
    return None if until_s == math.inf else max(0.0, until_s - time.monotonic())


def is_enough(handle: Handle[Any] | AsyncHandle[Any], return_when: ReturnWhen) -> bool:
    """Say whether nothing more has to be waited for, now that this job has ended."""
    if return_when == "FIRST_EXCEPTION":
        outcome = handle.known_outcome
        return outcome is not None and outcome.status is not Status.SUCCEEDED
    return return_when == "FIRST_COMPLETED"


def check_return_when(return_when: str) -> None:
    """Refuse any other word with a ValueError."""
    if return_when not in _WORDS:
        raise ValueError(f"return_when: {return_when!r} is none of {', '.join(_WORDS)}")


def wait(core: Core, handles: Iterable[Handle[Any]], timeout_s: float | None, when: ReturnWhen) -> DoneAndNotDone[Any]:
    """Wait until enough of the jobs have ended."""
    check_return_when(when)
    given = list(dict.fromkeys(handles))
    with suppress(ResultTimeoutError):
        for handle in completed(core, given, timeout_s):
            if is_enough(handle, when):
                break
    return split(given)


def completed(core: Core, handles: Iterable[Handle[Any]], timeout_s: float | None) -> Iterator[Handle[Any]]:
    """Yield each handle when its job has ended; ResultTimeoutError after `timeout_s` in all."""
    end_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
    waiting = Waiting(core, handles)
    arrived: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    tellers = waiting.tellers(arrived.put)
    yield from waiting.ended
    try:
        core.subscribe(waiting.jobs(), list(tellers.values()), end_s)
        for pause_s in waiting.pauses():
            until_s = min(end_s, time.monotonic() + pause_s)
            while waiting.pending:
                try:
                    place, outcome = arrived.get(timeout=timeout_of(until_s))
                except queue.Empty:
                    break
                if (handle := waiting.take(place, outcome)) is not None:
                    yield handle
                else:
                    core.replies.expect(waiting.key(place), tellers[place])
            if not waiting.pending:
                return
            if until_s == end_s:
                raise waiting.late(timeout_s or 0.0)
            core.look_for(waiting.polled(), end_s)
    finally:
        waiting.forget(tellers)
