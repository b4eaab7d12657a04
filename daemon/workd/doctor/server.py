"""Whether the server is there, fit to keep jobs, and in time with this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from workd import redis_url
from workd.broker import checks
from workd.doctor.findings import Finding, note, ok, problem, warning
from workd.errors import ClientError

Ask = Callable[..., Any]
"""Sends one command, word by word, and returns the answer; raises ClientError."""

_PINGS: Final = 9
_SLOW_S: Final = 0.010
_VERY_SLOW_S: Final = 0.100
_SKEW_S: Final = 1.0
_FULL: Final = 0.9
_CONFIG: Final = (*checks.CONFIG, b"timeout", b"maxclients", b"appendfsync")


@dataclass(frozen=True, slots=True)
class Said:
    """INFO and CONFIG GET as they came; `refused` has what was not told, and why."""

    info: dict[str, str]
    config: dict[str, str]
    facts: checks.Facts
    refused: tuple[str, ...] = ()


def reachable(ask: Ask, url: str, clock: Callable[[], float] = time.perf_counter) -> Finding:
    """Ping it some times, and say how long an answer takes."""
    took_s: list[float] = []
    try:
        ask("PING")
        for _ in range(_PINGS):
            began_s = clock()
            ask("PING")
            took_s.append(clock() - began_s)
    except ClientError as error:
        return problem("server.reachable", str(error), _how_to_reach(str(error)))
    median_s = statistics.median(took_s)
    said = f"{redis_url.masked(url)} answers in {median_s * 1000:.1f} ms"
    if median_s > _VERY_SLOW_S:
        return warning(
            "server.reachable", said, "find out why: another continent, a busy server (SLOWLOG GET), swapping?"
        )
    if median_s > _SLOW_S:
        return note("server.reachable", said, "a server in the same network answers in less than 1 ms")
    return ok("server.reachable", said)


def _how_to_reach(why: str) -> str:
    if "NOAUTH" in why or "WRONGPASS" in why or "invalid username" in why.lower():
        return "put user and password into redis_url: redis://user:password@host:6379/0"
    return "start it, or say where it is: redis_url in the settings; then look at firewall, bind and protected-mode"


def question(ask: Ask) -> Said:
    """Ask INFO and CONFIG GET; an ACL may refuse either."""
    refused: list[str] = []

    def asked(*command: object) -> Any:
        try:
            return ask(*command)
        except ClientError as error:
            refused.append(f"{command[0]}: {error}")
            return None

    info = asked("INFO")
    config = asked("CONFIG", "GET", *_CONFIG)
    return Said(checks.lines(info), checks.pairs(config), checks.read(info, config), tuple(refused))


def version(said: Said) -> Finding:
    """Say whether it is new enough."""
    if said.facts.version is None:
        return note("server.version", "the server does not tell its version", "let this user ask INFO")
    if (why := checks.too_old(said.facts)) is not None:
        return problem("server.version", why, "install a newer one")
    return ok("server.version", f"{said.facts.name} {'.'.join(map(str, said.facts.version))}")


def keeps_jobs(said: Said, *, by_sentinels: bool = False, in_cluster: bool = False) -> list[Finding]:
    """Say which of its settings can lose jobs, in the words that the daemon logs."""
    found = []
    for text in checks.warnings(said.facts, by_sentinels=by_sentinels, in_cluster=in_cluster):
        what, _, todo = text.rpartition("; ")
        level = problem if "maxmemory-policy is allkeys" in text else warning
        found.append(level("server.durability", what, todo))
    if said.config.get("appendfsync") == "no":
        found.append(
            warning(
                "server.durability", "appendfsync is no: a crash loses what the kernel has not written", "set everysec"
            )
        )
    if not found and said.facts.has_aof is not None:
        kept = (
            "appends each write to a file" if said.facts.has_aof else "writes snapshots: a crash loses what came after"
        )
        found.append(ok("server.durability", kept))
    return found


def writes(said: Said) -> list[Finding]:
    """Say whether it takes writes, and whether its own reach the disk."""
    found = []
    if said.info.get("role") == "slave":
        found.append(
            problem(
                "server.role", "it is a replica, which takes no writes", "let redis_url name the master, or Sentinels"
            )
        )
    if said.info.get("loading") == "1":
        found.append(warning("server.disk", "it is still loading its data", "wait; until then it refuses all commands"))
    for name, what in (
        ("rdb_last_bgsave_status", "snapshot"),
        ("aof_last_write_status", "write to the append-only file"),
    ):
        if said.info.get(name, "ok") != "ok":
            found.append(
                problem(
                    "server.disk",
                    f"its last {what} failed",
                    "look at its log and at the disk: is it full, is it writable?",
                )
            )
    return found or ([ok("server.role", "it takes writes")] if "role" in said.info else [])


def memory(said: Said) -> list[Finding]:
    """Say whether there is room for more jobs."""
    used, limit = _number(said.info, "used_memory"), _number(said.info, "maxmemory")
    if used is None:
        return []
    if not limit:
        total = _number(said.info, "total_system_memory")
        of = f" of the machine's {_mib(total)}" if total else ""
        todo = "set maxmemory to what it may take: a queue that grows for ever is then refused, and nobody else suffers"
        return [note("server.memory", f"it holds {_mib(used)}{of}, without a limit", todo)]
    said_now = f"it holds {_mib(used)} of {_mib(limit)}"
    if used > _FULL * limit:
        return [
            warning(
                "server.memory",
                said_now,
                "raise maxmemory, run more workers, or purge: when it is full jobs are refused",
            )
        ]
    return [ok("server.memory", said_now)]


def connections(said: Said) -> list[Finding]:
    """Say whether it closes connections that are idle, or runs out of them."""
    found = []
    idle_s = said.config.get("timeout", "0")
    if idle_s not in {"", "0"}:
        text = f"timeout is {idle_s}: it closes connections that are idle so long, and all are made again"
        found.append(warning("server.connections", text, "set timeout to 0"))
    now, most = _number(said.info, "connected_clients"), _number(said.config, "maxclients")
    if now is not None and most and now > _FULL * most:
        found.append(
            warning(
                "server.connections",
                f"{now} of {most} connections are taken",
                "raise maxclients, or look who holds them: CLIENT LIST",
            )
        )
    return found or ([ok("server.connections", f"{now} connections")] if now is not None else [])


def clock_skew(ask: Ask, clock: Callable[[], float] = time.time) -> Finding:
    """Compare both clocks: times that producers write (run_at, expires_at) are compared with the server's."""
    try:
        before_s = clock()
        seconds, micros = ask("TIME")
        after_s = clock()
    except ClientError as error:
        return note("server.clock", f"it does not tell the time: {error}", "let this user ask TIME")
    skew_s = int(seconds) + int(micros) / 1e6 - (before_s + after_s) / 2
    if abs(skew_s) > _SKEW_S + (after_s - before_s) / 2:
        text = f"the server's clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
        return warning(
            "server.clock",
            text,
            "have both machines set their clocks (chrony, systemd-timesyncd): run_at is off by so much",
        )
    return ok("server.clock", f"its clock differs by {abs(skew_s) * 1000:.0f} ms")


def refused(said: Said) -> list[Finding]:
    """Say which checks could not be made."""
    todo = "rights of a daemon include it: `workd acl`"
    return [note("server.asked", f"not told: {text}", todo) for text in said.refused]


def _number(of: dict[str, str], name: str) -> int | None:
    text = of.get(name, "")
    return int(text) if text.isdigit() else None


def _mib(size_bytes: int | None) -> str:
    return f"{(size_bytes or 0) / 2**20:,.0f} MiB"
