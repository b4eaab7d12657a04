"""What a chain's own id is good for while it goes on, on every store: it is cancelled by it, and nobody else has it."""

import json
from typing import Any

import pytest

from support.caring import dead_letters, queue_care
from support.jobs import OUTCOME, QUEUE, bury, fetched, finish, readd, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.entries import Entry
from workd.broker.kinship import Kin, Post
from workd.broker.ops import Admit, Admitted
from workd.broker.session import Session
from workd.client import cancelling
from workd.client.queue_care import Purged

STEP = b'{"task":"b","id":"j.1","chain":{"id":"j","index":1}}'
ON = Kin("j", following=STEP, chain="j", course="1 = j.1")
AWAY = Kin("j", post=Post("images", "default:j.1", STEP), chain="j", course="1 > images")
END = Kin("j", chain="j")
STOPPED = Admit("", "j", has_producer_id=False)


def first(entry: Entry) -> Admit:
    return Admit(entry.entry_id, "j", has_producer_id=True)


def asked(client: Any, job_id: str, go_on: str = "") -> list[str]:
    """Call the script once; return its word and where to go on."""
    verb, source, *rest = cancelling.command(QUEUE, job_id, "", go_on, whole_script=True)
    source = str(source).replace("#!lua", "--lua", 1)  # fakeredis does not know that line
    return [part.decode() for part in client.execute_command(verb, source, *rest)]


async def first_done(session: Session, client: Any, kin: Kin = ON, message: bytes = b"1") -> Entry:
    """Have the first step of a chain called `j` end."""
    await session.register(QUEUE)
    [entry] = await fetched(session, client, message)
    assert await session.admit(QUEUE, [first(entry)]) == [Admitted.RUN]
    await session.settle(QUEUE, [finish(entry, job_id="j", has_producer_id=True, outcome=None, kin=kin)])
    return entry


async def step_of(session: Session) -> Entry:
    [entry] = await session.fetch([QUEUE], 1, 0)
    assert await session.admit(QUEUE, [Admit(entry.entry_id, "j.1", has_producer_id=True)]) == [Admitted.RUN]
    return entry


