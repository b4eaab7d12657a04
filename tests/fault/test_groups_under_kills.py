"""Daemons die while they settle members and steps: each member is counted once, and each callback comes once."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import group_tasks as t
from support.fault_queue import QUEUE, REPLIES
from support.groups import GROUP, enqueue
from support.waiting import eventually
from workd import Client
from workd.broker import keys
from workd.client import commands
from workd.client.group_messages import Writer
from workd.client.groups import Group, chain, step
from workd.client.message import JobOptions

if TYPE_CHECKING:
    from fault.conftest import StartDaemon
    from support.fault_queue import FaultQueue

MODULES = ("support.group_tasks",)
QUEUES = "default,images"
LEASE_S = 1.0


def members(count: int) -> Group:
    """Return a group of which each tenth member fails."""
    jobs = [step(t.odd_one_out, number, 10) for number in range(count)]
    return Group(jobs, id=GROUP, then=step(t.collect), deadline_s=120)


def five_steps(queue: FaultQueue, number: int) -> str:
    """Enqueue a chain of five steps over two queues and return its id."""
    work = chain(
        step(t.double, number),
        step(t.add, 1).with_options(queue="images"),
        step("double").with_options(queue="images"),
        step(t.add, 10),
        step("double").with_options(queue="images"),
    )
    draft, raw = Writer(JobOptions(), QUEUE, REPLIES).write(work)
    entry_id: bytes = queue.client.execute_command(*commands.add(draft.queue, raw))
    return entry_id.decode()


def value_of(number: int) -> int:
    return ((number * 2 + 1) * 2 + 10) * 2


def assert_ended_once(queue: FaultQueue, count: int) -> None:
    """See that a group of so many members was counted right, and that its end and its callback were recorded once."""
    told = queue.all_ended([GROUP, f"{GROUP}.end"], timeout_s=60)
    summary = told[GROUP]["value"]
    wanted = {"total": count, "succeeded": count - count // 10, "failed": count // 10, "unfinished": 0, "sealed": True}
    assert summary == {"id": GROUP} | wanted
    assert told[f"{GROUP}.end"]["value"] == summary
    assert len(queue.dead_letters()) == count // 10
    queue.assert_empty()


@pytest.mark.parametrize("point", ["before_settle:2", "after_settle:1", "after_settle:3"])
def test_a_daemon_that_dies_at_the_settling_of_members_counts_none_twice_and_none_never(
    queue: FaultQueue, start_daemon: StartDaemon, point: str
) -> None:
    ids = enqueue(queue.client, members(300), REPLIES)
    doomed = start_daemon(ready=False, modules=MODULES, lease_s=LEASE_S, environment={"WORKD_FAULT_POINT": point})
    assert doomed.wait() == -9
    start_daemon(modules=MODULES, lease_s=LEASE_S)
    queue.all_ended(ids, timeout_s=30)
    assert_ended_once(queue, 300)


@pytest.mark.parametrize("point", ["after_post:1", "after_post:2", "after_post:4", "after_settle:2"])
def test_a_daemon_that_dies_between_two_queues_runs_no_step_twice_for_it(
    queue: FaultQueue, start_daemon: StartDaemon, point: str
) -> None:
    chain_id = five_steps(queue, 3)
    doomed = start_daemon(
        ready=False, modules=MODULES, lease_s=LEASE_S, queues=QUEUES, environment={"WORKD_FAULT_POINT": point}
    )
    assert doomed.wait() == -9
    start_daemon(modules=MODULES, lease_s=LEASE_S, queues=QUEUES)
    outcome = eventually(lambda: queue.outcomes(chain_id), timeout_s=40)
    assert outcome
    assert {(found["value"], found["status"]) for found in outcome} == {(value_of(3), "succeeded")}
    eventually(lambda: not queue.client.xlen(keys.stream("images")) and not queue.entries())
    assert not queue.dead_letters()


def test_a_chain_that_is_cancelled_at_the_moment_of_its_going_to_another_queue_is_cancelled_there(
    queue: FaultQueue, start_daemon: StartDaemon
) -> None:
    never = step(t.tell, str(queue.folder / "never"))
    work = chain(never, step("wait_for").with_options(queue="images"))
    draft, raw = Writer(JobOptions(), QUEUE, REPLIES).write(work)
    chain_id = queue.client.execute_command(*commands.add(draft.queue, raw)).decode()
    point = {"WORKD_FAULT_POINT": "after_post:1=SIGSTOP"}
    daemon = start_daemon(ready=False, modules=MODULES, lease_s=LEASE_S, queues=QUEUES, environment=point)
    stat = Path(f"/proc/{daemon.pid}/stat")
    eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    assert queue.client.exists(keys.seen("images", f"{QUEUE}:{chain_id}.1")), "the next step is there"
    with Client(queue.server.url) as client:
        assert client.cancel(chain_id) == "asked"
    daemon.resume()
    queue.ended(chain_id, status="cancelled")


def test_groups_and_chains_come_through_a_storm_of_kills(queue: FaultQueue, start_daemon: StartDaemon) -> None:
    dice = random.Random(5)
    settings: dict[str, Any] = {"modules": MODULES, "lease_s": LEASE_S, "queues": QUEUES, "max_takeovers": 1000}
    ids = enqueue(queue.client, members(3_000), REPLIES)
    chains = {five_steps(queue, number): number for number in range(200)}
    until, kills = time.monotonic() + 10, 0
    while kills <= 3 or (time.monotonic() < until and not queue.outcomes(GROUP)):
        daemon = start_daemon(**settings)
        time.sleep(dice.uniform(0.0, 0.3))
        daemon.kill()
        kills += 1
    start_daemon(**settings)

    queue.all_ended(ids, timeout_s=60)
    assert_ended_once(queue, 3_000)
    eventually(lambda: set(chains) <= {outcome["id"] for outcome in queue.outcomes()}, timeout_s=60)
    ended = {outcome["id"]: outcome["value"] for outcome in queue.outcomes()}
    assert {chain_id: ended[chain_id] for chain_id in chains} == {
        chain_id: value_of(number) for chain_id, number in chains.items()
    }
