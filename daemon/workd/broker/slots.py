"""The slots of a Cluster: which one a key is in, and which node has it. Pure; used by the daemon and the clients."""

from typing import Any, Final, TypeAlias

from redis.crc import key_slot

Address: TypeAlias = tuple[str, int]
"""Host and port."""

SLOTS: Final = 16_384


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key: that of its hash tag, if it has one."""
    slot: int = key_slot(key.encode() if isinstance(key, str) else key, SLOTS)
    return slot


def read_slots(reply: Any, asked_host: str) -> list[tuple[int, int, Address]]:
    """Return first slot, last slot and master of each range in an answer to CLUSTER SLOTS.

    A node that does not know its own name, or is told to give none, is where we have asked.
    """
    ranges = []
    for first, last, (host, port, *_), *_ in reply:
        name = b"" if host in (None, b"?") else host
        ranges.append((first, last, (name.decode() or asked_host, port)))
    return ranges


def holder(ranges: list[tuple[int, int, Address]], slot: int) -> Address | None:
    """Return the node that has a slot; None while nobody has it."""
    return next((node for first, last, node in ranges if first <= slot <= last), None)
