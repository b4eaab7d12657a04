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


def run(setting: str | None) -> tuple[list[str], int]:
    """Run a program that passes the points three times; return what it printed and its exit status."""
    environment = {} if setting is None else {faultpoints.VARIABLE: setting}
    program = PROGRAM.format(root=str(Path(faultpoints.__file__).parents[1]))
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split(), done.returncode


@pytest.mark.parametrize(
    ("setting", "turns", "status"),
    [(None, 3, 0), ("", 3, 0), ("nowhere", 3, 0), ("here", 1, -9), ("here:3", 3, -9), ("here:4", 3, 0)],
)
def test_the_process_dies_at_the_named_point_at_the_counted_time(setting: str | None, turns: int, status: int) -> None:
    printed, returncode = run(setting)
    assert (len(printed), returncode) == (turns, status)


def test_with_a_marker_only_the_first_of_many_processes_dies(tmp_path: Path) -> None:
    setting = f"here:2@{tmp_path}/marker"
    assert run(setting) == (["0", "1"], -9)
    assert run(setting) == (["0", "1", "2"], 0)


def test_they_cost_nothing_where_they_are_off() -> None:
    assert faultpoints.hit is faultpoints._disarmed_hit
