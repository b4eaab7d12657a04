"""A runner for tests of the pool: each job is a JSON list of an operation and its arguments."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from support.processes import descriptors
from workd.pool import frames
from workd.pool.child import alarm
from workd_tasks.errors import SoftTimeout


class ScriptRunner:
    """Runs operations that people's tasks get up to."""

    def __init__(self, fail_on_start: str = "", start_s: float = 0.0, die_after_s: float = 0.0) -> None:
        """`fail_on_start`: a path; while it exists, workers fail to boot. `die_after_s`: they die idle, after that."""
        self._fail_on_start = fail_on_start
        self._start_s = start_s
        self._die_after_s = die_after_s

    def start(self, slot: int) -> None:
        """Fail where the test wants it."""
        time.sleep(self._start_s)
        if self._die_after_s:
            threading.Timer(self._die_after_s, os._exit, [7]).start()
        if self._fail_on_start and Path(self._fail_on_start).exists():
            msg = "the database of the test is away"
            raise RuntimeError(msg)

    def stop(self) -> None:
        """Have nothing to clean up."""

    def run(self, body: memoryview) -> tuple[int, bytes]:
        """Run one operation."""
        operation, *arguments = json.loads(bytes(body))
        if operation == "answer":
            kind, payload = arguments
            return kind, payload.encode()
        try:
            try:
                alarm.arm()
                value = getattr(self, operation)(*arguments)
            finally:
                alarm.disarm()
        except (SoftTimeout, MemoryError) as error:
            return frames.RAISED, json.dumps(type(error).__name__).encode()
        return frames.RETURNED, json.dumps(value).encode()

    def echo(self, value: Any) -> Any:
        """Return the argument."""
        return value

    def pid(self) -> int:
        """Return the worker's pid."""
        return os.getpid()

    def sleep(self, seconds: float) -> float:
        """Sleep."""
        time.sleep(seconds)
        return seconds

    def touch_and_sleep(self, path: str, seconds: float) -> float:
        """Say by a file that it runs, and sleep."""
        Path(path).touch()
        return self.sleep(seconds)

    def spin(self, seconds: float) -> float:
        """Use a core for some time."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return seconds

    def exit(self, code: int) -> None:
        """Leave without a word."""
        os._exit(code)

    def signal(self, number: int) -> None:
        """Die by a signal."""
        os.kill(os.getpid(), number)
        signal.pause()

    def large(self, size: int) -> str:
        """Return a large result."""
        return "x" * size

    def length(self, text: str) -> int:
        """Take a large argument."""
        return len(text)

    def close_all(self) -> None:
        """Close every file descriptor."""
        os.closerange(0, 4096)

    def fork_and_return(self) -> int:
        """Come back twice."""
        return os.fork()

    def leave_child(self, seconds: float) -> int:
        """Leave a child behind that holds every inherited descriptor."""
        return subprocess.Popen(["sleep", str(seconds)], close_fds=False).pid

    def hold_gil(self, seconds: int) -> int:
        """Sleep in C code that does not let go of the interpreter."""
        return int(ctypes.PyDLL("libc.so.6").sleep(seconds))

    def stop_itself(self) -> str:
        """Be stopped, as by a debugger."""
        os.kill(os.getpid(), signal.SIGSTOP)
        return "continued"

    def segfault(self) -> None:
        """Read from address 0."""
        ctypes.string_at(0)

    def leave_thread(self) -> None:
        """Leave a thread behind that would keep an interpreter from ending."""
        threading.Thread(target=time.sleep, args=(100,), daemon=False).start()

    def rogue_frame(self, key: int) -> None:
        """Write a frame for another job past the result queue."""
        os.write(self._result_fd(), frames.encode_frame(frames.RETURNED, key, 0.0, 0.0, b"1"))

    def half_frame(self, code: int) -> None:
        """Die in the middle of writing a frame."""
        frame = frames.encode_frame(frames.RETURNED, 1, 0.0, 0.0, b"1" * 1000)
        os.write(self._result_fd(), frame[:500])
        os._exit(code)

    def close_results(self, seconds: float) -> None:
        """Close the result channel alone, and live on."""
        os.close(self._result_fd())
        time.sleep(seconds)

    def _result_fd(self) -> int:
        for fd, link in descriptors().items():
            if fd > 2 and link.startswith("pipe:") and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                return fd
        msg = "there is no result pipe"
        raise LookupError(msg)

    def descriptors(self) -> list[str]:
        """Return what this worker's descriptors are, without the standard streams."""
        return sorted(link for fd, link in descriptors().items() if fd > 2)

    def environment(self) -> dict[str, str]:
        """Return what this worker was started with."""
        return dict(os.environ)

    def titles(self) -> list[str]:
        """Return what `ps` shows of this worker and of the process that made it."""
        return [Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() for pid in (os.getpid(), os.getppid())]

    def modules(self) -> list[str]:
        """Return the names of all loaded modules."""
        return sorted(sys.modules)

    def signals(self) -> str:
        """Send this worker what is meant for the daemon."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return "alive"

    def leave_thread_and_sleep(self, seconds: float) -> None:
        """Sleep beside a thread that sleeps."""
        threading.Thread(target=time.sleep, args=(seconds,), daemon=True).start()
        time.sleep(seconds)

    def swallow(self, seconds: float) -> None:
        """Go on whatever is raised here."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                time.sleep(seconds)

    def allocate(self, size: int) -> int:
        """Use memory in one piece, and give it back."""
        return len(bytearray(b"x") * size)

    def keep(self, size: int) -> int:
        """Use memory and keep it."""
        self.kept = bytearray(b"x") * size
        return len(self.kept)

    def grow(self, size: int, step: int, pause_s: float) -> int:
        """Use memory piece by piece, as a leak does; of a kind that no resource limit counts."""
        pieces = []
        for _ in range(size // step):
            pieces.append(mmap.mmap(-1, step))
            pieces[-1].write(b"x" * step)
            time.sleep(pause_s)
        return len(pieces)

    def stop_when_told_to_leave(self) -> None:
        """Be stopped, by a helper, once this worker is idle."""
        pid = os.getpid()
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.05)
            os.kill(pid, signal.SIGSTOP)
            os._exit(0)

    def version(self) -> Any:
        """Return what a module of the test says."""
        return sys.modules["reloaded_module"].version

    def nice(self) -> int:
        """Return the priority and the session of this worker."""
        return os.nice(0)

    def oom_score_adj(self) -> int:
        """Return how gladly the kernel kills this worker."""
        return int(Path("/proc/self/oom_score_adj").read_text())


def make(**options: Any) -> tuple[ScriptRunner, dict[str, Any]]:
    """Be the factory that a `LoadSpec` names."""
    return ScriptRunner(**options), {"names": ["echo"]}
