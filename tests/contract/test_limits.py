"""What the limits of a task promise, on every store: permits, tokens, and the order of those that wait."""

from typing import Any

import pytest

from support.jobs import QUEUE, STREAM, expire_lease, fetched, finish, pending_ids, readd, settled_in
from support.stores import Store
from workd.broker import keys
from workd.broker.entries import Entry
from workd.broker.permits import Limit, PermitAsk, PermitReply, Permitted
from workd.broker.session import Session
from workd.retry import Counters

TASK = "resize"
RUN, WAITS, NOT_OURS = Permitted.RUN, Permitted.WAITS, Permitted.NOT_OURS
TWO = Limit(most_running=2)
SLOW = Limit(token_us=3_600e6, most_tokens=2)  # two at once, then one an hour
PERMITS, RATE, WAITING = keys.permits(QUEUE, TASK), keys.rate(QUEUE, TASK), keys.waiting(TASK)


async def ask(session: Session, limit: Limit, *asking: Entry, **more: Any) -> PermitReply:
    """Ask for these entries; `ended` and `unstarted` are entries too."""
    said: dict[str, Any] = {
        name: _ids(value) if name in ("ended", "unstarted") else value for name, value in more.items()
    }
    return await session.permit(QUEUE, PermitAsk(TASK, limit, asking=_ids(asking), **said))


def _ids(entries: Any) -> tuple[str, ...]:
    return tuple(entry.entry_id for entry in entries)


# ── how many at once ──


async def test_no_more_than_the_limit_may_run_and_the_others_wait_uncharged(store: Store) -> None:
    client = store.client()
    async with store.session("one") as one, store.session("two") as two:
        await one.register(QUEUE)
        await two.register(QUEUE)
        first, second = await fetched(one, client, b"1", b"2")
        third, fourth = await fetched(two, client, b"3", b"4")
        assert (await ask(one, TWO, first)).answers == (RUN,)
        assert (await ask(two, TWO, third, fourth)).answers == (RUN, WAITS)
        assert (await ask(one, TWO, second)).answers == (WAITS,)
        assert pending_ids(client, WAITING) == [second.entry_id, fourth.entry_id]

        await one.settle(QUEUE, [finish(first)])
        reply = await ask(one, TWO, ended=[first], room=10)
        assert reply.taken == (second,)  # the oldest, as it was: no delivery is counted
        assert (reply.others_wait, reply.more) == (True, 0)
        assert pending_ids(client, "one") == [second.entry_id]
        assert client.pttl(PERMITS) > 0


async def test_a_daemon_takes_no_more_of_those_that_wait_than_it_has_room_for(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(6)))
        assert (await ask(session, Limit(most_running=1), *entries)).answers == (RUN,) + (WAITS,) * 5
        await session.settle(QUEUE, [finish(entries[0])])
        four = Limit(most_running=4)  # the code of this daemon is newer
        reply = await ask(session, four, ended=entries[:1])
        assert (reply.taken, reply.more) == ((), 4)
        reply = await ask(session, four, room=3)
        assert (reply.taken, reply.more) == (tuple(entries[1:4]), 1)
        reply = await ask(session, four, room=3)
        assert (reply.taken, reply.more, reply.others_wait) == ((entries[4],), 0, True)


async def test_who_waits_goes_before_who_asks(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"2", b"3")
        await ask(session, Limit(most_running=1), first, second)
        await session.settle(QUEUE, [finish(first)])
        reply = await ask(session, Limit(most_running=1), third, ended=[first], room=5)
        assert (reply.answers, reply.taken) == ((WAITS,), (second,))


async def test_what_found_no_worker_waits_again_in_its_old_place(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"2", b"3")
        one = Limit(most_running=1)
        await ask(session, one, first, second, third)
        reply = await ask(session, one, unstarted=[first])
        assert (reply.taken, reply.more) == ((), 1)
        assert pending_ids(client, WAITING) == [first.entry_id, second.entry_id, third.entry_id]
        assert (await ask(session, one, room=1)).taken == (first,)


async def test_asking_again_after_a_lost_answer_gives_the_same_permit(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry, other] = await fetched(session, client, b"1", b"2")
        for _ in range(3):
            assert (await ask(session, Limit(most_running=1), entry)).answers == (RUN,)
        assert (await ask(session, Limit(most_running=1), other)).answers == (WAITS,)


async def test_a_job_that_is_not_pending_for_us_gets_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry, other] = await fetched(session, client, b"1", b"2")
        client.xack(STREAM, keys.GROUP, entry.entry_id)
        reply = await ask(session, Limit(most_running=1), entry, other)
        assert reply.answers == (NOT_OURS, RUN)
        client.xgroup_destroy(STREAM, keys.GROUP)
        assert (await ask(session, Limit(most_running=1), other)).answers == (NOT_OURS,)


