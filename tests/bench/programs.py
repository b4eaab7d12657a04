"""Runs the files named `probe_…`: programs whose figures would be others inside the bench, or that may hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


TESTS = Path(__file__).parents[1]


@contextmanager
def runner(script: str, timeout_s: float = 60.0) -> Iterator[Callable[..., Any]]:
    """Give a function that runs `script` with its arguments and returns what it printed.

    It raises `TimeoutExpired` if the program hangs. Modules are compiled once, into a folder of our own: with
    PYTHONDONTWRITEBYTECODE, or in a folder that can't be written, every process would compile ours again and find the
    standard library's ready.
    """
    path = Path(__file__).with_name(script)
    with tempfile.TemporaryDirectory(prefix="workd-bench-") as cache:
        found = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": os.pathsep.join(found)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(*arguments: str) -> Any:
            command = [sys.executable, str(path), *arguments]
            with subprocess.Popen(
                command, env=environment, stdout=PIPE, stderr=PIPE, start_new_session=True
            ) as process:
                try:
                    output, errors = process.communicate(timeout=timeout_s)
                finally:
                    with suppress(ProcessLookupError):  # its workers are in its group, and may hang like itself
                        os.killpg(process.pid, signal.SIGKILL)
            if process.returncode:
                sys.stderr.buffer.write(errors)
                raise subprocess.CalledProcessError(process.returncode, command)
            return json.loads(output)

        yield run
