"""The Lua scripts: read from their files once, called by their hash.

Each script's own header says what it takes, what it returns and which invariant it keeps. Called by the session only.

Those that take part in emptying a queue begin with `#!lua flags=allow-oom`: a queue that has filled Redis up to its
`maxmemory` has to be drained, and for that a lease, a claim, a result or a retry must be written. What they add is
bounded by what they remove soon after. The clients' commands have no such right: producers are who is refused.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from redis.exceptions import NoScriptError

from workd.broker.link import Link
from workd.broker.ops import Argument


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready to be called."""

    name: str
    source: bytes
    sha: bytes

    @classmethod
    def load(cls, name: str, *before: str) -> "Script":
        """Read `scripts/<name>.lua`, and put what it shares with others behind its first line, which has its flags."""
        texts = [files(__package__).joinpath("scripts", f"{part}.lua").read_bytes() for part in (name, *before)]
        flags, _, rest = texts[0].partition(b"\n")
        source = b"\n".join((flags, *texts[1:], rest)) if before else texts[0]
        return cls(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())

    async def call(self, link: Link, keys: tuple[str, ...], *arguments: Argument) -> Any:
        """Run it on the server; one that was started anew, or flushed its scripts, is sent the source."""
        try:
            return await link.call(b"EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await link.call(b"EVAL", self.source, len(keys), *keys, *arguments)


ADMIT: Final = Script.load("admit")
ANSWER: Final = Script.load("answer")
CRON_FIRE: Final = Script.load("cron_fire")
CRON_MARKS: Final = Script.load("cron_marks")
DEPART: Final = Script.load("depart")
ENTRIES: Final = Script.load("entries")
MOVE_DUE: Final = Script.load("move_due", "groups")
MOVE_INBOX: Final = Script.load("move_inbox")
PERMIT: Final = Script.load("permit")
POST: Final = Script.load("post")
PROGRESS: Final = Script.load("progress")
QUEUE_STATE: Final = Script.load("queue_state")
REGISTER: Final = Script.load("register")
REGROUP: Final = Script.load("regroup")
RENEW: Final = Script.load("renew")
SETTLE: Final = Script.load("settle", "groups")
TAKEN: Final = Script.load("taken")
TAKEOVER: Final = Script.load("takeover")
TRIM_DEAD: Final = Script.load("trim_dead")
