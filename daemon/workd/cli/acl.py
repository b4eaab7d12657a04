"""`workd acl`: users for Redis with the rights of their roles and no others, from the one table of rights.

Speaks to no server. Passwords are kept in a file of the caller's and go into the output as hashes alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from workd.broker import rights
from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson
from workd_tasks.options import QUEUE_RULE

ROLES = tuple(rights.COMMANDS)
ADMIN = "admin"
_ALL = ("~*", "&*", "+@all")
_PASSWORD_BYTES = 24
_PREFIX_RULE = re.compile(r"[A-Za-z0-9_.-]{0,64}")
_MAX_FILE_CHARS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class User:
    """A line of the list: `rules` go behind the name, each one word or one `(…)`."""

    name: str
    role: str
    rules: tuple[str, ...]


def acl(
    role: Annotated[
        list[str] | None, typer.Option(metavar="|".join(ROLES), help="these roles alone; may be repeated")
    ] = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="QUEUE", help="these queues alone; may be repeated")
    ] = None,
    form: Annotated[
        Literal["aclfile", "commands", "json"],
        typer.Option(
            "--format", metavar="aclfile|commands|json", help="a file for aclfile, commands for redis-cli, or JSON"
        ),
    ] = "aclfile",
    passwords: Annotated[
        Path | None, typer.Option(metavar="FILE", help="a line `user password` each; those that lack are made")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="what the users' names begin with")] = "workd-",
    server_version: Annotated[
        Literal["7.0", "7.2"],
        typer.Option(metavar="7.0|7.2", help="the oldest server's; 7.2, or Valkey: WAITAOF too, for durable=True"),
    ] = "7.0",
    admin: Annotated[
        bool, typer.Option("--admin", help="and one that may do all, instead of everybody without a password")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print users for Redis with the rights of their roles.

    Without --passwords a new user has none, and nobody can sign in as it.

    Example: workd acl --passwords /etc/workd/passwords

    Example: workd acl --role producer --queue images --format commands
    """
    users = [
        *_users(_roles(role), _queues(queue), prefix, newer=server_version != "7.0"),
        *(_admins() if admin else ()),
    ]
    known = {} if passwords is None else _passwords(passwords, [user.name for user in users if user.name != "default"])
    shown = [User(user.name, user.role, _with_password(user, known)) for user in users]
    if as_json or form == "json":
        shared.echo_json([{"user": user.name, "role": user.role, "rules": list(user.rules)} for user in shown])
        return
    word = "user" if form == "aclfile" else "ACL SETUSER"
    for user in shown:
        typer.echo(" ".join((word, user.name, *user.rules)))


def _users(roles: Sequence[rights.Role], queues: Sequence[str], prefix: str, *, newer: bool) -> list[User]:
    if not _PREFIX_RULE.fullmatch(prefix):
        raise typer.BadParameter(f"{prefix!r} is no beginning of a name: letters, digits, . _ -", param_hint="--prefix")
    return [User(f"{prefix}{role}", role, tuple(rights.rules(role, newer=newer, queues=queues))) for role in roles]


def _admins() -> list[User]:
    """Somebody has to be able to change the others once the default user is off."""
    return [User(ADMIN, ADMIN, _ALL), User("default", "nobody", ("off", "resetpass", *_ALL))]


def _with_password(user: User, known: dict[str, str]) -> tuple[str, ...]:
    """Put before the rules whether somebody can sign in as this user, and with what."""
    if user.name == "default":
        return user.rules
    password = known.get(user.name)
    if password is None:
        return ("on", *user.rules)  # one that is there already keeps its own
    return ("on", "resetpass", f"#{hashlib.sha256(password.encode()).hexdigest()}", *user.rules)


def _roles(wanted: Sequence[str] | None) -> list[rights.Role]:
    for name in wanted or ():
        if name not in ROLES:
            raise typer.BadParameter(f"{name!r} is no role: {', '.join(ROLES)}", param_hint="--role")
    return [role for role in ROLES if not wanted or role in wanted]


def _queues(wanted: Sequence[str] | None) -> list[str]:
    for name in wanted or ():
        if not re.fullmatch(QUEUE_RULE.pattern, name):
            raise typer.BadParameter(f"{name!r} is no name of a queue", param_hint="--queue")
    return list(dict.fromkeys(wanted or ()))


# ── the file of passwords ───────────────────────────────────────────────────────────────────────────────────────────


def _passwords(path: Path, users: Sequence[str]) -> dict[str, str]:
    """Read the passwords of these users; make those that are not there yet, and write them down."""
    path = path.resolve()  # a link to the file stays one
    with _alone(path):
        lines = _lines(path)
        known = dict(line.split() for line in lines)
        new = {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in users if user not in known}
        if new:
            _replace(path, [*lines, *(f"{user} {password}" for user, password in new.items())])
    if new:
        typer.echo(f"workd: made passwords in {path}: {', '.join(new)}", err=True)
    return known | new


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Have others who do the same in this folder wait: who makes passwords beside us would print some that are lost."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error}", param_hint="--passwords") from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    """Return the lines, checked. What others may read is no place for passwords."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MAX_FILE_CHARS + 1)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--passwords") from None
    if mode & 0o077:
        raise typer.BadParameter(f"{path} can be read by others: chmod 600 {path}", param_hint="--passwords")
    if len(text) > _MAX_FILE_CHARS:  # it is written anew: what was not read would be lost
        raise typer.BadParameter(f"{path} is too long for a file of passwords", param_hint="--passwords")
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line.split()) != 2:  # noqa: PLR2004 - a name and a password
            # Without the line itself: there may be a password in it.
            raise typer.BadParameter(f"{path}, line {number}: not `user password`", param_hint="--passwords")
    return lines


def _replace(path: Path, lines: Sequence[str]) -> None:
    """Write all of it at once, for the owner alone: half a file would be passwords that nobody knows."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise typer.BadParameter(f"{path} cannot be written: {error}", param_hint="--passwords") from None
