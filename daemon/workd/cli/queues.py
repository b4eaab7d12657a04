"""`workd queues …`: which queues there are and how they are; pausing, purging and moving them."""

from __future__ import annotations

import getpass
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, Config, RedisUrl, Yes
from workd.exits import Exit

if TYPE_CHECKING:
    from workd.broker.queues import Paused

app = typer.Typer(help="Look at queues, pause, resume, purge or move them.", rich_markup_mode=None)

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="which queue")]
Queues = Annotated[list[str] | None, typer.Argument(metavar="QUEUE", show_default=False, help="those alone")]


def _span(text: str) -> float:
    """Read a span as people write it; typer names the option."""
    seconds = shared.span_s(text)
    if seconds is None or seconds <= 0:
        raise typer.BadParameter(f"{text!r} is no span of time: write 30s, 10m, 2h or 1d")
    return seconds


_COUNTS = ("queued", "waiting", "running", "scheduled", "dead", "inbox", "daemons")


@app.command("list")
def list_queues(
    queues: Queues = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """List queues, with their jobs by where they are.

    Also dead letters, daemons, and how long the first job has waited. Looks through all keys of the server unless
    queues are named.

    Example: workd queues list default images
    """
    with shared.admin(redis_url, config) as admin:
        states = [admin.queues.state(name) for name in queues] if queues else admin.queues.all()
    if as_json:
        shared.echo_json([asdict(state) for state in states])
        return Exit.OK
    shared.table(
        ("QUEUE", *(name.upper() for name in _COUNTS), "OLDEST", "NEXT DUE", "STATE"),
        [
            (
                state.name,
                *(_count(getattr(state, name)) for name in _COUNTS),
                shared.span(state.oldest_s),
                shared.span(state.due_in_s),
                _pause(state.paused),
            )
            for state in states
        ],
    )
    return Exit.OK


@app.command()
def pause(
    queue: Queue,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="why, for whoever wonders")] = "",
    for_s: Annotated[
        float | None,
        typer.Option("--for", metavar="SPAN", help="resume by itself after 30s, 10m, 2h, 1d", parser=_span),
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Have no daemon start a job of this queue.

    What runs goes on, and what comes waits.

    Example: workd queues pause images --reason "the disk is full" --for 1h
    """
    with shared.admin(redis_url, config) as admin:
        admin.queues.pause(queue, reason, by=_who(), for_s=for_s)
    if as_json:
        shared.echo_json({"queue": queue, "paused": True, "reason": reason, "for_s": for_s})
    else:
        shared.say(f"paused {queue}")
    return Exit.OK


@app.command()
def resume(queue: Queue, as_json: AsJson = False, redis_url: RedisUrl = None, config: Config = None) -> int:
    """Have the daemons start jobs of a paused queue again.

    Example: workd queues resume images
    """
    with shared.admin(redis_url, config) as admin:
        before = admin.queues.resume(queue)
    if as_json:
        shared.echo_json({"queue": queue, "paused": False, "was_paused": before is not None})
    else:
        shared.say(f"resumed {queue}" if before is not None else f"{queue} was not paused")
    return Exit.OK


@app.command()
def purge(
    queue: Queue,
    queued: Annotated[bool, typer.Option("--queued", help="only what is queued")] = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="only what is scheduled")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Throw away the jobs of a queue that have not started.

    Whoever waits for one is told that it was cancelled.

    Example: workd queues purge bulk --scheduled --yes
    """
    both = queued == scheduled
    with shared.admin(redis_url, config) as admin:
        state = admin.queues.state(queue)
        count = ((state.queued or 0) + (state.waiting or 0) + (state.inbox or 0)) * (both or queued)
        count += (state.scheduled or 0) * (both or scheduled)
        if not shared.confirmed(f"Throw away {count} jobs of queue {queue} for good?", yes=yes):
            return Exit.FAILURE
        with shared.bar("purging", count, shown=not as_json) as advance:
            done = admin.queues.purge(
                queue,
                queued=both or queued,
                scheduled=both or scheduled,
                progress=lambda done: advance(done.queued + done.scheduled),
            )
    if as_json:
        shared.echo_json(asdict(done))
    else:
        shared.say(f"purged {done.queued} queued and {done.scheduled} scheduled jobs")
    if done.untold:
        shared.note(f"{done.untold} outcomes could not be written")
    return Exit.OK


@app.command()
def move(
    queue: Queue,
    to: Annotated[str, typer.Argument(metavar="TO", help="the queue to move them to")],
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Move the jobs of a queue that have not started to another.

    Their outcomes are then kept there. Members of a group stay, since it is counted in its queue.

    Example: workd queues move default bulk
    """
    with shared.admin(redis_url, config) as admin:
        state = admin.queues.state(queue)
        count = sum(part or 0 for part in (state.queued, state.waiting, state.inbox, state.scheduled))
        if not shared.confirmed(f"Move {count} jobs from queue {queue} to {to}?", yes=yes):
            return Exit.FAILURE
        with shared.bar("moving", count, shown=not as_json) as advance:
            done = admin.queues.move(queue, to, lambda done: advance(done.queued + done.scheduled + done.stayed))
    if as_json:
        shared.echo_json(asdict(done))
    else:
        shared.say(f"moved {done.queued} queued and {done.scheduled} scheduled jobs to {to}")
    if done.stayed:
        shared.note(f"{done.stayed} members of groups stay in {queue}: their groups are counted there")
    if done.doubled:
        shared.note(f"{done.doubled} of them may run in both queues: a daemon took them meanwhile")
    return Exit.OK


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user that this machine has no name for
        return socket.gethostname()


def _count(number: int | None) -> str:
    """Write a count; where a key of another type is, there is none."""
    return "?" if number is None else str(number)


def _pause(paused: Paused | None) -> str:
    """Write why a queue is paused, and until when."""
    if paused is None:
        return ""
    until = "" if paused.until is None else f"until {shared.local(paused.until)}"
    told = ", ".join(word for word in (until, paused.reason, paused.by and f"by {paused.by}") if word)
    return f"paused ({told})" if told else "paused"
