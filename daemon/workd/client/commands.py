"""The Redis commands a producer sends, and the shapes of their answers.

Owned here: what the synchronous and the asynchronous client say to Redis, as tuples. Both send them over
their own links. Pure, except that the enqueue script is read from its file once.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from workd.broker import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from workd.client.sending import Lane
    from workd.signing import Signing

Command = tuple[str | bytes | int, ...]

# A reply stream nobody refreshes is gone after this long; its reader refreshes it three times as often.
REPLY_TTL_S = 60.0
REFRESH_S = REPLY_TTL_S / 3
TRIM_EVERY = 1_000
READ_COUNT = 500
KEYS_PER_LOOK = 500
MESSAGES_PER_CALL = 500
SCRIPTS = ("enqueue", "group")
BYTES_PER_CALL = 1 << 20


def signed(messages: Sequence[bytes], signing: Signing | None) -> Sequence[str | bytes]:
    """Return messages as the scripts take them: with their signatures, where there is a key to sign with."""
    return messages if signing is None else ("s", *signing.sign_each(messages))


def add(queue: str, message: bytes, signing: Signing | None = None) -> Command:
    """Enqueue one message; answers its entry id."""
    if signing is not None:
        return ("XADD", keys.stream(queue), "*", "m", message, "s", signing.sign(message))
    return ("XADD", keys.stream(queue), "*", "m", message)


def add_many(queue: str, messages: Sequence[str | bytes], *, whole_script: bool) -> Command:
    """Enqueue messages in one call; answers their entry ids, or NOSCRIPT: then send the whole script."""
    source, digest = script("enqueue")
    verb, which = ("EVAL", source) if whole_script else ("EVALSHA", digest)
    return (verb, which, 1, keys.stream(queue), 0, 0, *messages)


def add_marked(queue: str, messages: Sequence[str | bytes], lane: Lane, marker_ms: int) -> Command:
    """Enqueue messages in a call that may be sent again while its marker lives; answers as `add_many`."""
    head = lane.heads.get(queue)
    if head is None:
        head = "EVALSHA", script("enqueue")[1], 2, keys.stream(queue), keys.call(queue, lane.name)
        lane.heads[queue] = head
    return (*head, lane.number, marker_ms, *messages)


def whole_script(command: Command) -> Command:
    """Make of a call of one of this package's scripts by its digest one that brings the script along."""
    source = next(source for source, digest in map(script, SCRIPTS) if digest == command[1])
    return ("EVAL", source, *command[2:])


def result(queue: str, job_id: str) -> Command:
    """Look for one outcome; answers its bytes or None."""
    return ("GET", keys.result(queue, job_id))


def results(queue: str, job_ids: Sequence[str]) -> Command:
    """Look for several outcomes of one queue; answers bytes or None for each."""
    return ("MGET", *(keys.result(queue, job_id) for job_id in job_ids))


def entry(queue: str, job_id: str) -> Command:
    """Look for the first entry of a job whose id is that entry's id; answers a list of at most one."""
    return ("XRANGE", keys.stream(queue), job_id, job_id)


def pending(queue: str, job_id: str) -> Command:
    """Look whether a daemon has fetched that entry; answers a list of at most one."""
    return ("XPENDING", keys.stream(queue), keys.GROUP, job_id, job_id, 1)


def refresh(queue: str, name: str, last_id: str | None) -> tuple[Command, Command]:
    """Make or keep a reply stream: add a marker (answers its id), drop what was read, put off the end."""
    key = keys.reply(queue, name)
    trim = () if last_id is None else ("MINID", "=", last_id)
    return ("XADD", key, *trim, "*", "w", ""), ("PEXPIRE", key, int(REPLY_TTL_S * 1000))


def trim(queue: str, name: str, last_id: str) -> Command:
    """Drop what was read of a reply stream."""
    return ("XTRIM", keys.reply(queue, name), "MINID", "=", last_id)


def wake(queue: str, name: str) -> Command:
    """End a blocked read of a reply stream; makes no stream that is not there."""
    return ("XADD", keys.reply(queue, name), "NOMKSTREAM", "*", "w", "")


def read(name: str, positions: Mapping[str, str], block_s: float) -> Command:
    """Wait for entries of several queues' reply streams, each after its position."""
    streams = (keys.reply(queue, name) for queue in positions)
    return (
        "XREAD",
        "COUNT",
        READ_COUNT,
        "BLOCK",
        max(1, int(block_s * 1000)),
        "STREAMS",
        *streams,
        *positions.values(),
    )


def parse_read(name: str, queues: Iterable[str], answer: Any) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield (queue, entry id, outcome) of what `read` answered; the outcome is None for a marker."""
    queue_of = {keys.reply(queue, name).encode(): queue for queue in queues}
    rows = answer.items() if isinstance(answer, dict) else answer  # RESP3 and RESP2
    for key, entries in rows or ():
        for entry_id, pairs in entries:
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
            yield queue_of[key], entry_id.decode(), fields.get(b"m")


def chunks(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut messages into calls of at most 500 and 1 MiB (a larger message goes alone)."""
    chunk: list[bytes] = []
    size_bytes = 0
    for message in messages:
        if chunk and (len(chunk) == MESSAGES_PER_CALL or size_bytes + len(message) > BYTES_PER_CALL):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(message)
        size_bytes += len(message)
    if chunk:
        yield chunk


def id_chunks(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut ids into looks at `KEYS_PER_LOOK` results each."""
    for start in range(0, len(job_ids), KEYS_PER_LOOK):
        yield job_ids[start : start + KEYS_PER_LOOK]


def is_no_group(error: Exception) -> bool:
    """Say whether a refusal means that the stream has no consumer group: no daemon has been there yet."""
    return str(error.__cause__).startswith("NOGROUP")


@cache
def script(name: str) -> tuple[str, str]:
    """Return the source of one of SCRIPTS, and its digest."""
    source = files(__package__).joinpath(f"{name}.lua").read_text(encoding="utf-8")
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
