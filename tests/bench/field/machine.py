"""The machine that everything was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench.field.run import server_binary


def description() -> dict[str, Any]:
    """Say what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    server = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, check=True)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "server": server.stdout.strip(),
    }
