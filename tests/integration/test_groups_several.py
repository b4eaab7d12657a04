"""Chains and groups where there are several servers: a chain over the nodes of a Cluster, and one behind Sentinels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import group_tasks as t
from support.daemons import DaemonProcess
from support.waiting import eventually
from workd import Client, chain, group, step
from workd.broker import keys
from workd.errors import JobFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.server_sets import Cluster

QUEUES = ("default", "mail", "urgent")  # each in another third of a Cluster's slots


@pytest.fixture(params=["sentinels", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Both kinds of several servers in turn."""
    found: str = request.getfixturevalue(request.param).url
    return found


@pytest.fixture
def daemon(url: str, tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon that is ready, on all queues."""
    with DaemonProcess(url, tmp_path, modules=("support.group_tasks",), queues=",".join(QUEUES)) as process:
        process.wait_ready()
        yield process


def test_a_chain_goes_over_all_nodes_and_ends_where_it_began(url: str, daemon: DaemonProcess) -> None:
    over_all = chain(
        step(t.double, 1),
        step(t.add, 10).with_options(queue="mail"),
        step("double").with_options(queue="urgent"),
        step(t.add, 100),
        step("double").with_options(queue="mail"),
    )
    failing = step(t.double, 2).then(t.odd_one_out, 2).with_options(queue="urgent").then(t.double)
    with Client(url, deadline_s=10) as client:
        handles = [client.enqueue_chain(over_all) for _ in range(20)]
        assert [handle.get(20) for handle in handles] == [248] * 20
        with pytest.raises(JobFailedError, match="step 2 of 3"):
            client.enqueue_chain(failing).get(20)


def test_each_queue_has_groups_of_its_own(url: str, daemon: DaemonProcess) -> None:
    with Client(url, deadline_s=10) as client:
        for queue in QUEUES:
            view = client.with_options(queue=queue)
            members = [step(t.odd_one_out, number, 10) for number in range(600)]
            handle = view.enqueue_group(group(*members, then=step(t.collect), deadline_s=60))
            assert handle.callback is not None
            assert handle.callback.get(20)["failed"] == 60
            assert handle.progress().done == 600


def test_a_chain_goes_on_to_a_node_that_took_the_place_of_another(cluster: Cluster, tmp_path: Path) -> None:
    with DaemonProcess(cluster.url, tmp_path, modules=("support.group_tasks",), queues=",".join(QUEUES)) as daemon:
        daemon.wait_ready()
        with Client(cluster.url, deadline_s=15) as client:
            work = chain(step(t.double, 1), step(t.add, 10).with_options(queue="mail"), step(t.add, 2))
            assert client.enqueue_chain(work).get(20) == 14  # so that the way there is known, and is stale then
            cluster.fail_over(keys.stream("mail"))
            handles = [client.enqueue_chain(work) for _ in range(5)]
            eventually(lambda: all(handle.wait(5) for handle in handles), timeout_s=40)
            assert [handle.get(20) for handle in handles] == [14] * 5
