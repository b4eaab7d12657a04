"""What a server did between two looks at it: its CPU by process clock, its commands by their own statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis

OWN_COMMANDS = frozenset({"info", "xlen"})  # asked by the bench itself
SENT_BY_DAEMONS = ("xreadgroup", "evalsha", "eval", "blmove", "fcall")  # all others, under load, are called by scripts


@dataclass(frozen=True, slots=True)
class Command:
    """The calls of one command, the ones made by scripts included."""

    calls: int
    time_us: int


@dataclass(frozen=True, slots=True)
class Look:
    """The server's totals at one moment."""

    cpu_s: float
    commands: dict[str, Command]

    @property
    def calls(self) -> int:
        """How many commands came over connections."""
        return sum(self.commands[name].calls for name in SENT_BY_DAEMONS if name in self.commands)

    def since(self, before: Look) -> Look:
        """Return what happened since an earlier look."""
        nothing = Command(0, 0)
        commands = {
            name: Command(now.calls - past.calls, now.time_us - past.time_us)
            for name, now in self.commands.items()
            if (past := before.commands.get(name, nothing)).calls < now.calls
        }
        return Look(self.cpu_s - before.cpu_s, commands)


def look(client: redis.Redis) -> Look:
    """Ask the server."""
    info: dict[str, Any] = client.info("everything")
    commands = {
        name.removeprefix("cmdstat_"): Command(value["calls"], value["usec"])
        for name, value in info.items()
        if name.startswith("cmdstat_") and name.removeprefix("cmdstat_") not in OWN_COMMANDS
    }
    cpu_s = info["used_cpu_user"] + info["used_cpu_sys"]
    return Look(cpu_s, commands)
