"""`workd result ID`: what became of a job, whoever enqueued it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd import settings
from workd.cli import looking_after as shared
from workd.cli import outcomes
from workd.cli.looking_after import AsJson, QueueOption, seconds
from workd.cli.options import ConfigFile, settings_flags
from workd.exits import Exit

if TYPE_CHECKING:
    from workd.client.handle import Handle
    from workd.client.outcomes import JobState
    from workd.client.progress import JobProgress

_SAID: dict[JobState, str] = {
    "running": "job {id} runs",
    "queued": "job {id} is queued",
    "unknown": "there is no trace of job {id} in queue {queue}: it waits for its time or a retry, or its result is"
    " not kept (any more)",
}


@settings_flags("redis_url")
def result(
    id: Annotated[str, typer.Argument(metavar="ID", help="the job's id", show_default=False)],
    queue: QueueOption = "default",
    wait: Annotated[bool, typer.Option("--wait", help="wait for its end")] = False,
    wait_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help=f"how long, at most [{outcomes.DEFAULT_WAIT_S:g}]", callback=seconds),
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
    **flags: Any,
) -> int:
    """Print what a job returned, or say where it is.

    Exit code 1: it did not succeed, or has not ended (with --wait: in time). With --json the whole outcome is printed,
    and before its end an object with id, queue, status and progress.

    Example: workd result 1893456000000-0 --queue images --wait
    """
    from workd.client import message
    from workd.client.sync import Client

    if wait_s is not None and not wait:
        raise typer.BadParameter("it says how long --wait waits: add --wait", param_hint="--wait-s")
    message.check_job_id(id)
    with Client(settings.load(flags, config).settings.redis_url, queue=queue) as client:
        handle = client.result(id)
        state = handle.status()
        if not wait and state in _SAID:
            _say_where(handle, state, handle.progress(), as_json=as_json)
            return Exit.FAILURE
        outcome = outcomes.wait(handle, outcomes.DEFAULT_WAIT_S if wait_s is None else wait_s)
        return Exit.INTERRUPTED if outcome is None else outcomes.show(outcome, handle, as_json=as_json)


def _say_where(handle: Handle[Any], state: JobState, progress: JobProgress | None, *, as_json: bool) -> None:
    """Say where a job is that has no outcome: on stderr, since it is not what was asked for."""
    if as_json:
        said = None if progress is None else progress.model_dump()
        shared.echo_json({"id": handle.id, "queue": handle.queue, "status": state, "progress": said})
        return
    far = "" if progress is None else f" ({_far(progress)})"
    shared.note(_SAID[state].format(id=handle.id, queue=handle.queue) + far)


def _far(progress: JobProgress) -> str:
    of = "" if progress.total is None else f" of {progress.total:g}"
    note = f", {progress.note}" if progress.note else ""
    return f"{progress.done:g}{of} done{note}"
