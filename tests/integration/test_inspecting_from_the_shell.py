"""`workd inspect`, `stacks`, `scale`, `quiet`, `resume` and `reload`, as people and scripts call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.daemons import clean_environment
from support.fault_queue import FaultQueue
from support.fleets import PATIENCE_S, fleet
from support.waiting import eventually
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

WAIT = ("--wait-s", f"{PATIENCE_S:g}")


@pytest.fixture
def queue(server: Server, tmp_path: Path) -> Iterator[FaultQueue]:
    queue = FaultQueue(server, tmp_path)
    yield queue
    queue.close()


def workd(queue: FaultQueue, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the program as a shell does, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "workd", *words, "--redis-url", queue.server.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,
        env=clean_environment() | {"COLUMNS": "200"},
        cwd=queue.folder,
    )


def read(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """Return a table's rows by column."""
    head, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_what_runs_is_listed_for_people_and_for_scripts(queue: FaultQueue) -> None:
    with fleet(queue, 2, workers=1) as (daemons, _):
        job_ids = [queue.push("hold", "gate") for _ in range(3)]
        eventually(lambda: len(queue.runs()) == 2, PATIENCE_S)
        done = workd(queue, "inspect", *WAIT)
        assert done.returncode == Exit.OK, done.stderr
        listed = rows(done)
        assert {row["JOB"] for row in listed} == {run.id for run in queue.runs()}
        assert {(row["TASK"], row["ATTEMPT"], row["QUEUE"]) for row in listed} == {("hold", "1", "default")}
        assert {row["PID"] for row in listed} == {str(run.pid) for run in queue.runs()}
        assert "2 jobs run on 2 daemons" in done.stderr
        found = read(workd(queue, "inspect", "--json", *WAIT))
        assert found["ok"] is True
        assert found["silent"] == []
        assert {job["id"] for job in found["jobs"]} == {run.id for run in queue.runs()}
        assert {job["daemon"] for job in found["jobs"]} == {daemon.daemon_id for daemon in daemons}
        assert set(found["jobs"][0]) == {
            "daemon", "id", "task", "queue", "pid", "slot", "seconds", "attempt", "delivery", "rss_bytes",
            "cpu_percent", "state", "shared_by",
        }  # fmt: skip
        one = read(workd(queue, "inspect", "--json", "--daemon", daemons[0].daemon_id, *WAIT))
        assert [answer["daemon"] for answer in one["daemons"]] == [daemons[0].daemon_id]
        none = read(workd(queue, "inspect", "--json", "--task", "quick", *WAIT))
        assert none["jobs"] == []
        queue.open_gate("gate")
        queue.all_ended(job_ids)


def test_where_a_job_is_is_shown_with_its_lines(queue: FaultQueue) -> None:
    with fleet(queue, 1):
        job_id = queue.push("hold", "gate")
        queue.run(job_id)
        done = workd(queue, "stacks", job_id, *WAIT)
        assert done.returncode == Exit.OK, done.stderr
        assert f"hold, job {job_id}, for" in done.stdout
        assert "thread MainThread" in done.stdout
        assert "in hold\n      wait_at(gate)\n" in done.stdout
        found = read(workd(queue, "stacks", "--json", *WAIT))
        [worker] = found["workers"]
        assert [job["id"] for job in worker["jobs"]] == [job_id]
        assert worker["stacks"][0]["frames"][-1]["function"] == "hold"
        gone = workd(queue, "stacks", "1-0", *WAIT)
        assert gone.returncode == Exit.FAILURE
        assert "job 1-0 does not run on any daemon that answered" in gone.stderr
        queue.open_gate("gate")
        queue.outcome(job_id, PATIENCE_S)


