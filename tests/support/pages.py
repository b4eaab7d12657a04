"""The examples of a page of the documents: what a task module holds, and what a producer runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.daemons import DaemonProcess, clean_environment

if TYPE_CHECKING:
    from support.servers import Server

DOCS = Path(__file__).parents[2] / "docs"
PRODUCER = "# a producer\n"


class Page:
    """One page. Its Python blocks begin with the name of their module, or with `# a producer`."""

    def __init__(self, name: str, module: str) -> None:
        """Read it; skips the tests of the module that asks where there are no documents."""
        if not DOCS.exists():
            pytest.skip("the tests run outside the repository, which has the documents", allow_module_level=True)
        self.text = (DOCS / name).read_text(encoding="utf-8")
        self.module = module
        self.blocks = re.findall(r"^```python\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        self.tasks = [block for block in self.blocks if block.startswith(f"# {module}.py\n")]
        self.producers = [block for block in self.blocks if block.startswith(PRODUCER)]

    def run(self, server: Server, folder: Path, daemon: DaemonProcess) -> list[str]:
        """Run each producer as a program of its own, with `REDIS_URL` in it; return what they print."""
        said = []
        for number, block in enumerate(self.producers):
            script = folder / f"producer_{number}.py"
            script.write_text(f"REDIS_URL = {server.url!r}\n{block}")
            command = [sys.executable, "-W", "error", str(script)]  # which is where it looks for the module
            done = subprocess.run(
                command, env=clean_environment(), capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == 0, f"{block}\n{done.stderr}\n{daemon.log_text()}"
            said.append(done.stdout)
        return said

    def write(self, folder: Path) -> None:
        """Write its task module down."""
        (folder / f"{self.module}.py").write_text("\n\n".join(self.tasks))
