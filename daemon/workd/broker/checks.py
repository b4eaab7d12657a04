"""Whether a server is set up so that it can keep jobs: its version, and what its settings can cost. Pure.

Asked by the session at each connection: INFO, and CONFIG GET for what INFO does not tell. A server, or an ACL, that
refuses either is asked no further: nothing is known then, and nothing is said.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

CONFIG: Final = (b"save", b"min-replicas-to-write")
"""The settings that INFO does not tell."""
_LEAST: Final = {"Redis": (7, 0), "Valkey": (7, 2)}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself; None is what it does not say."""

    name: str = "Redis"
    version: tuple[int, ...] | None = None
    eviction: str | None = None
    has_aof: bool | None = None
    has_snapshots: bool | None = None
    replicas: int | None = None
    min_replicas: int | None = None


def read(info: Any, config: Any) -> Facts:
    """Read the replies to INFO and CONFIG GET, as RESP2 or RESP3 give them; None is one that was refused."""
    said = lines(info)
    told = pairs(config)
    is_valkey = said.get("server_name") == "valkey"
    return Facts(
        "Valkey" if is_valkey else "Redis",
        _version(said.get("valkey_version" if is_valkey else "redis_version", "")),
        said.get("maxmemory_policy"),
        _flag(said.get("aof_enabled")),
        None if "save" not in told else bool(told["save"].strip()),
        _count(said.get("connected_slaves")),
        _count(told.get("min-replicas-to-write")),
    )


def too_old(facts: Facts) -> str | None:
    """Say that the server lacks what the scripts need; None if it does not."""
    least = _LEAST[facts.name]
    if facts.version is None or facts.version >= least:
        return None
    needed = " or ".join(f"{name} {_dotted(version)}" for name, version in _LEAST.items())
    return f"{facts.name} {_dotted(facts.version)} is too old: workd needs {needed}, or later"


def warnings(facts: Facts, *, by_sentinels: bool = False, in_cluster: bool = False) -> tuple[str, ...]:
    """Say what can be lost, and what to set; one text for each thing that is wrong."""
    found: list[str] = []
    if facts.eviction is not None and facts.eviction != "noeviction":
        lost = (
            "whole queues" if facts.eviction.startswith("allkeys") else "outcomes and claims of ids before their time"
        )
        found.append(f"maxmemory-policy is {facts.eviction}: a full {facts.name} deletes {lost}; set it to noeviction")
    if facts.has_aof is False and facts.has_snapshots is False:
        found.append(f"{facts.name} writes nothing to disk: its restart loses every job; set appendonly to yes")
    if (by_sentinels or in_cluster) and facts.replicas == 0:
        found.append("the master has no replica: nobody can take over from it, and its jobs are gone with it; add one")
    elif by_sentinels and facts.min_replicas == 0:
        found.append(
            "min-replicas-to-write is 0: a master that is cut off from its replicas takes jobs that a failover loses;"
            " set it to 1 or more"
        )
    return tuple(found)


def lines(info: Any) -> dict[str, str]:
    """Read the reply to INFO; empty for one that was refused."""
    text = info.decode(errors="replace") if isinstance(info, bytes) else info if isinstance(info, str) else ""
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def pairs(config: Any) -> dict[str, str]:
    """Read the reply to CONFIG GET; empty for one that was refused."""
    flat = config if isinstance(config, list) else []
    pairs = config if isinstance(config, dict) else dict(zip(flat[::2], flat[1::2], strict=False))
    return {name.decode(): value.decode(errors="replace") for name, value in pairs.items()}


def _version(text: str) -> tuple[int, ...] | None:
    match = re.match(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?", text)
    return tuple(int(part) for part in match.groups(default="0")) if match else None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "1"


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
