"""The introduction's example four times, side by side: a plain loop, two pools, and the daemon.

All four run at the same time, each in a process of its own: they sleep, so that none takes anything from another.
The clocks start together, when all pools are up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from workd.demo.tally import DemoError, expect
from workd.demo.ways import DAEMON, LOOP, NUMBERS, READY, WAYS

if TYPE_CHECKING:
    from workd.demo.screen import Screen
    from workd.demo.stage import Stage

SQUARES = [1, 4, 9, 16]
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Runner:
    """One way under way: its process, where it answers, and whose output has what `f` printed."""

    way: str
    process: subprocess.Popen[bytes]
    report: IO[str]
    prints_of: str

    def result(self) -> Result:
        """Read its answer, after its end."""
        answer = self.report.read()
        if self.process.wait() or not answer:
            raise DemoError(f"the demo failed: {self.way} ended with exit code {self.process.returncode}")
        said = json.loads(answer)
        return Result(self.way, said["values"], said["seconds"])


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one way."""

    way: str
    values: list[int]
    seconds: float


def run(stage: Stage, screen: Screen) -> None:
    """Run all ways, show bars and the table, and raise `DemoError` if a result is wrong."""
    with ExitStack() as stack:
        runners = [_start(stage, way, stack) for way in WAYS]
        for runner in runners:
            if runner.report.readline().strip() != READY:
                raise DemoError(f"the demo failed: {runner.way} did not start")
        with stage.entered(screen.bars(dict.fromkeys(WAYS, len(NUMBERS)))) as bars:
            for runner in runners:
                _go(runner)
            while any(runner.process.poll() is None for runner in runners):
                for runner in runners:
                    bars.at(runner.way, len(stage.printed(runner.prints_of)))
                time.sleep(_POLL_S)
            for runner in runners:
                bars.at(runner.way, len(NUMBERS))
        results = [runner.result() for runner in runners]
    printed = [" ".join(stage.printed(runner.prints_of)) for runner in runners]
    _show(screen, results, printed)


def _start(stage: Stage, way: str, stack: ExitStack) -> Runner:
    read_fd, write_fd = os.pipe()
    report = stack.enter_context(os.fdopen(read_fd, encoding="utf-8"))
    try:
        command = [sys.executable, "-m", "workd.demo.ways", way, stage.url, str(write_fd)]
        process = stage.start(way, command, stdin=subprocess.PIPE, pass_fds=[write_fd])
    finally:
        os.close(write_fd)
    return Runner(way, process, report, "daemon" if way == DAEMON else way)


def _go(runner: Runner) -> None:
    if runner.process.stdin is None:
        raise AssertionError(f"{runner.way} was started without a standard input")
    with runner.process.stdin as stdin:
        stdin.write(b"go\n")


def _show(screen: Screen, results: list[Result], printed: list[str]) -> None:
    rows = [
        (result.way, prints, str(result.values), f"{result.seconds:.2f}")
        for result, prints in zip(results, printed, strict=True)
    ]
    screen.table(("way", "printed", "returned", "seconds"), rows)
    for result, prints in zip(results, printed, strict=True):
        expect(result.values, SQUARES, f"what {result.way} returned")
        expect(sorted(map(int, prints.split())), SQUARES, f"what {result.way} printed")
    seconds = {result.way: result.seconds for result in results}
    slow = [way for way in WAYS if way != LOOP and seconds[way] > seconds[LOOP] / 2]
    expect(slow, [], "ways that took more than half of the loop's time")
