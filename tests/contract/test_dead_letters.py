"""What looking after dead letters promises, on every store."""

import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from support.caring import dead_letters
from support.jobs import OUTCOME, QUEUE, STREAM, bury, fetched, finish, readd, stream_ids
from support.stores import Store
from workd import wire
from workd.broker import keys
from workd.broker.entries import Entry
from workd.broker.ops import Admit, Admitted
from workd.client.dead_letter import DeadLetter
from workd.client.dead_letters import SLICE, Tally, Where
from workd.errors import DeadLetterError, InvalidJobError, ServerUnavailableError
from workd.retry import Counters

DEAD = keys.dead(QUEUE)
ERROR = wire.encode_error(wire.ErrorInfo(type="ValueError", message='no "Größe" HERE', traceback="line 7\nline 8"))


def lay(client: Any, *, entry_id: str = "*", **changes: Any) -> str:
    """Put a dead letter where settle would, and return its id."""
    fields: dict[str, Any] = {"m": b'{"task":"square"}', "reason": "failed", "error": ERROR, "id": "job-1"}
    fields |= {"task": "square", "attempts": 2, "deliveries": 3, "at": "1700000000.500000"} | changes
    return str(client.xadd(DEAD, fields, id=entry_id), "ascii")


def ids(letters: list[DeadLetter]) -> list[str]:
    return [letter.entry_id for letter in letters]


async def admitted(store: Store, job_id: str) -> tuple[Admitted, Entry]:
    """Have a daemon fetch what is in the queue, and say whether it may run."""
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await session.fetch([QUEUE], 10, 0)
        [answer] = await session.admit(QUEUE, [Admit(entry.entry_id, entry.id or "", has_producer_id=True)])
        assert entry.id == job_id
        return answer, entry


# ── looking ──


def test_a_dead_letter_is_shown_with_all_that_is_known(store: Store) -> None:
    client = store.client()
    entry_id = lay(client, s="signature", m=b"x" * 5_000)
    letter = dead_letters(store).get(QUEUE, entry_id)
    assert (letter.id, letter.task, letter.reason, letter.attempts, letter.deliveries) == (
        "job-1",
        "square",
        "failed",
        2,
        3,
    )
    assert (letter.at, letter.signed, letter.entry) == (1_700_000_000.5, True, None)
    assert letter.error == wire.ErrorInfo(type="ValueError", message='no "Größe" HERE', traceback="line 7\nline 8")
    assert letter.message == b"x" * 5_000
    [listed] = dead_letters(store).page(QUEUE, shown_bytes=10).letters
    assert (listed.message, listed.message_bytes) == (b"x" * 10, 5_000)


def test_a_letter_that_no_daemon_wrote_is_shown_all_the_same(store: Store) -> None:
    client = store.client()
    client.xadd(DEAD, {"error": b"\xffno JSON", "attempts": "many", "m": b"\xff"}, id="1234-5")
    letter = dead_letters(store).get(QUEUE, "1234-5")
    assert (letter.id, letter.attempts, letter.at) == ("", 0, 1.234)
    assert letter.error is not None
    assert letter.error.message == "\\xffno JSON"
    assert letter.as_json()["message"] == "\\xff"


def test_pages_go_from_the_newest_to_the_oldest_and_miss_none(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    laid = [lay(client, id=f"job-{number}") for number in range(7)]
    first = dead.page(QUEUE, limit=3)
    second = dead.page(QUEUE, limit=3, after=first.after)
    third = dead.page(QUEUE, limit=3, after=second.after)
    assert ids(first.letters + second.letters + third.letters) == laid[::-1]
    assert third.after is None
    assert dead.page("empty").letters == []


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (Where(), {"a", "b", "c"}),
        (Where(reason="timeout"), {"b"}),
        (Where(task="cube"), {"c"}),
        (Where(id="b"), {"b"}),
        (Where(text="größe"), {"a", "c"}),
        (Where(text='"Größe" here'), {"a", "c"}),
        (Where(text="VALUEERROR"), {"a", "c"}),
        (Where(text="line 7\nline"), {"a", "c"}),
        (Where(text="(["), set()),
        (Where(since=2.0), {"b", "c"}),
        (Where(until=2.0), {"a", "b"}),
        (Where(since=1.5, until=2.5), {"b"}),
        (Where(reason="failed", task="square"), {"a"}),
    ],
)
def test_filters_hold_together(store: Store, where: Where, found: set[str]) -> None:
    client, dead = store.client(), dead_letters(store)
    lay(client, id="a", entry_id="1000-0")
    lay(client, id="b", entry_id="2000-5", reason="timeout", error='{"type":"JobTimeout","message":"over"}')
    lay(client, id="c", entry_id="3000-0", task="cube")
    assert {letter.id for letter in dead.page(QUEUE, where).letters} == found
    assert dead.count(QUEUE, where) == len(found)


