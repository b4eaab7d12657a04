"""Enqueueing chains and groups by way of a synchronous client's core. Called by `Client`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from workd.client import group_calls
from workd.client.group_handle import GroupHandle, job_of
from workd.client.handle import Handle, Job
from workd.errors import ClientError, EnqueueTimeoutError, ServerUnavailableError

if TYPE_CHECKING:
    from workd.client.core import Core
    from workd.client.group_calls import Call
    from workd.client.group_messages import Envelopes, Writer
    from workd.client.groups import Group, Work


def enqueue_chain(core: Core, writer: Writer, work: Work) -> Handle[Any]:
    """Send the first step's message, which has the others in it."""
    draft, raw = writer.write(work)
    return core.enqueue(draft, raw)


def enqueue_group(core: Core, writer: Writer, of: Group) -> GroupHandle:
    """Send a group, some hundred members to a call."""
    envelopes = writer.write_group(of)
    mark = core.replies.mark(envelopes.queue)
    members: list[Handle[Any]] = []
    try:
        for call in group_calls.calls(envelopes):
            ids = _add(core, of, envelopes, call)
            members += [
                Handle(core, Job.of(draft, entry_id, core.replies, mark))
                for draft, entry_id in zip(call.drafts, ids, strict=True)
            ]
    except ClientError as error:
        error.add_note(
            f"{len(members)} members of group {envelopes.id} had been queued before; it ends at its deadline"
        )
        raise
    whole = job_of(envelopes, core.replies, mark)
    callback = envelopes.callback
    ending: Handle[Any] | None = None if callback is None else Handle(core, Job.of(callback, "", core.replies, mark))
    return GroupHandle(core, whole, members, ending)


def _add(core: Core, of: Group, envelopes: Envelopes, call: Call) -> list[str]:
    """Make one call; again if its answer was lost, since the script then gives the answer that it gave."""
    try:
        answer = _call(core, of, envelopes, call)
    except (ServerUnavailableError, EnqueueTimeoutError):
        answer = _call(core, of, envelopes, call)
    return group_calls.read_added(envelopes.id, answer)


def _call(core: Core, of: Group, envelopes: Envelopes, call: Call) -> Any:
    try:
        return core.link.call(group_calls.add(of, envelopes, call, whole_script=False))
    except NoScriptError:  # the server has been restarted, or never had it; nothing was run
        return core.link.call(group_calls.add(of, envelopes, call, whole_script=True))
