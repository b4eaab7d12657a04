"""The schedule at work: which fire times have come, and having them enqueued, once over the fleet and without a leader.

Every daemon that serves a queue works out the fire times of that queue's lines for itself and, when one has come by the
server's clock, asks Redis to enqueue its job; the script lets the first one do it. A loop per queue, a part of the
session. Between two fire times nothing is sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from workd.broker import firing
from workd.broker.firing import Fired, Firing
from workd.crontab import job_id, lines_of_tasks
from workd.errors import FencedError
from workd.log import get_logger
from workd.schedule import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workd.broker.firing import FireReply
    from workd.broker.session import Session
    from workd.clock import Clock
    from workd.crontab import Line
    from workd.signing import Signing

ON_TIME_S: Final = 10
"""What is late by no more has not been missed: a full pool, a restart of Redis, another daemon's turn."""
LONGEST_SLEEP_S: Final = 60.0  # a host that slept, or whose clock was set, is right again by then
AHEAD_S: Final = 60
"""What has fired by so much later than now, has fired by a clock that was wrong. The scripts say the same."""
REFUSED_PAUSE_S: Final = 1.0
EARLY_PAUSE_S: Final = 0.05
_QUICK_S: Final = 120  # further back, finding what was missed may take milliseconds: not in the loop's thread
_DEFAULT_QUEUE: Final = "default"

log = get_logger("workd.cron")


@dataclass(slots=True)
class _Post:
    """One line on duty. Times are epoch seconds; written by its queue's loop alone."""

    name: str
    line: Line
    last_s: int = 0  # up to here all is done; 0: Redis has not been asked yet
    next_s: int | None = None

    def done(self, at_s: int) -> None:
        """Look forward from here."""
        if at_s >= self.last_s:
            self.last_s = at_s
            self.next_s = self.line.times.after(at_s)

    def heed_clock(self, now_s: int) -> None:
        """Begin anew where the clock was set back: else nothing would fire until it is where it was before."""
        if self.last_s > now_s + AHEAD_S:
            log.warning("the clock of Redis was set back; a line of the schedule goes on from now", line=self.name)
            self.last_s = 0
            self.done(now_s)