def test_who_did_what_was_ordered_is_shown_and_who_did_not_answer(queue: FaultQueue) -> None:
    with fleet(queue, 2, lease_s=60) as (daemons, _):
        done = workd(queue, "scale", "3", *WAIT)
        assert done.returncode == Exit.OK, done.stderr
        assert {(row["DAEMON"], row["DONE"], row["WORKERS"]) for row in rows(done)} == {
            (daemon.daemon_id, "yes", "3") for daemon in daemons
        }
        fewer = read(workd(queue, "scale", "--by", "-2", "--daemon", daemons[0].daemon_id, "--json", *WAIT))
        assert [(answer["daemon"], answer["workers"]) for answer in fewer["daemons"]] == [(daemons[0].daemon_id, 1)]
        daemons[1].pause()
        silent = workd(queue, "quiet", "--wait-s", "2")
        assert silent.returncode == Exit.FAILURE
        assert [(row["DAEMON"], row["STATE"]) for row in rows(silent)] == [(daemons[0].daemon_id, "quiet")]
        assert f"{daemons[1].daemon_id} did not answer" in silent.stderr
        assert read(workd(queue, "quiet", "--json", "--wait-s", "2"))["silent"] == [daemons[1].daemon_id]
        daemons[1].resume()
        assert workd(queue, "resume", *WAIT).returncode == Exit.OK
        assert workd(queue, "reload", *WAIT).returncode == Exit.OK


def test_an_order_for_nobody_is_said_to_be_one(queue: FaultQueue) -> None:
    done = workd(queue, "scale", "4", "--wait-s", "1")
    assert done.returncode == Exit.FAILURE
    assert "no daemon is there" in done.stderr
    wrong = workd(queue, "scale")
    assert (wrong.returncode, "--by" in wrong.stderr) == (Exit.USAGE, True)
    assert workd(queue, "scale", "5000").returncode == Exit.USAGE
    assert workd(queue, "inspect", "--wait-s", "0").returncode == Exit.USAGE


def test_an_impossible_number_of_workers_is_told_as_the_daemons_reason(queue: FaultQueue) -> None:
    with fleet(queue, 1):
        done = workd(queue, "scale", "0", *WAIT)
        assert done.returncode == Exit.FAILURE
        assert "workers should be" in done.stderr


def test_names_of_others_do_not_reach_the_terminal_raw(queue: FaultQueue) -> None:
    """A job's id is its producer's choice; a pseudo-terminal shows what a person would see."""
    with fleet(queue, 1):
        queue.push_raw(json.dumps({"task": "hold", "args": ["gate"], "id": "evil\x1b[2J\x9b"}))
        eventually(lambda: len(queue.runs()) == 1, PATIENCE_S)
        leader, follower = os.openpty()
        try:
            command = [sys.executable, "-m", "workd", "stacks", "--redis-url", queue.server.url, *WAIT]
            subprocess.run(command, stdout=follower, check=True, env=clean_environment(), timeout=3 * PATIENCE_S)
            shown = os.read(leader, 65_536)
        finally:
            os.close(leader)
            os.close(follower)
        assert b"evil\\x1b[2J" in shown
        assert b"\x1b[2J" not in shown
        queue.open_gate("gate")


# ── what docs/commands.md shows

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def documented(command: str) -> Any:
    """Return the JSON document that the page shows for a command."""
    part = PAGE.read_text(encoding="utf-8").partition(f"\n### workd {command}\n")[2].partition("\n### ")[0]
    return json.loads(part.partition("```json\n")[2].partition("```")[0])


def shape(value: Any) -> Any:
    """Return the names of all fields, not the values; of an array its first element's."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items()}
        case [first, *_]:
            return [shape(first)]
        case _:
            return ...


def test_the_page_shows_the_fields_that_are_printed(queue: FaultQueue) -> None:
    if not PAGE.exists():
        pytest.skip("the tests run outside the repository, which has the documents")
    with fleet(queue, 1):
        queue.run(queue.push("hold", "gate"))
        lines = {"inspect": (), "stacks": (), "scale": ("2",), "quiet": (), "resume": (), "reload": ()}
        for command, words in lines.items():
            printed = read(workd(queue, command, *words, "--json", *WAIT))
            assert shape(printed) == shape(documented(command)), command
        queue.open_gate("gate")
