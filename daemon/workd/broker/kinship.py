"""What a settlement says beside its own job's end: to its group, which counts it, and to the next step of its chain.

Pure. Made by `kin.py` for the few jobs that have kin; `ops.pack` puts it before the job in the arguments of
`scripts/settle.lua`.
"""

from typing import NamedTuple

Argument = str | bytes | int | float


class Post(NamedTuple):
    """What has to be brought into another queue before the job is settled: `scripts/post.lua`."""

    queue: str
    id: str
    """The next step's id, or the chain's."""
    message: bytes = b""
    """The next step; empty: the chain has ended."""
    signature: bytes = b""
    outcome: bytes = b""
    result_ttl_s: float = 0.0
    reply_to: str | None = None
    chain: str = ""
    """The chain's name in that queue."""
    number: int = 0
    """Which step after the first this brings."""
    course: str = ""
    """`> <queue>`: it has been brought there, and this only tells the queue where the chain began; `cancel`: nothing is
    brought but the wish that the chain be cancelled; else empty."""
    source: str = ""
    """Which run of the last step brings the chain's end, by queue and entry: one that dies before it is settled is run
    again and brings it once more, a dead letter that is replayed brings another."""


class Kin(NamedTuple):
    """What the end of a job means for its group and its chain."""

    result_id: str
    """Under which id the outcome is kept: its own, or that of its chain."""
    group_id: str = ""
    member: int = 0
    succeeded: bool = False
    head: bytes = b""
    """Its outcome, if its group keeps them, as JSON: what is kept in any case, without the closing brace …"""
    body: bytes = b"}"
    """… and what is left out where there is no room."""
    following: bytes = b""
    """The next step, a message for the same queue."""
    following_signature: bytes = b""
    post: Post | None = None
    chain: str = ""
    """The chain's name in the job's queue; empty if it is in none."""
    course: str = ""
    """Which step is next, and where: see `scripts/settle.lua`; empty: the chain has ended."""
    note: Post | None = None
    """What the queue where the chain began is told beside `post`."""


def pack(entry_id: str, kin: Kin | None) -> tuple[Argument, ...]:
    """Return what precedes a job in the arguments of a batch; nothing for one without kin."""
    if kin is None:
        return ()
    how = b"succeeded" if kin.succeeded else b"failed"
    end = (kin.head, kin.body, kin.following, kin.chain, kin.course, kin.following_signature)
    return ("k", entry_id, kin.result_id, kin.group_id, kin.member, how, *end)
