import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workd import faultpoints

PROGRAM = """
import sys
sys.path[:0] = [{root!r}]
from workd import faultpoints
for turn in range(3):
    print(turn, flush=True)
    faultpoints.hit("other")
    faultpoints.hit("here")
"""

TEARING = """
import os, sys
sys.path[:0] = [{root!r}]
from workd import faultpoints
for text in (b"one two ", b"three four "):
    written = faultpoints.tear("here", 1, text) or os.write(1, text)
    os.write(1, text[written:])
"""


def command(program: str) -> list[str]:
    """Return what runs a program with the package that is tested here."""
    return [sys.executable, "-c", program.format(root=str(Path(faultpoints.__file__).parents[1]))]


def run(setting: str | None, program: str = PROGRAM) -> tuple[list[str], int]:
    """Run a program that passes the points; return what it printed and its exit status."""
    environment = {} if setting is None else {faultpoints.VARIABLE: setting}
    done = subprocess.run(command(program), env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split(), done.returncode


@pytest.mark.parametrize(
    ("setting", "turns", "status"),
    [
        (None, 3, 0),
        ("", 3, 0),
        ("nowhere", 3, 0),
        ("here", 1, -signal.SIGKILL),
        ("here:3", 3, -signal.SIGKILL),
        ("here:4", 3, 0),
        ("here:2=SIGTERM", 2, -signal.SIGTERM),
    ],
)
def test_the_process_dies_at_the_named_point_at_the_counted_time(setting: str | None, turns: int, status: int) -> None:
    printed, returncode = run(setting)
    assert (len(printed), returncode) == (turns, status)


def test_with_a_marker_only_the_first_of_many_processes_dies(tmp_path: Path) -> None:
    setting = f"here:2@{tmp_path}/marker"
    assert run(setting) == (["0", "1"], -signal.SIGKILL)
    assert run(setting) == (["0", "1", "2"], 0)


def test_without_the_markers_folder_nobody_dies(tmp_path: Path) -> None:
    assert run(f"here@{tmp_path}/later/marker") == (["0", "1", "2"], 0)


@pytest.mark.parametrize(
    ("setting", "printed", "status"),
    [
        (None, ["one", "two", "three", "four"], 0),
        ("here", ["one"], -signal.SIGKILL),
        ("here:2", ["one", "two", "three"], -signal.SIGKILL),
    ],
)
def test_a_write_is_torn_in_its_middle(setting: str | None, printed: list[str], status: int) -> None:
    assert run(setting, TEARING) == (printed, status)


@pytest.mark.parametrize("program", [PROGRAM, TEARING])
def test_who_was_only_stopped_goes_on_as_if_nothing_had_been(program: str) -> None:
    environment = {faultpoints.VARIABLE: "here:2=SIGSTOP"}
    with subprocess.Popen(command(program), env=environment, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        printed, _ = process.communicate()
    assert (printed.split(), process.returncode) == run(None, program)


def test_they_cost_nothing_where_they_are_off() -> None:
    assert faultpoints.hit is faultpoints._disarmed_hit
    assert faultpoints.tear is faultpoints._disarmed_tear
