"""What looking after queues promises, on every store: how they are, purging them, moving them."""

import json
from typing import Any

import pytest

from support.caring import queue_care
from support.jobs import QUEUE, STREAM, expire_lease, fetched, finish, pending_ids, push, readd, settled_in, stream_ids
from support.stores import Store
from workd import wire
from workd.broker import keys
from workd.broker.ops import Admit, Admitted
from workd.broker.queues import Paused
from workd.client import cancelling, scripts
from workd.client.queue_care import MOVE_SLICE, MOVER, SLICE, Moved, Purged
from workd.errors import InvalidJobError, SettingsError
from workd.retry import Counters

OTHER = "bulk"
FAR_MS = 8_000_000_000_000


def outcome(client: Any, job_id: str, queue: str = QUEUE) -> wire.Outcome:
    return wire.decode_outcome(client.get(keys.result(queue, job_id)))


def message(**fields: Any) -> bytes:
    return json.dumps({"task": "square", **fields}).encode()


def interrupted(*_: object) -> int:
    raise KeyboardInterrupt


# ── how it is ──


async def test_a_queue_says_how_it_is(store: Store) -> None:
    client, care = store.client(), queue_care(store)
    async with store.session() as session, store.session("gone") as gone:
        await session.register(QUEUE)
        await gone.register(QUEUE)
        expire_lease(client, "gone")
        entries = await fetched(session, client, *b"12345")
        await session.settle(QUEUE, [readd(entries[0], due_ms=FAR_MS)])
        client.xclaim(STREAM, keys.GROUP, keys.WAITING + "square", 0, [entries[1].entry_id], justid=True)
        oldest_ms = int(entries[1].entry_id.partition("-")[0])
        push(client, b"6", b"7")
        client.rpush(keys.inbox(QUEUE), "a")
        client.xadd(keys.dead(QUEUE), {"m": "b"})
        client.set(keys.dead_trimmed(QUEUE), 17)
        client.set(keys.paused(QUEUE), "why")
        now_ms = await session.now_ms()
        state = care.state(QUEUE)
    assert (state.queued, state.waiting, state.running, state.scheduled) == (2, 1, 3, 1)
    assert (state.dead, state.inbox, state.daemons, state.dead_trimmed) == (1, 1, 1, 17)
    assert state.paused == Paused(reason="why")
    assert state.oldest_s is not None
    assert state.oldest_s >= (now_ms - oldest_ms) / 1000
    assert state.due_in_s == pytest.approx((FAR_MS - now_ms) / 1000, abs=60)


async def test_a_queue_that_there_is_not_is_empty(store: Store) -> None:
    state = queue_care(store).state("nowhere")
    assert (state.queued, state.running, state.scheduled, state.dead, state.daemons) == (0, 0, 0, 0, 0)
    assert (state.oldest_s, state.due_in_s, state.paused) == (None, None, None)
    assert not store.client().keys("*")


def test_a_queue_without_a_group_has_all_of_its_jobs_queued(store: Store) -> None:
    client = store.client()
    push(client, b"1", b"2")
    state = queue_care(store).state(QUEUE)
    assert (state.queued, state.running) == (2, 0)
    assert state.oldest_s is not None


def test_a_key_of_another_type_is_no_number_and_no_error(store: Store) -> None:
    client = store.client()
    for place in (keys.stream, keys.scheduled, keys.dead, keys.inbox, keys.leases):
        client.set(place(QUEUE), "wrong")
    state = queue_care(store).state(QUEUE)
    assert (state.queued, state.running, state.scheduled, state.dead, state.inbox, state.daemons) == (None,) * 6


def test_queues_are_found_by_their_keys(store: Store) -> None:
    store.need_one_server()
    client, care = store.client(), queue_care(store)
    assert care.names() == []
    client.xadd(keys.stream("images"), {"m": "1"})
    client.rpush(keys.inbox("a.b:c"), "1")
    client.set(keys.seen("hidden", "1"), "done")
    client.set("workd:{not a queue}:stream", "1")
    client.set("workd:{x}:instream", "1")
    for number in range(3_000):
        client.set(f"other:{number}", "1")
    assert care.names() == ["a.b:c", "images"]
    assert [state.name for state in care.all()] == ["a.b:c", "images"]


