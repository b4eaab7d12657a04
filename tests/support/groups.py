"""Groups for the broker's tests: made as a client makes them, settled as a daemon settles their members."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.jobs import QUEUE, bury, finish
from workd.broker import keys
from workd.broker.kinship import Kin
from workd.client import commands, group_calls
from workd.client.group_messages import Writer
from workd.client.groups import Group, step
from workd.client.message import JobOptions

if TYPE_CHECKING:
    from workd.broker.entries import Entry
    from workd.broker.ops import Settlement
    from workd.client.group_messages import Envelopes

GROUP = "g"


def group_of(count: int, **options: Any) -> Group:
    """Return a group of so many members, called `g`."""
    said: dict[str, Any] = {"id": GROUP, "deadline_s": 60.0}
    return Group([step("square", number) for number in range(count)], **(said | options))


def written(of: Group, reply_name: str = "r") -> Envelopes:
    """Return what a client makes of a group."""
    return Writer(JobOptions(), QUEUE, reply_name).write_group(of)


def enqueue(client: Any, of: Group, reply_name: str = "r") -> list[str]:
    """Enqueue a group as a client does, and return its members' entry ids."""
    envelopes = written(of, reply_name)
    ids: list[str] = []
    for call in group_calls.calls(envelopes):
        ids += send(client, of, envelopes, call)
    return ids


def send(client: Any, of: Group, envelopes: Envelopes, call: group_calls.Call) -> list[str]:
    """Make one of the calls."""
    command = commands.whole_script(group_calls.add(of, envelopes, call, marker_ms=60_000))
    return [entry_id.decode() for entry_id in client.execute_command(*command)]


def member(entry: Entry, index: int, *, succeeded: bool = True, **changes: Any) -> Settlement:
    """Return the settlement of a member."""
    kin = Kin(entry.id or entry.entry_id, GROUP, index, succeeded, **changes.pop("kin", {}))
    how = finish if succeeded else bury
    return how(entry, **({"kin": kin} | changes))


def counted(client: Any) -> tuple[int, int]:
    """Return how many members have succeeded, and how many have failed."""
    found = client.hmget(keys.group(QUEUE, GROUP), "succeeded", "failed")
    return int(found[0]), int(found[1])


def outcome(client: Any) -> dict[str, Any]:
    """Return the group's outcome."""
    found: dict[str, Any] = json.loads(client.get(keys.result(QUEUE, GROUP)))
    return found


def messages(client: Any) -> list[dict[str, Any]]:
    """Return the messages in the stream."""
    return [json.loads(fields[b"m"]) for _, fields in client.xrange(keys.stream(QUEUE))]


def past_deadline(client: Any) -> None:
    """Have the group's deadline be over."""
    client.zadd(keys.groups(QUEUE), {GROUP: 1})
