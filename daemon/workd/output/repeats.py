"""A rate limit on warnings that say the same again and again, as daemons do in trouble.

The first few are written; from then on one in a while, with `repeated` for how many were left out since the one before.
None is left out for good: when it has become quiet, the last one is written after all. The same means: the same event
of the same task and queue, for the same reason, whatever numbers are in it. Only the daemon's own lines come here,
never those of tasks.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

FREE: Final = 10
PERIOD_S: Final = 30.0
MOST: Final = 256
"""So many kinds of lines are told apart; the kind that was said longest ago makes room."""
LEVELS: Final = frozenset({"warning", "error", "exception"})

_TOLD_APART: Final = ("event", "task", "queue", "reason", "error")
_KIND_CHARS: Final = 200
_NUMBER: Final = re.compile(r"\d+")

Kind = tuple[str, ...]


class _Seen:
    __slots__ = ("held", "last", "said", "said_at")

    def __init__(self) -> None:
        self.said = 0  # in a row, of those that are free
        self.said_at = 0.0
        self.held = 0  # left out since then
        self.last: dict[str, Any] = {}  # the last of those


class Repeats:
    """What was said lately, and what was left out."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now` is a monotonic clock."""
        self._now = now
        self._seen: OrderedDict[Kind, _Seen] = OrderedDict()

    def admit(self, level: str, event: MutableMapping[str, Any]) -> bool:
        """Say whether this line is to be written; sets `repeated` in it if others like it were not."""
        if level not in LEVELS:
            return True
        kind = _kind(level, event)
        seen = self._seen.get(kind)
        if seen is None:
            seen = self._seen[kind] = _Seen()
        now = self._now()
        if seen.said >= FREE and now - seen.said_at < PERIOD_S:
            seen.held += 1
            seen.last = {name: value for name, value in event.items() if name != "exc_info"}
            return False
        if seen.held:
            event["repeated"] = seen.held
        elif now - seen.said_at >= PERIOD_S:
            seen.said = 0
        seen.said += 1
        seen.said_at = now
        seen.held, seen.last = 0, {}
        self._seen.move_to_end(kind)
        return True

    @property
    def is_holding(self) -> bool:
        """Whether anything was left out of which nothing was said since."""
        return any(seen.held for seen in self._seen.values())

    def crowded_out(self) -> list[tuple[str, dict[str, Any]]]:
        """Forget the oldest kinds over the bound; return, level and line, what had been left out of them."""
        told = []
        while len(self._seen) > MOST:
            kind, seen = self._seen.popitem(last=False)
            told += _last_of(kind, seen)
        return told

    def overdue(self, *, all_of_them: bool = False) -> list[tuple[str, dict[str, Any]]]:
        """Return the last line of each kind of which some were left out, and none was written for a while.

        They count as written. `all_of_them`: also those whose time has not come, since the process ends.
        """
        now = self._now()
        told = []
        for kind, seen in self._seen.items():
            if seen.held and (all_of_them or now - seen.said_at >= PERIOD_S):
                told += _last_of(kind, seen)
                seen.said_at = now
                seen.held, seen.last = 0, {}
        return told


def _kind(level: str, event: Mapping[str, Any]) -> Kind:
    return level, *(_NUMBER.sub("#", str(event[name])[:_KIND_CHARS]) if name in event else "" for name in _TOLD_APART)


def _last_of(kind: Kind, seen: _Seen) -> list[tuple[str, dict[str, Any]]]:
    if not seen.held:
        return []
    others = {"repeated": seen.held - 1} if seen.held > 1 else {}
    return [(kind[0], seen.last | others)]
