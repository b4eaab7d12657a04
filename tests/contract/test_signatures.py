"""What signatures promise, on every store: each script that enqueues brings them along, and none makes one up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.caring import link
from support.groups import group_of, member, past_deadline
from support.jobs import QUEUE, STREAM, fetched, finish
from workd.broker import keys
from workd.broker.firing import Firing, fire
from workd.broker.kinship import Kin, Post
from workd.broker.permits import Limit, PermitAsk, Permitted
from workd.client import commands, group_calls
from workd.client.dead_letters import DeadLetters
from workd.client.group_messages import Writer
from workd.client.groups import step
from workd.client.message import JobOptions
from workd.client.sending import Lane
from workd.signing import Signing

if TYPE_CHECKING:
    from support.stores import Store
    from workd.client.commands import Command
    from workd.client.groups import Group

SIGNING = Signing(("the-key-of-the-contract",))
MESSAGES = (b'{"task":"a"}', b'{"task":"b"}', b"\xff\x00 no message at all")
NEXT = b'{"task":"b","id":"j.1","args":[5]}'


def entries(client: Any) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(STREAM)]


def send(client: Any, command: Command) -> list[bytes]:
    found: list[bytes] = client.execute_command(*commands.whole_script(command))
    return found


def enqueue_group(client: Any, of: Group, signing: Signing | None) -> None:
    envelopes = Writer(JobOptions(), QUEUE, "r", signing=signing).write_group(of)
    for call in group_calls.calls(envelopes):
        send(client, group_calls.add(of, envelopes, call, 60_000, signing))


def all_are_signed(client: Any) -> bool:
    return all(SIGNING.refusal(fields[b"m"], fields.get(b"s")) == "" for fields in entries(client))


# ── what producers send ──


def test_signed_messages_are_queued_in_order_each_with_its_own_and_once(store: Store) -> None:
    client = store.client()
    lane = Lane()
    command = commands.add_marked(QUEUE, commands.signed(MESSAGES, SIGNING), lane, 60_000)
    ids = send(client, command)
    assert send(client, command) == ids
    assert [entry_id for entry_id, _ in client.xrange(STREAM)] == ids
    assert [fields[b"m"] for fields in entries(client)] == list(MESSAGES)
    assert all_are_signed(client)


def test_one_signed_message_and_a_call_without_a_lane_are_signed_too(store: Store) -> None:
    client = store.client()
    client.execute_command(*commands.add(QUEUE, MESSAGES[0], SIGNING))
    words = commands.signed(MESSAGES, SIGNING)
    client.execute_command(*commands.add_many(QUEUE, words, whole_script=True))
    assert [fields[b"m"] for fields in entries(client)] == [MESSAGES[0], *MESSAGES]
    assert all_are_signed(client)


def test_without_a_key_nothing_but_the_message_is_sent(store: Store) -> None:
    client = store.client()
    send(client, commands.add_marked(QUEUE, commands.signed(MESSAGES, None), Lane(), 60_000))
    client.execute_command(*commands.add(QUEUE, MESSAGES[0]))
    assert {tuple(fields) for fields in entries(client)} == {(b"m",)}


# ── groups ──


@pytest.mark.parametrize("ends_by", ["its last member", "its deadline"])
async def test_members_and_callback_of_a_signed_group_are_signed(store: Store, ends_by: str) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue_group(client, group_of(3, then=step("collect", 7, name="ä"), results=True), SIGNING)
        assert len(entries(client)) == 3
        assert all_are_signed(client)
        members = await session.fetch([QUEUE], 10, 0)
        ending = members if ends_by == "its last member" else members[:2]
        kin = {"head": b'{"id":"x","status":"succeeded"', "body": b',"value":1,"error":null}'}
        await session.settle(QUEUE, [member(entry, n, kin=kin) for n, entry in enumerate(ending)])
        if ends_by == "its deadline":
            past_deadline(client)
            await session.move_due(QUEUE)
        [callback] = await session.fetch([QUEUE], 10, 0)
    assert callback.message is not None
    assert SIGNING.refusal(callback.message, callback.signature) == ""
    assert json.loads(callback.message)["args"][0]["succeeded"] == len(ending)


async def test_a_callback_that_somebody_else_put_into_the_record_is_not_signed(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue_group(client, group_of(1, then=step("collect")), SIGNING)
        before = client.hget(keys.group(QUEUE, "g"), "before")
        client.hset(keys.group(QUEUE, "g"), "before", before.replace(b"collect", b"destroy"))
        [only] = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(only, 0)])
        [callback] = await session.fetch([QUEUE], 10, 0)
    assert b"destroy" in (callback.message or b"")
    assert SIGNING.refusal(callback.message or b"", callback.signature)


async def test_the_callback_of_a_group_that_nobody_signed_has_no_signature(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        enqueue_group(client, group_of(1, then=step("collect")), None)
        [only] = await session.fetch([QUEUE], 10, 0)
        await session.settle(QUEUE, [member(only, 0)])
    assert [list(fields) for fields in entries(client)] == [[b"m"]]


# ── what daemons write ──


@pytest.mark.parametrize("signature", [SIGNING.sign(NEXT), b""])
async def test_the_next_step_of_a_chain_comes_with_what_its_daemon_signed(store: Store, signature: bytes) -> None:
    client = store.client()
    fields = {b"m": NEXT} | ({b"s": signature} if signature else {})
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        kin = Kin("j", following=NEXT, following_signature=signature)
        rest = await fetched(session, client, b"2")  # what comes behind it in the call is read from the right place
        batch = [finish(entry, outcome=None, result_ttl_s=0.0, kin=kin), *map(finish, rest)]
        assert (await session.settle(QUEUE, batch)).failed == ()
        assert entries(client) == [fields]
        assert await session.post(Post(QUEUE, "j.2", NEXT, signature)) == ""
    assert entries(client) == [fields, fields]


@pytest.mark.parametrize("signature", [SIGNING.sign(NEXT), b""])
async def test_the_jobs_of_the_schedule_come_with_what_their_daemon_signed(store: Store, signature: bytes) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        await fire(session, QUEUE, [Firing("x", 1_700_000_000 + n, "abc", NEXT, signature) for n in range(2)])
    assert entries(client) == [{b"m": NEXT} | ({b"s": signature} if signature else {})] * 2


async def test_a_job_that_waited_for_a_limit_still_has_its_signature(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        for message in MESSAGES[:2]:
            client.execute_command(*commands.add(QUEUE, message, SIGNING))
        one, two = await session.fetch([QUEUE], 10, 0)
        limit = Limit(most_running=1)
        asked = await session.permit(QUEUE, PermitAsk("a", limit, asking=(one.entry_id, two.entry_id)))
        assert asked.answers == (Permitted.RUN, Permitted.WAITS)
        reply = await session.permit(QUEUE, PermitAsk("a", limit, ended=(one.entry_id,), room=1))
    assert [entry.signature for entry in reply.taken] == [SIGNING.sign(MESSAGES[1])]


def test_an_edited_letter_is_signed_anew(store: Store) -> None:
    client = store.client()
    fields = {"m": b"{", "reason": "bad-signature", "error": "{}", "id": "job", "task": "a", "s": "old"}
    entry_id = client.xadd(keys.dead(QUEUE), fields).decode()
    DeadLetters(link(store), SIGNING).edit(QUEUE, entry_id, MESSAGES[0])
    [queued] = entries(client)
    assert queued[b"m"] == MESSAGES[0]
    assert all_are_signed(client)
