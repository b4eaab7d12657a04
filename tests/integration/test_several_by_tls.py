"""A Sentinel and a Cluster that speak TLS: a daemon and both kinds of clients find the servers, and trust no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.tls import certificate, secure_cluster, secure_sentinel
from workd import AsyncClient, Client
from workd.errors import ServerUnavailableError
from workd_tasks import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUEUES = ("default", "mail", "urgent")  # in both halves of a Cluster's slots
DEADLINE_S = 20.0


@pytest.fixture(scope="module", params=[secure_sentinel, secure_cluster], ids=["sentinel", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with request.param(tmp_path_factory.mktemp("tls")) as found:
        yield found


async def test_jobs_of_all_queues_are_run_and_their_results_come(url: str, tmp_path: Path) -> None:
    with DaemonProcess(url, tmp_path, modules=("workd_tasks.samples",), queues=",".join(QUEUES)) as daemon:
        daemon.wait_ready()
        with Client(url, deadline_s=DEADLINE_S) as client:
            handles = [client.with_options(queue=queue).enqueue(samples.square, 3) for queue in QUEUES]
            assert [handle.get(timeout=DEADLINE_S) for handle in handles] == [9] * 3
        async with AsyncClient(url, deadline_s=DEADLINE_S) as client:
            views = [client.with_options(queue=queue) for queue in QUEUES]
            assert [await (await view.enqueue(samples.square, 4)).get(timeout=DEADLINE_S) for view in views] == [16] * 3


def test_a_server_that_nobody_vouches_for_is_not_trusted(url: str, tmp_path: Path) -> None:
    stranger = certificate(tmp_path, "stranger").certificate
    with (
        Client(f"{url.partition('?')[0]}?ssl_ca_certs={stranger}", deadline_s=3.0) as client,
        pytest.raises(ServerUnavailableError, match=r"(?i)certificate"),
    ):
        client.enqueue(samples.square, 3)
