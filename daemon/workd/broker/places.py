"""Which of a queue's fixed keys holds another type, after a command has met one. Used by the session."""

from collections.abc import Sequence
from typing import Final

from redis.exceptions import RedisError

from workd.broker import keys
from workd.broker.link import Link
from workd.errors import BrokerUnavailableError, WrongKeyTypeError

_TYPES: Final = {
    keys.stream: b"stream",
    keys.leases: b"hash",
    keys.scheduled: b"zset",
    keys.dead: b"stream",
    keys.inbox: b"list",
}


async def look_for_wrong_key(link: Link, url: str, queues: Sequence[str]) -> None:
    """Raise `WrongKeyTypeError` for the first of them, if there is one; `url` is masked already."""
    for queue in queues:
        for place, wanted in _TYPES.items():
            try:
                kind = await link.call(b"TYPE", place(queue))
            except (RedisError, OSError) as error:
                message = f"Redis at {url} went away while looking for a key of the wrong type"
                raise BrokerUnavailableError(message) from error
            if kind not in (b"none", wanted):
                raise WrongKeyTypeError(place(queue), wanted.decode())
