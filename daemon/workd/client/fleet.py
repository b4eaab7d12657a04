"""Asking all daemons, or some of them, over their channels, and waiting for what they say.

Used by `Admin.fleet`, and so by `workd inspect`, `stacks`, `scale`, `quiet`, `resume` and `reload`. Who should answer
is what the list of daemons says; one that is on it and says nothing in time is named. An answer is read and nothing
else: the stream that the daemons write ends by itself.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from workd import control_wire as wire
from workd.broker import keys
from workd.client.connection import Deadline
from workd.client.daemons import DaemonInfo, daemons
from workd.errors import InvalidJobError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.link import Link
    from workd.signing import Signing

QUESTION_S: Final = 5.0
"""How long daemons are waited for by default; stacks may take some seconds."""
RELOAD_S: Final = 60.0
_CALL_S: Final = 5.0
_TURN_S: Final = 2.0
_AT_ONCE: Final = 50

C = TypeVar("C", bound=wire.Command)


@dataclass(slots=True)
class Heard:
    """What came of one command."""

    answers: list[wire.Answer] = field(default_factory=list)
    """The last word of each daemon that said something, by id."""
    silent: list[DaemonInfo] = field(default_factory=list)
    """Those that are on the list of daemons, were meant, and have said nothing."""

    @property
    def unfinished(self) -> list[wire.Answer]:
        """Those that have heard it and were not done in time."""
        return [answer for answer in self.answers if answer.part != "done"]

    @property
    def ok(self) -> bool:
        """Whether there was anybody, and all have done what was asked."""
        done = all(answer.ok and answer.part == "done" for answer in self.answers)
        return bool(self.answers) and not self.silent and done


class Fleet:
    """All daemons of one Redis.

        with Admin(url) as admin:
            for answer in admin.fleet.inspect(queues=["images"]).answers:
                print(answer.daemon, [job.task for job in answer.jobs])

    `daemons` are ids, hosts, or hosts and pids (`web1:4711`); `queues` those of which a daemon serves at least one.
    Methods raise ServerUnavailableError and EnqueueTimeoutError as `Client` does, and InvalidJobError for what is too
    long to be asked.
    """

    def __init__(self, link: Link, signing: Signing | None) -> None:
        """`signing` signs orders."""
        self._link = link
        self._signing = signing

    def ping(self, *, daemons: Sequence[str] = (), queues: Sequence[str] = (), wait_s: float = QUESTION_S) -> Heard:
        """Ask who is there, and how many jobs each has."""
        return self._ask(wire.Ping, daemons, queues, wait_s)

    def inspect(
        self,
        *,
        daemons: Sequence[str] = (),
        queues: Sequence[str] = (),
        tasks: Sequence[str] = (),
        wait_s: float = QUESTION_S,
    ) -> Heard:
        """Ask which jobs run."""
        return self._ask(wire.Inspect, daemons, queues, wait_s, tasks=tuple(tasks))

    def stacks(
        self,
        job: str = "",
        *,
        daemons: Sequence[str] = (),
        queues: Sequence[str] = (),
        tasks: Sequence[str] = (),
        sources: bool = True,
        wait_s: float = 2 * QUESTION_S,
    ) -> Heard:
        """Ask where the workers are that run this job, or anything."""
        return self._ask(wire.Stacks, daemons, queues, wait_s, job=job, tasks=tuple(tasks), sources=sources)

    def scale(
        self,
        workers: int | None = None,
        *,
        by: int | None = None,
        daemons: Sequence[str] = (),
        queues: Sequence[str] = (),
        wait_s: float = QUESTION_S,
    ) -> Heard:
        """Have each daemon run so many workers, or so many more or fewer, until its next start or reload."""
        return self._ask(wire.Scale, daemons, queues, wait_s, workers=workers, by=by)

    def quiet(self, *, daemons: Sequence[str] = (), queues: Sequence[str] = (), wait_s: float = QUESTION_S) -> Heard:
        """Have daemons start nothing more, hand back what has not started, and stay."""
        return self._ask(wire.Quiet, daemons, queues, wait_s)

    def resume(self, *, daemons: Sequence[str] = (), queues: Sequence[str] = (), wait_s: float = QUESTION_S) -> Heard:
        """Have quiet daemons start jobs again."""
        return self._ask(wire.Resume, daemons, queues, wait_s)

    def reload(self, *, daemons: Sequence[str] = (), queues: Sequence[str] = (), wait_s: float = RELOAD_S) -> Heard:
        """Have daemons load code and settings anew, and wait until they have, or have failed to."""
        return self._ask(wire.Reload, daemons, queues, wait_s)

    def _ask(
        self, kind: Callable[..., C], names: Sequence[str], queues: Sequence[str], wait_s: float, **more: Any
    ) -> Heard:
        said = {"reply": secrets.token_hex(16), "at": 0.0, "wait_s": wait_s}
        try:
            command = kind(**said, daemons=tuple(names), queues=tuple(queues), **more)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidJobError(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}") from None
        seconds, micros = self._link.call(("TIME",))
        command = command.model_copy(update={"at": int(seconds) + int(micros) / 1e6})
        expected = {info.id: info for info in daemons(self._link) if command.is_for(info.id, info.queues)}
        raw = self._packed(command)
        self._link.call(("PUBLISH", keys.ORDERS if isinstance(command, wire.Order) else keys.ASK, raw))
        return self._listen(command, expected)

    def _packed(self, command: wire.Command) -> bytes:
        raw = command.model_dump_json(exclude_none=True).encode()
        if isinstance(command, wire.Order) and self._signing is not None:
            raw = self._signing.sign_command(raw) + b" " + raw
        if len(raw) > wire.MAX_MESSAGE_BYTES:
            raise InvalidJobError(f"the names are too long: {len(raw):,} bytes of {wire.MAX_MESSAGE_BYTES:,}")
        return raw

    def _listen(self, command: wire.Command, expected: dict[str, DaemonInfo]) -> Heard:
        """Read answers until all who are expected are done, or the time is over."""
        key, last, deadline = keys.answers(command.reply), "0", Deadline(command.wait_s)
        found: dict[str, wire.Answer] = {}
        left = set(expected)
        while left and deadline.left_s() > 0.001:  # noqa: PLR2004 - it never gives quite nothing
            block_ms = max(1, int(1000 * min(_TURN_S, deadline.left_s())))
            read = ("XREAD", "COUNT", _AT_ONCE, "BLOCK", block_ms, "STREAMS", key, last)
            reply = self._link.call(read, Deadline(block_ms / 1000 + _CALL_S))
            for entry_id, fields in _entries(reply):
                last = entry_id.decode()
                if (answer := _read(fields)) is not None:
                    found[answer.daemon] = answer
                    if answer.part == "done":
                        left.discard(answer.daemon)
        silent = [info for name, info in expected.items() if name not in found]
        return Heard([found[name] for name in sorted(found)], silent)


def _entries(reply: Any) -> list[tuple[bytes, list[bytes]]]:
    """Return what XREAD has read: id and fields of each entry, whatever the protocol."""
    if not reply:
        return []
    [(_, rows)] = reply.items() if isinstance(reply, dict) else reply
    return [(row[0], row[1]) for row in rows]


def _read(fields: list[bytes]) -> wire.Answer | None:
    """Return an answer; None for what is none: anybody may write there."""
    pairs = dict(zip(fields[::2], fields[1::2], strict=False))
    raw = pairs.get(wire.FIELD.encode(), b"")
    if len(raw) > wire.MAX_ANSWER_BYTES:
        return None
    try:
        return wire.Answer.model_validate_json(raw)
    except ValidationError:
        return None
