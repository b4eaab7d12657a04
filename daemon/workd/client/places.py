"""Which of several servers has a command to be sent to, as far as a client knows. Pure but for the clock.

Owned here: what was learned from the Sentinels, or of a Cluster's slots, and which refusals mean that it is out of
date. Used by the links of both kinds of client, which do the asking.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workd.broker.faults import text_of
from workd.broker.slots import holder, read_slots, slot_of
from workd.client.connection import REFUSALS
from workd.errors import ServerUnavailableError

if TYPE_CHECKING:
    from workd import redis_url
    from workd.broker.slots import Address
    from workd.client.commands import Command

SEED_S: Final = 1.0
"""How long one seed may take to answer."""
FRESH_S: Final = 1.0
"""How long an answer of the Sentinels is believed: a master that was replaced takes writes, and loses them, until it
hears of that, some ten seconds later."""
_PAUSE_S: Final = 0.05
_ELSEWHERE: Final = ("MOVED ", "ASK ", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")
_KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3, "XREAD": 6}  # XREAD COUNT n BLOCK ms STREAMS key


class Places:
    """The servers of one URL."""

    def __init__(self, several: redis_url.Several) -> None:
        """Know nothing but the seeds."""
        self.is_cluster = several.kind == "cluster"
        self._several = several
        self._master: Address | None = None
        self._asked_at_s = -FRESH_S
        self._ranges: list[tuple[int, int, Address]] = []
        self._by_slot: dict[int, Address] = {}

    def url_for(self, command: Command) -> str | None:
        """Return the URL of the server that has to have this command; None: a seed has to be asked first."""
        if self.is_cluster:
            address = self._holder_of(slot_of(_key(command)))
        else:
            address = self._master if time.monotonic() - self._asked_at_s < FRESH_S else None
        return None if address is None else self._several.node_url(*address)

    def last_url(self) -> str | None:
        """Return the URL of the last known master, for when nobody can be asked."""
        return None if self._master is None else self._several.node_url(*self._master)

    def seeds(self) -> list[tuple[str, str]]:
        """Return host and URL of each server that may be asked, in an order of chance."""
        if not self.is_cluster:
            found = [(host, self._several.sentinel_url(host, port)) for host, port in self._several.seeds]
        else:
            nodes = {*self._several.seeds, *(node for _, _, node in self._ranges)}
            found = [(host, self._several.node_url(host, port)) for host, port in nodes]
        return random.sample(found, len(found))

    def master_urls(self) -> list[str]:
        """Return the URLs of all servers of a Cluster that hold slots, as far as they are known."""
        return sorted({self._several.node_url(*node) for first, _, node in self._ranges if first >= 0})

    def question(self) -> Command:
        """Return what to ask a seed."""
        return (
            ("CLUSTER", "SLOTS") if self.is_cluster else ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._several.service)
        )

    def learn(self, answer: Any, asked_host: str) -> str | None:
        """Take what a seed has answered; a text says that it knows nothing."""
        if answer is None:
            return f"knows no master of the name {self._several.service!r}"
        if self.is_cluster:
            self._ranges = read_slots(answer, asked_host)
            self._by_slot = {}
        else:
            self._master, self._asked_at_s = (answer[0].decode(), int(answer[1])), time.monotonic()
        return None

    def forget(self) -> None:
        """Ask again before the next command. The nodes themselves stay known, as seeds."""
        self._by_slot = {}
        self._ranges = [(-1, -1, node) for node in {node for _, _, node in self._ranges}]
        self._master = None

    def _holder_of(self, slot: int) -> Address | None:
        address = self._by_slot.get(slot) or holder(self._ranges, slot)
        if address is not None:
            self._by_slot[slot] = address
        return address


def pause_before_again_s(error: Exception, *, moved_before: bool = False) -> float | None:
    """Say after how many seconds a command may go to another server; None where that is no use, or not safe.

    It is where this one has not carried it out, and said so, or never got it. `moved_before`: the map asked for then
    has not led there either; in a failover nodes hear of it one by one, and name each other for a while.
    """
    if not isinstance(error, ServerUnavailableError) or error.in_doubt:
        return None
    cause = error.__cause__
    if isinstance(cause, ResponseError):
        text = text_of(cause)
        at_once = text.startswith("MOVED ") and not moved_before
        return (0.0 if at_once else _PAUSE_S) if text.startswith(_ELSEWHERE) else None
    is_lost = isinstance(cause, RedisConnectionError | RedisTimeoutError | OSError) and not isinstance(cause, REFUSALS)
    return _PAUSE_S if is_lost else None


def _key(command: Command) -> str | bytes:
    """Return the key of a command, or whatever stands in its place: one without may go anywhere."""
    key = command[_KEY_AT.get(str(command[0]), 1)] if len(command) > 1 else ""
    return str(key) if isinstance(key, int) else key
