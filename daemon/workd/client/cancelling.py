"""Cancelling one job from outside: the calls of cancel.lua, by both kinds of client.

Called by the cores. A call looks at so much of a long queue that it holds nobody up; so it is made again, from where
the last one stopped, until the job is found or everything was looked at, or as long as a call of the client may take.
"""

from __future__ import annotations

import hashlib
import time
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, cast

from redis.exceptions import NoScriptError

from workd.broker import keys
from workd.broker.keys import CANCEL_MS, CLAIM_MS, SEEN_MS

if TYPE_CHECKING:
    from workd.client.async_link import AsyncLink
    from workd.client.commands import Command
    from workd.client.handle import Job
    from workd.client.link import Link
    from workd.client.outcomes import CancelState

MAX_HOPS = 100  # a chain may go through that many queues; where each still says that it has gone on, that is a circle
KEPT_MS = 3_600_000  # of the outcome of a job whose message does not say; what its task says, only daemons know


def command(queue: str, job_id: str, entry_id: str, go_on: str, *, whole_script: bool) -> Command:
    """Cancel one job; answers a word and where to go on looking, or NOSCRIPT: then send the whole script."""
    source, digest = _script()
    verb, script = ("EVAL", source) if whole_script else ("EVALSHA", digest)
    places = (keys.prefix(queue), queue, keys.GROUP, job_id, entry_id, go_on)
    spans_ms = (CANCEL_MS, SEEN_MS, CLAIM_MS, KEPT_MS)
    return (verb, script, 2, keys.stream(queue), keys.scheduled(queue), *places, *spans_ms, keys.CONTROL, keys.WAITING)


class _Search:
    """Where the looking stands, and when it has to end."""

    def __init__(self, job: Job, deadline_s: float) -> None:
        self._job = job
        self._end_s = time.monotonic() + deadline_s
        self._go_on = ""
        self._queue = job.queue
        self._hops = 0

    def next(self, *, whole_script: bool = False) -> Command:
        """Return the command of the next step."""
        job, queue = self._job, self._queue
        if queue == job.queue:
            return command(queue, job.id, job.entry_id, self._go_on, whole_script=whole_script)
        return command(queue, f"{job.queue}:{job.id}", "", self._go_on, whole_script=whole_script)

    def take(self, answer: list[bytes]) -> CancelState | None:
        """Take a step's answer; None if there is more to look at."""
        word, self._go_on = (part.decode() for part in answer)
        if word == "elsewhere":  # a chain
            self._queue, self._go_on, self._hops = self._go_on, "", self._hops + 1
            return "asked" if self._hops > MAX_HOPS else None
        if self._hops and word == "unknown" and not self._go_on:
            return "asked"  # it is on its way there
        if not self._go_on or word != "unknown":
            return cast("CancelState", word)
        # The wish is kept there, whether or not the job would have been found.
        return "asked" if time.monotonic() > self._end_s else None


def cancel(link: Link, job: Job) -> CancelState:
    """Have a job cancelled. Raises ServerUnavailableError, EnqueueTimeoutError."""
    search = _Search(job, link.deadline_s)
    while True:
        try:
            answer = link.call(search.next())
        except NoScriptError:
            answer = link.call(search.next(whole_script=True))
        if (word := search.take(answer)) is not None:
            return word


async def cancel_async(link: AsyncLink, job: Job) -> CancelState:
    """Do the same in an event loop."""
    search = _Search(job, link.deadline_s)
    while True:
        try:
            answer = await link.call(search.next())
        except NoScriptError:
            answer = await link.call(search.next(whole_script=True))
        if (word := search.take(answer)) is not None:
            return word


@cache
def _script() -> tuple[str, str]:
    source = files(__package__).joinpath("cancel.lua").read_text(encoding="utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
