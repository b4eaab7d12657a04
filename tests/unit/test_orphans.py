"""What is reaped and what is left to its owner; in a process of its own, whose children are known."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, subprocess, sys
from workd.orphans import Sweeper, watching

sweeper = Sweeper()
nobodys = [os.fork() or os._exit(3) for _ in range(3)]
owned = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
for pid in [*nobodys, owned.pid]:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays to be asked
assert sweeper.sweep() == 0, "whoever started it has time until the next sweep"
assert owned.wait() == 7
running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
assert sweeper.sweep() == 3
assert sweeper.sweep() == sweeper.sweep() == 0
running.communicate(b"\\n")
assert running.returncode == 0
try:
    os.waitpid(-1, os.WNOHANG)
    raise SystemExit("there is a child left")
except ChildProcessError:
    pass
assert watching() == set(), "this is not process 1"
"""


def test_what_has_ended_and_nobody_asks_for_is_reaped_and_the_rest_is_left_to_its_owner() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
