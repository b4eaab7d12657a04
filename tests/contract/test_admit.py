"""What `id`, `unique` and cancellation promise, on every store."""

import pytest

from support.jobs import OUTCOME, QUEUE, STREAM, bury, expire_lease, fetched, finish, readd, settled_in
from support.stores import Store
from workd.broker import keys
from workd.broker.entries import Entry
from workd.broker.ops import Admit, Admitted

RUN, DUPLICATE, CANCELLED, FENCED = Admitted.RUN, Admitted.DUPLICATE, Admitted.CANCELLED, Admitted.FENCED
WRONG_KEY = Admitted.WRONG_KEY


def named(entry: Entry, job_id: str = "job", unique: str | None = None) -> Admit:
    return Admit(entry.entry_id, job_id, has_producer_id=True, unique=unique)


def unique(entry: Entry, key: str) -> Admit:
    return Admit(entry.entry_id, entry.id or entry.entry_id, has_producer_id=False, unique=key)


async def test_a_second_message_with_the_same_id_is_a_duplicate_also_after_the_outcome(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"1", b"1")
        assert await session.admit(QUEUE, [named(first), named(second)]) == [RUN, DUPLICATE]
        await session.settle(QUEUE, [finish(first, job_id="job", has_producer_id=True)])
        assert await session.admit(QUEUE, [named(third)]) == [DUPLICATE]


async def test_a_duplicate_does_not_touch_the_first_ones_result_or_claims(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"1", b"1")
        await session.admit(QUEUE, [named(first, unique="u"), named(second, unique="u")])
        ended = {"job_id": "job", "has_producer_id": True, "unique": "u"}
        refused = finish(second, outcome=b"duplicate", duplicate=True, **ended)
        await session.settle(QUEUE, [refused])
        assert not client.exists(keys.result(QUEUE, "job"))
        assert client.get(keys.seen(QUEUE, "job")) == first.entry_id.encode()
        assert client.get(keys.unique(QUEUE, "u")) == f"{first.entry_id} job".encode()

        await session.settle(QUEUE, [finish(first, **ended)])
        await session.admit(QUEUE, [named(third, unique="u")])
        await session.settle(QUEUE, [finish(third, outcome=b"duplicate", duplicate=True, **ended)])
        assert client.get(keys.result(QUEUE, "job")) == OUTCOME
        assert client.get(keys.seen(QUEUE, "job")) == b"done"
    assert client.xlen(STREAM) == 0


async def test_of_two_messages_with_one_unique_the_second_is_a_duplicate_while_the_first_is_not_done(
    store: Store,
) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"2", b"3")
        assert await session.admit(QUEUE, [unique(first, "u"), unique(second, "u")]) == [RUN, DUPLICATE]
        refused = finish(second, outcome=b"duplicate", unique="u", duplicate=True)
        await session.settle(QUEUE, [refused])
        assert client.get(keys.result(QUEUE, second.entry_id)) == b"duplicate"
        await session.settle(QUEUE, [finish(first, unique="u")])
        assert await session.admit(QUEUE, [unique(third, "u")]) == [RUN]