async def test_a_permit_that_nobody_gave_back_is_found_by_the_look_at_all_of_them(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second, third = await fetched(session, client, b"1", b"2", b"3")
        await ask(session, TWO, first, second, third)
        await session.settle(QUEUE, [finish(first)])  # and then the daemon forgot to say so
        assert (await ask(session, TWO, room=5)).taken == ()
        assert (await ask(session, TWO, room=5, verify=True)).taken == (third,)
        assert client.hkeys(PERMITS) == [second.entry_id.encode(), third.entry_id.encode()]


async def test_the_permits_of_a_dead_daemon_are_free_and_what_waits_is_not_taken_over(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        held, waits, late = await fetched(gone, client, b"1", b"2", b"3")
        one = Limit(most_running=1)
        await ask(gone, one, held, waits, late)
        await settled_in(here)
        assert (await here.takeover(QUEUE)).waiting == (TASK,)
        assert (await ask(here, one, room=1, verify=True)).taken == ()  # its lease is there

        expire_lease(client, "gone")
        reply = await here.takeover(QUEUE)
        [again] = reply.entries
        assert (again.message, again.counters) == (held.message, Counters(takeovers=1))
        assert reply.waiting == (TASK,)
        assert (await ask(here, one, again)).answers == (RUN,)  # it had the permit, and takes it along
        assert (await ask(here, one, room=1, verify=True)).taken == ()
        await here.settle(QUEUE, [finish(again)])
        assert (await ask(here, one, ended=[again], room=1)).taken == (waits,)


async def test_the_look_frees_the_permits_of_the_dead_for_those_that_wait(store: Store) -> None:
    client = store.client()
    async with store.session("gone") as gone, store.session("here") as here:
        await gone.register(QUEUE)
        await here.register(QUEUE)
        held, waits = await fetched(gone, client, b"1", b"2")
        await ask(gone, Limit(most_running=1), held, waits)
        client.hdel(keys.leases(QUEUE), "gone")
        assert (await ask(here, Limit(most_running=1), room=1, verify=True)).taken == (waits,)


async def test_the_end_of_a_job_that_another_daemon_has_now_frees_nothing(store: Store) -> None:
    client = store.client()
    async with store.session("old") as old, store.session("new") as new:
        await old.register(QUEUE)
        await new.register(QUEUE)
        held, waits = await fetched(old, client, b"1", b"2")
        one = Limit(most_running=1)
        await ask(old, one, held, waits)
        expire_lease(client, "old")
        await settled_in(new)
        [again] = (await new.takeover(QUEUE)).entries
        await ask(new, one, again)
        await old.register(QUEUE)
        reply = await ask(old, one, ended=[held], room=5)
        assert (reply.taken, client.hgetall(PERMITS)) == ((), {held.entry_id.encode(): b"new"})


async def test_a_retry_gives_its_permit_back_while_it_is_scheduled(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        first, second = await fetched(session, client, b"1", b"2")
        await ask(session, Limit(most_running=1), first, second)
        await session.settle(QUEUE, [readd(first, due_ms=2**40)])
        assert (await ask(session, Limit(most_running=1), ended=[first], room=1)).taken == (second,)


async def test_of_what_waited_those_that_were_cancelled_are_named(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        held, plain, renamed, kept = await fetched(session, client, b"1", b"2", b"3", b"4")
        await session.settle(QUEUE, [readd(renamed, job_id="first")])
        [renamed] = await session.fetch([QUEUE], 1, 0)
        await ask(session, Limit(most_running=1), held, plain, renamed, kept)
        for job_id in (plain.entry_id, "first"):
            client.set(keys.cancel(QUEUE, job_id), "", ex=60)
        await session.settle(QUEUE, [finish(held)])
        reply = await ask(session, Limit(most_running=5), ended=[held], room=9)
        assert len(reply.taken) == 3
        assert reply.cancelled == {plain.entry_id, renamed.entry_id}


async def test_what_a_person_removed_from_the_stream_waits_for_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        held, removed, waits = await fetched(session, client, b"1", b"2", b"3")
        await ask(session, Limit(most_running=1), held, removed, waits)
        client.xdel(STREAM, removed.entry_id)
        await session.settle(QUEUE, [finish(held)])
        taken = (await ask(session, TWO, ended=[held], room=9)).taken
        assert taken == (waits,)
        assert pending_ids(client, WAITING) == []


async def test_a_task_that_has_no_limit_any_more_lets_all_go_that_wait(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2", b"3")
        await ask(session, Limit(most_running=1), *entries)
        reply = await ask(session, Limit(), room=9)
        assert (reply.taken, reply.others_wait) == (tuple(entries[1:]), False)


async def test_the_consumer_of_those_that_wait_goes_with_the_last_of_them(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        await settled_in(session)
        held, waits = await fetched(session, client, b"1", b"2")
        await ask(session, Limit(most_running=1), held, waits)
        await session.takeover(QUEUE)
        assert pending_ids(client, WAITING) == [waits.entry_id]
        await ask(session, Limit(), room=1)
        await session.takeover(QUEUE)
        assert [consumer["name"] for consumer in client.xinfo_consumers(STREAM, keys.GROUP)] == [b"me"]


# ── how often ──


async def test_no_more_start_than_there_are_tokens_and_the_next_one_has_a_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2", b"3", b"4")
        reply = await ask(session, SLOW, *entries)
        assert reply.answers == (RUN, RUN, WAITS, WAITS)
        assert reply.next_in_s == pytest.approx(3_600, abs=5)
        assert 0 < client.pttl(RATE) <= 7_200_000
        await session.settle(QUEUE, [finish(entries[0])])  # an end brings no token
        assert (await ask(session, SLOW, ended=entries[:1], room=9)).taken == ()


async def test_tokens_come_with_time_and_are_saved_up_to_the_burst(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *(str(n) for n in range(8)))
        quick = Limit(token_us=100_000.0, most_tokens=3)
        assert (await ask(session, quick, *entries)).answers.count(RUN) == 3
        now_us = await session.now_ms() * 1_000
        client.set(RATE, now_us + 150_000)  # as if 1.5 tokens were not there yet
        reply = await ask(session, quick, room=9)
        assert len(reply.taken) == 1
        assert 0 < (reply.next_in_s or 0) <= 0.1
        client.delete(RATE)  # a long rest: full, and not more than that
        assert len((await ask(session, quick, room=9)).taken) == 3


async def test_a_bucket_that_was_written_under_another_rate_holds_nothing_up_for_longer_than_its_own(
    store: Store,
) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.set(RATE, (await session.now_ms() + 10**9) * 1_000)
        reply = await ask(session, Limit(token_us=1e6, most_tokens=1), entry)
        assert reply.answers == (WAITS,)
        assert (reply.next_in_s or 0) <= 1.01


async def test_what_found_no_worker_gives_its_token_back(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2", b"3")
        await ask(session, SLOW, *entries)
        assert (await ask(session, SLOW, unstarted=entries[:1])).more == 1
        assert (await ask(session, SLOW, room=9)).taken == (entries[0],)


async def test_a_token_is_not_spent_on_a_job_that_has_no_permit(store: Store) -> None:
    client = store.client()
    both = Limit(most_running=1, token_us=3_600e6, most_tokens=2)
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, b"1", b"2", b"3")
        reply = await ask(session, both, *entries)
        assert (reply.answers, reply.next_in_s) == ((RUN, WAITS, WAITS), None)  # a token is there, a permit is not
        await session.settle(QUEUE, [finish(entries[0])])
        reply = await ask(session, both, ended=entries[:1], room=9)
        assert (reply.taken, reply.next_in_s) == ((entries[1],), None)
        await session.settle(QUEUE, [finish(entries[1])])
        reply = await ask(session, both, ended=entries[1:2], room=9)
        assert reply.taken == ()
        assert (reply.next_in_s or 0) > 3_000


# ── fences, strangers ──


async def test_a_daemon_without_a_lease_gets_nothing_and_changes_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        held, other = await fetched(session, client, b"1", b"2")
        await ask(session, TWO, held)
        client.hdel(keys.leases(QUEUE), "me")
        assert (await ask(session, TWO, other, ended=[held])).fenced
        assert client.hkeys(PERMITS) == [held.entry_id.encode()]
        assert pending_ids(client, WAITING) == []


@pytest.mark.parametrize("key", [PERMITS, RATE])
async def test_a_key_of_the_wrong_type_is_named_and_not_overwritten(store: Store, key: str) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        client.rpush(key, "wrong")
        reply = await ask(session, Limit(most_running=1, token_us=1e6), entry)
        assert reply.wrong_key == key
        assert client.lrange(key, 0, -1) == [b"wrong"]
        assert pending_ids(client, "me") == [entry.entry_id]


async def test_a_pass_of_the_takeover_renews_the_lease_of_who_makes_it(store: Store) -> None:
    client = store.client()
    async with store.session(lease_s=15) as session:
        await session.register(QUEUE)
        expire_lease(client, "me")
        await session.takeover(QUEUE)
        until_ms = int(client.hget(keys.leases(QUEUE), "me") or 0)
        assert 14_000 < until_ms - await session.now_ms() <= 15_000
        client.hdel(keys.leases(QUEUE), "me")
        assert (await session.takeover(QUEUE)).fenced
        assert not client.hexists(keys.leases(QUEUE), "me")


async def test_a_token_that_was_not_used_is_there_for_the_next(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        entries = await fetched(session, client, *b"12345")
        assert (await ask(session, SLOW, *entries)).answers == (RUN, RUN, WAITS, WAITS, WAITS)
        assert (await ask(session, SLOW, room=5)).taken == ()
        assert (await ask(session, SLOW, room=5, unused=1)).taken == (entries[2],)
        assert (await ask(session, SLOW, room=5)).taken == ()
        assert (await ask(session, SLOW, room=5, unused=100)).taken == tuple(entries[3:])  # no more than the burst
