"""`workd enqueue TASK ARG…`: one message from the shell, with or without waiting for what comes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd import settings
from workd.cli import looking_after as shared
from workd.cli import outcomes
from workd.cli.looking_after import seconds
from workd.cli.options import ConfigFile, settings_flags
from workd.exits import Exit

if TYPE_CHECKING:
    from workd.client.handle import Handle


@settings_flags("redis_url")
def enqueue(
    task: Annotated[str, typer.Argument(metavar="TASK", help="the task's name", show_default=False)],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="ARG", help="JSON, or else a string", show_default=False)
    ] = None,
    kwargs: Annotated[str, typer.Option(metavar="JSON", help="arguments by name, as a JSON object")] = "{}",
    id: Annotated[str | None, typer.Option(metavar="ID", help="name the message: a second one is a duplicate")] = None,
    delay: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="not before so many seconds", callback=seconds)
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="the queue to put it on")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="what one attempt may take", callback=seconds)
    ] = None,
    soft_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="when a run is told that its time is up", callback=seconds)
    ] = None,
    start_by: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="expire if not started so soon", callback=seconds)
    ] = None,
    max_retries: Annotated[int | None, typer.Option(metavar="N", help="attempts after the first")] = None,
    unique: Annotated[str | None, typer.Option(metavar="KEY", help="only if no job with this key is there")] = None,
    result_ttl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="how long its outcome is kept", callback=seconds)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="wait for the result and print it")] = False,
    wait_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help=f"how long --wait waits at most [{outcomes.DEFAULT_WAIT_S:g}]", callback=seconds
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: the id, or the whole outcome")] = False,
    config: ConfigFile = None,
    **flags: Any,
) -> int:
    """Put one job on its queue; print its id, or its result.

    Exit code 1: with --wait, the job did not succeed, or has not ended in time.

    Example: workd enqueue resize cat.jpg '[640, 480]' --queue images --wait

    Example: workd enqueue report --kwargs '{"month": 3}' --delay 3600
    """
    from workd.client.sync import Client

    if wait_s is not None and not wait:
        raise typer.BadParameter("it says how long --wait waits: add --wait", param_hint="--wait-s")
    named = _keywords(kwargs)
    values = [_value(word) for word in args or ()]
    options = {
        "id": id,
        "delay_s": delay,
        "queue": queue,
        "timeout": timeout,
        "soft_timeout": soft_timeout,
        "start_by": start_by,
        "max_retries": max_retries,
        "unique": unique,
        "result_ttl": result_ttl,
    }
    given: Any = {name: value for name, value in options.items() if value is not None}
    chosen = settings.load(flags, config).settings
    with Client(chosen.redis_url, signing_key=next(iter(chosen.signing_keys), None)) as client:
        handle = client.with_options(**given).enqueue(task, *values, **named)
        if wait:
            return _wait(handle, outcomes.DEFAULT_WAIT_S if wait_s is None else wait_s, as_json=as_json)
    if as_json:
        shared.echo_json({"id": handle.id, "queue": handle.queue})
    else:
        shared.say(handle.id)
    return Exit.OK


def _wait(handle: Handle[Any], wait_s: float, *, as_json: bool) -> int:
    """Wait for the job's end and print it. Ctrl-C ends the waiting alone."""
    from workd.client.outcomes import is_of_an_earlier

    outcome = outcomes.wait(handle, wait_s)
    if outcome is None:
        return Exit.INTERRUPTED
    if is_of_an_earlier(outcome, handle.job.entry_id):
        shared.note(f"a job with the id {handle.id} was there before; this is its result")
    return outcomes.show(outcome, handle, as_json=as_json)


def _value(word: str) -> Any:
    """Read one argument: `4` is a number, `[1, 2]` a list, `"4"` and everything that is not JSON a string."""
    try:
        return json.loads(word, parse_constant=_no_constant)
    except ValueError:
        return word


def _no_constant(word: str) -> Any:
    """Refuse NaN and Infinity, which Python reads as JSON and JSON does not know."""
    raise ValueError(word)


def _keywords(text: str) -> dict[str, Any]:
    try:
        named = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not JSON: {error}", param_hint="--kwargs") from None
    if not isinstance(named, dict):
        raise typer.BadParameter(f"{text!r} is not a JSON object", param_hint="--kwargs")
    return named
