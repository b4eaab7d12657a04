"""Showing how far jobs are, on every store."""

from support.jobs import QUEUE, expire_lease
from support.stores import Store
from workd.broker import keys, progress


async def test_the_reports_of_many_jobs_are_kept_for_their_time(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        reports = [(f"job {n}", b"%d" % n) for n in range(500)]
        assert await progress.show(session, QUEUE, reports, 60.0) == 0
        assert await progress.show(session, QUEUE, [("job 7", b"new")], 60.0) == 0
    assert client.get(keys.progress(QUEUE, "job 7")) == b"new"
    assert client.get(keys.progress(QUEUE, "job 499")) == b"499"
    assert 50_000 < client.pttl(keys.progress(QUEUE, "job 7")) <= 60_000


async def test_who_has_lost_his_lease_shows_nothing(store: Store) -> None:
    client = store.client()
    async with store.session() as session:
        await session.register(QUEUE)
        expire_lease(client, "me")
        client.hdel(keys.leases(QUEUE), "me")
        assert await progress.show(session, QUEUE, [("job", b"1")], 60.0) is None
    assert not client.exists(keys.progress(QUEUE, "job"))


async def test_a_key_of_another_type_stays_and_keeps_no_other_report_back(store: Store) -> None:
    client = store.client()
    client.rpush(keys.progress(QUEUE, "one"), "mine")
    async with store.session() as session:
        await session.register(QUEUE)
        assert await progress.show(session, QUEUE, [("one", b"1"), ("two", b"2")], 60.0) == 1
    assert client.lrange(keys.progress(QUEUE, "one"), 0, -1) == [b"mine"]
    assert client.get(keys.progress(QUEUE, "two")) == b"2"
