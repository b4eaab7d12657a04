"""`workd dead …`: look at dead letters, send them again, mend them, throw them away."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, Config, QueueOption, RedisUrl, Yes
from workd.errors import DeadLetterError
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.client.dead_letter import DeadLetter
    from workd.client.dead_letters import Tally, Where

app = typer.Typer(help="Look at dead letters, replay, mend or purge them.", rich_markup_mode=None)

EntryId = Annotated[str, typer.Argument(metavar="ENTRY", help="as `workd dead list` shows it")]
EntryIds = Annotated[list[str] | None, typer.Argument(metavar="ENTRY", show_default=False, help="those alone")]
Reason = Annotated[str, typer.Option(metavar="REASON", help="invalid, unknown-task, failed, crashed, timeout, …")]
Task = Annotated[str, typer.Option(metavar="TASK", help="the task's name")]
JobId = Annotated[str, typer.Option("--id", metavar="ID", help="the job's id")]
Text = Annotated[str, typer.Option("--error", metavar="TEXT", help="what the error contains")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="died since: 2h (ago), 2030-01-31T15:00 or epoch s")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="died until then")]
All = Annotated[bool, typer.Option("--all", help="all of the queue")]


@app.command("list")
def list_letters(
    queue: QueueOption = "default",
    reason: Reason = "",
    task: Task = "",
    id: JobId = "",
    error: Text = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="show so many")] = 50,
    after: Annotated[str | None, typer.Option(metavar="ENTRY", help="go on after this one, with older ones")] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """List dead letters, the newest first.

    Example: workd dead list --queue images --reason timeout --since 2h
    """
    where = _where(reason, task, id, error, since, until)
    with shared.admin(redis_url, config) as admin:
        page = admin.dead.page(queue, where, limit=limit, after=after)
    if as_json:
        shared.echo_json({"letters": [letter.as_json() for letter in page.letters], "after": page.after})
        return Exit.OK
    rows = [_row(letter) for letter in page.letters]
    shared.table(("ENTRY", "DIED", "REASON", "TASK", "JOB", "RUNS", "ERROR"), rows)
    if page.after is not None and len(page.letters) == limit:
        typer.echo(f"workd: there may be more: --after {page.after}", err=True)
    return Exit.OK


@app.command()
def show(
    entry: EntryId,
    queue: QueueOption = "default",
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Show one dead letter with its whole message and traceback.

    Example: workd dead show 1893456000000-0
    """
    with shared.admin(redis_url, config) as admin:
        letter = admin.dead.get(queue, entry)
    if as_json:
        shared.echo_json(letter.as_json())
        return Exit.OK
    for name, value in _details(letter):
        typer.echo(f"{name:<12}{value}")
    return Exit.OK