def test_what_matches_is_found_behind_thousands_that_do_not(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    wanted = lay(client, task="rare")
    with client.pipeline() as pipe:
        for _ in range(2 * SLICE + 10):
            pipe.xadd(DEAD, {"task": "common"})
        pipe.execute()
    assert ids(dead.page(QUEUE, Where(task="rare")).letters) == [wanted]
    assert dead.count(QUEUE, Where(task="common")) == 2 * SLICE + 10


def test_large_letters_come_some_at_a_time_and_all_of_them(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    laid = [lay(client, m=b"x" * (3 << 20)) for _ in range(5)]
    assert ids(dead.page(QUEUE).letters) == laid[::-1]
    assert dead.count(QUEUE) == 5


def test_what_is_no_id_or_no_filter_is_refused_here(store: Store) -> None:
    dead = dead_letters(store)
    for nonsense in ("", "job-1", "12", "1-", "-", "1-2-3", f"{2**64}-0", f"0-{2**64}", f"1-{'9' * 5_000}"):
        with pytest.raises(InvalidJobError, match="is no id of a dead letter"):
            dead.get(QUEUE, nonsense)
    with pytest.raises(InvalidJobError, match="reason: 'fialed' is none"):
        Where(reason="fialed")
    with pytest.raises(InvalidJobError, match="since is after until"):
        Where(since=5, until=4)
    with pytest.raises(InvalidJobError, match="until: nan"):
        Where(until=float("nan"))
    for field in ("task", "id", "text"):
        with pytest.raises(InvalidJobError, match=f"{field}: .* UTF-8"):
            Where(**{field: "\udcff"})  # type: ignore[arg-type]  # one of three that are text
    with pytest.raises(InvalidJobError, match="no queue name"):
        dead.page("{}")
    with pytest.raises(DeadLetterError, match="it is not there"):
        dead.get(QUEUE, "1-1")


# ── replaying ──


async def test_a_replayed_job_is_queued_with_its_bytes_its_id_and_fresh_counters(store: Store) -> None:
    client, raw = store.client(), b'{"task":"x"}\x00\xff' * 3
    async with store.session() as session:
        await session.register(QUEUE)
        client.xadd(STREAM, {"m": raw, "s": b"sig\x00"})
        [entry] = await session.fetch([QUEUE], 1, 0)
        await session.settle(QUEUE, [bury(entry, job_id="jöb")])
    [letter] = dead_letters(store).page(QUEUE).letters
    dead_letters(store).replay(QUEUE, letter.entry_id)
    assert client.xlen(DEAD) == 0
    async with store.session() as session:
        await session.register(QUEUE)
        [again] = await session.fetch([QUEUE], 10, 0)
    assert (again.message, again.id, again.signature, again.counters) == (raw, "jöb", b"sig\x00", Counters())
    assert again.enqueued_ms >= entry.enqueued_ms
    assert again.enqueued_ms == int(again.entry_id.partition("-")[0])


async def test_replaying_twice_is_replaying_once(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    entry_id = lay(client)
    dead.replay(QUEUE, entry_id)
    with pytest.raises(DeadLetterError, match="not there"):
        dead.replay(QUEUE, entry_id)
    assert len(stream_ids(client)) == 1


async def test_a_replayed_job_is_no_duplicate_of_itself(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        admit = Admit(entry.entry_id, "mine", has_producer_id=True)
        assert await session.admit(QUEUE, [admit]) == [Admitted.RUN]
        await session.settle(QUEUE, [bury(entry, job_id="mine", has_producer_id=True)])
    assert client.get(keys.seen(QUEUE, "mine")) == b"done"
    [letter] = dead_letters(store).page(QUEUE).letters
    dead_letters(store).replay(QUEUE, letter.entry_id)
    assert client.ttl(keys.seen(QUEUE, "mine")) > 3_600
    answer, _ = await admitted(store, "mine")
    assert answer is Admitted.RUN


async def test_a_replayed_job_has_not_ended_and_is_not_cancelled_any_more(store: Store) -> None:
    client = store.client()
    client.set(keys.result(QUEUE, "job-1"), OUTCOME)
    client.set(keys.cancel(QUEUE, "job-1"), "1")
    dead_letters(store).replay(QUEUE, lay(client))
    assert not client.exists(keys.result(QUEUE, "job-1"), keys.cancel(QUEUE, "job-1"))
    answer, _ = await admitted(store, "job-1")
    assert answer is Admitted.RUN


@pytest.mark.parametrize("place", ["queued", "scheduled"])
async def test_a_letter_whose_id_another_job_has_stays(store: Store, place: str) -> None:
    client, dead = store.client(), dead_letters(store)
    entry_id = lay(client)
    async with store.session() as session:
        await session.register(QUEUE)
        [entry] = await fetched(session, client, b"1")
        assert await session.admit(QUEUE, [Admit(entry.entry_id, "job-1", has_producer_id=True)]) == [Admitted.RUN]
        if place == "scheduled":
            named = {"job_id": "job-1", "has_producer_id": True}
            await session.settle(QUEUE, [readd(entry, due_ms=9_000_000_000_000, **named)])
        with pytest.raises(DeadLetterError, match="another job with its id"):
            dead.replay(QUEUE, entry_id)
        assert dead.replay_all(QUEUE) == Tally(looked=1, done=0, held=1)
    assert client.xlen(DEAD) == 1


async def test_a_claim_that_belongs_to_nobody_is_taken(store: Store) -> None:
    client = store.client()
    client.set(keys.seen(QUEUE, "job-1"), "5-5")
    dead_letters(store).replay(QUEUE, lay(client))
    answer, entry = await admitted(store, "job-1")
    assert answer is Admitted.RUN
    assert client.get(keys.seen(QUEUE, "job-1")) == entry.entry_id.encode()


def test_keys_of_another_type_are_left_alone_and_the_letter_too(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    client.rpush(keys.result(QUEUE, "job-1"), "a list")
    entry_id = lay(client)
    dead.replay(QUEUE, entry_id)
    assert client.lrange(keys.result(QUEUE, "job-1"), 0, -1) == [b"a list"]
    client.rpush(keys.seen(QUEUE, "job-2"), "a list")
    with pytest.raises(DeadLetterError, match="another job"):
        dead.replay(QUEUE, lay(client, id="job-2"))


def test_a_stream_that_refuses_keeps_the_letter(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    entry_id = lay(client)
    client.set(STREAM, "wrong")
    with pytest.raises((ServerUnavailableError, ResponseError), match="WRONGTYPE"):
        dead.replay(QUEUE, entry_id)
    assert client.xlen(DEAD) == 1
    assert client.get(STREAM) == b"wrong"


def test_a_letter_without_a_message_waits_for_one(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    entry_id = lay(client, m="", entry='{"payload":"x"}')
    with pytest.raises(DeadLetterError, match="it has no message"):
        dead.replay(QUEUE, entry_id)
    assert dead.replay_all(QUEUE) == Tally(looked=1, empty=1)
    dead.edit(QUEUE, entry_id, b'{"task":"square","args":[2]}')
    [(_, fields)] = client.xrange(STREAM)
    assert fields == {b"m": b'{"task":"square","args":[2]}', b"id": b"job-1"}


def test_an_edited_letter_is_checked_and_loses_its_signature(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    entry_id = lay(client, s="signature")
    with pytest.raises(InvalidJobError, match=r"args: .*nothing was changed"):
        dead.edit(QUEUE, entry_id, b'{"task":"square","args":7}')
    with pytest.raises(InvalidJobError, match="version 2"):
        dead.edit(QUEUE, entry_id, b'{"task":"square","v":2}')
    assert client.xlen(DEAD) == 1
    dead.edit(QUEUE, entry_id, b'{"task":"square","id":"another"}')
    [(_, fields)] = client.xrange(STREAM)
    assert fields == {b"m": b'{"task":"square","id":"another"}', b"id": b"another"}
    assert client.xlen(DEAD) == 0


def test_a_replay_by_filter_takes_the_oldest_first_and_says_how_far_it_is(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    with client.pipeline() as pipe:
        for number in range(2 * SLICE + 100):
            pipe.xadd(DEAD, {"m": str(number), "id": f"job-{number}", "task": "even" if number % 2 == 0 else "odd"})
        pipe.execute()
    steps: list[Tally] = []
    tally = dead.replay_all(QUEUE, Where(task="even"), steps.append)
    assert tally == Tally(looked=2 * SLICE + 100, done=SLICE + 50)
    assert [step.looked for step in steps] == [SLICE, 2 * SLICE, 2 * SLICE + 100]
    messages = [fields[b"m"] for _, fields in client.xrange(STREAM)]
    assert messages == [str(number).encode() for number in range(0, 2 * SLICE + 100, 2)]
    assert client.xlen(DEAD) == SLICE + 50


def test_what_dies_while_others_are_replayed_is_left_alone(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    for _ in range(SLICE + 5):
        client.xadd(DEAD, {"m": "old"})
    died: list[str] = []

    def die_again(_: Tally) -> None:
        died.append(lay(client))

    assert dead.replay_all(QUEUE, progress=die_again).done == SLICE + 5
    assert ids(dead.page(QUEUE).letters) == died[::-1]


# ── purging ──


def test_a_purge_takes_what_matches_and_nothing_else(store: Store) -> None:
    client, dead = store.client(), dead_letters(store)
    one, two, three = lay(client), lay(client, reason="timeout"), lay(client, reason="timeout")
    assert dead.purge(QUEUE, one)
    assert not dead.purge(QUEUE, one)
    assert dead.purge_all(QUEUE, Where(reason="crashed")) == Tally(looked=2, done=0)
    assert dead.purge_all(QUEUE, Where(reason="timeout")) == Tally(looked=2, done=2)
    assert dead.page(QUEUE).letters == []
    assert {two, three} & set(stream_ids(client)) == set()
    assert dead.purge_all(QUEUE) == Tally()


# ── trimming ──


async def test_trimmed_letters_are_counted_where_people_can_see_it(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        lay(client, entry_id="1-1")
        lay(client, entry_id="1-2")
        assert await session.trim_dead(QUEUE, 2**30, 3600.0) == 2
        lay(client, entry_id="1-3")
        assert await session.trim_dead(QUEUE, 2**30, 3600.0) == 1
        assert client.get(keys.dead_trimmed(QUEUE)) == b"3"
        client.delete(keys.dead_trimmed(QUEUE))
        client.rpush(keys.dead_trimmed(QUEUE), "somebody else's")
        lay(client, entry_id=f"{int(time.time() * 1000) - 7_200_000}-0")
        assert await session.trim_dead(QUEUE, 2**30, 3600.0) == 1
        assert client.llen(keys.dead_trimmed(QUEUE)) == 1


async def test_a_result_of_a_replayed_job_is_recorded_as_of_any_other(store: Store) -> None:
    client = store.client()
    dead_letters(store).replay(QUEUE, lay(client))
    answer, _ = await admitted(store, "job-1")
    assert answer is Admitted.RUN
    async with store.session() as session:
        [entry] = await session.history(QUEUE, lambda _: False)
        await session.settle(QUEUE, [finish(entry, has_producer_id=True)])
    assert client.get(keys.result(QUEUE, "job-1")) == OUTCOME
    assert client.get(keys.seen(QUEUE, "job-1")) == b"done"


@pytest.mark.parametrize("at", ["nan", "inf", "-1", "1e300", "", "now"])
def test_a_letter_that_no_daemon_wrote_has_a_time_that_a_calendar_has(store: Store, at: str) -> None:
    client, dead = store.client(), dead_letters(store)
    client.xadd(keys.dead(QUEUE), {"at": at, "attempts": "9" * 5_000}, id="1700000000000-0")
    client.xadd(keys.dead(QUEUE), {"at": at}, id=f"{2**64 - 1}-0")
    late, early = dead.page(QUEUE).letters
    assert (early.at, early.attempts) == (1_700_000_000, 0)
    assert late.at == 1e11
