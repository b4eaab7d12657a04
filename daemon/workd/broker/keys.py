"""The names of the keys and how long those live that several write, and nothing else: what is where in Redis.

All keys of one queue share the hash tag `{queue}`, so that they live in one slot of a Cluster and one script may
touch them all. Used by the session, by the clients and by people's own producers: these names are part of the wire
format and do not move.
"""

from typing import Final

GROUP: Final = "workd"
"""The consumer group of every stream."""

WAITING: Final = "waiting/"
"""What the name of a consumer begins with that stands for a task's waiting jobs: no daemon is called so."""

DAEMONS: Final = "workd:daemons"
CONTROL: Final = "workd:control"
ASK: Final = "workd:ask"
"""The channel for questions: who may publish here may look, and change nothing."""
ORDERS: Final = "workd:orders"
"""The channel for orders: who may publish here steers daemons. `CONTROL` is for whoever may cancel a job."""

SEEN_MS: Final = 3_600_000
"""How long an id stays taken after its job's outcome."""
CLAIM_MS: Final = 30 * 86_400_000
"""How long a claim outlives the last thing that happened to its job: a bound, so that nothing stays for ever."""
CANCEL_MS: Final = 3_600_000
"""How long the wish to cancel a job is kept for a daemon to see."""


def prefix(queue: str) -> str:
    """Return what all keys of this queue begin with."""
    return f"workd:{{{queue}}}:"


def stream(queue: str) -> str:
    """Return the key of the stream of jobs."""
    return f"workd:{{{queue}}}:stream"


def inbox(queue: str) -> str:
    """Return the key of the list that RPUSH producers use."""
    return f"workd:{{{queue}}}:inbox"


def scheduled(queue: str) -> str:
    """Return the key of the sorted set of jobs that are not due yet, by due time in ms."""
    return f"workd:{{{queue}}}:scheduled"


def dead(queue: str) -> str:
    """Return the key of the stream of dead letters."""
    return f"workd:{{{queue}}}:dead"


def dead_trimmed(queue: str) -> str:
    """Return the key of the number of dead letters that were ever trimmed."""
    return f"workd:{{{queue}}}:dead_trimmed"


def leases(queue: str) -> str:
    """Return the key of the hash of daemon id to the end of its lease in server ms."""
    return f"workd:{{{queue}}}:leases"


def cron(queue: str) -> str:
    """Return the key of the hash of a schedule's line to its last fire time."""
    return f"workd:{{{queue}}}:cron"


def result(queue: str, job_id: str) -> str:
    """Return the key of a job's outcome."""
    return f"workd:{{{queue}}}:result:{job_id}"


def seen(queue: str, job_id: str) -> str:
    """Return the key that claims an id which a producer gave."""
    return f"workd:{{{queue}}}:seen:{job_id}"


def unique(queue: str, unique_key: str) -> str:
    """Return the key that claims a `unique` of a message."""
    return f"workd:{{{queue}}}:unique:{unique_key}"


def cancel(queue: str, job_id: str) -> str:
    """Return the key whose existence cancels a job."""
    return f"workd:{{{queue}}}:cancel:{job_id}"


def progress(queue: str, job_id: str) -> str:
    """Return the key that shows how far a running job is."""
    return f"workd:{{{queue}}}:progress:{job_id}"


def group(queue: str, group_id: str) -> str:
    """Return the key of a group's record; what else is kept of the group begins with it and a colon."""
    return f"workd:{{{queue}}}:group:{group_id}"


def groups(queue: str) -> str:
    """Return the key of the sorted set of groups that have not ended, by deadline in ms."""
    return f"workd:{{{queue}}}:groups"


def reply(queue: str, name: str) -> str:
    """Return the key of the stream that gets the outcomes of messages with this `reply_to`."""
    return f"workd:{{{queue}}}:reply:{name}"


def call(queue: str, lane: str) -> str:
    """Return the key of the marker of the last call that a producer has made from one place."""
    return f"workd:{{{queue}}}:call:{lane}"


def paused(queue: str) -> str:
    """Return the key whose existence pauses a queue; it says who did it, why, and until when."""
    return f"workd:{{{queue}}}:paused"


def permits(queue: str, task: str) -> str:
    """Return the key of the hash of entry id to daemon: which jobs of this task may run, under a concurrency limit."""
    return f"workd:{{{queue}}}:permits:{task}"


def rate(queue: str, task: str) -> str:
    """Return the key of a task's bucket of tokens, under a rate limit."""
    return f"workd:{{{queue}}}:rate:{task}"


def waiting(task: str) -> str:
    """Return the consumer for which those jobs of a task are pending that wait for its limits."""
    return WAITING + task


def daemon(daemon_id: str) -> str:
    """Return the key under which a daemon tells about itself."""
    return f"workd:daemon:{daemon_id}"


def answers(token: str) -> str:
    """Return the key of the stream of answers to one command."""
    return f"workd:answers:{token}"
