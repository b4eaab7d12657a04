"""What the commands for people who look after queues have in common: where Redis is, times, tables, progress.

rich is imported when a table or a bar is drawn, and is not needed for `--json` or a pipe.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workd import settings
from workd.cli import plain
from workd.cli.options import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workd.client.admin import Admin

QueueOption = Annotated[str, typer.Option("--queue", "-q", metavar="QUEUE", help="which queue")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
RedisUrl = Annotated[
    str | None,
    typer.Option(settings.flag("redis_url"), metavar="URL", help="the Redis or Valkey server", show_default=False),
]
Config = ConfigFile

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_WIDEST_COLUMN = 64  # characters, beyond which a cell is folded where there is no room: whoever enqueues names jobs
_LAST_COLUMN = 20
_GAP = 2  # blanks between two columns
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@contextmanager
def admin(redis_url: str | None, config: Any) -> Iterator[Admin]:
    """Open the administration of the Redis that the settings name."""
    from workd.client.admin import Admin

    chosen = settings.load({"redis_url": redis_url}, config).settings
    with Admin(chosen.redis_url, signing_key=next(iter(chosen.signing_keys), None)) as opened:
        yield opened


def moment(text: str | None) -> float | None:
    """Read a time as people write it: `2h` ago, RFC 3339 (local time without an offset), or epoch seconds."""
    if text is None:
        return None
    if (ago_s := span_s(text)) is not None:
        return time.time() - ago_s
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        wanted = "2h (ago; s, m, h, d), 2030-01-31T15:00 or epoch seconds"
        raise typer.BadParameter(f"{text!r} is no time: write {wanted}") from None


def seconds(value: float | None) -> float | None:
    """Refuse what is no span of time in seconds; typer names the option."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise typer.BadParameter(f"{value:g} is no number of seconds: 0 or more")
    return value


def span_s(text: str) -> float | None:
    """Read a span as people write it, `90s` or `2h`; None if it is none."""
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _UNIT_S[found[2]] if found else None


def span(seconds: float | None) -> str:
    """Write a span as people read it: `3.2s`, `4m`, `5h`, `6d`."""
    if seconds is None:
        return "-"
    if abs(seconds) < 10:  # noqa: PLR2004
        return f"{seconds:.1f}s"
    for unit, size_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= 2 * size_s:
            return f"{seconds / size_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def local(epoch_s: float) -> str:
    """Write a time in the zone of this machine."""
    return datetime.fromtimestamp(epoch_s).astimezone().isoformat(sep=" ", timespec="seconds")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, tabs between the cells elsewhere, so that `cut` and `awk` can read it.

    Where the terminal is too narrow the last column is folded, and beyond that the terminal folds whole lines: ids that
    are cut in pieces could not be copied.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            typer.echo("\t".join(plain.line(cell) for cell in row))
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    lines = [columns, *([plain.line(cell) for cell in row] for row in rows)]
    widths = [min(_WIDEST_COLUMN, max(map(cell_len, cells))) for cells in zip(*lines, strict=True)]
    widths[-1] = min(_LAST_COLUMN, widths[-1])
    least = sum(widths) + _GAP * (len(widths) - 1)
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(column, overflow="fold", min_width=width)
    for line in lines[1:]:
        drawn.add_row(*map(_escaped, line))
    console = Console()
    Console(width=max(console.width, least), height=console.height).print(drawn)


def say(text: str, *, on_stderr: bool = False) -> None:
    """Print what may hold words of others: harmless for the terminal, newlines and tabs as they are."""
    typer.echo(plain.text(text), err=on_stderr)


def note(text: str) -> None:
    """Print one line on stderr, with our name before it: what is no part of the answer."""
    typer.echo(f"workd: {plain.line(text)}", err=True)


def echo_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(_json_text(value, indent=2))


def echo_json_line(value: Any) -> None:
    """Print one line of a stream of JSON documents."""
    typer.echo(_json_text(value))


def _json_text(value: Any, indent: int | None = None) -> str:
    """Write JSON as it reads best where it can be shown; what stdout cannot encode is escaped as JSON does."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return plain.json(json.dumps(value, indent=indent, ensure_ascii=not is_unicode))


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something that cannot be undone; where nobody can answer, it is no."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask: add --yes", param_hint="--yes")
    typer.echo(f"{plain.line(question)} [y/N]: ", nl=False, err=True)  # stdout is for the answer, as with --json
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@contextmanager
def bar(what: str, total: int, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far long work is; what is given is called with what is done of `total` so far.

    Ctrl-C ends the work, and how far it had come is said.
    """
    come_to = 0

    def advance(done: int) -> None:
        nonlocal come_to
        come_to = done
        drawn(done)

    try:
        with _drawn_bar(what, total, shown=shown) as drawn:
            yield advance
    except KeyboardInterrupt:
        note(f"interrupted: {what} had come to {come_to} of {total}; the rest is as it was")
        raise


@contextmanager
def _drawn_bar(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], object]]:
    if not (shown and sys.stderr.isatty()):
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task(what, total=total)
        yield lambda done: progress.update(line, completed=done)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
