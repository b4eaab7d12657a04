"""What the end of a job means for its kin: the group that it is a member of, and the next step of its chain. Pure.

Called by the intake, the clerk and the settler, only for the few jobs whose message has `group`, `then` or `chain`. All
others are told by `Flight.kin_ids` being empty, and pay for that one look.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from workd import retry
from workd.broker.kinship import Kin, Post
from workd.broker.ops import Readd
from workd.steps import Step
from workd.wire import MAX_ID_CHARS, DeadReason, ErrorInfo, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.broker.ops import Bury, Finish, Settlement
    from workd.flights import Flight
    from workd.retry import Decision
    from workd.signing import Signing
    from workd.wire import Envelope

_write_steps: Final = TypeAdapter(list[Step]).dump_json


@dataclass(frozen=True, slots=True)
class Following:
    """The next step of a chain, as a message."""

    queue: str
    id: str
    index: int
    message: bytes
    signature: bytes = b""


# ── on the way in ──


def ids_of(envelope: Envelope, job_id: str, queue: str) -> tuple[str, ...]:
    """Return the ids beside its own by which a job is cancelled; never empty for a job that has kin."""
    ids = () if envelope.group is None else (envelope.group.id,)
    if envelope.chain is not None:
        return (*ids, _name_of_step(envelope, job_id, queue))
    return ids or (job_id,)


def refusal(envelope: Envelope) -> str:
    """Return what is wrong with a message that has kin, beginning with the path; '' if nothing is."""
    if envelope.group is not None:
        for number, step in enumerate(envelope.then or ()):
            if step.queue is not None:
                return f"then.{number}.queue: a member of a group stays in the group's queue, where it is counted"
    return ""


# ── on the way out ──


def go_on(
    flight: Flight, decision: Decision, now_s: float, max_message_bytes: int, signing: Signing | None = None
) -> Decision:
    """Prepare the next step where there is one; a value that is too large for it ends the job, and the chain."""
    envelope = flight.envelope
    if not isinstance(decision, retry.Succeed) or envelope is None or not envelope.then:
        return decision
    following = next_step(flight, envelope, decision.value, now_s)
    if len(following.message) > max_message_bytes:
        text = (
            f"with this value the next step ({envelope.then[0].task}) has {len(following.message)} bytes,"
            f" max_message_bytes is {max_message_bytes}: return a reference instead"
        )
        return retry.Die(decision.counters, DeadReason.TOO_LARGE, ErrorInfo(type="MessageTooLarge", message=text))
    if signing is not None:
        following = replace(following, signature=signing.sign(following.message))
    flight.following = following
    return decision


def next_step(flight: Flight, envelope: Envelope, value: bytes, now_s: float) -> Following:
    """Make the message of the next step; `value`, as JSON, goes in as it is."""
    steps = envelope.then or []
    step, rest = steps[0], steps[1:]
    here = flight.entry.queue
    home, chain_id, index = home_of(flight), chain_id_of(flight), index_of(envelope) + 1
    queue = step.queue or here
    job_id = _step_id(home, queue, chain_id, index)
    fields: dict[str, Any] = {
        "task": step.task,
        "id": job_id,
        "chain": {"id": chain_id, "index": index} | ({} if queue == home else {"queue": home}),
        "run_at": None if step.delay is None else now_s + step.delay,
        "group": None if envelope.group is None else envelope.group.model_dump(exclude_unset=True),
        "reply_to": envelope.reply_to,
        "result_ttl": envelope.result_ttl,
        "trace": envelope.trace,
        "meta": envelope.meta,
    }
    fields |= {name: getattr(step, name) for name in ("expires_at", "timeout", "max_retries", "unique")}
    parts = [to_json({name: said for name, said in fields.items() if said is not None})[:-1]]
    if rest:
        parts += (b',"then":', _write_steps(rest, exclude_unset=True))
    if step.kwargs:
        parts += (b',"kwargs":', to_json(step.kwargs))
    args = [value] if step.pass_value else []
    if step.args:
        args.append(to_json(step.args)[1:-1])
    parts += (b',"args":[', b",".join(args), b"]}")
    return Following(queue, job_id, index, b"".join(parts))


def named(flight: Flight, error_json: bytes | None) -> bytes | None:
    """Say in an error which step of a chain it was."""
    envelope = flight.envelope
    if error_json is None or envelope is None or (envelope.chain is None and not envelope.then):
        return error_json
    error = from_json(error_json)
    number = index_of(envelope) + 1
    steps = number + len(envelope.then or ())
    error["message"] = f"step {number} of {steps} ({envelope.task}): {error['message']}"
    return to_json(error)


def finished(flight: Flight, item: Finish, status: Status, value: bytes | None, error: bytes | None) -> Finish:
    """Return the settlement of a job that succeeded, was cancelled or expired with what it means for its kin."""
    following = flight.following
    if status is Status.SUCCEEDED and following is not None:
        item = item._replace(outcome=None, result_ttl_s=0.0, reply_to=None)
        return item._replace(kin=_onward(flight, following))
    kin = _end(flight, status, value, error)
    if home_of(flight) == flight.entry.queue:
        return item._replace(kin=kin)
    came_twice = item.duplicate and item.unique is None  # the step that came first tells the end
    if not came_twice:
        kin = kin._replace(post=_told_at_home(flight, item))
    return item._replace(kin=kin, outcome=None, result_ttl_s=0.0, reply_to=None)


def _onward(flight: Flight, following: Following) -> Kin:
    index = following.index
    kin = Kin(flight.job_id, chain=name_of(flight))
    here, home, there = flight.entry.queue, home_of(flight), following.queue
    if there == here:
        kin = kin._replace(following=following.message, following_signature=following.signature)
        return kin._replace(course=f"{index} = {following.id}")
    name = _name_in(None if there == home else home, chain_id_of(flight))
    post = Post(there, following.id, following.message, following.signature, chain=name, number=index)
    kin = kin._replace(post=post)
    if here == home:
        return kin._replace(course=f"{index} > {there}")
    note = (
        None
        if there == home
        else Post(home, kin.result_id, chain=chain_id_of(flight), number=index, course=f"> {there}")
    )
    return kin._replace(course=f"{index} <", note=note)


def buried(flight: Flight, item: Bury) -> Bury:
    """Return the settlement of a dead job with what it means for its kin."""
    kin = _end(flight, Status.DEAD, None, item.error)
    if home_of(flight) == flight.entry.queue:
        return replace(item, kin=kin)
    return replace(
        item, kin=kin._replace(post=_told_at_home(flight, item)), outcome=None, result_ttl_s=0.0, reply_to=None
    )


def posts_of(settlement: Settlement | None) -> tuple[Post, ...]:
    """Return what has to be brought into other queues before this is settled."""
    if settlement is None or isinstance(settlement, Readd) or settlement.kin is None:
        return ()
    return tuple(post for post in (settlement.kin.post, settlement.kin.note) if post is not None)


def gone_on(flights: Iterable[Flight]) -> dict[str, Flight]:
    """Return those whose chain is in another queue with their settlement, by its name in this one."""
    kin = ((flight, getattr(flight.settlement, "kin", None)) for flight in flights)
    return {each.chain: flight for flight, each in kin if each is not None and each.post is not None and each.course}


def wish(flight: Flight, queue: str) -> Post:
    """Return the wish that its chain be cancelled, for the queue where it may be: its home knows that first."""
    home, chain_id = home_of(flight), chain_id_of(flight)
    return Post(queue, chain_id, chain=_name_in(None if queue == home else home, chain_id), course="cancel")


def _end(flight: Flight, status: Status, value: bytes | None, error: bytes | None) -> Kin:
    outcome_id = outcome_id_of(flight)
    envelope = flight.envelope
    group = envelope.group if envelope is not None else None
    is_step = envelope is not None and (envelope.chain is not None or bool(envelope.then))
    chain = name_of(flight) if is_step else ""
    if group is None:
        return Kin(outcome_id, chain=chain)
    kin = Kin(outcome_id, group.id, group.index, status is Status.SUCCEEDED, chain=chain)
    if not group.outcomes:
        return kin
    head = to_json({"id": outcome_id, "status": status.value})[:-1]
    body = b"".join((b',"value":', value or b"null", b',"error":', _short(error), b"}"))
    return kin._replace(head=head, body=body)


def _told_at_home(flight: Flight, item: Finish | Bury) -> Post:
    """Bring the end home, also where nobody asked for the outcome: the chain's id is free again in a while."""
    chain_id = chain_id_of(flight)
    source = f"{flight.entry.queue} {flight.entry.entry_id}"
    post = Post(home_of(flight), chain_id, outcome=item.outcome or b"", chain=chain_id, source=source)
    return post._replace(result_ttl_s=item.result_ttl_s if item.outcome else 0.0, reply_to=item.reply_to)


