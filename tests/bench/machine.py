"""What a measurement ran on: the machine, the tree, and the server. Called by every part that keeps its figures."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from support.servers import DEBIAN_REDIS, valkey_binary

LIBRARIES = ("workd", "redis", "hiredis", "pydantic", "uvloop")


def server_binary() -> Path:
    """Return the server to measure with: Debian's Redis, or the embedded Valkey where it is not installed."""
    return DEBIAN_REDIS if DEBIAN_REDIS.exists() else valkey_binary()


def describe() -> dict[str, str]:
    """Return names and values, for people."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{memory_bytes / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "revision": _revision(),
        "python": platform.python_version(),
        "server": _server(),
        **{name: version(name) for name in LIBRARIES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _server() -> str:
    command = [str(server_binary()), "--version"]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return f"{words[0]} {next((word[2:] for word in words if word.startswith('v=')), '?')}"


def _revision() -> str:
    """Name the tree that was measured, as git does; "unknown" outside of a repository."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