@app.command()
def edit(
    entry: EntryId,
    queue: QueueOption = "default",
    message: Annotated[
        str | None, typer.Option(metavar="FILE", help="take the message from a file, or - from stdin; else $EDITOR")
    ] = None,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Mend the message of a dead letter and run its job again; the message is checked first.

    Example: workd dead edit 1893456000000-0, or --message fixed.json
    """
    with shared.admin(redis_url, config) as admin:
        letter = admin.dead.get(queue, entry)
        mended = _in_editor(letter) if message is None else _from_file(message)
        if mended is None:
            typer.echo("workd: nothing was changed", err=True)
            return Exit.FAILURE
        admin.dead.edit(queue, entry, mended)
    typer.echo(letter.id)
    return Exit.OK


@app.command()
def replay(
    entries: EntryIds = None,
    queue: QueueOption = "default",
    reason: Reason = "",
    task: Task = "",
    id: JobId = "",
    error: Text = "",
    since: Since = None,
    until: Until = None,
    everything: All = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Run dead jobs again, as they were sent: those named, those that match, or --all.

    Exit code 1 if one of them could not be replayed. Example: workd dead replay --task resize --error MemoryError
    """
    where = _where(reason, task, id, error, since, until)
    _require_choice(entries, where, everything=everything)
    with shared.admin(redis_url, config) as admin:
        if entries:
            return _each(entries, lambda entry: admin.dead.replay(queue, entry))
        with shared.bar("replaying", admin.queues.state(queue).dead or 0) as advance:
            tally = admin.dead.replay_all(queue, where, lambda tally: advance(tally.looked))
    _print_tally("replayed", tally, as_json=as_json)
    return Exit.FAILURE if tally.held or tally.empty else Exit.OK


@app.command()
def purge(
    entries: EntryIds = None,
    queue: QueueOption = "default",
    reason: Reason = "",
    task: Task = "",
    id: JobId = "",
    error: Text = "",
    since: Since = None,
    until: Until = None,
    everything: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Throw dead letters away for good: those named, those that match, or --all.

    Example: workd dead purge --reason invalid --until 7d --yes
    """
    where = _where(reason, task, id, error, since, until)
    _require_choice(entries, where, everything=everything)
    with shared.admin(redis_url, config) as admin:
        count = len(entries) if entries else None if yes else admin.dead.count(queue, where)
        if not shared.confirmed(f"Throw away {count} dead letters of queue {queue} for good?", yes=yes):
            return Exit.FAILURE
        if entries:
            return _each(entries, lambda entry: _purge_one(admin.dead.purge, queue, entry))
        with shared.bar("purging", admin.queues.state(queue).dead or 0) as advance:
            tally = admin.dead.purge_all(queue, where, lambda tally: advance(tally.looked))
    _print_tally("purged", tally, as_json=as_json)
    return Exit.OK


# ── choosing ──


def _where(reason: str, task: str, job_id: str, error: str, since: str | None, until: str | None) -> Where:
    from workd.client.dead_letters import Where

    return Where(reason, task, job_id, error, shared.moment(since), shared.moment(until))


def _require_choice(entries: list[str] | None, where: Where, *, everything: bool) -> None:
    """Refuse to take "nothing said" for "everything", and two ways to say which."""
    from workd.client.dead_letters import Where

    filtered = where != Where()
    if sum((bool(entries), filtered, everything)) != 1:
        raise typer.BadParameter("say which: ENTRY…, or a filter such as --reason, or --all; and only one of these")


def _each(entries: list[str], act: Callable[[str], object]) -> int:
    """Act on each; one that cannot be does not keep the others from it."""
    failed = 0
    for entry in entries:
        try:
            act(entry)
        except DeadLetterError as error:
            typer.echo(f"workd: {error}", err=True)
            failed += 1
    return Exit.FAILURE if failed else Exit.OK


def _purge_one(purge: Callable[[str, str], bool], queue: str, entry: str) -> None:
    if not purge(queue, entry):
        raise DeadLetterError(queue, entry, "it is not there")


# ── showing ──


def _row(letter: DeadLetter) -> tuple[str, ...]:
    error = "" if letter.error is None else f"{letter.error.type}: {letter.error.message}"
    runs = f"{letter.attempts}/{letter.deliveries}"
    return letter.entry_id, shared.local(letter.at), letter.reason, letter.task, letter.id, runs, error[:200]


def _details(letter: DeadLetter) -> list[tuple[str, Any]]:
    error = letter.error
    lines: list[tuple[str, Any]] = [
        ("entry", letter.entry_id),
        ("queue", letter.queue),
        ("job", letter.id),
        ("task", letter.task),
        ("reason", letter.reason),
        ("died", shared.local(letter.at)),
        ("runs", f"{letter.attempts} ended by themselves, of {letter.deliveries} that were started"),
        ("signed", "yes" if letter.signed else "no"),
    ]
    if error is not None:
        lines += [("error", f"{error.type}: {error.message}"), ("cause", error.cause), ("", error.traceback)]
    lines += [("message", letter.message.decode(errors="backslashreplace")), ("fields", letter.entry)]
    return [(name, value) for name, value in lines if value]


def _print_tally(done: str, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        shared.echo_json({done: tally.done, "looked": tally.looked, "held": tally.held, "empty": tally.empty})
        return
    typer.echo(f"{done} {tally.done} of {tally.looked}")
    if tally.held:
        typer.echo(f"workd: {tally.held} were left: another job has their id", err=True)
    if tally.empty:
        typer.echo(f"workd: {tally.empty} were left: they have no message (workd dead edit)", err=True)


# ── mending ──


def _from_file(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{name} cannot be read: {error.strerror}", param_hint="--message") from None


def _in_editor(letter: DeadLetter) -> bytes | None:
    """Have a person mend the message; None if nothing was changed."""
    before = _readable(letter.message)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="workd-") as folder:
        path = Path(folder) / f"{letter.entry_id}.json"
        path.write_bytes(before)
        try:
            done = subprocess.run([*shlex.split(editor), str(path)], check=False)
        except OSError as error:
            raise typer.BadParameter(f"$EDITOR {editor!r} does not start: {error.strerror}") from None
        after = path.read_bytes()
    return after.strip() if done.returncode == 0 and after != before else None


def _readable(message: bytes) -> bytes:
    """Indent what is JSON; what is none, is too deep, or has a number that Python cannot hold, is left as it is."""
    try:
        return (json.dumps(json.loads(message), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (ValueError, RecursionError):
        return message
