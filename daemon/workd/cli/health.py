"""`workd health`: ask a running daemon how it is; 0 is ready (or alive, or consuming), 1 is everything else.

Made for probes that call it every second: the standard library only, no task, no typer, no pydantic, and of the
library as little as will do (dataclasses bring `inspect`, which takes as long as all that is imported here).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from typing import Final, NamedTuple, NoReturn, TextIO

from workd.address import DEFAULT_HTTP, Address, UnixAddress, parse
from workd.cli import plain
from workd.exits import Exit

_MAX_ANSWER_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_OK = 200
_LONGEST_WAIT_S = 86_400
_HELP_COLUMNS = 100
_QUESTIONS: Final = {
    "live": ("/livez", "alive"),
    "consuming": ("/consuming", "consuming"),
    "ready": ("/readyz", "ready"),
}
"""By flag: where it is answered, and the word for yes."""


class Answer(NamedTuple):
    """What the daemon said: the HTTP status and its report."""

    status: int
    report: dict[str, object]


def main(argv: list[str]) -> int:
    """Run the command: one line on stdout when all is well, one on stderr when not."""
    options = parser().parse_args(argv)
    path, word = next((asked for flag, asked in _QUESTIONS.items() if getattr(options, flag)), _QUESTIONS["ready"])
    try:
        where = parse(options.http or _configured(options.config))
        answer = ask(where, path, options.timeout_s)
    except (OSError, ValueError) as error:
        _write(sys.stderr, f"workd: not healthy: {plain.line(_reason(error))}")
        return Exit.FAILURE
    return _tell(answer, word, as_json=options.json)


def _tell(answer: Answer, word: str, *, as_json: bool) -> int:
    ok = answer.status == _OK
    if as_json:
        _write(sys.stdout, plain.json(json.dumps(answer.report)))
    elif ok:
        _write(sys.stdout, word)
    else:
        reasons = answer.report.get("reasons")
        said = "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""
        _write(sys.stderr, f"workd: not {word}: {plain.line(said) or f'HTTP {answer.status}'}")
    return Exit.OK if ok else Exit.FAILURE


def _write(stream: TextIO, line: str) -> None:
    """Write a line; where nobody takes it, as on a full disk, the exit code says it all."""
    with contextlib.suppress(OSError):
        stream.write(f"{line}\n")


def ask(where: Address, path: str, timeout_s: float) -> Answer:
    """Send one request and read its answer; OSError or ValueError when there is none in time, or none of ours."""
    until_s = time.monotonic() + timeout_s
    with _connect(where, timeout_s) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: workd\r\nConnection: close\r\n\r\n".encode())
        raw = _read(connection, until_s)
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():  # noqa: PLR2004 - version, status
        raise ValueError(f"{where} is not a workd: it does not speak HTTP")
    try:
        report = json.loads(body)
    except ValueError:
        raise ValueError(f"{where} is not a workd: it answers HTTP {words[1].decode()}, no report") from None
    return Answer(int(words[1]), report if isinstance(report, dict) else {})


def _read(connection: socket.socket, until_s: float) -> bytes:
    """Read to the end, or up to that time of the monotonic clock: what comes in drips is no answer in time."""
    raw = b""
    while len(raw) < _MAX_ANSWER_BYTES:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        if not (part := connection.recv(_READ_BYTES)):
            break
        raw += part
    return raw


def _connect(where: Address, timeout_s: float) -> socket.socket:
    try:
        if not isinstance(where, UnixAddress):
            return socket.create_connection((where.host, where.port), timeout_s)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout_s)
            connection.connect(where.path)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise ValueError(f"no daemon answers at {where}: {_reason(error)}") from None
    return connection


def _configured(config: str | None) -> str:
    """Find where the daemon was told to answer, by the daemon's own rules: environment, file, default."""
    http = os.environ.get("WORKD_HTTP")
    if http is None:
        import tomllib
        from pathlib import Path

        path = Path(config or os.environ.get("WORKD_CONFIG") or "/etc/workd/workd.toml")
        try:
            http = tomllib.loads(path.read_text(encoding="utf-8")).get("http") if config or path.exists() else None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {_reason(error)}") from None
    if http == "":
        raise ValueError("the setting http is empty: this daemon answers nowhere")
    return str(http or DEFAULT_HTTP)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _seconds(text: str) -> float:
    """Read how long to wait; argparse names the flag."""
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= _LONGEST_WAIT_S:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0, {_LONGEST_WAIT_S} at most")


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in one line like those of every other command."""

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"workd: health: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Make the parser of this command's options, which `probe.py` shows among the other commands."""
    parser = _Parser(
        prog="workd health",
        description="Ask a running daemon how it is: exit code 0 is ready.",
        epilog="Example: workd health --config /etc/workd/workd.toml",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=_HELP_COLUMNS),
        allow_abbrev=False,
    )
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--ready", action="store_true", help="ask whether all is ready for jobs: the default")
    question.add_argument("--consuming", action="store_true", help="ask whether it takes jobs now, instead of ready")
    question.add_argument("--live", action="store_true", help="ask whether it is alive, instead of ready")
    parser.add_argument("--http", metavar="ADDRESS", help=f"host:port or unix:/path [{DEFAULT_HTTP}]")
    parser.add_argument("--config", metavar="FILE", help="the daemon's TOML file, to find the address in")
    parser.add_argument("--timeout-s", metavar="SECONDS", type=_seconds, default=2.0, help="how long to wait [2]")
    parser.add_argument("--json", action="store_true", help="print the whole report")
    return parser
