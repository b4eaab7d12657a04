"""Messages on their way to Redis: once, within one deadline, and for sure where that was asked for.

Owned here: the lanes of a synchronous client, and what it knows of its server's disk. Called by the client's core.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import NoScriptError

from workd.client import commands, durability
from workd.client.connection import Deadline
from workd.client.sending import READING, Attempts, Lanes, marker_ms
from workd.errors import ClientError, NotDurableError
from workd.tracing import sending as traces
from workd.tracing.names import has_provider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.commands import Command
    from workd.client.link import Link
    from workd.client.message import Draft
    from workd.signing import Signing

T = TypeVar("T")


class Sender:
    """Adds messages to streams. Safe for threads; a forked child makes itself a new one."""

    def __init__(self, link: Link, signing: Signing | None = None) -> None:
        """Send over this link, signed where there is a key."""
        self._link = link
        self.signing = signing
        self._lanes = Lanes()
        self._marker_ms = marker_ms(link.deadline_s)
        self._with_disk: set[str] = set()  # queues whose server was asked, and did not refuse to answer for its disk

    def add(self, draft: Draft, messages: Sequence[bytes]) -> list[bytes]:
        """Add the messages of one call and return their entry ids.

        Raises ServerUnavailableError, EnqueueTimeoutError, NotDurableError.
        """
        if not has_provider() or "trace" in draft.fields:
            return self._add(draft, messages)
        with traces.sending(draft.target.name, draft.queue, len(messages)) as sent:
            entry_ids = self._add(draft, sent.marked(messages))
            sent.became(draft.job_ids(entry_ids))
            return entry_ids

    def _add(self, draft: Draft, messages: Sequence[bytes]) -> list[bytes]:
        sending = draft.sending
        if not sending.retries and not sending.durable:
            return self._add_once(draft.queue, messages)
        deadline = Deadline(self._link.deadline_s)
        if sending.durable:
            self._require_disk(draft.queue, deadline)
        lane = self._lanes.take()
        command = commands.add_marked(draft.queue, commands.signed(messages, self.signing), lane, self._marker_ms)
        attempts = Attempts(deadline, sending)
        try:
            entry_ids = self._call(draft, command, attempts.deadline())
        except (ClientError, NoScriptError) as error:
            entry_ids = self._again(draft, command, attempts, error)
        self._lanes.give_back(lane)
        return entry_ids

    def send(self, draft: Draft, command: Command) -> list[bytes]:
        """Add the messages of a call of a script that tells by itself a second time from the first; as `add`."""
        deadline = Deadline(self._link.deadline_s)
        if draft.sending.durable:
            self._require_disk(draft.queue, deadline)
        attempts = Attempts(deadline, draft.sending)
        try:
            return self._call(draft, command, attempts.deadline())
        except (ClientError, NoScriptError) as error:
            return self._again(draft, command, attempts, error)

    def _again(self, draft: Draft, command: Command, attempts: Attempts, error: Exception) -> list[bytes]:
        while True:
            if isinstance(error, ClientError):
                time.sleep(attempts.pause_s(error))
            else:  # NOSCRIPT: the server has been restarted, or never had it; nothing was run
                command = commands.whole_script(command)
            try:
                return self._call(draft, command, attempts.deadline())
            except (ClientError, NoScriptError) as failed:
                error = failed

    def _add_once(self, queue: str, messages: Sequence[bytes]) -> list[bytes]:
        if len(messages) == 1:
            return [self._link.call(commands.add(queue, messages[0], self.signing))]
        words = commands.signed(messages, self.signing)
        try:
            ids: list[bytes] = self._link.call(commands.add_many(queue, words, whole_script=False))
        except NoScriptError:
            ids = self._link.call(commands.add_many(queue, words, whole_script=True))
        return ids

    def _call(self, draft: Draft, command: Command, deadline: Deadline) -> list[bytes]:
        sending = draft.sending
        if not sending.durable:
            plain: list[bytes] = self._link.call(command, deadline)
            return plain
        entry_ids, answers = self._link.call_followed(command, durability.questions(sending), deadline)
        if why := durability.doubt(sending, answers):
            raise NotDurableError(why, draft.job_ids(entry_ids)) from durability.failure(answers)
        return entry_ids  # type: ignore[no-any-return]  # answers of Redis have no types

    def _require_disk(self, queue: str, deadline: Deadline) -> None:
        """Refuse before anything is queued what could only be regretted afterwards."""
        if queue in self._with_disk:
            return
        _, answers = self._link.call_followed(*durability.probe(queue), deadline)
        durability.raise_if_refused(answers)
        self._with_disk.add(queue)


def persistently(read: Callable[[Deadline], T], span_s: float) -> T:
    """Call what changes nothing until it is answered, as long as that makes sense; raises what it raised."""
    attempts = Attempts(Deadline(span_s), READING)
    while True:
        try:
            return read(attempts.deadline())
        except ClientError as error:
            time.sleep(attempts.pause_s(error))
