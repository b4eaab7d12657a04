"""Which commands each role needs, and on which keys, as rules of an ACL. Pure; the one table of it.

Servers check what a script calls against the caller's rights as well, so the commands inside the scripts are here, too.
A test compares this table with every script, and others run daemon, clients and commands with nothing but these rights.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

from workd.broker import keys

Role: TypeAlias = Literal["pusher", "producer", "client", "daemon", "viewer", "operator"]
Grant: TypeAlias = tuple[frozenset[str], tuple[str, ...]]
"""Commands, and the keys that they may be used on: `~` both ways, `%R~` to read, `%W~` to write, and what comes behind
`workd:{queue}:`."""

KEYS: Final = "~workd:*"
CHANNELS: Final[dict[Role, str]] = {
    "client": f"&{keys.CONTROL}",
    "daemon": "&workd:*",
    "operator": "&workd:*",
    "viewer": f"&{keys.ASK}",
}
"""Who may publish, and where. A channel is of no queue."""
_OF_NO_QUEUE: Final = "~workd:[a-z]*"
"""The keys of all queues together: behind `workd:`, those of a queue go on with `{`."""
_CONNECTION: Final = frozenset({"client|setinfo", "client|setname", "cluster|slots", "hello", "ping", "select"})
_TRANSACTIONS: Final = frozenset({"multi", "exec", "discard"})
"""What libraries of other languages put around several commands."""
_SCRIPTS: Final = frozenset({"eval", "evalsha"})
_READS: Final = frozenset(
    {
        *("exists", "get", "getbit", "hexists", "hget", "hgetall", "hlen", "hmget", "lrange", "pttl", "time", "type"),
        *("xinfo|consumers", "xlen", "xpending", "xrange", "zrange", "zrangebyscore"),
    }
)
_LOOKS: Final = frozenset({"hvals", "llen", "mget", "scan", "xinfo|groups", "xinfo|stream", "xrevrange", "zcard"})
"""What only people want to know."""
_ASKS: Final = frozenset({"publish", "xread"})
"""A question to all daemons, and their answers."""
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

NEWER: Final = {"client|setinfo": "7.2", "waitaof": "7.2"}
"""Commands that Redis 7.0 does not know, and refuses in an ACL. The libraries say with the first who they are, and do
not mind a refusal; the second is for `durable=True`."""

GRANTS: Final[dict[Role, tuple[Grant, ...]]] = {
    "pusher": (
        (_CONNECTION | _TRANSACTIONS, ()),
        (frozenset({"rpush"}), ("%W~inbox",)),
        (frozenset({"get", "mget"}), ("%R~result:*",)),
    ),
    "producer": (
        # A script's keys have to be allowed to EVAL, both ways; what it does with them is looked at once more.
        (
            _CONNECTION | _TRANSACTIONS | _SCRIPTS | {"time", "wait", "waitaof"},
            ("~stream", "~call:*", "~group:*", "~groups"),
        ),
        (frozenset({"xadd"}), ("%W~stream",)),
        (frozenset({"type"}), ("%R~stream",)),
        (frozenset({"rpush"}), ("%W~inbox",)),
        (frozenset({"get", "set", "pexpire"}), ("~call:*",)),
        (frozenset({"get", "mget"}), ("%R~result:*", "%R~progress:*")),
        (frozenset({"xadd", "xtrim", "pexpire"}), ("%W~reply:*",)),
        (frozenset({"xread"}), ("%R~reply:*",)),
        (
            frozenset({"exists", "get", "hincrby", "hmget", "hset", "pexpire", "set", "setbit", "type"}),
            ("~group:*",),
        ),
        (frozenset({"pexpire", "pttl", "type", "zadd"}), ("~groups",)),
        # A group whose id was cancelled when it was not there yet begins anew.
        (frozenset({"get", "del"}), ("~cancel:*",)),
    ),
}
"""Roles whose commands may be used on certain keys only. The others may use theirs on all keys of their queues."""


def _of_grants(role: Role) -> frozenset[str]:
    return frozenset().union(*(commands for commands, _ in GRANTS[role]))


_CLIENT: Final = (
    _of_grants("producer")
    | {"xpending", "xrange", "zrange", "zscan"}  # where a job is, which daemons there are
    | {"publish", "xack", "xdel", "zrem"}  # to cancel
)

COMMANDS: Final[dict[Role, frozenset[str]]] = {
    "daemon": _CONNECTION
    | _SCRIPTS
    | _READS
    | _WRITES
    | _CHECKS
    | {"hvals", "llen", "zcard"}  # how its queues are, for its metrics
    | {"blmove", "client|id", "client|unblock", "memory|usage", "publish", "role", "subscribe", "xinfo|groups"}
    | {"zremrangebyscore"},
    "pusher": _of_grants("pusher"),
    "producer": _of_grants("producer"),
    "client": _CLIENT,
    "operator": _CONNECTION
    | _SCRIPTS
    | _READS
    | _LOOKS
    | _WRITES
    | {"getdel", "memory|usage", "zscore"}
    | _ASKS
    | {"zscan"},  # to cancel
    "viewer": _CONNECTION | _SCRIPTS | _READS | _LOOKS | _ASKS | {"info"},
}
"""A viewer may run scripts, and in them nothing but reads."""


def rules(role: Role, *, newer: bool = True, queues: Sequence[str] = ()) -> list[str]:
    """Return what to write after the name and the password in ACL SETUSER, each rule one word or one `(…)`.

    `newer`: the server is no Redis 7.0. `queues`: these alone, else all that there are and will be.
    """
    begin = ["clearselectors", "resetkeys", "resetchannels", "-@all"]
    if role not in GRANTS:
        allowed = [f"~{keys.prefix(queue)}*" for queue in queues] + [_OF_NO_QUEUE] if queues else [KEYS]
        return [*begin, *allowed, CHANNELS[role], *_plus(COMMANDS[role], newer=newer)]
    (commands, words), *others = GRANTS[role]
    selectors = [f"({' '.join([*_keys(also, queues), *_plus(wanted, newer=newer)])})" for wanted, also in others]
    return [*begin, *_keys(words, queues), *_plus(commands, newer=newer), *selectors]


def _keys(words: Iterable[str], queues: Sequence[str]) -> list[str]:
    """Write the patterns of a grant for each queue; `*` for a queue is any."""
    parts = [word.partition("~") for word in words]
    return [f"{access}~{keys.prefix(queue)}{name}" for queue in queues or ("*",) for access, _, name in parts]


def _plus(commands: Iterable[str], *, newer: bool) -> list[str]:
    return [f"+{name}" for name in sorted(commands) if newer or name not in NEWER]
