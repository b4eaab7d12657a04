"""`workd cancel ID`: stop one job, wherever it is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from workd import settings
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
    id: Annotated[str, typer.Argument(help="the job's id", show_default=False)],
    queue: Annotated[str, typer.Option(metavar="QUEUE", help="the queue it was put on")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    config: ConfigFile = None,
    **flags: Any,
) -> int:
    """Stop one job: queued, scheduled, buffered or running. Exit code 1: it had ended, or there is no trace of it."""
    from workd.client.sync import Client

    with Client(settings.load(flags, config).settings.redis_url, queue=queue) as client:
        word = client.cancel(id)
    typer.echo(
        json.dumps({"id": id, "queue": queue, "answer": word}) if as_json else _SAID[word].format(id=id, queue=queue)
    )
    return Exit.OK if word in {"cancelled", "asked"} else Exit.FAILURE
