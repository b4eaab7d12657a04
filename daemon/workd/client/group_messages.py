"""What steps, chains and groups become: messages, and the record of a group.

Owned here: which ties between jobs are refused, with the reason. Called by the clients before anything is sent. Pure:
no I/O.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from itertools import chain as concatenated
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import to_json

from workd import wire
from workd.client import message
from workd.client.groups import Chain
from workd.errors import InvalidJobError, InvalidMessageError
from workd.steps import MAX_MEMBERS, MAX_STEPS
from workd.tracing.names import has_provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workd.client.groups import Group, Step, Work
    from workd.client.message import Draft, JobOptions
    from workd.client.sending import Sending
    from workd.signing import Signing

OUTCOME_BYTES: Final = 512 * 1024
"""How much of its members' outcomes a group keeps: with the callback they are one message."""
MAX_OUTCOMES: Final = 5_000
MAX_CALLBACK_BYTES: Final = 128 * 1024

_OF_THE_CHAIN: Final = ("id", "result_ttl", "meta", "trace")


class Envelopes(NamedTuple):
    """The messages of a group, made as they are asked for, and what its record has to say."""

    id: str
    queue: str
    record: tuple[str | bytes, ...]
    members: Iterator[tuple[Draft, bytes]]
    callback: Draft | None
    whose: str
    """A word that tells this group from another of the same id."""
    kept: bool
    """Whether the group's outcome is."""


class Writer:
    """Makes messages under the options of one client's view."""

    def __init__(
        self,
        options: JobOptions,
        client_queue: str,
        reply_name: str,
        sending: Sending | None = None,
        signing: Signing | None = None,
    ) -> None:
        """`client_queue` is for tasks that name none; `signing` signs callbacks, what is sent is its sender's."""
        self._options = options
        self._client_queue = client_queue
        self._reply_name = reply_name
        self._sending = sending
        self._signing = signing
        self._drafts = message.Drafts(options, client_queue, sending)

    @property
    def is_traced(self) -> bool:
        """Whether somebody may want a span of what is written, and has not said which trace it belongs to."""
        return has_provider() and self._options.trace is None

    def under(self, carrier: dict[str, str]) -> Writer:
        """Return a writer whose messages, later steps and callbacks belong to this trace, but for those that say."""
        options = replace(self._options, trace=carrier or None)
        return Writer(options, self._client_queue, self._reply_name, self._sending, self._signing)

    def write(self, work: Work) -> tuple[Draft, bytes]:
        """Return the message of a job or a chain, and the draft of its end: the first step's, the last one's type."""
        first, *later = work.steps if isinstance(work, Chain) else (work,)
        draft = self._draft(first)
        raw = message.build(draft, first.args, first.kwargs)
        if not later:
            return draft, raw
        if len(later) > MAX_STEPS:
            raise InvalidJobError(f"a chain of {len(later) + 1} steps: {MAX_STEPS + 1} are the most")
        steps, last = self._later(draft.queue, later)
        raw = b"".join((raw[:-1], b',"then":[', b",".join(steps), b"]}"))
        _check(draft.target.name, raw)
        return replace(draft, target=replace(draft.target, adapter=last.adapter)), raw

    def write_group(self, of: Group) -> Envelopes:
        """Return what a group becomes. Raises InvalidJobError, for a member when it is its turn."""
        message.refuse_own_id(self._options.id)
        group_id = of.id or secrets.token_hex(12)
        members = iter(of.members)
        first = next(members, None)
        if first is None:
            raise InvalidJobError("a group needs a member: with none there is nothing to wait for")
        draft, raw = self.write(first)
        before, after, callback = self._callback(of.then, group_id, draft.queue)
        ttl_s = message.DEFAULT_RESULT_TTL_S if self._options.result_ttl is None else self._options.result_ttl
        record: dict[str, str | bytes] = {
            "ttl": str(int(ttl_s * 1000)),
            "reply_to": self._reply_name if ttl_s > 0 else "",
            "cancel_rest": "1" if of.cancel_rest else "",
            "room": str(OUTCOME_BYTES) if of.results else "",
            "before": before,
            "after": after,
        }
        if callback is not None and self._signing is not None:
            record["s"] = self._signing.sign_callback(before, after)
        words = tuple(word for pair in record.items() for word in pair)
        rest = self._members(of, group_id, draft.queue, (draft, raw), members)
        return Envelopes(group_id, draft.queue, words, rest, callback, secrets.token_hex(8), kept=ttl_s > 0)

    def _members(
        self, of: Group, group_id: str, queue: str, first: tuple[Draft, bytes], others: Iterator[Work]
    ) -> Iterator[tuple[Draft, bytes]]:
        most = MAX_OUTCOMES if of.results else MAX_MEMBERS
        head = f',"group":{{"id":"{group_id}","index":'.encode()
        tail = b',"outcomes":true}}' if of.results else b"}}"
        written = concatenated((first,), map(self.write, others))
        for index, (draft, raw) in enumerate(written):
            if index >= most:
                hint = "; take them from their handles instead of `results=True`" if of.results else ""
                raise InvalidJobError(f"a group of more than {most} members{hint}")
            _refuse_in_group(draft, raw, index, queue)
            yield draft, b"".join((raw[:-1], head, b"%d" % index, tail))

    def _callback(self, work: Work | None, group_id: str, queue: str) -> tuple[bytes, bytes, Draft | None]:
        """Return the callback's message before and after its first argument, and its draft."""
        if work is None:
            return b"", b"", None
        first, *later = work.steps if isinstance(work, Chain) else (work,)
        for name in ("id", "delay_s"):
            if first.options.get(name) is not None:
                raise InvalidJobError(f"{name}: the callback is named by its group, and runs when that has ended")
        options = message.merged(self._common(result_ttl=self._options.result_ttl), first.options)
        options = replace(options, id=f"{group_id}.end")
        draft = message.draft(first.task, options, self._client_queue, self._reply_name, self._sending)
        if draft.queue != queue:
            raise InvalidJobError(
                f"the callback {draft.target.name} would go to queue {draft.queue!r}, its group is in {queue!r}:"
                " what counts the members enqueues it, and reaches one queue only; give it with_options(queue=…)"
            )
        _check_call(draft, first)
        parts = [draft.head]
        if later:
            steps, last = self._later(queue, later)
            parts += (b',"then":[', b",".join(steps), b"]")
            draft = replace(draft, target=replace(draft.target, adapter=last.adapter))
        if first.kwargs:
            parts += (b',"kwargs":', _json(draft.target.name, first.kwargs))
        before = b"".join((*parts, b',"args":['))
        after = b"]}" if not first.args else b"," + _json(draft.target.name, list(first.args))[1:] + b"}"
        if len(before) + len(after) > MAX_CALLBACK_BYTES:
            raise InvalidJobError(f"the callback {draft.target.name} has more than {MAX_CALLBACK_BYTES} bytes")
        _check(draft.target.name, before + b"null" + after)
        return before, after, draft

    def _draft(self, first: Step[Any]) -> Draft:
        if not first.options:
            return self._drafts.of(first.task, self._reply_name)
        options = message.merged(self._options, first.options)
        return message.draft(first.task, options, self._client_queue, self._reply_name, self._sending)

    def _common(self, **changes: Any) -> JobOptions:
        """Return what the view's options mean for jobs that do not begin at once, and of which there are several."""
        none: dict[str, Any] = dict.fromkeys(("id", "run_at", "expires_at", "delay_s", "unique", "result_ttl"))
        return replace(self._options, **(none | changes))

    def _later(self, queue: str, later: list[Step[Any]]) -> tuple[list[bytes], message.Target]:
        """Return the steps after the first as JSON, and the last one's target."""
        common = self._common(meta=None, trace=None)
        steps: list[bytes] = []
        target = message.resolve(later[0].task)
        for each in later:
            target = message.resolve(each.task)
            refused = [name for name in _OF_THE_CHAIN if each.options.get(name) is not None]
            if refused:
                raise InvalidJobError(f"{target.name}: {refused[0]} is the whole chain's: give it to the first step")
            if each.options.get("run_at") is not None:
                raise InvalidJobError(
                    f"{target.name}: run_at is for the first step of a chain; later ones take delay_s"
                )
            options = message.merged(common, each.options)
            draft = message.draft(each.task, options, self._client_queue, self._reply_name, self._sending)
            _check_call(draft, each)
            fields: dict[str, Any] = {"task": target.name}
            if draft.queue != queue:
                fields["queue"] = queue = draft.queue
            if options.delay_s is not None:
                fields["delay"] = options.delay_s
            if not each.pass_value:
                fields["pass_value"] = False
            said = replace(options, delay_s=None).fields(0.0)
            fields |= {"args": list(each.args)} if each.args else {}
            fields |= {"kwargs": each.kwargs} if each.kwargs else {}
            steps.append(_json(target.name, fields | said))
        return steps, target


