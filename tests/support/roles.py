"""Users of a real server who have the rights of one role, or of several, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workd.broker import rights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.servers import Server

PASSWORD = "open-sesame"


def add_user(client: Any, *roles: rights.Role, without: str = "", queues: Sequence[str] = ()) -> str:
    """Make a user of these roles, less one command, and return the name."""
    name = "-".join(roles)
    told: Any = client.info("server")
    newer = not told["redis_version"].startswith("7.0.")
    given = [rule for role in roles for rule in rights.rules(role, newer=newer, queues=queues)]
    # Each role begins with taking everything away, which would undo the one before.
    takes_away = {"clearselectors", "resetkeys", "resetchannels", "-@all"}
    allowed = [_less(rule, without) for rule in given if rule not in takes_away and rule != f"+{without}"]
    client.execute_command("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *allowed)
    return name


def url_of(server: Server, name: str) -> str:
    """Return the server's address for this user."""
    return server.url.replace("://", f"://{name}:{PASSWORD}@")


def unix_url_of(server: Server, name: str) -> str:
    """Return the address of the server's socket for this user."""
    return server.unix_url.replace("unix://", f"unix://{name}:{PASSWORD}@")


def _less(rule: str, command: str) -> str:
    """Take a command out of a selector, `(+get %R~…)`."""
    words = rule.strip("()").split()
    return f"({' '.join(word for word in words if word != f'+{command}')})" if rule.startswith("(") else rule
