"""What a move of a queue leaves where it is, on every store: members of groups, which nobody would count elsewhere."""

import json
from typing import Any

import pytest

from support.caring import queue_care
from support.groups import GROUP, counted, enqueue, group_of, member
from support.jobs import QUEUE, STREAM, fetched, readd, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted
from workd.client.queue_care import MOVE_SLICE, Moved

OTHER = "bulk"
FAR_MS = 8_000_000_000_000


def messages(client: Any, queue: str) -> list[bytes]:
    return [fields[b"m"] for _, fields in client.xrange(keys.stream(queue))]


async def test_members_stay_as_what_they_are_and_are_counted(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    count = MOVE_SLICE + 5
    ids = enqueue(client, group_of(count))
    before = messages(client, QUEUE)
    client.xadd(STREAM, {"m": b'{"task":"square","args":[{"group":"no member"}]}', "s": "signed"})
    client.xadd(STREAM, {"m": b'{"task":"square","kwargs":{"group":'})
    async with store.session() as session:
        await session.register(QUEUE)
        assert queue_care(store).move(QUEUE, OTHER) == Moved(queued=2, stayed=count)
        assert len(messages(client, OTHER)) == 2
        assert messages(client, QUEUE) == before
        entries = await session.fetch([QUEUE], count, 0)
        assert [entry.id for entry in entries] == ids
        assert [entry.enqueued_ms for entry in entries] == [int(one.partition("-")[0]) for one in ids]
        await session.settle(QUEUE, [member(entry, index) for index, entry in enumerate(entries)])
    assert counted(client) == (count, 0)
    assert client.hget(keys.group(QUEUE, GROUP), "ended") == b"1"
    assert client.hkeys(keys.leases(QUEUE)) == [b"me"]


async def test_members_that_wait_for_a_limit_or_are_scheduled_stay_too_and_keep_their_claims(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    raw = b'{"task":"square","id":"mine","unique":"key","group":{"id":"g","index":0}}'
    later = b'{"task":"square","group":{"id":"g","index":1}}'
    async with store.session() as session:
        await session.register(QUEUE)
        waits, put_off, alone = await fetched(session, client, raw, later, b'{"task":"square","id":"group"}')
        admit = Admit(waits.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        client.xclaim(STREAM, keys.GROUP, keys.waiting("square"), 0, [waits.entry_id], justid=True)
        await session.settle(QUEUE, [readd(put_off, due_ms=1), readd(alone, job_id="group", due_ms=FAR_MS)])
        assert queue_care(store).move(QUEUE, OTHER) == Moved(scheduled=1, stayed=2)
        assert client.zrange(keys.scheduled(QUEUE), 0, -1, withscores=True)[0][1] == 1
        assert client.zcard(keys.scheduled(OTHER)) == 1
        [again] = await session.fetch([QUEUE], 10, 0)
        assert (again.id, again.message) == ("mine", raw)
        admit = Admit(again.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        assert client.get(keys.seen(QUEUE, "mine")) == again.entry_id.encode()
        twin = Admit("1-1", "twin", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [twin]) == [Admitted.DUPLICATE]


@pytest.mark.parametrize("own_id", [True, False])
async def test_the_claim_of_an_id_goes_with_the_job_that_is_moved(store: Store, own_id: bool) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        raw = b'{"task":"square","id":"mine","unique":"key"}'
        [waits] = await fetched(session, client, raw)
        admit = Admit(waits.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        if own_id:
            client.xclaim(STREAM, keys.GROUP, keys.waiting("square"), 0, [waits.entry_id], justid=True)
        else:
            await session.settle(QUEUE, [readd(waits, job_id="mine", has_producer_id=True, unique="key")])
        client.set(keys.seen(QUEUE, "another"), "7-7")
        assert queue_care(store).move(QUEUE, OTHER) == Moved(queued=1)
    assert stream_ids(client) == []
    assert not client.exists(keys.seen(QUEUE, "mine"), keys.unique(QUEUE, "key"))
    assert client.exists(keys.seen(QUEUE, "another"))


@pytest.mark.parametrize("scheduled", [True, False])
@pytest.mark.parametrize(("home", "name"), [(None, "c"), ("images", "images:c")])
async def test_what_is_said_of_a_chain_goes_with_its_step(
    store: Store, scheduled: bool, home: str | None, name: str
) -> None:
    store.need_one_server()
    client = store.client()
    chain = {"id": "c", "index": 1} | ({"queue": home} if home else {})
    raw = json.dumps({"task": "square", "id": f"{name}.1", "chain": chain}).encode()
    async with store.session() as session:
        await session.register(QUEUE)
        [step] = await fetched(session, client, raw)
        due_ms = FAR_MS if scheduled else None
        await session.settle(QUEUE, [readd(step, job_id=f"{name}.1", has_producer_id=True, due_ms=due_ms)])
        client.set(keys.seen(QUEUE, name), f"chain 1 {step.entry_id} = {name}.1")
        client.set(keys.seen(QUEUE, "another"), "chain 1 7-7 = another.1")
        moved = queue_care(store).move(QUEUE, OTHER)
        assert moved == (Moved(scheduled=1) if scheduled else Moved(queued=1))
    assert client.keys(keys.seen(QUEUE, "*")) == [keys.seen(QUEUE, "another").encode()]
