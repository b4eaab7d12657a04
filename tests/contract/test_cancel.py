"""What cancelling from outside promises, on every store."""

import json
from typing import Any

import pytest

from support.jobs import QUEUE, STREAM, fetched, pending_ids, push, readd, stream_ids
from support.stores import Store
from workd.broker import keys
from workd.broker.ops import Admit, Admitted
from workd.client import cancelling
from workd.retry import Counters

SCHEDULED = keys.scheduled(QUEUE)
NEXT_WEEK_MS = 7 * 86_400_000


def step(client: Any, job_id: str, entry_id: str = "", go_on: str = "") -> list[str]:
    """Call the script once; return its word and where to go on."""
    verb, source, *rest = cancelling.command(QUEUE, job_id, entry_id, go_on, whole_script=True)
    # The first line is no Lua: fakeredis does not know it.
    source = str(source).replace("#!lua", "--lua", 1)
    return [part.decode() for part in client.execute_command(verb, source, *rest)]


def cancel(client: Any, job_id: str, entry_id: str = "") -> str:
    """Do as a client does: look on until it is found, or everything was looked at."""
    word, go_on = step(client, job_id, entry_id)
    while go_on and word == "unknown":
        word, go_on = step(client, job_id, "", go_on)
    return word


def outcome(client: Any, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.get(keys.result(QUEUE, job_id)))
    return found


def message(**fields: object) -> str:
    return json.dumps({"task": "square", "args": [4], "result_ttl": 60} | fields)


async def scheduled(store: Store, raw: str, due_ms: int = NEXT_WEEK_MS, **changes: object) -> str:
    """Have a job scheduled by a daemon; return its id."""
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, raw)
        now_ms = await session.now_ms()
        await session.settle(QUEUE, [readd(entry, due_ms=now_ms + due_ms, **changes)])
    return entry.entry_id


# ── queued ──


async def test_a_queued_job_ends_at_once_with_an_outcome_a_reply_and_no_trace(store: Store) -> None:
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    first, job, last = push(client, message(), message(reply_to="me"), message())
    assert cancel(client, job) == "cancelled"
    assert stream_ids(client) == [first, last]
    found = outcome(client, job)
    assert (found["id"], found["task"], found["status"], found["value"]) == (job, "square", "cancelled", None)
    assert found["error"] == {
        "type": "cancelled",
        "message": "cancelled before it started",
        "traceback": None,
        "cause": None,
    }
    assert (found["attempts"], found["deliveries"], found["started_at"]) == (0, 0, None)
    assert found["enqueued_at"] == pytest.approx(int(job.partition("-")[0]) / 1000)
    assert found["ended_at"] >= found["enqueued_at"]
    assert 50_000 < client.pttl(keys.result(QUEUE, job)) <= 60_000
    [_, (_, reply)] = client.xrange(keys.reply(QUEUE, "me"))
    assert json.loads(reply[b"m"]) == found
    assert not client.exists(keys.cancel(QUEUE, job))
    assert cancel(client, job) == "ended"


