"""How often and how surely messages are sent: the rules that both kinds of client share.

Owned here: `Sending` (what a user asked for), `Lane` (how a call that is sent again is known as the same call) and
`Attempts` (when it is sent again, and which error is told in the end). Pure but for the clock and random names.

A call leaves a marker in Redis, written by the script that adds its messages: the number of the call and the ids it
got. Sent again, because the answer was lost, it gets the same ids. There is one marker for each *lane*, a place from
which calls are sent one after the other, so that markers do not pile up: a thread that enqueues a million jobs one by
one has one. The bytes of a call that was given up may reach the server late: its number tells it from the next one.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import BusyLoadingError, ClusterDownError, MasterDownError, ResponseError, TryAgainError

from workd.client.connection import REFUSALS, Deadline
from workd.errors import EnqueueTimeoutError, InvalidJobError, NotDurableError, ServerUnavailableError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workd.client.commands import Command
    from workd.errors import ClientError

SENDING_OPTIONS: Final = ("retries", "durable", "durable_replicas")
DEFAULT_RETRIES: Final = 3
MOST_RETRIES: Final = 100
LONGEST_DEADLINE_S: Final = 86_400.0
MOST_REPLICAS: Final = 1_000
_MARKER_GRACE_S: Final = 30.0  # how much later than its deadline a call's bytes may come and still be known

_FIRST_PAUSE_S: Final = 0.05
_PAUSES_GROW: Final = 3.0
_LONGEST_PAUSE_S: Final = 0.5  # else a call with much time would sleep through most of it, or not dare to
_PASSING_ERRORS: Final = (BusyLoadingError, ClusterDownError, MasterDownError, TryAgainError)  # asyncio's redis-py
_PASSING: Final = ("ASK ", "LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN")


@dataclass(frozen=True, slots=True)
class Sending:
    """How the messages of one call are sent, checked once: SENDING_OPTIONS.

    `retries`: how often a call is sent again, within its deadline, where no answer came; `durable`: wait until the
    server has them on its disk, and `durable_replicas` of its replicas have them too.
    """

    retries: int = DEFAULT_RETRIES
    durable: bool = False
    durable_replicas: int = 0

    def __post_init__(self) -> None:
        """Refuse with InvalidJobError what cannot be meant."""
        _check_count("retries", self.retries, MOST_RETRIES)
        _check_count("durable_replicas", self.durable_replicas, MOST_REPLICAS)
        if not isinstance(self.durable, bool):
            raise InvalidJobError(f"durable: {self.durable!r:.100} is neither True nor False")
        if self.durable_replicas and not self.durable:
            raise InvalidJobError("durable_replicas: replicas are waited for with durable=True alone")

    def changed(self, options: Mapping[str, Any]) -> Sending:
        """Change what is given of SENDING_OPTIONS; None is workd's default. Not durable: no replicas."""
        given = {name: options[name] for name in SENDING_OPTIONS if name in options}
        if not given:
            return self
        changes = {name: getattr(_USUAL, name) if value is None else value for name, value in given.items()}
        if not changes.get("durable", self.durable):
            changes.setdefault("durable_replicas", 0)
        return replace(self, **changes)


class Lane:
    """A place from which calls are sent one after the other; used by one call at a time."""

    __slots__ = ("heads", "name", "number")

    def __init__(self) -> None:
        """Begin with no call."""
        self.name = secrets.token_hex(8)
        self.number = 0
        self.heads: dict[str, Command] = {}  # by queue: what commands.py begins each call with


class Lanes:
    """The lanes of one client. Safe for threads: it only appends and pops, which are atomic."""

    __slots__ = ("_idle",)

    def __init__(self) -> None:
        """Begin with none; a forked child makes itself new ones."""
        self._idle: list[Lane] = []

    def take(self) -> Lane:
        """Give a lane for one call, numbered."""
        try:
            lane = self._idle.pop()
        except IndexError:
            lane = Lane()
        lane.number += 1
        return lane

    def give_back(self, lane: Lane) -> None:
        """Take a lane back after a call that was answered; that of any other call is never used again."""
        self._idle.append(lane)


class Attempts:
    """What a call that may be sent several times has to know. Every error is either worth another attempt or raised."""

    __slots__ = ("_deadline", "_doubt", "_left", "_pause_s", "_whole")

    def __init__(self, deadline: Deadline, sending: Sending) -> None:
        """Begin with the one deadline of all attempts."""
        self._deadline = deadline
        self._left = sending.retries
        self._whole = sending.durable  # a disk may take its time
        self._pause_s = _FIRST_PAUSE_S
        self._doubt: ClientError | None = None

    def deadline(self) -> Deadline:
        """Give the next attempt half of the time that is left, and the last one, or one that is durable, all of it."""
        return self._deadline.half() if self._left and not self._whole else self._deadline

    def pause_s(self, error: ClientError) -> float:
        """Say how many seconds to wait until the next attempt; where none is due, raise what is to be told.

        That is the first error which left it open whether the call was done, since whatever came later cannot say
        more; but for NotDurableError, which says that it was.
        """
        if isinstance(error, NotDurableError) or (self._doubt is None and is_in_doubt(error)):
            self._doubt = error
        pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 (spreads those who were cut off together)
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * _PAUSES_GROW)
        if not self._left or not _is_passing(error) or self._deadline.left_s() <= pause_s:
            raise self._doubt or error
        self._left -= 1
        return pause_s


def is_in_doubt(error: ClientError) -> bool:
    """Say whether a command may have been run although this error was raised."""
    return error.in_doubt


def _is_passing(error: ClientError) -> bool:
    """Say whether another attempt may go better: nobody answered, or somebody who said that it will pass."""
    cause = error.__cause__
    will_pass = isinstance(cause, _PASSING_ERRORS) or str(cause).startswith(_PASSING)
    match error:
        case EnqueueTimeoutError():
            return True
        case NotDurableError():  # its cause is a connection that broke under the question
            return cause is not None and not _is_refusal(cause)
        case ServerUnavailableError():
            return will_pass or not _is_refusal(cause)
    return False


def _is_refusal(cause: BaseException | None) -> bool:
    return isinstance(cause, (ResponseError, *REFUSALS))


def _check_count(option: str, value: object, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidJobError(f"{option}: {value!r} is not a whole number from 0 to {most}")


def check_deadline(deadline_s: object) -> None:
    """Refuse with SettingsError a deadline that no call could keep."""
    if type(deadline_s) not in (int, float) or not 0 < deadline_s <= LONGEST_DEADLINE_S:  # type: ignore[operator]
        what = f"{deadline_s!r} is no time for a call: give more than 0 seconds, at most {LONGEST_DEADLINE_S:g}"
        raise SettingsError("deadline_s", what)


def marker_ms(deadline_s: float) -> int:
    """Say how long the marker of a call with this deadline is kept."""
    return int((deadline_s + _MARKER_GRACE_S) * 1000)


_USUAL: Final = Sending()
READING: Final = _USUAL
"""How a command is sent that changes nothing."""
