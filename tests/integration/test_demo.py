"""`workd demo` as a new user runs it: in a process of its own, on a terminal or into a pipe."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.waiting import eventually
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW_JOBS = 6  # of each kind
A_FOREIGN_ENVIRONMENT = {
    "WORKD_QUEUES": "elsewhere",
    "WORKD_REDIS_URL": "redis://nowhere.invalid/0",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "PYTHONUNBUFFERED": "1",
}


class DemoRun:
    """One run of the demo; everything it starts is known by the folder for temporary files that it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._out = (folder.parent / f"{folder.name}.out").open("w+", encoding="utf-8")
        paths = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workd", "demo", "--jobs", str(FEW_JOBS)],
            env=os.environ | A_FOREIGN_ENVIRONMENT | paths,
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shown(self) -> str:
        return Path(self._out.name).read_text(encoding="utf-8")

    def wait_for(self, pattern: str) -> re.Match[str]:
        return eventually(lambda: list(re.finditer(pattern, self.shown())), timeout_s=60)[0]

    def end(self) -> str:
        """Wait for the end and return what came on stderr."""
        _, errors = self.process.communicate(timeout=60)
        return errors

    def left_behind(self) -> list[str]:
        """Return the command lines of its processes that still run, and its temporary files."""
        mark = str(self.folder)
        return [*_command_lines(mark), *map(str, self.folder.iterdir())]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._out.close()
        Path(self._out.name).unlink()
        shutil.rmtree(self.folder)


def _command_lines(temporary_folder: str) -> Iterator[str]:
    """Yield what runs with this folder for its temporary files; a process that has ended has no environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if f"TMPDIR={temporary_folder}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.fixture
def demo() -> Iterator[DemoRun]:
    run = DemoRun(Path(tempfile.mkdtemp(prefix="wd-", dir="/tmp")))  # short, for the unix sockets in it
    yield run
    run.close()


def test_it_shows_four_ways_real_jobs_a_killed_worker_and_a_drain_and_leaves_nothing_behind(demo: DemoRun) -> None:
    assert demo.end() == ""
    shown = demo.shown()
    assert demo.process.returncode == Exit.OK, shown
    for way in ("a plain loop", "multiprocessing.Pool(4)", "workd.Pool(4)", "Redis and the daemon"):
        assert re.search(rf"{re.escape(way)} +[0-9 ]+ +\[1, 4, 9, 16\] +\d\.\d\d", shown), way
    for kind in ("resize images", "update a database", "scrape a web site"):
        assert f"{kind}: {FEW_JOBS} of {FEW_JOBS}" in shown
    assert re.search(r"3\. SIGKILL to worker \d+, in the middle of scraping http://127\.0\.0\.1:\d+/slow", shown)
    jobs = 4 + 3 * FEW_JOBS + 4
    for name, figure in {"jobs": jobs, "deliveries": jobs + 1, "redeliveries": 1, "dead letters": 0}.items():
        assert re.search(rf"^  {name} +{figure}\b", shown, re.MULTILINE), name
    assert "it ended with exit code 0" in shown
    assert demo.left_behind() == []


def test_with_json_the_sum_is_one_document_and_the_story_is_on_stderr() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workd", "demo", "--jobs", str(FEW_JOBS), "--json"],
        env=os.environ | A_FOREIGN_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=110, check=True,
    )  # fmt: skip
    sums = json.loads(done.stdout)
    jobs = 4 + 3 * FEW_JOBS + 4
    assert (sums["jobs"], sums["succeeded"], sums["deliveries"], sums["dead_letters"]) == (jobs, jobs, jobs + 1, 0)
    assert "4. SIGTERM to the daemon" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["Valkey .* listens", "1. f.x. sleeps"])
def test_an_interrupted_demo_leaves_nothing_behind(demo: DemoRun, moment: str, number: signal.Signals) -> None:
    demo.wait_for(moment)
    demo.process.send_signal(number)
    assert demo.end() == "workd: interrupted; all that the demo had started is gone\n"
    assert demo.process.returncode == Exit.INTERRUPTED
    assert demo.left_behind() == []


def test_a_daemon_that_dies_fails_the_demo_at_once_with_the_reason_and_the_daemons_log(demo: DemoRun) -> None:
    pid = int(demo.wait_for(r"workd run .*: pid (\d+), ready")[1])
    os.kill(pid, signal.SIGKILL)
    assert demo.end() == "workd: the demo failed: its process 'daemon' ended with exit code -9\n"
    assert demo.process.returncode == Exit.FAILURE
    assert 'daemon.log: {"timestamp"' in demo.shown()
    assert demo.left_behind() == []


def test_no_process_survives_a_demo_that_was_killed(demo: DemoRun) -> None:
    demo.wait_for("1. f.x. sleeps")
    demo.process.kill()
    demo.end()
    eventually(lambda: not list(_command_lines(str(demo.folder))))
