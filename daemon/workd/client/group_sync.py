"""Enqueueing chains and groups by way of a synchronous client's core. Called by `Client`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workd.client import group_calls
from workd.client.group_handle import GroupHandle, job_of
from workd.client.handle import Handle, Job
from workd.client.sending import marker_ms
from workd.errors import ClientError
from workd.tracing import sending as traces

if TYPE_CHECKING:
    from workd.client.core import Core
    from workd.client.group_messages import Writer
    from workd.client.groups import Group, Work


def enqueue_chain(core: Core, writer: Writer, work: Work) -> Handle[Any]:
    """Send the first step's message, which has the others in it."""
    draft, raw = writer.write(work)
    return core.enqueue(draft, raw)


def enqueue_group(core: Core, writer: Writer, of: Group) -> GroupHandle:
    """Send a group, in a span of its own if somebody wants one."""
    if not writer.is_traced:
        return _enqueue_group(core, writer, of)
    with traces.sending("group", "") as sent:
        handle = _enqueue_group(core, writer.under(sent.carrier), of)
        sent.into(handle.queue, len(handle.members))
        return handle


def _enqueue_group(core: Core, writer: Writer, of: Group) -> GroupHandle:
    """Send a group, some hundred members to a call."""
    envelopes = writer.write_group(of)
    mark = core.replies.mark(envelopes.queue)
    members: list[Handle[Any]] = []
    try:
        for call in group_calls.calls(envelopes):
            marker = marker_ms(core.link.deadline_s)
            command = group_calls.add(of, envelopes, call, marker, core.sender.signing)
            ids = core.sender.send(call.drafts[0], command)
            members += [
                Handle(core, Job.of(draft, entry_id.decode(), core.replies, mark))
                for draft, entry_id in zip(call.drafts, ids, strict=True)
            ]
    except ClientError as failed:
        error = group_calls.told(envelopes.id, failed)
        error.add_note(
            f"{len(members)} members of group {envelopes.id} had been queued before; it ends at its deadline"
        )
        raise error from failed.__cause__
    whole = job_of(envelopes, core.replies, mark)
    callback = envelopes.callback
    ending: Handle[Any] | None = None if callback is None else Handle(core, Job.of(callback, "", core.replies, mark))
    return GroupHandle(core, whole, members, ending)
