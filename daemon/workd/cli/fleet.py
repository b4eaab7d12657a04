"""What the commands have in common that ask daemons or tell them something: whom, how long, and who did not answer."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workd.client.fleet import Fleet, Heard

_MOST_S = 3600.0


def _wait(value: float) -> float:
    if not (math.isfinite(value) and 0 < value <= _MOST_S):
        raise typer.BadParameter(f"{value:g} is no time to wait: more than 0, at most {_MOST_S:g} seconds")
    return value


Daemons = Annotated[
    list[str] | None,
    typer.Option("--daemon", metavar="NAME", help="daemons by id, host, or host:pid; may be repeated"),
]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", "-q", metavar="QUEUE", help="daemons that serve this queue; may be repeated"),
]
JobQueues = Annotated[
    list[str] | None,
    typer.Option("--queue", "-q", metavar="QUEUE", help="jobs of this queue alone; may be repeated"),
]
Tasks = Annotated[
    list[str] | None, typer.Option("--task", metavar="TASK", help="jobs of this task alone; may be repeated")
]
WaitS = Annotated[float, typer.Option("--wait-s", metavar="SECONDS", help="wait so long for answers", callback=_wait)]


@contextmanager
def opened(redis_url: str | None, config: Any) -> Iterator[Fleet]:
    """Open the daemons of the Redis that the settings name."""
    with shared.admin(redis_url, config) as admin:
        yield admin.fleet


def order(wait_s: float = 5.0) -> Callable[[Callable[..., Heard]], Callable[..., Exit]]:
    """Make a command of what tells daemons something and has no option of its own; its help stays its own."""

    def decorate(act: Callable[..., Heard]) -> Callable[..., Exit]:
        def command(
            daemon: Daemons = None,
            queue: Queues = None,
            wait_s: WaitS = wait_s,
            as_json: AsJson = False,
            redis_url: RedisUrl = None,
            config: Config = None,
        ) -> Exit:
            with opened(redis_url, config) as daemons:
                heard = act(daemons, daemons=daemon or (), queues=queue or (), wait_s=wait_s)
            return told(heard, as_json=as_json)

        command.__name__, command.__doc__ = act.__name__, act.__doc__
        return command

    return decorate


def end(heard: Heard) -> Exit:
    """Say on stderr who did not do what was asked, and return the exit code."""
    if not heard.answers and not heard.silent:
        shared.note("no daemon is there that this is for: see `workd status`")
    for answer in heard.answers:
        if not answer.ok:
            shared.note(f"{answer.daemon}: {answer.error}")
        if answer.left_out:
            shared.note(f"{answer.daemon}: {answer.left_out} more are not shown: ask for a queue, a task or a job")
    for answer in heard.unfinished:
        shared.note(f"{answer.daemon} has heard it and is not done yet")
    for info in heard.silent:
        shared.note(f"{info.id} did not answer: it is stopped, cut off from Redis, older than this, or just gone")
    return Exit.OK if heard.ok else Exit.FAILURE


def told(heard: Heard, *, as_json: bool) -> Exit:
    """Print how each daemon is after an order, and return the exit code."""
    if as_json:
        shared.echo_json(document(heard, [state_of(answer) for answer in heard.answers]))
    else:
        shared.table(
            ("DAEMON", "DONE", "STATE", "WORKERS", "RUNNING", "BUFFERED"),
            [
                (
                    answer.daemon,
                    "no" if not answer.ok else "yes" if answer.part == "done" else "not yet",
                    answer.state,
                    str(answer.workers),
                    str(answer.running),
                    str(answer.buffered),
                )
                for answer in heard.answers
            ],
        )
    return end(heard)


def document(heard: Heard, daemons: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return what `--json` prints: whether all is well, who answered, who did not, and what the command adds."""
    return {"ok": heard.ok, "daemons": daemons, "silent": [info.id for info in heard.silent], **more}


def state_of(answer: Any) -> dict[str, Any]:
    """Return what a daemon said of itself, without jobs and stacks."""
    names = ("daemon", "ok", "error", "part", "state", "workers", "running", "buffered", "left_out")
    return {name: getattr(answer, name) for name in names}