async def test_the_daemons_group_knows_nothing_of_a_job_that_was_cancelled_in_the_queue(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        job, other = push(client, message(), message())
        assert cancel(client, job) == "cancelled"
        assert [entry.entry_id for entry in await session.fetch([QUEUE], 10, 0)] == [other]
    assert pending_ids(client) == [other]


@pytest.mark.parametrize(("result_ttl", "kept"), [(0, False), (None, True), (0.5, True)])
async def test_the_outcome_is_kept_as_the_message_says_and_an_hour_if_it_does_not(
    store: Store, result_ttl: float | None, kept: bool
) -> None:
    client = store.client()
    [job] = push(client, message(result_ttl=result_ttl))
    assert cancel(client, job) == "cancelled"
    assert client.exists(keys.result(QUEUE, job)) == kept
    if result_ttl is None:
        assert 3_500_000 < client.pttl(keys.result(QUEUE, job)) <= 3_600_000


async def test_a_job_with_an_id_of_its_own_is_found_by_its_entry_and_without_it(store: Store) -> None:
    client = store.client()
    push(client, *(message(id=f"other-{n}") for n in range(120)))
    one, two = push(client, message(id="one"), message(id='tw"ö', unique="key"))
    assert cancel(client, "one", one) == "cancelled"
    assert cancel(client, 'tw"ö', two) == "cancelled"
    assert outcome(client, 'tw"ö')["id"] == 'tw"ö'
    push(client, message(id="three"))
    assert cancel(client, "three") == "cancelled"
    assert client.xlen(STREAM) == 120
    assert client.get(keys.seen(QUEUE, "one")) == b"done", "its id is taken for a while, as after any end"
    assert cancel(client, "one") == "ended"


async def test_an_entry_is_not_taken_for_another_job_whose_id_looks_like_it(store: Store) -> None:
    client = store.client()
    [entry] = push(client, message(id="somebody"))
    assert cancel(client, entry) == "unknown"
    [mentions] = push(client, message(args=["mine"]))
    assert cancel(client, "mine") == "unknown"
    assert stream_ids(client) == [entry, mentions]


async def test_of_two_messages_with_one_id_the_waiting_one_does_not_take_the_running_one_for_itself(
    store: Store,
) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [running] = await fetched(session, client, message(id="job"))
        await session.admit(QUEUE, [Admit(running.entry_id, "job", has_producer_id=True)])
        [second] = push(client, message(id="job"))
        assert cancel(client, "job", second) == "asked"
        assert stream_ids(client) == [running.entry_id, second]
        assert (await session.renew(QUEUE, ["job"])).cancelled == frozenset({"job"})


# ── with a daemon ──


async def test_a_fetched_job_is_its_daemons_who_hears_of_it_at_the_next_renewal(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entry, other = await fetched(session, client, message(), message())
        assert cancel(client, entry.entry_id) == "asked"
        reply = await session.renew(QUEUE, [entry.entry_id, other.entry_id])
        assert reply.cancelled == frozenset({entry.entry_id})
        assert pending_ids(client) == [entry.entry_id, other.entry_id]
        assert 0 < client.pttl(keys.cancel(QUEUE, entry.entry_id)) <= 3_600_000


async def test_a_job_that_was_put_back_into_the_stream_is_found_under_its_new_entry(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, message())
        await session.settle(QUEUE, [readd(entry, counters=Counters(attempts=1, handbacks=1))])
    assert cancel(client, entry.entry_id) == "cancelled"
    assert stream_ids(client) == []
    found = outcome(client, entry.entry_id)
    assert (found["attempts"], found["deliveries"]) == (1, 2)
    assert found["enqueued_at"] == pytest.approx(entry.enqueued_ms / 1000)


async def test_a_job_that_waits_for_a_limit_is_nobodys_and_ends_at_once(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entry, member = await fetched(session, client, message(), message(group={"id": "g", "index": 0}))
        for one in (entry, member):
            client.xclaim(STREAM, keys.GROUP, keys.waiting("square"), 0, [one.entry_id], justid=True)
        assert cancel(client, entry.entry_id) == "cancelled"
        assert outcome(client, entry.entry_id)["status"] == "cancelled"
        assert cancel(client, member.entry_id) == "asked"
        assert pending_ids(client) == []
        [again] = await session.fetch([QUEUE], 10, 0)
        assert again.id == member.entry_id


# ── scheduled ──


async def test_a_job_for_next_week_is_cancelled_now(store: Store) -> None:
    client = store.client()
    job = await scheduled(store, message())
    other = await scheduled(store, message())
    assert cancel(client, job) == "cancelled"
    assert outcome(client, job)["status"] == "cancelled"
    [member] = client.zrange(SCHEDULED, 0, -1)
    assert other.encode() in member
    assert not client.exists(keys.cancel(QUEUE, job))


async def test_a_named_one_too_and_its_claims_are_released(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, message(id="[job]*", unique="key"))
        await session.admit(QUEUE, [Admit(entry.entry_id, "[job]*", has_producer_id=True, unique="key")])
        due_ms = await session.now_ms() + NEXT_WEEK_MS
        back = readd(entry, job_id="[job]*", due_ms=due_ms, has_producer_id=True, unique="key")
        await session.settle(QUEUE, [back])
        assert client.get(keys.seen(QUEUE, "[job]*")) == b"scheduled"
        assert cancel(client, "[job]*") == "cancelled"
        assert client.zcard(SCHEDULED) == 0
        assert client.get(keys.seen(QUEUE, "[job]*")) == b"done"
        assert not client.exists(keys.unique(QUEUE, "key"))


async def test_a_unique_key_that_only_the_daemon_knew_is_free_again(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second = await fetched(session, client, message(), message())
        ask = [Admit(first.entry_id, first.entry_id, has_producer_id=False, unique="made here")]
        again = [Admit(second.entry_id, second.entry_id, has_producer_id=False, unique="made here")]
        assert await session.admit(QUEUE, ask) == [Admitted.RUN]
        due_ms = await session.now_ms() + NEXT_WEEK_MS
        await session.settle(QUEUE, [readd(first, due_ms=due_ms, unique="made here")])
        assert await session.admit(QUEUE, again) == [Admitted.DUPLICATE]
        assert cancel(client, first.entry_id) == "cancelled"
        assert await session.admit(QUEUE, again) == [Admitted.RUN]


async def test_one_among_thousands_is_found_in_several_steps(store: Store) -> None:
    client = store.client()
    job = await scheduled(store, message())
    [member] = client.zrange(SCHEDULED, 0, -1)
    others = {member.replace(job.encode(), b"%0*d" % (len(job), n)): n + 10**13 for n in range(11_000)}
    client.zadd(SCHEDULED, others)
    assert step(client, "9" * len(job))[1] != "", "one step does not look at all of them"
    assert cancel(client, job) == "cancelled"
    assert client.zcard(SCHEDULED) == 11_000


async def test_a_job_that_moves_into_the_stream_meanwhile_is_cancelled_by_whoever_fetches_it(store: Store) -> None:
    client = store.client()
    job = await scheduled(store, message(), due_ms=0)
    client.zadd(SCHEDULED, {f"filler {n}": 10**13 + n for n in range(11_000)})
    moved = False
    word, go_on = step(client, job[:-1] + "77")  # another job: the first step has not found it
    async with store.session() as session:
        await session.register(QUEUE)
        while (await session.move_due(QUEUE)).moved:
            moved = True
        word, go_on = step(client, job)
        while go_on and word == "unknown":
            word, go_on = step(client, job, "", go_on)
    assert moved
    assert word == "cancelled"


# ── what the script leaves to daemons ──


@pytest.mark.parametrize(
    "raw",
    [
        message(group={"id": "g", "index": 0}),
        message(reply_to="not a name"),
        message(result_ttl="soon"),
        message(v=2),
        '{"task":"9 lives"}',
    ],
)
async def test_a_message_that_it_does_not_understand_is_put_back_for_a_daemon_to_end(store: Store, raw: str) -> None:
    client = store.client()
    [job] = push(client, raw)
    assert cancel(client, job) == "asked"
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await session.fetch([QUEUE], 10, 0)
        assert (entry.id, entry.message, entry.counters) == (job, raw.encode(), Counters())
        assert entry.enqueued_ms == int(job.partition("-")[0])
        ask = [Admit(entry.entry_id, job, has_producer_id=False)]
        assert await session.admit(QUEUE, ask) == [Admitted.CANCELLED]


async def test_such_a_one_that_is_scheduled_becomes_due_and_its_wish_outlives_any_backlog(store: Store) -> None:
    client = store.client()
    job = await scheduled(store, message(then=[{"task": "square"}]))
    assert cancel(client, job) == "asked"
    [(_, score)] = client.zrange(SCHEDULED, 0, -1, withscores=True)
    assert score == 0
    assert client.pttl(keys.cancel(QUEUE, job)) > 29 * 86_400_000


@pytest.mark.parametrize("raw", ["garbage", "[1,2]", '{"args":[1]}', "[" * 5_000 + "]" * 5_000])
async def test_what_is_no_message_is_left_to_become_a_dead_letter(store: Store, raw: str) -> None:
    client = store.client()
    [job] = push(client, raw)
    assert cancel(client, job) == "asked"
    assert stream_ids(client) == [job]


async def test_a_signature_goes_along(store: Store) -> None:
    client = store.client()
    job = client.xadd(STREAM, {"m": message(group={"id": "g"}), "s": "signed"}).decode()
    assert cancel(client, job) == "asked"
    [(_, fields)] = client.xrange(STREAM)
    assert fields[b"s"] == b"signed"


# ── no trace, and keys of other types ──


async def test_a_job_that_nobody_knows_is_cancelled_if_it_comes(store: Store) -> None:
    client = store.client()
    assert cancel(client, "later") == "unknown"
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, message(id="later"))
        ask = [Admit(entry.entry_id, "later", has_producer_id=True)]
        assert await session.admit(QUEUE, ask) == [Admitted.CANCELLED]


async def test_a_job_whose_result_cannot_be_written_stays_where_it_is(store: Store) -> None:
    client = store.client()
    [job] = push(client, message())
    client.rpush(keys.result(QUEUE, job), "mine")
    with pytest.raises(Exception, match="WRONGTYPE"):
        step(client, job)
    assert stream_ids(client) == [job]
    assert client.lrange(keys.result(QUEUE, job), 0, -1) == [b"mine"]


async def test_a_wish_does_not_overwrite_a_key_of_another_type(store: Store) -> None:
    client = store.client()
    client.rpush(keys.cancel(QUEUE, "job"), "mine")
    with pytest.raises(Exception, match="WRONGTYPE"):
        step(client, "job")
    assert client.lrange(keys.cancel(QUEUE, "job"), 0, -1) == [b"mine"]


async def test_a_reply_that_cannot_be_written_does_not_keep_the_job(store: Store) -> None:
    client = store.client()
    client.set(keys.reply(QUEUE, "me"), "mine")
    [job] = push(client, message(reply_to="me"))
    assert cancel(client, job) == "cancelled"
    assert client.get(keys.reply(QUEUE, "me")) == b"mine"
    assert outcome(client, job)["status"] == "cancelled"