def _short(error: bytes | None) -> bytes:
    """Return type and message of an error: the rest of it would be most of a group's outcomes."""
    if error is None:
        return b"null"
    said = from_json(error)
    return to_json({"type": said["type"], "message": said["message"]})


# ── where a job stands in its chain ──


def outcome_id_of(flight: Flight) -> str:
    """Return the id under which the outcome is kept and told: that of the chain, for its later steps."""
    chain = flight.envelope.chain if flight.envelope is not None else None
    return flight.job_id if chain is None else chain.id


chain_id_of = outcome_id_of


def home_of(flight: Flight) -> str:
    """Return the queue in which the chain began."""
    chain = flight.envelope.chain if flight.envelope is not None else None
    return flight.entry.queue if chain is None or chain.queue is None else chain.queue


def name_of(flight: Flight) -> str:
    """Return the chain's name in the queue where this step is."""
    return _name_of_step(flight.envelope, flight.job_id, flight.entry.queue)


def _name_of_step(envelope: Envelope | None, job_id: str, queue: str) -> str:
    chain = envelope.chain if envelope is not None else None
    if chain is None:
        return job_id
    return _name_in(None if chain.queue == queue else chain.queue, chain.id)  # a move may have brought it home


def _name_in(home: str | None, chain_id: str) -> str:
    """Name a chain in a queue; `home` is where it began, if not there: jobs there may have the same id."""
    return chain_id if home is None else f"{home}:{chain_id}"


def index_of(envelope: Envelope) -> int:
    """Return which step it is, from 0."""
    return 0 if envelope.chain is None else envelope.chain.index


def _step_id(home: str, queue: str, chain_id: str, index: int) -> str:
    """Name a step, the same each time; in another queue after ours too, since another chain may have the same id."""
    base = _name_in(None if queue == home else home, chain_id)
    if len(base) + len(f".{index}") > MAX_ID_CHARS:
        base = hashlib.sha256(base.encode()).hexdigest()
    return f"{base}.{index}"
