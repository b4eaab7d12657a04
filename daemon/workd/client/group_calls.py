"""The Redis commands about groups, and the shapes of their answers. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from workd.broker import keys
from workd.client import commands
from workd.errors import GroupEndedError, InvalidJobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workd.client.commands import Command
    from workd.client.group_messages import Envelopes
    from workd.client.groups import Group
    from workd.client.message import Draft
    from workd.errors import ClientError
    from workd.signing import Signing

OUTLIVES_MS: Final = 7 * 86_400_000
"""How long a record is kept beyond its deadline: for so long no daemon may be there to end the group."""
SCAN_MEMBERS: Final = 1000
CANCEL_MS: Final = 30 * 86_400_000
_FIELDS: Final = ("added", "succeeded", "failed", "sealed", "ended")


class GroupProgress(NamedTuple):
    """How far a group is."""

    done: int
    """Members that have ended, in whatever way."""
    total: int
    """Members that have been enqueued; all of them, once `sealed`."""
    succeeded: int
    failed: int
    sealed: bool
    ended: bool
    """Whether its outcome is there: all have ended, or its deadline is over."""


class Call(NamedTuple):
    """One call of the script: some hundred members."""

    first: int
    last: bool
    drafts: list[Draft]
    messages: list[bytes]


def calls(envelopes: Envelopes) -> Iterator[Call]:
    """Cut a group's members into calls; each knows whether it is the last."""
    drafts: list[Draft] = []

    def messages() -> Iterator[bytes]:
        for draft, raw in envelopes.members:
            drafts.append(draft)
            yield raw

    first, held = 0, None
    for chunk in commands.chunks(messages()):
        if held is not None:
            yield Call(first, last=False, drafts=drafts[: len(held)], messages=held)
            del drafts[: len(held)]
            first += len(held)
        held = chunk
    if held is not None:
        yield Call(first, last=True, drafts=drafts[: len(held)], messages=held)


def add(of: Group, envelopes: Envelopes, call: Call, marker_ms: int, signing: Signing | None = None) -> Command:
    """Add members; answers their entry ids, and once: while its marker lives, the call may be sent again."""
    queue, record = envelopes.queue, keys.group(envelopes.queue, envelopes.id)
    words = envelopes.record if call.first == 0 else ()
    return (
        *("EVALSHA", commands.script("group")[1]),
        *(4, keys.stream(queue), record, keys.groups(queue), f"{record}:call"),
        *(envelopes.id, call.first, 1 if call.last else 0, int(of.deadline_s * 1000), OUTLIVES_MS, marker_ms),
        *(len(words), envelopes.whose, *words, *commands.signed(call.messages, signing)),
    )


def told(group_id: str, error: ClientError) -> ClientError:
    """Return what a refusal means."""
    why = str(error.__cause__)
    if why.startswith("GROUPTAKEN"):
        return InvalidJobError(f"id={group_id!r}: there is a group of that id, or was until a while ago")
    return GroupEndedError(group_id) if why.startswith("GROUPENDED") else error


def progress(queue: str, group_id: str) -> Command:
    """Ask how far a group is."""
    return ("HMGET", keys.group(queue, group_id), *_FIELDS)


def read_progress(answer: Sequence[bytes | None]) -> GroupProgress | None:
    """Read the answer; None if nothing is kept of such a group."""
    added, succeeded, failed = (int(number or 0) for number in answer[:3])
    if answer[0] is None:
        return None
    return GroupProgress(succeeded + failed, added, succeeded, failed, answer[3] is not None, answer[4] is not None)


def cancel(queue: str, group_id: str) -> Command:
    """Cancel every member that has not ended."""
    return ("SET", keys.cancel(queue, group_id), "1", "PX", CANCEL_MS)


def hurry_cancel(queue: str, group_id: str) -> Command:
    """Tell daemons of it, which would see it at their next renewal else."""
    return ("PUBLISH", keys.CONTROL, json.dumps({"v": 1, "do": "cancel", "queue": queue, "id": group_id}))


def look_for_scheduled(queue: str, group_id: str, cursor: bytes) -> Command:
    """Look through some of the scheduled jobs for members, in the words in which clients and daemons write them."""
    pattern = f'*"group":{{"id":"{group_id}",*'
    return ("ZSCAN", keys.scheduled(queue), cursor, "MATCH", pattern, "COUNT", SCAN_MEMBERS)


def make_due(queue: str, members_and_scores: Sequence[bytes]) -> Command:
    """Have scheduled jobs be due: who fetches them finds that their group is cancelled. One that is gone stays so."""
    pairs = [word for member in members_and_scores[::2] for word in ("0", member)]
    return ("ZADD", keys.scheduled(queue), "XX", *pairs)
