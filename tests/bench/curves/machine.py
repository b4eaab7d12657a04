"""What a measurement ran on: the machine, and the versions of everything that takes part."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import workd
from bench.curves.stage import binary

LIBRARIES = ("workd", "redis", "hiredis", "pydantic", "uvloop")


def describe() -> dict[str, str]:
    """Return names and values, for people."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    server = subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True).stdout.split()
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": models[0] if models else platform.machine(),
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "revision": _revision(),
        "python": platform.python_version(),
        "server": f"{server[0]} {next((word[2:] for word in server if word.startswith('v=')), '?')}",
        **{name: version(name) for name in LIBRARIES},
    }


def _revision() -> str:
    """Name the tree that was measured, as git does; "unknown" outside of a repository."""
    folder = Path(workd.__file__).parent
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