# ── pausing ──


async def test_a_queue_is_paused_and_resumed(store: Store) -> None:
    client, care = store.client(), queue_care(store)
    care.pause(QUEUE, "the disk is full", by="me", for_s=60)
    paused = care.state(QUEUE).paused
    assert paused is not None
    assert (paused.reason, paused.by) == ("the disk is full", "me")
    assert 0 < client.ttl(keys.paused(QUEUE)) <= 60
    assert care.resume(QUEUE) == paused
    assert care.resume(QUEUE) is None
    assert care.state(QUEUE).paused is None
    with pytest.raises(SettingsError, match="for_s"):
        care.pause(QUEUE, for_s=-1)


# ── purging ──


async def test_a_purge_takes_what_nobody_has_started_and_nothing_else(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        running, later = await fetched(session, client, b"running", b"later")
        await session.settle(QUEUE, [readd(later, due_ms=FAR_MS)])
        push(client, *(str(number) for number in range(SLICE + 20)))
        client.rpush(keys.inbox(QUEUE), "pushed")
        steps: list[Purged] = []
        done = queue_care(store).purge(QUEUE, scheduled=False, progress=steps.append)
        assert done == Purged(queued=SLICE + 21)
        assert len(steps) == 2
        assert (stream_ids(client), pending_ids(client)) == ([running.entry_id], [running.entry_id])
        assert queue_care(store).purge(QUEUE, queued=False) == Purged(scheduled=1)
        assert not client.exists(keys.scheduled(QUEUE))
        assert await session.taken(QUEUE, [running.entry_id]) == []
        push(client, b"next")
        assert [entry.message for entry in await session.fetch([QUEUE], 10, 0)] == [b"next"]


def test_a_purge_of_a_queue_that_no_daemon_has_served(store: Store) -> None:
    client, care = store.client(), queue_care(store)
    assert care.purge(QUEUE) == Purged()
    push(client, b"1", b"2")
    assert care.purge(QUEUE) == Purged(queued=2)


async def test_jobs_that_wait_for_a_limit_are_purged_too(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        waiting, running = await fetched(session, client, message(id="mine"), b"2")
        assert await session.admit(QUEUE, [Admit(waiting.entry_id, "mine", has_producer_id=True)]) == [Admitted.RUN]
        client.xclaim(STREAM, keys.GROUP, keys.WAITING + "square", 0, [waiting.entry_id], justid=True)
        assert queue_care(store).purge(QUEUE) == Purged(queued=1)
    assert pending_ids(client) == stream_ids(client) == [running.entry_id]
    assert not client.exists(keys.seen(QUEUE, "mine"))


@pytest.mark.parametrize("place", ["queued", "scheduled"])
async def test_whoever_waits_for_a_purged_job_is_told(store: Store, place: str) -> None:
    client = store.client()
    client.xadd(keys.reply(QUEUE, "me"), {"w": ""})
    raw = message(id='a "b"/é', reply_to="me", result_ttl=60)
    async with store.session() as session:
        await session.register(QUEUE)
        if place == "queued":
            [entry_id] = push(client, raw)
            counters = Counters()
        else:
            [entry] = await fetched(session, client, raw)
            entry_id, counters = entry.entry_id, Counters(attempts=2, crashes=1, unknown_since_ms=1_700_000_000_000)
            await session.settle(QUEUE, [readd(entry, job_id='a "b"/é', counters=counters, due_ms=FAR_MS)])
    assert queue_care(store).purge(QUEUE).untold == 0
    told = outcome(client, 'a "b"/é')
    assert (told.status, told.task, told.id) == ("cancelled", "square", 'a "b"/é')
    assert told.error is not None
    assert (told.error.type, told.error.message) == ("cancelled", "the queue was purged")
    assert (told.attempts, told.deliveries) == (counters.attempts, counters.runs)
    assert told.enqueued_at == int(entry_id.partition("-")[0]) / 1000
    assert 0 < client.ttl(keys.result(QUEUE, 'a "b"/é')) <= 60
    [_, (_, fields)] = client.xrange(keys.reply(QUEUE, "me"))
    assert wire.decode_outcome(fields[b"m"]) == told


def test_nothing_is_kept_of_a_purged_job_for_which_nobody_asked(store: Store) -> None:
    client = store.client()
    push(client, message(), message(id="x", result_ttl=0), message(reply_to="gone"), b"{no json", b'"text"', b"\xff")
    assert queue_care(store).purge(QUEUE) == Purged(queued=6)
    assert client.keys(f"{keys.prefix(QUEUE)}*") == [STREAM.encode()]
    assert stream_ids(client) == []


def test_an_outcome_that_cannot_be_written_is_counted(store: Store) -> None:
    client = store.client()
    client.rpush(keys.result(QUEUE, "x"), "somebody else's")
    push(client, message(id="x", result_ttl=60))
    assert queue_care(store).purge(QUEUE) == Purged(queued=1, untold=1)
    assert client.lrange(keys.result(QUEUE, "x"), 0, -1) == [b"somebody else's"]


@pytest.mark.parametrize("scheduled", [False, True])
async def test_the_claims_of_purged_jobs_are_free_and_those_of_others_stay(store: Store, scheduled: bool) -> None:
    client = store.client()
    raw = message(id="mine", unique="key")
    named = {"job_id": "mine", "has_producer_id": True, "unique": "key"}
    async with store.session() as session:
        await session.register(QUEUE)
        one, other = await fetched(session, client, raw, b"2")
        admits = [Admit(one.entry_id, "mine", has_producer_id=True, unique="key")]
        admits += [Admit(other.entry_id, "other", has_producer_id=True, unique="other key")]
        assert await session.admit(QUEUE, admits) == [Admitted.RUN, Admitted.RUN]
        await session.settle(QUEUE, [readd(one, due_ms=FAR_MS if scheduled else None, **named)])
        queue_care(store).purge(QUEUE)
        assert not client.exists(keys.seen(QUEUE, "mine"), keys.unique(QUEUE, "key"))
        assert client.exists(keys.seen(QUEUE, "other"), keys.unique(QUEUE, "other key")) == 2
        [again] = await fetched(session, client, raw)
        same = Admit(again.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [same]) == [Admitted.RUN]


async def test_the_claim_of_a_running_job_stays_when_its_duplicate_is_purged(store: Store) -> None:
    client = store.client()
    raw = message(id="mine", unique="key")
    async with store.session() as session:
        await session.register(QUEUE)
        [running] = await fetched(session, client, raw)
        admit = Admit(running.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        push(client, raw, message(id="another", unique="key"))
        assert queue_care(store).purge(QUEUE) == Purged(queued=2)
    assert client.get(keys.seen(QUEUE, "mine")) == running.entry_id.encode()
    assert client.get(keys.unique(QUEUE, "key")) == f"{running.entry_id} mine".encode()


@pytest.mark.parametrize("scheduled", [False, True])
async def test_a_purged_job_of_a_group_or_chain_is_ended_by_a_daemon_which_knows_its_kin(
    store: Store, scheduled: bool
) -> None:
    client = store.client()
    raw = message(id="mine", then=[{"task": "next"}], result_ttl=60)
    async with store.session() as session:
        await session.register(QUEUE)
        if scheduled:
            [entry] = await fetched(session, client, raw)
            assert await session.admit(QUEUE, [Admit(entry.entry_id, "mine", has_producer_id=True)]) == [Admitted.RUN]
            named = {"job_id": "mine", "has_producer_id": True, "counters": Counters(attempts=1)}
            await session.settle(QUEUE, [readd(entry, due_ms=FAR_MS, signature=b"s", **named)])
        else:
            push(client, raw)
        done = queue_care(store).purge(QUEUE)
        assert (done.queued + done.scheduled, done.untold) == (1, 0)
        assert not client.exists(keys.scheduled(QUEUE), keys.result(QUEUE, "mine"))
        [left] = await session.fetch([QUEUE], 10, 0)
        assert (left.id, left.message, left.counters.attempts) == ("mine", raw, int(scheduled))
        assert left.signature == (b"s" if scheduled else None)
        admit = Admit(left.entry_id, "mine", has_producer_id=True)
        assert await session.admit(QUEUE, [admit]) == [Admitted.CANCELLED]


async def test_a_claim_that_a_task_made_for_a_scheduled_job_is_void_after_a_purge(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, message())
        mine = Admit(entry.entry_id, entry.entry_id, has_producer_id=False, unique="of the task")
        assert await session.admit(QUEUE, [mine]) == [Admitted.RUN]
        await session.settle(QUEUE, [readd(entry, due_ms=FAR_MS, unique="of the task")])
        queue_care(store).purge(QUEUE)
        [other] = await fetched(session, client, message())
        again = Admit(other.entry_id, other.entry_id, has_producer_id=False, unique="of the task")
        assert await session.admit(QUEUE, [again]) == [Admitted.RUN]


# ── moving ──


async def test_a_queue_is_moved_in_its_order_and_jobs_keep_what_they_are(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    count = 2 * MOVE_SLICE + 7
    async with store.session() as session:
        await session.register(QUEUE)
        [running, retried] = await fetched(session, client, b"running", b"retried")
        counters = Counters(attempts=2, crashes=1)
        await session.settle(QUEUE, [readd(retried, job_id="jöb", counters=counters, signature=b"s\x00")])
        ids = push(client, *(message(args=[number]) for number in range(count)), message(id="own"))
        client.rpush(keys.inbox(QUEUE), "pushed")
        client.xadd(STREAM, {"payload": "no message"})
        done = queue_care(store).move(QUEUE, OTHER)
        assert done == Moved(queued=count + 4)
        assert stream_ids(client) == pending_ids(client) == [running.entry_id]
        assert client.hkeys(keys.leases(QUEUE)) == [b"me"]
        await session.register(OTHER)
        entries = await session.fetch([OTHER], 1_000, 0)
    first = entries[0]
    assert (first.id, first.message, first.counters, first.signature) == ("jöb", b"retried", counters, b"s\x00")
    assert first.enqueued_ms == retried.enqueued_ms
    assert [(e.id, e.message) for e in entries[1 : count + 1]] == [
        (entry_id, message(args=[number])) for number, entry_id in enumerate(ids[:-1])
    ]
    assert entries[1].enqueued_ms == int(ids[0].partition("-")[0])
    own, strange, pushed = entries[count + 1 :]
    if pushed.message is None:
        strange, pushed = pushed, strange
    assert (own.id, strange.fields, pushed.message) == ("own", {b"payload": b"no message"}, b"pushed")


async def test_scheduled_jobs_are_moved_with_their_due_times_and_leave_no_claim(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    raw = message(id="mine", unique="key")
    async with store.session() as session:
        await session.register(QUEUE)
        [named, *others] = await fetched(session, client, raw, *(str(number) for number in range(MOVE_SLICE)))
        admit = Admit(named.entry_id, "mine", has_producer_id=True, unique="key")
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        soon_ms = await session.now_ms() + 2_000
        batch = [readd(named, job_id="mine", has_producer_id=True, unique="key", due_ms=FAR_MS)]
        batch += [readd(other, due_ms=soon_ms) for other in others]
        await session.settle(QUEUE, batch)
        before = client.zrange(keys.scheduled(QUEUE), 0, -1, withscores=True)
        assert queue_care(store).move(QUEUE, OTHER) == Moved(scheduled=MOVE_SLICE + 1)
    assert client.zrange(keys.scheduled(OTHER), 0, -1, withscores=True) == before
    assert not client.exists(keys.scheduled(QUEUE), keys.seen(QUEUE, "mine"), keys.unique(QUEUE, "key"))


async def test_no_daemon_starts_what_is_about_to_be_moved(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.need_one_server()
    client, care = store.client(), queue_care(store)
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        await session.settle(QUEUE, [readd(entry, due_ms=await session.now_ms() - 1)])
        push(client, b"2")
        monkeypatch.setattr(care, "_remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            care.move(QUEUE, OTHER)
        assert await session.fetch([QUEUE], 10, 0) == []
        monkeypatch.undo()
        [later] = await fetched(session, client, b"3")
        await session.settle(QUEUE, [readd(later, due_ms=await session.now_ms() - 1)])
        scripts.call(care._link, "move_later", (keys.scheduled(QUEUE),), "hold", 30_000, 10, 1_000_000, 0)
        assert (await session.move_due(QUEUE)).moved == 0
        assert care.move(QUEUE, OTHER) == Moved(scheduled=1)
    assert client.zcard(keys.scheduled(OTHER)) == 2


async def test_a_move_that_ends_in_the_middle_loses_nothing_and_is_repeated_without_doubles(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.need_one_server()
    client, care = store.client(), queue_care(store)
    push(client, *(str(number) for number in range(MOVE_SLICE + 10)))
    monkeypatch.setattr(care, "_remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        care.move(QUEUE, OTHER)
    assert len(stream_ids(client)) == MOVE_SLICE + 10
    assert client.xlen(keys.stream(OTHER)) == MOVE_SLICE
    [mover] = client.hkeys(keys.leases(QUEUE))
    assert mover.startswith(MOVER.encode())
    client.hset(keys.leases(QUEUE), mover, 1)  # its lease has run out
    monkeypatch.undo()
    assert care.move(QUEUE, OTHER) == Moved(queued=MOVE_SLICE + 10)
    messages = [fields[b"m"] for _, fields in client.xrange(keys.stream(OTHER))]
    assert messages == [str(number).encode() for number in range(MOVE_SLICE + 10)]
    assert stream_ids(client) == []


async def test_what_an_interrupted_move_has_left_is_taken_over_like_a_dead_daemons(store: Store) -> None:
    client, care = store.client(), queue_care(store)
    push(client, b"1")
    care._take(QUEUE, "move:dead")
    client.hset(keys.leases(QUEUE), "move:dead", 1)
    async with store.session() as session:
        await session.register(QUEUE)
        await settled_in(session)
        reply = await session.takeover(QUEUE)
        assert [entry.message for entry in reply.entries] == [b"1"]
        assert care._remove(QUEUE, "move:dead", [reply.entries[0].entry_id.encode()]) == 0
        await session.settle(QUEUE, [finish(reply.entries[0])])


async def test_a_mover_removes_only_what_it_has_and_only_with_its_lease(store: Store) -> None:
    client, care = store.client(), queue_care(store)
    kept, taken = (entry_id.encode() for entry_id in push(client, b"1", b"2"))
    care._take(QUEUE, "move:me")
    client.xclaim(STREAM, keys.GROUP, "another", 0, [taken])
    lease = client.hget(keys.leases(QUEUE), "move:me")
    client.hdel(keys.leases(QUEUE), "move:me")
    assert care._remove(QUEUE, "move:me", [kept, taken]) == 0
    client.hset(keys.leases(QUEUE), "move:me", lease)
    assert care._remove(QUEUE, "move:me", [kept, taken]) == 1
    assert stream_ids(client) == [taken.decode()]


async def test_large_jobs_are_moved_some_at_a_time(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    push(client, *(b"x" * (3 << 20) for _ in range(5)), b"y" * (9 << 20))
    steps: list[Moved] = []
    queue_care(store).move(QUEUE, OTHER, steps.append)
    assert [step.queued for step in steps] == [2, 4, 5, 6]
    assert client.xlen(keys.stream(OTHER)) == 6


def test_a_move_to_nowhere_is_refused_before_anything_is_touched(store: Store) -> None:
    care = queue_care(store)
    with pytest.raises(InvalidJobError, match="cannot be moved to itself"):
        care.move(QUEUE, QUEUE)
    with pytest.raises(InvalidJobError, match="no queue name"):
        care.move(QUEUE, "no name")
    assert care.move(QUEUE, OTHER) == Moved()
    assert not store.client().keys("*")


async def test_a_claim_that_a_task_made_for_a_scheduled_job_is_void_after_a_move(store: Store) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, message())
        mine = Admit(entry.entry_id, entry.entry_id, has_producer_id=False, unique="of the task")
        assert await session.admit(QUEUE, [mine]) == [Admitted.RUN]
        await session.settle(QUEUE, [readd(entry, due_ms=FAR_MS, unique="of the task")])
        assert queue_care(store).move(QUEUE, OTHER) == Moved(0, 1)
        [other] = await fetched(session, client, message())
        again = Admit(other.entry_id, other.entry_id, has_producer_id=False, unique="of the task")
        assert await session.admit(QUEUE, [again]) == [Admitted.RUN]


async def test_a_job_whose_id_was_purged_before_holds_its_unique_key_when_it_is_scheduled_again(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        for purged in (True, False):
            [entry] = await fetched(session, client, message(id="a"))
            mine = Admit(entry.entry_id, "a", has_producer_id=True, unique="of the task")
            assert await session.admit(QUEUE, [mine]) == [Admitted.RUN]
            await session.settle(
                QUEUE, [readd(entry, job_id="a", due_ms=FAR_MS, has_producer_id=True, unique="of the task")]
            )
            if purged:
                queue_care(store).purge(QUEUE)
        [other] = await fetched(session, client, message())
        again = Admit(other.entry_id, other.entry_id, has_producer_id=False, unique="of the task")
        assert await session.admit(QUEUE, [again]) == [Admitted.DUPLICATE]


@pytest.mark.parametrize("way", ["purge", "move", "cancel"])
@pytest.mark.parametrize("own", [True, False])
async def test_a_key_of_a_scheduled_job_that_has_become_due_is_free_once_it_is_out_of_the_stream(
    store: Store, way: str, own: bool
) -> None:
    store.need_one_server()
    client = store.client()
    raw = message(unique="key") if own else message()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, raw)
        mine = Admit(entry.entry_id, entry.entry_id, has_producer_id=False, unique="key")
        assert await session.admit(QUEUE, [mine]) == [Admitted.RUN]
        await session.settle(QUEUE, [readd(entry, due_ms=5, unique="key")])
        await session.move_due(QUEUE)
        match way:
            case "purge":
                assert queue_care(store).purge(QUEUE) == Purged(1)
            case "move":
                assert queue_care(store).move(QUEUE, OTHER) == Moved(1)
            case _:
                job_id, [entry_id] = entry.entry_id, stream_ids(client)
                verb, source, *rest = cancelling.command(QUEUE, job_id, entry_id, "", whole_script=True)
                client.execute_command(verb, str(source).replace("#!lua", "--lua", 1), *rest)
        assert stream_ids(client) == []
        [other] = await fetched(session, client, message())
        again = Admit(other.entry_id, other.entry_id, has_producer_id=False, unique="key")
        assert await session.admit(QUEUE, [again]) == [Admitted.RUN]


async def test_a_move_takes_the_waiting_jobs_of_all_tasks_also_where_the_newest_of_them_are_a_whole_slice(
    store: Store,
) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        older = await fetched(session, client, *(message(task="b") for _ in range(3)))
        newer = await fetched(session, client, *(message(task="a") for _ in range(MOVE_SLICE)))
        for task, entries in (("a", newer), ("b", older)):
            ids = [entry.entry_id for entry in entries]
            client.xclaim(STREAM, keys.GROUP, keys.waiting(task), 0, ids, justid=True)
        assert queue_care(store).move(QUEUE, OTHER) == Moved(MOVE_SLICE + 3)
        assert stream_ids(client) == []


@pytest.mark.parametrize("way", ["purge", "move"])
async def test_a_purge_or_move_goes_on_behind_waiting_jobs_that_somebody_trimmed(store: Store, way: str) -> None:
    store.need_one_server()
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        ids = [entry.entry_id for entry in await fetched(session, client, *(message() for _ in range(60)))]
        client.xclaim(STREAM, keys.GROUP, keys.waiting("square"), 0, ids, justid=True)
        client.xdel(STREAM, *ids[:55])
        care = queue_care(store)
        assert (care.purge(QUEUE) if way == "purge" else care.move(QUEUE, OTHER)).queued == 5
        assert (stream_ids(client), pending_ids(client)) == ([], [])
