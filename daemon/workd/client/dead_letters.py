"""Dead letters: look at them, send them again, mend them first, or throw them away.

Made by `Admin`. All that is done is done by one script (`dead_letters.lua`) in slices of at most 500 letters, so that
no call holds Redis up, and an end in the middle leaves every letter either dead or queued, never both and never
neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from workd import wire
from workd.broker import keys
from workd.client import dead_letter, scripts
from workd.client.message import check_queue, is_text
from workd.errors import DeadLetterError, InvalidJobError, InvalidMessageError, UnknownVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.dead_letter import DeadLetter
    from workd.client.scripts import Asks
    from workd.signing import Signing

SLICE: Final = 500
"""Letters that one call looks at, at the most."""
SLICE_BYTES: Final = 8 << 20
CLAIM_MS: Final = 30 * 86_400_000
SHOWN_BYTES: Final = 2_000
_MAX_NUMBER: Final = 2**64 - 1  # either half of an id of Redis
_DIGITS: Final = len(str(_MAX_NUMBER))
_ALL_BYTES: Final = 1 << 40
_REPLAY_HELD: Final = "another job with its id is queued, scheduled or running"
_REPLAY_EMPTY: Final = "it has no message, only the fields of an entry that had none: mend it"


@dataclass(frozen=True, slots=True)
class Where:
    """Which dead letters: all that are given have to hold. `since` and `until` are epoch seconds of the death."""

    reason: str = ""
    task: str = ""
    id: str = ""
    text: str = ""
    """What the error (type, message or traceback) contains; in capitals or not."""
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        """Refuse what can match nothing: InvalidJobError names the field."""
        if self.reason and self.reason not in set(wire.DeadReason):
            known = ", ".join(wire.DeadReason)
            raise InvalidJobError(f"reason: {self.reason!r} is none; there are {known}")
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1e11:  # noqa: PLR2004  (also refuses NaN; above are milliseconds)
                raise InvalidJobError(f"{name}: {value!r} is no time in epoch seconds")
        for name in ("task", "id", "text"):
            if not is_text(getattr(self, name)):
                raise InvalidJobError(f"{name}: {getattr(self, name)!r} cannot be written as UTF-8")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InvalidJobError("since is after until: nothing can be between them")

    @property
    def low(self) -> str:
        """The lowest entry id to look at."""
        return "-" if self.since is None else f"{int(self.since * 1000)}-0"

    @property
    def high(self) -> str:
        """The highest entry id to look at."""
        return "+" if self.until is None else str(int(self.until * 1000))


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters; `after` is what to ask the next page with, None if there is none."""

    letters: list[DeadLetter]
    after: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a replay or a purge has come."""

    looked: int = 0
    done: int = 0
    held: int = 0
    """Not replayed: another job has its id."""
    empty: int = 0
    """Not replayed: it has no message."""


class _Slice(NamedTuple):
    last: str
    looked: int
    matched: int
    held: int
    empty: int
    rows: Sequence[Any]


class _Terms(NamedTuple):
    """How a call of the script goes about it."""

    newest: bool = False
    looks: int = SLICE
    matches: int = SLICE
    shown_bytes: int = 0
    message: bytes = b""
    job_id: str = ""
    signature: bytes = b""


_OLDEST_FIRST: Final = _Terms()


class DeadLetters:
    """The dead letters of all queues of one Redis. Safe for threads."""

    def __init__(self, link: Asks, signing: Signing | None = None) -> None:
        """Use `Admin.dead`."""
        self._link = link
        self._signing = signing

    def count(self, queue: str, where: Where | None = None) -> int:
        """Count those that match."""
        where = where or Where()
        matched, low, done = 0, where.low, False
        while not done:
            part = self._ask(queue, "count", where, (low, where.high))
            matched += part.matched
            low, done = f"({part.last}", not part.last
        return matched

    def page(
        self,
        queue: str,
        where: Where | None = None,
        *,
        limit: int = 50,
        after: str | None = None,
        shown_bytes: int = SHOWN_BYTES,
    ) -> Page:
        """Return the newest that match, at most `limit`; `after` is the former page's.

        Of each message no more than `shown_bytes` are fetched; `get` brings all of it.
        """
        where = where or Where()
        letters: list[DeadLetter] = []
        while len(letters) < max(1, limit):
            high = where.high if after is None else f"({_checked_id(after)}"
            wanted = limit - len(letters)
            terms = _Terms(newest=True, matches=min(max(1, wanted), SLICE), shown_bytes=shown_bytes)
            part = self._ask(queue, "list", where, (where.low, high), terms)
            letters += [dead_letter.read(queue, row) for row in part.rows]
            after = part.last or None
            if after is None:
                break
        return Page(letters, after)

    def get(self, queue: str, entry_id: str) -> DeadLetter:
        """Return one, with its whole message. Raises DeadLetterError if it is not there (any more)."""
        one = _checked_id(entry_id)
        part = self._ask(queue, "list", Where(), (one, one), _Terms(shown_bytes=_ALL_BYTES))
        if not part.rows:
            raise DeadLetterError(queue, one, "it is not there: replayed, purged or trimmed meanwhile?")
        return dead_letter.read(queue, part.rows[0])

    def replay(self, queue: str, entry_id: str) -> None:
        """Put one job into its queue again, as it was sent, with its id and with fresh counters.

        Raises DeadLetterError if it is not there (any more), has no message, or another job has its id.
        """
        self._replay_one(queue, _checked_id(entry_id), "replay")

    def edit(self, queue: str, entry_id: str, message: bytes) -> None:
        """Put one job into its queue again with another message; its id stays, unless the message names one.

        It is signed anew where there is a `signing_key`; its old signature would not fit. Raises
        InvalidJobError (nothing was done) if a daemon would refuse the message, else as `replay`.
        """
        envelope = _checked(message)
        self._replay_one(queue, _checked_id(entry_id), "edit", message, envelope.id or "")

    def replay_all(self, queue: str, where: Where | None = None, progress: Callable[[Tally], object] = bool) -> Tally:
        """Put all that match into the queue again, the oldest first; what dies meanwhile is left alone.

        `progress` is called after each slice.
        """
        return self._all(queue, "replay", where or Where(), progress)

    def purge(self, queue: str, entry_id: str) -> bool:
        """Throw one away for good; False if it was not there."""
        one = _checked_id(entry_id)
        return self._ask(queue, "purge", Where(), (one, one)).matched > 0

    def purge_all(self, queue: str, where: Where | None = None, progress: Callable[[Tally], object] = bool) -> Tally:
        """Throw all that match away for good; what dies meanwhile is left alone."""
        return self._all(queue, "purge", where or Where(), progress)

    def _replay_one(self, queue: str, entry_id: str, verb: str, message: bytes = b"", job_id: str = "") -> None:
        signature = self._signing.sign(message) if message and self._signing is not None else b""
        terms = _Terms(message=message, job_id=job_id, signature=signature)
        part = self._ask(queue, verb, Where(), (entry_id, entry_id), terms)
        for happened, why in (
            (part.held, _REPLAY_HELD),
            (part.empty, _REPLAY_EMPTY),
            (not part.matched, "it is not there: replayed, purged or trimmed meanwhile?"),
        ):
            if happened:
                raise DeadLetterError(queue, entry_id, why)

    def _all(self, queue: str, verb: str, where: Where, progress: Callable[[Tally], object]) -> Tally:
        newest = self._ask(queue, "list", Where(), ("-", where.high), _Terms(newest=True, looks=1))
        tally, low = Tally(), where.low
        if not newest.rows:
            return tally
        high = newest.rows[0][0].decode()  # what is replayed may die again before we are done
        while True:
            part = self._ask(queue, verb, where, (low, high))
            tally = Tally(
                tally.looked + part.looked,
                tally.done + part.matched - part.held - part.empty,
                tally.held + part.held,
                tally.empty + part.empty,
            )
            progress(tally)
            if not part.last:
                return tally
            low = f"({part.last}"

    def _ask(self, queue: str, verb: str, where: Where, span: tuple[str, str], terms: _Terms = _OLDEST_FIRST) -> _Slice:
        check_queue(queue)
        # As it stands in the JSON of the error; only ASCII is without capitals for Lua.
        text = json.dumps(where.text, ensure_ascii=False)[1:-1].encode().lower()
        last, looked, matched, held, empty, rows = scripts.call(
            self._link,
            "dead_letters",
            (keys.dead(queue), keys.stream(queue)),
            *(verb, *span, "newest" if terms.newest else "oldest", where.reason, where.task, where.id, text),
            *(terms.looks, terms.matches, SLICE_BYTES, keys.prefix(queue), CLAIM_MS, terms.shown_bytes),
            *(terms.message, terms.job_id, terms.signature),
        )
        return _Slice(last.decode(), looked, matched, held, empty, rows)


def _checked(message: bytes) -> wire.Envelope:
    try:
        return wire.decode(message)
    except (InvalidMessageError, UnknownVersionError) as error:
        raise InvalidJobError(f"{error}; nothing was changed") from None


def _checked_id(entry_id: str) -> str:
    """Refuse what is no id of a dead letter, such as a job's own name, before Redis does in other words."""
    first, dash, second = entry_id.partition("-")
    if not (dash and _is_number(first) and _is_number(second)):
        raise InvalidJobError(f"{entry_id!r} is no id of a dead letter, such as 1893456000000-0 (see its list)")
    return entry_id


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text[: _DIGITS + 1]) <= _MAX_NUMBER
