"""What people ask of this daemon, and what it answers: the commands of `control_wire`, done.

A loop of the supervisor, beside everything else: nothing depends on it. Whoever may publish to a channel may ask, so
what is no command, is too old, or was heard before is counted and ignored, few are done at a time, and all answers are
bounded and end by themselves. An order that a daemon with signing keys cannot trust is refused, visibly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from pydantic import ValidationError

from workd import control_wire as wire
from workd.errors import BrokerError
from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.broker.answering import Answering
    from workd.clock import Clock
    from workd.pool.slot import Job
    from workd.signing import Signing
    from workd.xray import Inspector

FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 5.0
AT_ONCE: Final = 4
MOST_WAITING: Final = 32
REMEMBERED: Final = 2_000  # commands that were heard, so that none is done twice
ORDERED_WITHIN_S: Final = 30.0
"""How old a signed order may be: who has recorded one cannot send it again later."""
UNSIGNED: Final = "it takes signed orders alone (signing_keys): sign this one with the key that it has"
NOT_NOW: Final = "it is {state}: that is not possible now"

log = get_logger("workd.answering")


class Daemon(Protocol):
    """Who can be told what to do: the supervisor. False says that it is not possible now."""

    def quiet(self) -> bool:
        """Start nothing more, and stay."""

    def resume(self) -> bool:
        """Start jobs again."""

    def scale(self, workers: int) -> bool:
        """Have so many workers. Raises ValueError out of bounds."""

    def scale_by(self, workers: int) -> bool:
        """Have so many more, or fewer. Raises ValueError out of bounds."""

    def reload(self) -> asyncio.Future[str]:
        """Load code and settings anew; the answer says what went wrong, if anything did."""

    @property
    def state(self) -> str:
        """Where it is in its life."""

    @property
    def workers(self) -> int:
        """How many it is to have."""


class Answerer:
    """Does what comes by the channels, and answers."""

    def __init__(
        self,
        daemon_id: str,
        queues: tuple[str, ...],
        broker: Answering,
        clock: Clock,
        daemon: Daemon,
        inspector: Inspector,
        signing: Callable[[], Signing | None],
    ) -> None:
        """Prepare; `run` does the work. `signing` returns the keys of this moment."""
        self._id = daemon_id
        self._queues = queues
        self._broker = broker
        self._clock = clock
        self._daemon = daemon
        self._inspector = inspector
        self._signing = signing
        self._began_at = clock.now_s()
        self._heard: dict[str, float] = {}
        self._ordered: dict[str, float] = {}  # apart: who may only ask cannot fill it, and so keep orders out
        self._at_work: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._complained = False
        self.answered = 0
        self.ignored = 0

    async def run(self) -> None:
        """Listen and answer until cancelled; a connection that is lost is made again, each time later."""
        backoff_s = FIRST_BACKOFF_S
        try:
            while True:
                try:
                    subscription = await self._broker.listen(self.hear_question, self.hear_order)
                    try:
                        backoff_s, self._complained = FIRST_BACKOFF_S, False
                        await subscription.wait_lost()
                    finally:
                        await subscription.close()
                except BrokerError as error:
                    self._complain(error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)
        finally:
            await self._stop()

    def hear_question(self, raw: bytes) -> None:
        """Take what came by the channel for questions: no order counts there, signed or not."""
        self._hear(raw, orders=False)

    def hear_order(self, raw: bytes) -> None:
        """Take what came by the channel for orders."""
        self._hear(raw, orders=True)

    def _hear(self, raw: bytes, *, orders: bool) -> None:
        try:
            command, text, digits = read(raw)
        except ValueError:
            self.ignored += 1
            return
        is_order = isinstance(command, wire.Order)
        if is_order and not orders:
            self.ignored += 1
            return
        refusal = self._refusal(command, text, digits) if is_order else ""
        heard = self._ordered if is_order and not refusal else self._heard
        if not command.is_for(self._id, self._queues) or not self._is_new(command, heard):
            self.ignored += 1
            return
        self.answered += 1
        work = asyncio.ensure_future(self._answer(command, refusal))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)

    def _is_new(self, command: wire.Command, heard: dict[str, float]) -> bool:
        """Say whether this is to be done: somebody waits for it still, and it was not heard before."""
        now = self._clock.now_s()
        if not command.at - wire.SLACK_S <= now <= command.at + command.wait_s + wire.SLACK_S:
            return False
        for token in [token for token, until in heard.items() if until < now]:
            del heard[token]
        if command.reply in heard or len(heard) >= REMEMBERED or len(self._at_work) >= MOST_WAITING:
            return False
        heard[command.reply] = command.at + command.wait_s + 2 * wire.SLACK_S
        return True

    def _refusal(self, command: wire.Command, text: bytes, digits: bytes) -> str:
        """Say why an order is not to be trusted; empty if it is."""
        signing = self._signing()
        if signing is None:
            return ""
        if not digits or not signing.knows_command(text, digits):
            return UNSIGNED
        if command.at < self._began_at or self._clock.now_s() - command.at > ORDERED_WITHIN_S:
            return "the order is too old: it could be one that somebody has recorded"
        return ""

    async def _answer(self, command: wire.Question | wire.Order, refusal: str) -> None:
        async with self._places:
            try:
                if refusal:
                    answer = self._said(ok=False, error=refusal)
                    log.warning("an order was refused", order=command.do, why=refusal)
                else:
                    answer = await self._do(command)
            except Exception as error:  # a mistake of ours is this question's end, and nothing else's
                log.exception("a question could not be answered", question=command.do)
                answer = self._said(ok=False, error=f"{type(error).__name__}: {error}"[:500])
            await self._post(command, answer)

    async def _do(self, command: wire.Question | wire.Order) -> wire.Answer:
        """Do what is asked, and say how it is then."""
        match command:
            case wire.Ping():
                return self._said()
            case wire.Inspect():
                jobs, more = await self._inspector.jobs(_wanted(command.tasks, command.queues))
                return self._said(jobs=tuple(jobs), left_out=more)
            case wire.Stacks():
                wanted = _wanted(command.tasks, command.queues, command.job)
                stacks, more = await self._inspector.stacks(wanted, sources=command.sources)
                return self._said(stacks=tuple(stacks), left_out=more)
            case _:
                return await self._obey(command)

    async def _obey(self, order: wire.Order) -> wire.Answer:
        daemon = self._daemon
        log.info("told by an operator", order=order.do)
        try:
            match order:
                case wire.Quiet():
                    return self._done(done=daemon.quiet(), wanted="quiet")
                case wire.Resume():
                    return self._done(done=daemon.resume(), wanted="running")
                case wire.Scale(workers=int(workers)):
                    return self._done(done=daemon.scale(workers))
                case wire.Scale(by=by):
                    return self._done(done=daemon.scale_by(by or 0))
                case wire.Reload():
                    reloading = daemon.reload()
                    await self._post(order, self._said(part="accepted"))
                    trouble = await reloading
                    return self._said(ok=not trouble, error=trouble)
        except ValueError as error:
            return self._said(ok=False, error=str(error))

    def _done(self, *, done: bool, wanted: str = "") -> wire.Answer:
        """Say whether it was done; what was so before is as good."""
        state = self._daemon.state
        ok = done or (bool(wanted) and state == wanted)
        return self._said(ok=ok, error="" if ok else NOT_NOW.format(state=state))

    def _said(self, **more: object) -> wire.Answer:
        running, buffered = self._inspector.counts()
        daemon = self._daemon
        facts = {"state": daemon.state, "workers": daemon.workers, "running": running, "buffered": buffered}
        return wire.Answer.model_validate({"daemon": self._id} | facts | more)

    async def _post(self, command: wire.Command, answer: wire.Answer) -> None:
        try:
            await self._broker.post(command.reply, wire.encode(answer), wire.FIELD, wire.ANSWERS_MS)
        except BrokerError as error:
            log.info("a question could not be answered", error=str(error))

    async def _stop(self) -> None:
        if self._at_work:
            for work in self._at_work:
                work.cancel()
            await asyncio.wait(list(self._at_work))

    def _complain(self, error: BrokerError) -> None:
        """Say it once: work goes on without."""
        if not self._complained:
            self._complained = True
            log.info("nobody can ask this daemon anything at the moment; its work goes on", error=str(error))


def read(raw: bytes) -> tuple[wire.Question | wire.Order, bytes, bytes]:
    """Return a command, its text and its signature, empty without one. Raises ValueError for what is none."""
    if len(raw) > wire.MAX_MESSAGE_BYTES:
        raise ValueError
    digits, text = (raw[:64], raw[65:]) if raw[64:66] == b" {" else (b"", raw)
    try:
        return wire.read_command(text), text, digits
    except ValidationError:
        raise ValueError from None


def _wanted(tasks: tuple[str, ...], queues: tuple[str, ...], job_id: str = "") -> Callable[[Job], bool]:
    """Return what says whether a job is among those that are asked for."""

    def is_wanted(job: Job) -> bool:
        return (
            (not tasks or job.task in tasks)
            and (not queues or job.ref.entry.queue in queues)
            and (not job_id or job.ref.job_id == job_id)
        )

    return is_wanted
