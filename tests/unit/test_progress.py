"""From what workers say to what is shown: what is new, what is rubbish, and when it is said again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from support.flying import QUEUE, flight
from workd import progress as module
from workd.pool.slot import Job
from workd.progress import Progress

if TYPE_CHECKING:
    from workd.flights import Flight
    from workd.pool.core import ProcessPool

KEPT_S = 60.0


class Boards:
    """What `new_reports` gives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[Job, bytes]] = []
        monkeypatch.setattr(module, "new_reports", lambda pool: self._take())

    def say(self, job: Job, **report: Any) -> None:
        self.said.append((job, json.dumps({"done": 1, "total": None, "note": "", "at": 7.5} | report).encode()))

    def _take(self) -> list[tuple[Job, bytes]]:
        said, self.said = self.said, []
        return said


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> Boards:
    return Boards(monkeypatch)


def job(key: int, of: Flight) -> Job:
    return Job(key, b"", "square", None, of)


async def watching() -> Progress:
    progress = Progress("host:1:ab")
    progress.attach(cast("ProcessPool", object()))
    return progress


async def test_the_last_report_is_due_once_with_the_run_that_it_is_of(boards: Boards) -> None:
    progress = await watching()
    one = job(1, flight("1-0"))
    boards.say(one, done=1)
    boards.say(one, done=2, total=10, note="b.jpg")
    progress.look()
    [(job_id, text)] = progress.due(QUEUE, KEPT_S)
    assert job_id == "1-0"
    assert json.loads(text) == {
        "done": 2,
        "total": 10,
        "note": "b.jpg",
        "at": 7.5,
        "attempt": 1,
        "delivery": 1,
        "daemon": "host:1:ab",
    }
    assert progress.due(QUEUE, KEPT_S) == []
    boards.say(one, done=3)
    progress.look()
    assert len(progress.due(QUEUE, KEPT_S)) == 1
    assert progress.due("other", KEPT_S) == []


async def test_one_that_says_nothing_new_is_written_again_before_it_is_gone(
    boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = await watching()
    now_s = 1000.0
    monkeypatch.setattr(progress, "_clock", lambda: now_s)
    boards.say(job(1, flight("1-0")))
    progress.look()
    assert len(progress.due(QUEUE, KEPT_S)) == 1
    now_s += KEPT_S / 2 - 1
    assert progress.due(QUEUE, KEPT_S) == []
    now_s += 2
    assert len(progress.due(QUEUE, KEPT_S)) == 1


async def test_a_job_that_has_ended_or_is_anothers_now_is_forgotten(boards: Boards) -> None:
    progress = await watching()
    ended, lost = flight("1-0"), flight("2-0")
    boards.say(job(1, ended))
    boards.say(job(2, lost))
    progress.look()
    ended.settlement, lost.dropped = cast("Any", object()), True
    progress.look()
    assert progress.due(QUEUE, KEPT_S) == []
    assert not progress._reports


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"done":"1","at":1}', b'{"done":NaN,"at":1}', b'{"done":1e999,"at":1}'],
)
async def test_what_a_worker_should_not_have_written_is_counted_and_not_shown(boards: Boards, raw: bytes) -> None:
    progress = await watching()
    boards.said.append((job(1, flight("1-0")), raw))
    progress.look()
    assert progress.due(QUEUE, KEPT_S) == []
    assert progress.unreadable == 1