class Timetable:
    """The lines that this daemon fires, by queue; what it knows of them outlives a session."""

    def __init__(self, clock: Clock, signing: Signing | None = None) -> None:
        """Begin with none; `signing` signs the messages, if they have to be signed."""
        self.clock = clock
        self._signing = signing
        self._posts: dict[str, list[_Post]] = {}
        self._off: dict[str, list[str]] = {}
        self.changed = asyncio.Event()  # set, and replaced by another, when there are other lines

    def take(
        self, lines: Mapping[str, Line], queues: Sequence[str], catalogue: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Take the lines of the queues that this daemon serves, and say which it does not fire, or cannot run.

        `lines` are those of the settings; they go before those of tasks (`@task(cron=...)`) with the same name. Raises
        TaskDefinitionError for one of the latter that is wrong. Taken again, they replace those from before; a line
        that is as it was goes on from where it stands.
        """
        before = {
            (queue, post.name, post.line.fingerprint): post for queue in self._posts for post in self._posts[queue]
        }
        self._posts, self._off = {}, {}
        self.changed.set()
        self.changed = asyncio.Event()
        for name, line in {**lines_of_tasks(catalogue), **lines}.items():
            queue = line.queue or catalogue.get(line.task, {}).get("queue") or _DEFAULT_QUEUE
            if not line.enabled:
                self._off.setdefault(queue, []).append(name)
                continue
            if queue not in queues:
                log.warning("a line of the schedule is left to who serves its queue", line=name, queue=queue)
                continue
            if line.task not in catalogue:
                log.warning("a line of the schedule has a task that is not known here", line=name, task=line.task)
            known = before.get((queue, name, line.fingerprint))
            post = _Post(name, line) if known is None else _Post(name, line, known.last_s, known.next_s)
            self._posts.setdefault(queue, []).append(post)

    def sign_with(self, signing: Signing | None) -> None:
        """Sign messages with other keys from now on."""
        self._signing = signing

    async def open(self, session: Session, queue: str) -> None:
        """Ask, at the first connection, where the lines stand; after that this daemon knows it best."""
        posts = [post for post in self._posts.get(queue, ()) if not post.last_s]
        words = {post.name: post.line.fingerprint for post in posts} | dict.fromkeys(self._off.get(queue, ()), "")
        if not words:
            return
        marks = await firing.marks(session, queue, words)
        if marks is None:
            raise FencedError(queue)
        self._off.pop(queue, None)
        for post in posts:
            post.done(marks[post.name])

    async def due(self, queue: str) -> list[Firing]:
        """Return what is to be enqueued now, in order of time for each line; what is dropped is said and done with."""
        now_s = int(self.clock.now_s())
        firings: list[Firing] = []
        for post in self._posts.get(queue, ()):
            post.heed_clock(now_s)
            if post.next_s is None or post.next_s > now_s:
                continue
            if now_s - post.last_s > _QUICK_S:
                times = await asyncio.to_thread(_choose, post.line, post.last_s, now_s)
            else:
                times = _choose(post.line, post.last_s, now_s)
            firings += [self._firing(post, at_s) for at_s in times]
            if not times:
                log.warning("fire times were missed", line=post.name, first=job_id(post.name, post.next_s))
                post.done(now_s)
        return firings

    def _firing(self, post: _Post, at_s: int) -> Firing:
        message = post.line.message(post.name, at_s)
        signature = b"" if self._signing is None else self._signing.sign(message)
        return Firing(post.name, at_s, post.line.fingerprint, message, signature)

    def note(self, queue: str, firings: Sequence[Firing], reply: FireReply) -> None:
        """Take what became of them; what was refused, and what comes after it in its line, is due again."""
        stopped: set[str] = set()
        posts = {(post.name, post.line.fingerprint): post for post in self._posts.get(queue, ())}
        for one, fired in zip(firings, reply.fired, strict=True):
            if fired in (Fired.REFUSED, Fired.TOO_EARLY):
                stopped.add(one.name)
            elif one.name not in stopped:
                if (post := posts.get((one.name, one.fingerprint))) is not None:  # else it was replaced meanwhile
                    post.done(one.at_s)
                if fired is Fired.NOW:
                    log.info("fired", line=one.name, job_id=job_id(one.name, one.at_s), queue=queue)

    def sleep_s(self, queue: str) -> float:
        """Return how long there is nothing to do."""
        nexts = [post.next_s for post in self._posts.get(queue, ()) if post.next_s is not None]
        left_s = min(nexts) - self.clock.now_s() if nexts else LONGEST_SLEEP_S
        return min(max(left_s, 0.0), LONGEST_SLEEP_S)


def _choose(line: Line, last_s: int, now_s: int) -> list[int]:
    """Return which fire times after the last one and up to now are to be enqueued.

    What is on time always is. Of what was missed, by an outage or a rest, the policy says how much.
    """
    times = line.times
    on_time_from_s = max(last_s, now_s - ON_TIME_S)
    on_time = times.latest(on_time_from_s, now_s, ON_TIME_S + 1)
    if on_time_from_s == last_s or line.catch_up == "none" or (line.catch_up == "last" and on_time):
        return on_time
    most = 1 if line.catch_up == "last" else max(0, line.catch_up_max - len(on_time))
    return [*(times.latest(last_s, on_time_from_s, most) if most else ()), *on_time]


async def keep_time(session: Session, timetable: Timetable, queue: str, quiet: asyncio.Event) -> None:
    """Enqueue the jobs of a queue's lines when their time comes, until `quiet`."""
    while not quiet.is_set():
        pause_s, changed = 0.0, timetable.changed
        await timetable.open(session, queue)
        if firings := await timetable.due(queue):
            pause_s = await _fire(session, timetable, queue, firings)
        await until(quiet, changed.wait(), timeout_s=max(pause_s, timetable.sleep_s(queue)))


async def _fire(session: Session, timetable: Timetable, queue: str, firings: Sequence[Firing]) -> float:
    """Have these enqueued; return how long to wait before trying again what was not."""
    reply = await firing.fire(session, queue, firings)
    if reply.fenced:
        raise FencedError(queue)
    timetable.note(queue, firings, reply)
    if reply.errors:
        log.error("a job of the schedule could not be enqueued; trying again", queue=queue, error=reply.errors[0])
        return REFUSED_PAUSE_S
    if Fired.TOO_EARLY in reply.fired:
        timetable.clock.set_by(reply.server_ms)  # ours was ahead
        return EARLY_PAUSE_S
    return 0.0