async def test_a_chain_that_has_gone_on_is_cancelled_by_its_id_and_has_not_ended(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        assert asked(client, "j") == ["asked", ""]
        await step_of(session)
        assert await session.admit(QUEUE, [STOPPED]) == [Admitted.CANCELLED]
    assert client.pttl(keys.cancel(QUEUE, "j")) > 20 * 86_400_000, "its next step may be due in weeks"


async def test_its_scheduled_step_is_due_at_once_when_it_is_cancelled(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        entry = await step_of(session)
        due_ms = await session.now_ms() + 7 * 86_400_000
        await session.settle(QUEUE, [readd(entry, job_id="j.1", has_producer_id=True, due_ms=due_ms)])
        client.zadd(keys.scheduled(QUEUE), {f"n{number}": due_ms for number in range(30_000)})
        word, go_on = asked(client, "j")
        while word == "unknown":
            word, go_on = asked(client, "j", go_on)
        assert (word, go_on) == ("asked", "")
        [(member, score)] = client.zrange(keys.scheduled(QUEUE), 0, 0, withscores=True)
    assert score == 0
    assert member.endswith(STEP)


async def test_of_a_chain_in_another_queue_its_own_says_where_it_is(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client, AWAY)
        assert asked(client, "j") == ["elsewhere", "images"]
        # In the other queue, which is this one now, it has another name.
        assert await session.post(Post(QUEUE, "other:j.1", STEP, chain="other:j", number=1)) == ""
        assert asked(client, "other:j") == ["asked", ""]
        assert await session.post(Post(QUEUE, "j", outcome=OUTCOME, chain="j")) == ""
    assert asked(client, "j") == ["ended", ""]
    assert client.get(keys.seen(QUEUE, "j")) == b"done"
    assert not client.exists(keys.cancel(QUEUE, "j"))


async def test_its_id_stays_taken_until_its_end(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        step = await step_of(session)
        [again] = await fetched(session, client, b"2")
        second = [first(again)]
        assert await session.admit(QUEUE, second) == [Admitted.DUPLICATE]
        await session.settle(QUEUE, [bury(step, job_id="j.1", has_producer_id=True, kin=END)])
        assert await session.admit(QUEUE, second) == [Admitted.DUPLICATE]
        assert client.get(keys.seen(QUEUE, "j")) == b"done"
        client.delete(keys.seen(QUEUE, "j"))  # an hour later
        assert await session.admit(QUEUE, second) == [Admitted.RUN]


async def test_a_chain_whose_step_is_gone_does_not_keep_its_id(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        await session.fetch([QUEUE], 1, 0)
        [again] = await fetched(session, client, b"2")
        client.xdel(keys.stream(QUEUE), *(entry for entry in stream_ids(client) if entry != again.entry_id))
        assert await session.admit(QUEUE, [first(again)]) == [Admitted.RUN]


@pytest.mark.parametrize("at_end", [finish, bury])
async def test_the_wish_that_a_chain_be_cancelled_ends_with_it(store: Store, at_end: Any) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        step = await step_of(session)
        asked(client, "j")
        client.set(keys.cancel(QUEUE, "j.1"), 1)
        await session.settle(QUEUE, [at_end(step, job_id="j.1", has_producer_id=True, kin=END)])
        assert await session.admit(QUEUE, [STOPPED]) == [Admitted.RUN]
    assert not client.exists(keys.cancel(QUEUE, "j"), keys.cancel(QUEUE, "j.1"))


async def test_a_chain_whose_steps_id_another_job_has_is_told_to_have_ended(store: Store) -> None:
    client = store.client()
    client.set(keys.seen(QUEUE, "j.1"), "done")
    async with store.session() as session:
        await first_done(session, client)
        [step] = await session.fetch([QUEUE], 1, 0)
        assert await session.admit(QUEUE, [Admit(step.entry_id, "j.1", True)]) == [Admitted.DUPLICATE]
        await session.settle(QUEUE, [finish(step, job_id="j.1", has_producer_id=True, duplicate=True, kin=END)])
    assert client.get(keys.result(QUEUE, "j")) == OUTCOME
    assert client.get(keys.seen(QUEUE, "j.1")) == b"done"


async def test_a_key_of_another_type_where_the_place_would_be_holds_nothing_up(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.rpush(keys.seen(QUEUE, "j"), "x")
        client.rpush(keys.cancel(QUEUE, "j"), "x")
        await session.settle(QUEUE, [finish(entry, job_id="j", kin=ON)])
        step = await step_of(session)
        await session.settle(QUEUE, [finish(step, job_id="j.1", has_producer_id=True, kin=END)])
    assert client.lrange(keys.seen(QUEUE, "j"), 0, -1) == client.lrange(keys.cancel(QUEUE, "j"), 0, -1) == [b"x"]
    assert stream_ids(client) == []


async def test_the_last_step_of_a_chain_that_is_purged_is_left_to_a_daemon(store: Store) -> None:
    client = store.client()
    last = json.loads(STEP) | {"result_ttl": 60}
    async with store.session() as session:
        await first_done(session, client, ON._replace(following=json.dumps(last).encode()))
        assert queue_care(store).purge(QUEUE) == Purged(queued=1)
        [step] = await session.fetch([QUEUE], 1, 0)
        assert step.id == "j.1"
        assert await session.admit(QUEUE, [Admit(step.entry_id, "j.1", True)]) == [Admitted.CANCELLED]
    assert not client.exists(keys.result(QUEUE, "j.1"))


async def test_a_chain_whose_dead_step_is_replayed_goes_on_as_if_it_had_not_ended(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await first_done(session, client)
        step = await step_of(session)
        await session.settle(QUEUE, [bury(step, job_id="j.1", has_producer_id=True, kin=END)])
        assert client.get(keys.result(QUEUE, "j")) == OUTCOME
        client.set(keys.cancel(QUEUE, "j"), 1)
        [letter] = dead_letters(store).page(QUEUE).letters
        dead_letters(store).replay(QUEUE, letter.entry_id)
        assert not client.exists(keys.result(QUEUE, "j"))
        again = await step_of(session)
        assert await session.admit(QUEUE, [STOPPED]) == [Admitted.RUN]
        assert asked(client, "j") == ["asked", ""]
        await session.settle(QUEUE, [finish(again, job_id="j.1", has_producer_id=True, kin=END)])
    assert asked(client, "j") == ["ended", ""]


async def test_a_dead_step_in_another_queue_than_its_chains_leaves_jobs_of_the_same_id_alone(store: Store) -> None:
    client = store.client()
    away = b'{"task":"b","id":"other:j.1","chain":{"id":"j","index":1,"queue":"other"}}'
    client.set(keys.result(QUEUE, "j"), "an outcome")
    async with store.session() as session:
        await session.register(QUEUE)
        [step] = await fetched(session, client, away)
        kin = Kin("j", chain="other:j")
        await session.settle(QUEUE, [bury(step, job_id="other:j.1", outcome=None, has_producer_id=True, kin=kin)])
    [letter] = dead_letters(store).page(QUEUE).letters
    dead_letters(store).replay(QUEUE, letter.entry_id)
    assert client.get(keys.result(QUEUE, "j")) == b"an outcome"
    assert asked(client, "other:j") == ["asked", ""]


async def test_a_queue_that_a_chain_only_passed_through_keeps_nothing_of_it(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        assert await session.post(Post(QUEUE, "other:j.1", STEP, chain="other:j", number=1)) == ""
        [step] = await session.fetch([QUEUE], 1, 0)
        kin = Kin("j", chain="other:j", course="2 <")
        await session.settle(QUEUE, [finish(step, job_id="other:j.1", outcome=None, has_producer_id=True, kin=kin)])
    assert not client.exists(keys.seen(QUEUE, "other:j"))


async def test_where_a_chain_began_hears_that_it_has_gone_on_between_other_queues(store: Store) -> None:
    client = store.client()
    note = Post(QUEUE, "j", chain="j", number=2, course="> third")
    async with store.session() as session:
        await first_done(session, client, AWAY)
        assert await session.post(note) == ""
        assert asked(client, "j") == ["elsewhere", "third"]
        assert await session.post(note._replace(number=1, course="> images")) == ""
        assert asked(client, "j") == ["elsewhere", "third"], "what comes late changes nothing"
        assert await session.post(Post(QUEUE, "j", chain="j")) == ""
        assert await session.post(note._replace(number=3)) == ""
    assert asked(client, "j") == ["ended", ""]


async def test_the_wish_that_a_chain_be_cancelled_is_brought_after_it(store: Store) -> None:
    client = store.client()
    wish, key = Post(QUEUE, "j", chain="j", course="cancel"), keys.cancel(QUEUE, "j")
    async with store.session() as session:
        await first_done(session, client, AWAY)
        assert await session.post(wish) == "> images"
        assert client.pttl(key) > 20 * 86_400_000, "its next step may be due in weeks"
        assert await session.post(Post(QUEUE, "j.2", STEP, chain="j", number=2)) == ""
        assert await session.post(wish) == ""
        await session.post(Post(QUEUE, "j", chain="j"))
        assert await session.post(wish) == ""
        assert not client.exists(key), "it has ended"
        client.delete(keys.seen(QUEUE, "j"))
        client.hset(key, "a", "b")
        assert key in await session.post(wish)


@pytest.mark.parametrize("named", [True, False])
async def test_a_chain_that_is_quicker_than_the_end_of_its_first_step_is_where_it_said_last(
    store: Store, named: bool
) -> None:
    client = store.client()
    for end, word in (
        (Post(QUEUE, "j", chain="j"), "ended"),
        (Post(QUEUE, "j.2", STEP, chain="j", number=2), "asked"),
    ):
        client.flushall()
        async with store.session() as session:
            await session.register(QUEUE)
            [entry] = await fetched(session, client, b"1")
            if named:
                await session.admit(QUEUE, [first(entry)])
            assert await session.post(end) == ""
            await session.settle(QUEUE, [finish(entry, job_id="j", has_producer_id=named, outcome=None, kin=AWAY)])
            assert asked(client, "j") == [word, ""]
