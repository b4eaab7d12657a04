"""Which commands each role needs, as rules of an ACL. Pure; the one table of it.

Servers check what a script calls against the caller's rights as well, so the commands inside the scripts are here, too.
A test compares this table with every script, and others run daemon, clients and commands with nothing but these rights.
"""

from typing import Final, Literal, TypeAlias

Role: TypeAlias = Literal["daemon", "producer", "operator", "viewer"]

KEYS: Final = "~workd:*"
CHANNELS: Final = "&workd:*"
_CONNECTION: Final = frozenset({"client|setname", "cluster|slots", "hello", "ping", "select"})
_SCRIPTS: Final = frozenset({"eval", "evalsha"})
_READS: Final = frozenset(
    {
        *("exists", "get", "getbit", "hexists", "hget", "hgetall", "hlen", "hmget", "lrange", "pttl", "time", "type"),
        *("xinfo|consumers", "xlen", "xpending", "xrange", "zrange", "zrangebyscore"),
    }
)
_LOOKS: Final = frozenset({"hvals", "llen", "mget", "scan", "xinfo|groups", "xinfo|stream", "xrevrange", "zcard"})
"""What only people want to know."""
_WRITES: Final = frozenset(
    {
        *(
            "del",
            "hdel",
            "hincrby",
            "hset",
            "incrby",
            "ltrim",
            "pexpire",
            "set",
            "setbit",
            "xack",
            "xadd",
            "xclaim",
            "xdel",
        ),
        *("xgroup|create", "xgroup|delconsumer", "xreadgroup", "xtrim", "zadd", "zrem"),
    }
)
_CHECKS: Final = frozenset({"config|get", "info"})
"""What the daemon asks to warn of settings that cost jobs. Without these rights it says nothing of them."""

NEWER: Final = {"waitaof": "7.2"}
"""Commands that Redis 7.0 does not know, and refuses in an ACL: for `durable=True`."""

COMMANDS: Final[dict[Role, frozenset[str]]] = {
    "daemon": _CONNECTION
    | _SCRIPTS
    | _READS
    | _WRITES
    | _CHECKS
    | {"blmove", "client|id", "client|unblock", "memory|usage", "publish", "role", "subscribe", "xinfo|groups"}
    | {"zremrangebyscore"},
    "producer": _CONNECTION
    | _SCRIPTS
    | {"exists", "get", "hmget", "mget", "pttl", "time", "type", "xpending", "xrange", "xread", "zrange", "zscan"}
    | {"del", "hincrby", "hset", "pexpire", "publish", "rpush", "set", "setbit"}
    | {"xack", "xadd", "xdel", "xtrim", "zadd", "zrem"}
    | {"wait", "waitaof"},
    "operator": _CONNECTION | _SCRIPTS | _READS | _LOOKS | _WRITES | {"getdel", "memory|usage", "zscore"},
    "viewer": _CONNECTION | _SCRIPTS | _READS | _LOOKS | {"info"},
}
"""A viewer may run scripts, and in them nothing but reads."""


def rules(role: Role, *, newer: bool = True) -> list[str]:
    """Return what to write after the name and the password in ACL SETUSER; `newer`: the server is no Redis 7.0."""
    commands = sorted(name for name in COMMANDS[role] if newer or name not in NEWER)
    return ["resetkeys", KEYS, "resetchannels", CHANNELS, "-@all", *(f"+{name}" for name in commands)]
