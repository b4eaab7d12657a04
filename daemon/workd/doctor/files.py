"""Whether the daemon's user can read what it has to, and nobody else can read the secrets."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workd import address
from workd.doctor.findings import Finding, note, ok, problem
from workd.settings import SECRETS, masked

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ: Final = 4
_WRITE: Final = 2
_SEARCH: Final = 1


@dataclass(frozen=True, slots=True)
class User:
    """Who the daemon is: a user, with all groups."""

    name: str
    uid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, name: str) -> User | None:
        """Look a user up; None if there is none, as there is none for a DynamicUser that does not run."""
        try:
            entry = pwd.getpwnam(name) if not name.isdigit() else pwd.getpwuid(int(name))
        except KeyError:
            return None
        return cls(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))

    @classmethod
    def current(cls) -> User:
        """Return whoever runs this."""
        uid = os.geteuid()
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:  # an id that this machine has no name for
            name = str(uid)
        return cls(name, uid, frozenset({os.getegid(), *os.getgroups()}))

    def may(self, status: os.stat_result, wanted: int) -> bool:
        """Say whether the bits of a file let this user do it; access lists are not looked at."""
        if self.uid == 0:
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.gids else 0
        return (status.st_mode >> shift) & wanted == wanted


_ANYBODY: Final = User("anybody", 2**32 - 2, frozenset())


def config(path: Path, user: User) -> list[Finding]:
    """Say whether the daemon can read its settings, and whether a secret in them is kept."""
    hurdle = _hurdle(path, user, _READ)
    found = [] if hurdle is None else [_not_readable("files.config", path, hurdle, user)]
    try:
        named = sorted(_secrets(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError):  # the check of the settings says so
        return found or [note("files.config", f"{path} cannot be read here", "ask again as root")]
    if named and _is_open(path, _READ):
        text = f"everybody on this machine may read {path}, and {' and '.join(named)} in it"
        todo = f"chmod 640 {path}; chgrp {_group(user)} {path}; and since it was readable: change the secret"
        found.append(problem("files.secrets", text, todo))
    if _is_open(path, _WRITE):
        found.append(problem("files.config", f"everybody on this machine may write {path}", f"chmod o-w {path}"))
    return found or [ok("files.config", f"{user.name} may read {path}")]


def credential(name: str, path: Path) -> Finding:
    """Say whether a secret that systemd hands over is kept. It is read as root."""
    try:
        path.stat()
    except PermissionError:
        return ok("files.secrets", f"{name}: {path} is out of our reach, as it should be")
    except OSError as error:
        return note("files.secrets", f"{name}: {path}: {error.strerror}", "without it the setting comes from elsewhere")
    if _is_open(path, _READ) or _is_open(path, _WRITE):
        text = f"everybody on this machine may read {path}, which holds {name}"
        return problem("files.secrets", text, f"chmod 600 {path}; and since it was readable: change the secret")
    return ok("files.secrets", f"{name}: {path} is kept")


def health_socket(http: str, user: User) -> Finding | None:
    """Say whether the daemon can make the socket that answers about its health."""
    where = address.parse(http) if http else None
    if not isinstance(where, address.UnixAddress):
        return None
    folder = Path(where.path).parent
    hurdle = _hurdle(folder, user, _WRITE | _SEARCH)
    if hurdle is not None:
        todo = f"use a folder that {user.name} may write, such as RuntimeDirectory= of the unit, /run/workd"
        return problem("files.socket", f"{user.name} cannot make {where.path}: {hurdle}", todo)
    return ok("files.socket", f"{user.name} may make {where.path}")


def redis_socket(url: str, user: User) -> Finding | None:
    """Say whether the daemon can reach a server behind a unix socket."""
    if not url.startswith("unix://"):
        return None
    path = Path(url.removeprefix("unix://").partition("?")[0].rpartition("@")[2])
    hurdle = _hurdle(path, user, _READ | _WRITE)
    if hurdle is not None:
        todo = f"`usermod -aG redis {user.name}` with unixsocketperm 770 in redis.conf, and restart the daemon"
        return problem("files.redis", f"{user.name} cannot use {path}: {hurdle}", todo)
    return ok("files.redis", f"{user.name} may use {path}")


def _is_open(path: Path, wanted: int) -> bool:
    """Say whether everybody on this machine may do it: the folders above may be closed, whatever a file's own mode."""
    return _hurdle(path, _ANYBODY, wanted) is None


def _hurdle(path: Path, user: User, wanted: int) -> str | None:
    """Say what keeps a user from a file, from the root of the file system on; None: nothing."""
    for folder in reversed(path.absolute().parents):
        try:
            if not user.may(folder.stat(), _SEARCH):
                return f"{folder} is closed to it"
        except OSError as error:
            return f"{folder}: {error.strerror}"
    try:
        return None if user.may(path.stat(), wanted) else f"its mode is {stat.filemode(path.stat().st_mode)}"
    except OSError as error:
        return str(error.strerror)


def _not_readable(check: str, path: Path, hurdle: str, user: User) -> Finding:
    todo = f"chgrp {_group(user)} {path}; chmod 640 {path}; and let it search the folders above"
    return problem(check, f"{user.name}, who runs the daemon, cannot read {path}: {hurdle}", todo)


def _group(user: User) -> str:
    try:
        return grp.getgrnam(user.name).gr_name
    except KeyError:
        return user.name


def _secrets(values: dict[str, object]) -> Iterator[str]:
    """Name the settings of a file that hold a secret: keys, and addresses with a password."""
    for name in SECRETS & values.keys():
        if values[name] and masked(name, values[name]) != values[name]:
            yield name