async def test_asking_twice_for_the_same_entry_gives_the_same_answer(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        for _ in range(2):
            assert await session.admit(QUEUE, [named(entry, unique="u")]) == [RUN]


async def test_a_job_that_was_taken_over_is_the_same_job(store: Store) -> None:
    client = store.client()
    async with store.session("old") as old, store.session("new") as new:
        await old.register(QUEUE)
        await new.register(QUEUE)
        [entry] = await fetched(old, client, b"1")
        await old.admit(QUEUE, [named(entry, unique="u")])
        expire_lease(client, "old")
        await settled_in(new)
        [taken] = (await new.takeover(QUEUE)).entries
        assert await new.admit(QUEUE, [named(taken, unique="u")]) == [RUN]


@pytest.mark.parametrize("due_ms", [None, 1])
async def test_a_retried_job_keeps_its_claims_all_the_way(store: Store, due_ms: int | None) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.admit(QUEUE, [named(entry, unique="u")])
        back = readd(entry, job_id="job", has_producer_id=True, unique="u", due_ms=due_ms)
        await session.settle(QUEUE, [back])
        if due_ms is not None:
            [rival, other] = await fetched(session, client, b"rival", b"other")
            answers = await session.admit(QUEUE, [named(rival), unique(other, "u")])
            assert answers == [DUPLICATE, DUPLICATE]
            assert (await session.move_due(QUEUE)).moved == 1
        [again] = await session.fetch([QUEUE], 1, 0)
        [rival, other] = await fetched(session, client, b"rival", b"other")
        assert await session.admit(QUEUE, [named(rival), unique(other, "u")]) == [DUPLICATE, DUPLICATE]
        assert await session.admit(QUEUE, [named(again, unique="u")]) == [RUN]
        await session.settle(QUEUE, [finish(again, has_producer_id=True, unique="u")])
        assert await session.admit(QUEUE, [unique(other, "u")]) == [RUN]


async def test_a_job_whose_retry_could_not_be_written_keeps_its_claims(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.admit(QUEUE, [named(entry, unique="u")])
        client.set(keys.dead(QUEUE), "wrong")
        client.set(keys.scheduled(QUEUE), "wrong")
        ended = {"job_id": "job", "has_producer_id": True, "unique": "u"}
        for how in (bury(entry, **ended), readd(entry, due_ms=1, **ended)):
            assert len((await session.settle(QUEUE, [how])).failed) == 1
        assert client.get(keys.seen(QUEUE, "job")) == entry.entry_id.encode()
        assert client.get(keys.unique(QUEUE, "u")) == f"{entry.entry_id} job".encode()


async def test_a_claim_whose_entry_was_removed_by_hand_belongs_to_nobody(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.admit(QUEUE, [named(entry, unique="u")])
        client.xack(STREAM, keys.GROUP, entry.entry_id)
        client.xdel(STREAM, entry.entry_id)
        new, other = await fetched(session, client, b"1", b"2")
        assert await session.admit(QUEUE, [named(new), unique(other, "u")]) == [RUN, RUN]


async def test_every_claim_ends_by_itself_one_day(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.admit(QUEUE, [named(entry, unique="u")])
        claims = (keys.seen(QUEUE, "job"), keys.unique(QUEUE, "u"))
        assert all(client.pttl(key) > 86_400_000 for key in claims)
        due_ms = await session.now_ms() + 365 * 86_400_000
        ended = {"job_id": "job", "has_producer_id": True, "unique": "u"}
        await session.settle(QUEUE, [readd(entry, due_ms=due_ms, **ended)])
        assert all(client.pttl(key) > 366 * 86_400_000 for key in claims)


async def test_a_cancelled_job_is_not_run_and_a_duplicate_of_it_is_still_a_duplicate(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, plain = await fetched(session, client, b"1", b"2", b"3")
        client.set(keys.cancel(QUEUE, "job"), "", ex=60)
        client.set(keys.cancel(QUEUE, plain.entry_id), "", ex=60)
        again = Admit(plain.entry_id, plain.entry_id, has_producer_id=False)
        answers = await session.admit(QUEUE, [named(first), named(second), again])
        assert answers == [CANCELLED, DUPLICATE, CANCELLED]


async def test_a_daemon_without_a_lease_admits_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        one, two = await fetched(session, client, b"1", b"2")
        client.hdel(keys.leases(QUEUE), "me")
        assert await session.admit(QUEUE, [named(one, "a"), named(two, "b")]) == [FENCED, FENCED]
    assert not client.exists(keys.seen(QUEUE, "a"))


@pytest.mark.parametrize("claim", ["seen", "unique"])
async def test_a_claim_of_the_wrong_type_holds_back_its_job_alone_and_is_not_overwritten(
    store: Store, claim: str
) -> None:
    client = store.client()
    key = getattr(keys, claim)(QUEUE, "x")
    async with store.session() as session:
        await session.register(QUEUE)
        before, bad, after, twin = await fetched(session, client, b"1", b"2", b"3", b"3")
        client.rpush(key, "wrong")
        asked = [named(before, "a", "a"), named(bad, "x", "x"), named(after, "b", "b"), named(twin, "b", "b")]
        assert await session.admit(QUEUE, asked) == [RUN, WRONG_KEY, RUN, DUPLICATE]
        assert client.lrange(key, 0, -1) == [b"wrong"]
        client.delete(key)
        assert await session.admit(QUEUE, asked) == [RUN, RUN, RUN, DUPLICATE]
