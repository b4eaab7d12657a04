"""A daemon whose master is named by Sentinels, and what a failover costs: seconds, and no job that was replicated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.acknowledged import Acknowledged
from support.daemons import DaemonProcess
from support.jobs import QUEUE
from support.scripted_server import ScriptedServer
from support.server_sets import Sentinel
from support.waiting import eventually
from workd.broker.session import Session
from workd.consumer import REDIS_TROUBLE
from workd.errors import BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_sets import SentinelSet

AGAIN_S = 15.0


def kill_master(sentinels: SentinelSet) -> None:
    sentinels.master.kill()


def hang_master(sentinels: SentinelSet) -> None:
    """For ever: a paused one that goes on would be heard of once more."""
    before = sentinels.master
    before.pause()
    sentinels.wait_for_another(before.port)


def fail_over(sentinels: SentinelSet) -> None:
    sentinels.fail_over()


@pytest.mark.parametrize("how", [fail_over, kill_master, hang_master])
def test_a_failover_in_the_middle_of_the_work_loses_no_job_that_was_replicated(
    sentinels: SentinelSet, tmp_path: Path, how: Callable[[SentinelSet], None]
) -> None:
    before = sentinels.master
    jobs = Acknowledged(sentinels.client)
    with DaemonProcess(sentinels.url, tmp_path, modules=("workd_tasks.samples",)) as daemon:
        daemon.wait_ready()
        jobs.send(100)
        how(sentinels)
        sentinels.wait_for_another(before.port)
        daemon.wait_log("connected to Redis", count=2, timeout_s=AGAIN_S)
        before.kill()  # one that hangs is not to come back, and one that was replaced is not to take any more
        sentinels.make_whole()
        jobs.send(100)
        eventually(jobs.all_ended, timeout_s=AGAIN_S)
        jobs.check_each_ended_once()
        assert daemon.alive
        daemon.term()
        assert daemon.wait() == 0


def test_a_master_that_was_replaced_is_left_before_it_hears_of_it(sentinels: SentinelSet, tmp_path: Path) -> None:
    """The Sentinels tell it after some ten seconds, and what it takes until then is lost."""
    with DaemonProcess(sentinels.url, tmp_path, modules=("workd_tasks.samples",)) as daemon:
        daemon.wait_ready()
        sentinels.fail_over()
        assert "the Sentinels name another master" in daemon.wait_log(REDIS_TROUBLE)["error"]
        daemon.wait_log("connected to Redis", count=2)


async def test_a_service_that_no_sentinel_knows_is_named_in_the_error(sentinels: SentinelSet) -> None:
    with pytest.raises(BrokerUnavailableError, match="knows no master of the name 'other'"):
        await Session.open(sentinels.url.replace("/mymaster/", "/other/"), "me", 15.0)


async def test_one_sentinel_that_answers_is_enough(sentinels: SentinelSet) -> None:
    hosts = ",".join(("127.0.0.1:1", "127.0.0.1:2", f"127.0.0.1:{sentinels.sentinels[1].port}"))
    for _ in range(5):  # they are asked in an order of chance
        session = await Session.open(f"redis+sentinel://{hosts}/mymaster", "me", 15.0)
        await session.register(QUEUE)
        await session.close()


async def test_without_any_sentinel_each_is_named_and_no_password_is(sentinels: SentinelSet) -> None:
    url = "redis+sentinel://me:secret@127.0.0.1:1,127.0.0.1:2/mymaster?sentinel_password=secret"
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:[12]: .*127\.0\.0\.1:[12]: ") as caught:
        await Session.open(url, "me", 15.0)
    assert "secret" not in str(caught.value)


async def test_sentinels_with_a_password_of_their_own_are_asked_with_it(sentinels: SentinelSet) -> None:
    with Sentinel(sentinels.master.port, "guarded", "theirs") as guarded:
        url = f"redis+sentinel://127.0.0.1:{guarded.port}/guarded?sentinel_password=theirs"
        session = await Session.open(url, "me", 15.0)
        await session.close()
        with pytest.raises(BrokerUnavailableError, match="Authentication required"):
            await Session.open(url.partition("?")[0], "me", 15.0)


async def test_a_master_that_has_become_a_replica_is_refused(sentinels: SentinelSet) -> None:
    """As in the moment in which the Sentinels do not know it yet."""
    replica = next(server for server in sentinels.servers if server is not sentinels.master)
    with ScriptedServer(lambda command: _named(replica.port) if command[0] == b"SENTINEL" else b"+PONG\r\n") as liar:
        host = liar.url.partition("//")[2].partition("/")[0]
        with pytest.raises(BrokerUnavailableError, match="says that it is a slave"):
            await Session.open(f"redis+sentinel://{host}/mymaster", "me", 15.0)


def _named(port: int) -> bytes:
    return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(port)), port)
