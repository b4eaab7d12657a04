"""What our user of Redis may do. Asked of the server itself, command by command, without running one of them.

`redis.acl_check_cmd` says in a script whether the caller may run a command. Some servers end with a segmentation fault
where the command is not complete (Redis 7.0.15: `eval`, Valkey 9.1.2: `set` without arguments), so only whole and valid
command lines are asked about, such as any client sends; a command that has none here is not asked about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from workd.broker import keys, rights
from workd.doctor.findings import Finding, note, ok, problem, warning
from workd.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workd.broker.rights import Role
    from workd.doctor.server import Ask

ROLES: Final[tuple[Role, ...]] = ("daemon", "operator", "viewer")
"""Roles that may use their commands on all keys of their queues; those who only produce may on some."""

_KEY: Final = keys.stream("doctor")
_LINES: Final[dict[str, str]] = {
    "blmove": "K K left left 1",
    "brpoplpush": "K K 1",
    "client|getname": "",
    "client|id": "",
    "client|info": "",
    "client|list": "",
    "client|setinfo": "lib-name workd",
    "client|setname": "workd",
    "client|unblock": "1",
    "cluster|shards": "",
    "cluster|slots": "",
    "config|get": "timeout",
    "dbsize": "",
    "decrby": "K 1",
    "del": "K",
    "discard": "",
    "eval": "return 1 K",
    "evalsha": "0000000000000000000000000000000000000000 1 K",
    "exec": "",
    "exists": "K",
    "expire": "K 1",
    "get": "K",
    "getbit": "K 0",
    "getdel": "K",
    "getex": "K",
    "hdel": "K f",
    "hello": "2",
    "hexists": "K f",
    "hget": "K f",
    "hgetall": "K",
    "hincrby": "K f 1",
    "hkeys": "K",
    "hlen": "K",
    "hmget": "K f",
    "hscan": "K 0",
    "hset": "K f v",
    "hsetnx": "K f v",
    "hvals": "K",
    "incr": "K",
    "incrby": "K 1",
    "info": "",
    "lindex": "K 0",
    "llen": "K",
    "lpop": "K",
    "lpush": "K v",
    "lrange": "K 0 1",
    "lrem": "K 1 v",
    "ltrim": "K 0 1",
    "memory|usage": "K",
    "mget": "K",
    "multi": "",
    "persist": "K",
    "pexpire": "K 1",
    "ping": "",
    "pttl": "K",
    "publish": f"{keys.ASK} v",
    "role": "",
    "rpop": "K",
    "rpush": "K v",
    "sadd": "K v",
    "scan": "0",
    "script|load": "return",
    "select": "0",
    "set": "K v",
    "setbit": "K 0 1",
    "setex": "K 1 v",
    "smembers": "K",
    "srem": "K v",
    "strlen": "K",
    "subscribe": keys.CONTROL,
    "time": "",
    "ttl": "K",
    "type": "K",
    "unlink": "K",
    "unsubscribe": keys.CONTROL,
    "wait": "0 1",
    "waitaof": "0 0 1",
    "xack": "K g 1-1",
    "xadd": "K * f v",
    "xautoclaim": "K g c 1 0",
    "xclaim": "K g c 1 1-1",
    "xdel": "K 1-1",
    "xgroup|create": "K g 0",
    "xgroup|createconsumer": "K g c",
    "xgroup|delconsumer": "K g c",
    "xinfo|consumers": "K g",
    "xinfo|groups": "K",
    "xinfo|stream": "K",
    "xlen": "K",
    "xpending": "K g",
    "xrange": "K - +",
    "xread": "streams K 0",
    "xreadgroup": "group g c streams K 0",
    "xrevrange": "K + -",
    "xtrim": "K maxlen 1",
    "zadd": "K 1 v",
    "zcard": "K",
    "zcount": "K 0 1",
    "zincrby": "K 1 v",
    "zpopmin": "K",
    "zrange": "K 0 1",
    "zrangebyscore": "K 0 1",
    "zrank": "K v",
    "zrem": "K v",
    "zremrangebyrank": "K 0 1",
    "zremrangebyscore": "K 0 1",
    "zscan": "K 0",
    "zscore": "K v",
}
"""A whole command line for each, `K` for one of our keys; also for some that no role has today."""
_SCRIPT: Final = """
-- ARGV: whole command lines, their words parted by newlines. Returns for each 1 (may), 0 (may not) or -1 (unknown).
local answers = {}
for i, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '[^\\n]+') do words[#words + 1] = word end
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  answers[i] = not known and -1 or may and 1 or 0
end
return answers
"""
_SHOWN: Final = 6
_OF_CHECKS: Final = frozenset({"config|get", "info"})


def line_of(name: str) -> str | None:
    """Return what to ask about a command: its words, parted by newlines; None if there is nothing that is safe."""
    arguments = _LINES.get(name)
    if arguments is None:
        return None
    return "\n".join([*name.split("|"), *(_KEY if word == "K" else word for word in arguments.split())])


def examine(ask: Ask) -> list[Finding]:
    """Ask what the user may not do, and say which roles that leaves."""
    wanted = sorted({name for role in ROLES for name in rights.COMMANDS[role] if line_of(name) is not None})
    try:
        answers: Any = ask("EVAL", _SCRIPT, 0, *(line_of(name) for name in wanted))
    except ClientError as error:
        return [note("rights.asked", f"not known: {error}", "a user of workd may run scripts: +eval +evalsha")]
    return roles({name for name, may in zip(wanted, answers, strict=True) if may == 0})


def roles(refused: set[str]) -> list[Finding]:
    """Say what each role lacks; a daemon's lack is a problem, since this is the daemon's user."""
    lacks = {role: rights.COMMANDS[role] & refused for role in ROLES}
    can = [role for role in ROLES if not lacks[role]]
    cannot = [f"as {role} it lacks {_some(lacks[role])}" for role in ROLES if lacks[role] and role != "daemon"]
    said = f"our user has the rights of: {', '.join(can) or 'no role'}"
    return [*_of_daemon(lacks["daemon"]), (note if cannot else ok)("rights.roles", "; ".join([said, *cannot]))]


def _of_daemon(lacking: frozenset[str] | set[str]) -> list[Finding]:
    todo = "`workd acl` prints what a daemon's user needs: commands, keys and channels"
    if grave := lacking - _OF_CHECKS:
        return [problem("rights.daemon", f"as a daemon our user lacks {_some(grave)}, on keys workd:*", todo)]
    if lacking:
        text = f"our user lacks {_some(lacking)}: the daemon cannot warn of settings of the server that lose jobs"
        return [warning("rights.daemon", text, todo)]
    return []


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:_SHOWN]) + (f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")
