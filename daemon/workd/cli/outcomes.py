"""An outcome as a command prints it, and waiting for one. For `workd enqueue --wait` and `workd result`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workd.cli import looking_after as shared
from workd.exits import Exit

if TYPE_CHECKING:
    from workd.client.handle import Handle
    from workd.wire import Outcome

DEFAULT_WAIT_S = 60.0


def wait(handle: Handle[Any], wait_s: float) -> Outcome | None:
    """Wait for the job's end; None is Ctrl-C, which ends the waiting alone. Raises ResultTimeoutError."""
    try:
        return handle.outcome(wait_s)
    except KeyboardInterrupt:
        shared.note(f"interrupted; job {handle.id} goes on")
        return None


def show(outcome: Outcome, handle: Handle[Any], *, as_json: bool) -> int:
    """Print the value, or the whole outcome as JSON; a job that did not succeed raises what `get` raises."""
    if as_json:
        shared.echo_json(json.loads(outcome.model_dump_json()))
        return Exit.OK if outcome.status == "succeeded" else Exit.FAILURE
    shared.echo_json_line(handle.get())
    return Exit.OK
