"""`workd dead …`: look at dead letters, send them again, mend them, throw them away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd.cli import dead_mending as mending
from workd.cli import looking_after as shared
from workd.cli.dead_filter import Filter, filtered
from workd.cli.looking_after import AsJson, Config, QueueOption, RedisUrl, Yes
from workd.errors import DeadLetterError, WorkdError
from workd.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.client.dead_letter import DeadLetter
    from workd.client.dead_letters import Tally

app = typer.Typer(help="Look at dead letters, replay, mend or purge them.", rich_markup_mode=None)

EntryId = Annotated[str, typer.Argument(metavar="ENTRY", help="as `workd dead list` shows it", show_default=False)]
EntryIds = Annotated[list[str] | None, typer.Argument(metavar="ENTRY", help="those alone", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="all of the queue")]


@app.command("list")
@filtered
def list_letters(
    chosen: Filter,
    queue: QueueOption = "default",
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="show so many")] = 50,
    after: Annotated[str | None, typer.Option(metavar="ENTRY", help="go on after this one, with older ones")] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """List dead letters, the newest first.

    Example: workd dead list --queue images --reason timeout --since 2h
    """
    where = chosen.where()
    with shared.admin(redis_url, config) as admin:
        page = admin.dead.page(queue, where, limit=limit, after=after)
    if as_json:
        shared.echo_json({"letters": [letter.as_json() for letter in page.letters], "after": page.after})
        return Exit.OK
    rows = [_row(letter) for letter in page.letters]
    shared.table(("ENTRY", "DIED", "REASON", "TASK", "JOB", "RUNS", "ERROR"), rows)
    if page.after is not None and len(page.letters) == limit:
        shared.note(f"there may be more: --after {page.after}")
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
        shared.say(f"{name:<12}{_below(value)}")
    return Exit.OK


@app.command()
def edit(
    entry: EntryId,
    queue: QueueOption = "default",
    message: Annotated[
        str | None, typer.Option(metavar="FILE", help="take the message from a file, or - from stdin; else $EDITOR")
    ] = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Mend the message of a dead letter and run its job again.

    The message is checked first. Exit code 1: nothing was changed. Prints the job's id.

    Example: workd dead edit 1893456000000-0

    Example: workd dead edit 1893456000000-0 --message fixed.json
    """
    with shared.admin(redis_url, config) as admin:
        letter = admin.dead.get(queue, entry)
        mended = mending.in_editor(letter) if message is None else mending.from_file(message)
        if mended is None:
            shared.note("nothing was changed")
            return Exit.FAILURE
        try:
            admin.dead.edit(queue, entry, mended)
        except WorkdError:
            if message is None:
                shared.note(f"what you wrote is kept: go on with --message {mending.keep(mended)}")
            raise
    id = json.loads(mended).get("id") or letter.id  # it has been checked: it is a message
    if as_json:
        shared.echo_json({"id": id, "queue": queue, "entry_id": letter.entry_id})
    else:
        shared.say(id)
    return Exit.OK


@app.command()
@filtered
def replay(
    chosen: Filter,
    entries: EntryIds = None,
    queue: QueueOption = "default",
    everything: All = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Run dead jobs again, as they were sent.

    Those named, those that match, or --all. Exit code 1: one of them could not be replayed.

    Example: workd dead replay --task resize --error MemoryError
    """
    where = chosen.where()
    _require_choice(entries, chosen, everything=everything)
    with shared.admin(redis_url, config) as admin:
        if entries:
            refused = _each(entries, lambda entry: admin.dead.replay(queue, entry), "replaying", shown=not as_json)
            return _tell_each("replayed", entries, refused, as_json=as_json)
        with shared.bar("replaying", admin.queues.state(queue).dead or 0, shown=not as_json) as advance:
            tally = admin.dead.replay_all(queue, where, lambda tally: advance(tally.looked))
    _tell("replayed", tally, as_json=as_json)
    return Exit.FAILURE if tally.held or tally.empty else Exit.OK


@app.command()
@filtered
def purge(
    chosen: Filter,
    entries: EntryIds = None,
    queue: QueueOption = "default",
    everything: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> int:
    """Throw dead letters away for good.

    Those named, those that match, or --all. Exit code 1: one that was named is not there, or the answer was no.

    Example: workd dead purge --reason invalid --until 7d --yes
    """
    where = chosen.where()
    _require_choice(entries, chosen, everything=everything)
    with shared.admin(redis_url, config) as admin:
        count = len(entries) if entries else None if yes else admin.dead.count(queue, where)
        if not shared.confirmed(f"Throw away {count} dead letters of queue {queue} for good?", yes=yes):
            return Exit.FAILURE
        if entries:
            one = _purging_one(admin.dead.purge, queue)
            return _tell_each("purged", entries, _each(entries, one, "purging", shown=not as_json), as_json=as_json)
        with shared.bar("purging", admin.queues.state(queue).dead or 0, shown=not as_json) as advance:
            tally = admin.dead.purge_all(queue, where, lambda tally: advance(tally.looked))
    _tell("purged", tally, as_json=as_json)
    return Exit.OK


# ── choosing ──


def _require_choice(entries: list[str] | None, chosen: Filter, *, everything: bool) -> None:
    """Refuse to take "nothing said" for "everything", and two ways to say which."""
    if sum((bool(entries), chosen.chooses, everything)) != 1:
        raise typer.BadParameter("say which: ENTRY…, or a filter such as --reason, or --all; and only one of these")


def _each(entries: Sequence[str], act: Callable[[str], object], doing: str, *, shown: bool) -> dict[str, str]:
    """Act on each and return why some could not be; one of them does not keep the others from it."""
    refused: dict[str, str] = {}
    with shared.bar(doing, len(entries), shown=shown) as advance:
        for number, entry in enumerate(entries, 1):
            try:
                act(entry)
            except DeadLetterError as error:
                refused[entry] = str(error)
            advance(number)
    return refused


def _purging_one(purge: Callable[[str, str], bool], queue: str) -> Callable[[str], None]:
    def one(entry: str) -> None:
        if not purge(queue, entry):
            raise DeadLetterError(queue, entry, "it is not there")

    return one


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


def _below(value: object) -> str:
    """Put the further lines of a value below its first."""
    return str(value).rstrip("\n").replace("\n", "\n" + " " * 12)


def _tell(done: str, tally: Tally, *, as_json: bool) -> None:
    """Say what became of those that matched."""
    if as_json:
        shared.echo_json(
            {done: tally.done, "looked": tally.looked, "held": tally.held, "empty": tally.empty, "refused": {}}
        )
        return
    shared.say(f"{done} {tally.done} of {tally.looked}")
    if tally.held:
        shared.note(f"{tally.held} were left: another job has their id")
    if tally.empty:
        shared.note(f"{tally.empty} were left: they have no message (workd dead edit)")


def _tell_each(done: str, entries: Sequence[str], refused: dict[str, str], *, as_json: bool) -> int:
    """Say what became of those that were named; `refused` has the reasons by entry."""
    count = len(entries) - len(refused)
    if as_json:
        shared.echo_json({done: count, "looked": len(entries), "held": 0, "empty": 0, "refused": refused})
    else:
        shared.say(f"{done} {count} of {len(entries)}")
    for why in refused.values():
        shared.note(why)
    return Exit.FAILURE if refused else Exit.OK
