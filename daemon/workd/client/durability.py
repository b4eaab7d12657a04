"""Whether what was enqueued would outlast a crash of the server: the questions, and what the answers mean. Pure.

Asked on the connection that sent the messages, since Redis answers for the writes of the connection that asks.
WAITAOF (Redis 7.2, Valkey) tells that they are on the server's disk, WAIT that replicas have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from workd.broker import keys
from workd.errors import NotDurableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command
    from workd.client.sending import Sending

    Question = Callable[[float], Command]
    """Takes the seconds that are left for the answer."""

_EARLY_S: Final = 0.2  # the server is to say "not yet" before its answer is too late; its timers are 0.1 s late


def probe(queue: str) -> tuple[Command, Sequence[Question]]:
    """Give what is asked before the first durable call: something of the queue's server, and a word about its disk.

    A server that can give no such word refuses. One that can answers at once: nothing was written here.
    """
    return ("GET", keys.call(queue, "")), (lambda _: ("WAITAOF", 1, 0, 1),)


def questions(sending: Sending) -> Sequence[Question]:
    """Give what has to be asked, in this order."""
    if sending.durable_replicas:
        return (_on_disk, lambda left_s: ("WAIT", sending.durable_replicas, _ms(left_s)))
    return (_on_disk,)


def doubt(sending: Sending, answers: Sequence[Any]) -> str | None:
    """Say in a few words what is missing; None: all is safe. Errors are answers, too."""
    if (error := failure(answers)) is not None:
        return refusal(error)
    on_disk, *rest = answers
    if on_disk[0] < 1:
        return "the server did not say in time that it is on its disk (a slow disk, or appendfsync no)"
    if rest and rest[0] < sending.durable_replicas:
        return f"{rest[0]} of {sending.durable_replicas} replicas had it in time"
    return None


def failure(answers: Sequence[Any]) -> Exception | None:
    """Return the error among the answers, if there is one."""
    return next((answer for answer in answers if isinstance(answer, Exception)), None)


def raise_if_refused(answers: Sequence[Any]) -> None:
    """Raise NotDurableError if the probe was refused. One that was not answered says nothing: the call itself will."""
    if isinstance(error := failure(answers), ResponseError):
        raise NotDurableError(refusal(error)) from error


def refusal(error: Exception) -> str:
    """Say what it means that the server refused to answer, or broke off."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = str(error)
    if "unknown command" in text.lower():
        return "this server has no WAITAOF: it needs Redis 7.2 or later, or Valkey"
    if "appendonly" in text:
        return "the server keeps nothing on disk (appendonly is off)"
    return f"the server did not say that it is on its disk: {text or type(error).__name__}"


def _on_disk(left_s: float) -> Command:
    return ("WAITAOF", 1, 0, _ms(left_s))


def _ms(left_s: float) -> int:
    return max(1, int((left_s - min(_EARLY_S, left_s / 2)) * 1000))  # 0 would be for ever
