"""Moving Redis to another server, by the commands of docs/operations.md in their order: no job is lost or run twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess
from support.jobs import QUEUE
from support.servers import DEBIAN_REDIS, Server
from support.waiting import eventually
from workd import Client
from workd.broker import keys
from workd.errors import ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
LONG_S = 30.0


def lines() -> list[str]:
    """Return the lines of the block about moving, in their order."""
    part = PAGE.read_text(encoding="utf-8").partition("## Moving Redis")[2]
    block = re.search(r"^```\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    assert block
    return block[1].splitlines()


@pytest.fixture
def old_and_new() -> Iterator[tuple[Server, Server]]:
    if not DEBIAN_REDIS.exists() or shutil.which("redis-cli") is None:
        pytest.skip("Debian's redis-server and redis-cli are missing")
    with Server(DEBIAN_REDIS, appendonly=True) as old, Server(DEBIAN_REDIS, appendonly=True) as new:
        yield old, new


class Mover:
    """Carries out one line after the other."""

    def __init__(self, old: Server, new: Server) -> None:
        self._ports = {"old": old.port, "new": new.port}

    def carry_out(self, line: str) -> None:
        command, _, remark = line.partition("#")
        words = command.split()
        assert words[:2] == ["redis-cli", "-h"], line
        port, rest = self._ports[words[2]], words[3:]
        if rest[:1] == ["replicaof"] and rest[1] == "old":
            rest = ["replicaof", "127.0.0.1", str(self._ports["old"])]
        if "until" in remark:
            reached = self._is_up if "master_link_status" in remark else self._has_all
            eventually(lambda: reached(self._ask(port, *rest)), timeout_s=LONG_S)
        elif rest[:1] != ["shutdown"]:
            assert self._ask(port, *rest).strip() == "OK", line

    def _is_up(self, said: str) -> bool:
        return "master_link_status:up" in said

    def _has_all(self, said: str) -> bool:
        offset = re.search(r"master_repl_offset:(\d+)", said)
        replica = re.search(r"slave0:.*offset=(\d+),lag=0", said)
        return bool(offset and replica and offset[1] == replica[1])

    def _ask(self, port: int, *words: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout


def test_the_steps_of_the_page_lose_no_job_and_run_none_twice(
    old_and_new: tuple[Server, Server], tmp_path: Path
) -> None:
    old, new = old_and_new
    mover = Mover(old, new)
    samples = ("workd_tasks.samples",)
    first = DaemonProcess(old.url, tmp_path, modules=samples)
    second = DaemonProcess(new.url, tmp_path, modules=samples)
    daemons = iter((first, second))
    with Client(old.url) as before, Client(new.url) as after, first:
        first.wait_ready()
        ids = [handle.id for handle in before.enqueue_many("square", [(n,) for n in range(50)])]
        later = before.with_options(delay_s=3600).enqueue("square", 7)
        eventually(lambda: _scheduled(old) == 1, timeout_s=LONG_S)
        for line in lines():
            if line.startswith("# stop"):
                stopped = next(daemons)
                ids += [handle.id for handle in before.enqueue_many("square", [(n,) for n in range(50, 100)])]
                stopped.term()
                assert stopped.wait() == 0
                ids += [handle.id for handle in before.enqueue_many("square", [(n,) for n in range(100, 150)])]
            elif line.startswith("# give"):
                next(daemons).start().wait_ready()
            else:
                mover.carry_out(line)
            if "min-replicas-to-write" in line:
                with pytest.raises(ServerUnavailableError):
                    before.enqueue("square", 1)
        try:
            outcomes = [after.result(job_id).outcome(timeout=LONG_S) for job_id in ids]
            assert [outcome.value for outcome in outcomes] == [n * n for n in range(150)]
            assert {outcome.deliveries for outcome in outcomes} == {1}
            assert after.result(later.id).status() in ("queued", "unknown")
            assert _scheduled(new) == 1
        finally:
            second.close()


def _scheduled(server: Server) -> int:
    with server.client() as client:
        return int(client.zcard(keys.scheduled(QUEUE)))
