"""The administration's parts over any store: by a client's link, or, where there is no server, by fakeredis itself."""

from typing import Any

from support.stores import Store
from workd.client.dead_letters import DeadLetters
from workd.client.links import link_to
from workd.client.queue_care import QueueCare

DEADLINE_S = 10.0


class _Asked:
    """Sends commands by redis-py, which reshapes the answers of some; those of scripts it leaves alone."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, command: tuple[Any, ...]) -> Any:
        return self._client.execute_command(*map(_without_flags, command))

    def each(self) -> list["_Asked"]:
        return [self]


def _without_flags(word: Any) -> Any:
    """Turn the first line of a script, which fakeredis takes for Lua, into a comment."""
    return b"--lua " + word[6:] if isinstance(word, bytes) and word[:6] == b"#!lua " else word


def link(store: Store) -> Any:
    """Return what asks this store."""
    return link_to(store.url, DEADLINE_S) if store.server is not None else _Asked(store.client())


def dead_letters(store: Store) -> DeadLetters:
    """Return the dead letters of this store."""
    return DeadLetters(link(store))


def queue_care(store: Store) -> QueueCare:
    """Return the care of this store's queues."""
    return QueueCare(link(store))