def _refuse_in_group(draft: Draft, raw: bytes, index: int, queue: str) -> None:
    name = f"member {index} ({draft.target.name})"
    if draft.own_id is not None:
        raise InvalidJobError(f"{name}: id={draft.own_id!r}: a member is named by its group and its place in it")
    if draft.queue != queue:
        raise InvalidJobError(
            f"{name} would go to queue {draft.queue!r}, the group is in {queue!r}: a group lives in one queue, where it"
            " is counted; enqueue the group with_options(queue=…), or make two groups"
        )
    if b'"then":' in raw and any(each.queue is not None for each in wire.decode(raw).then or ()):
        raise InvalidJobError(f"{name}: a chain in a group stays in the group's queue, where it is counted")


def _check_call(draft: Draft, of: Step[Any]) -> None:
    """Refuse arguments that do not fit, with anything for the value that comes first."""
    signature = draft.target.signature
    args = (None, *of.args) if of.pass_value else of.args
    if signature is not None:
        try:
            signature.bind(*args, **of.kwargs)
        except TypeError as error:
            hint = " (its first argument will be what the one before returns)" if of.pass_value else ""
            raise InvalidJobError(f"{draft.target.name}{signature}: {error}{hint}") from error


def _json(name: str, value: object) -> bytes:
    try:
        return to_json(value)
    except (ValueError, RecursionError) as error:
        raise InvalidJobError(f"{name}: the arguments cannot be written as JSON: {error}") from error


def _check(name: str, raw: bytes) -> None:
    try:
        wire.decode(raw)
    except InvalidMessageError as error:
        raise InvalidJobError(f"{name}: {'; '.join(error.details)}") from error
