"""`workd cancel ID`: stop one job, wherever it is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workd import settings
from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, QueueOption
from workd.cli.options import ConfigFile, settings_flags
from workd.exits import Exit

_SAID = {
    "cancelled": "job {id} is cancelled",
    "asked": "job {id} is being stopped by its daemon",
    "ended": "job {id} had ended before",
    "unknown": "there is no trace of job {id} in queue {queue}; should it come within the hour, it is cancelled",
}


@settings_flags("redis_url")
def cancel(
    id: Annotated[str, typer.Argument(metavar="ID", help="the job's id", show_default=False)],
    queue: QueueOption = "default",
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> int:
    """Stop one job: queued, scheduled, buffered or running.

    Exit code 1: it had ended, or there is no trace of it.

    Example: workd cancel 1893456000000-0 --queue images
    """
    from workd.client.sync import Client

    with Client(settings.load(flags, config).settings.redis_url, queue=queue) as client:
        word = client.cancel(id)
    if as_json:
        shared.echo_json({"id": id, "queue": queue, "answer": word})
    else:
        shared.say(_SAID[word].format(id=id, queue=queue))
    return Exit.OK if word in {"cancelled", "asked"} else Exit.FAILURE
