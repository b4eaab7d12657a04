"""Whether the daemons of this Redis serve what there is to do: their cards, and the queues of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from workd.broker import keys
from workd.doctor.findings import Finding, note, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workd.broker.queue_state import QueueState
    from workd.client.daemons import DaemonInfo

_LONG_S: Final = 300.0
_LATE_S: Final = 30.0
_MANY_IN_INBOX: Final = 1000


def daemons(found: Sequence[DaemonInfo]) -> list[Finding]:
    """Say who is there, and whether all run the same version."""
    if not found:
        return [note("fleet.daemons", "no daemon serves this Redis", "`workd run MODULE`, or `systemctl start workd`")]
    hosts = {info.host for info in found}
    said = f"{len(found)} daemons on {len(hosts)} hosts, {sum(info.workers_ready for info in found)} workers ready"
    versions = sorted({info.version for info in found})
    lines = [ok("fleet.daemons", said)]
    if len(versions) > 1:
        text = f"they run different versions: {', '.join(versions)}"
        lines.append(note("fleet.versions", text, "normal while an update is rolled out; else update the others"))
    for info in found:
        if info.crashes and info.crashes > info.ended / 100:
            text = f"{info.id}: {info.crashes} workers died, {info.ended} jobs ended"
            lines.append(warning("fleet.crashes", text, "`workd dead list --reason crashed` says of what"))
    return lines


def strangers(name: str, type_of: Callable[[str], str]) -> list[str]:
    """Return the keys of a queue that hold something else than ours: somebody else wrote them."""
    kinds = {keys.stream(name): "stream", keys.dead(name): "stream", keys.inbox(name): "list"}
    kinds |= {keys.scheduled(name): "zset", keys.leases(name): "hash"}
    return [key for key, kind in kinds.items() if type_of(key) not in {kind, "none"}]


def queue(state: QueueState, wrong: Sequence[str] = ()) -> list[Finding]:
    """Say whether a queue is served, and gets on. `wrong` are its keys that `strangers` found."""
    name = state.name
    if wrong:
        todo = "workd overwrites nothing: look at it with redis-cli, then rename or delete it"
        return [problem("fleet.queue", f"{key} has the wrong type: somebody else wrote it", todo) for key in wrong]
    if None in {state.queued, state.scheduled, state.dead, state.inbox}:
        todo = "ask with the rights of a viewer or an operator: --redis-url"
        return [note("fleet.queue", f"queue {name}: our user may not look at all of it", todo)]
    found = []
    jobs = (state.queued or 0) + (state.waiting or 0) + (state.inbox or 0) + (state.scheduled or 0)
    if jobs and not state.daemons:
        text = f"{jobs} jobs are in queue {name}, and no daemon serves it"
        found.append(
            problem("fleet.queue", text, f"start one with --queues {name}, or move them: `workd queues move {name} TO`")
        )
    if state.paused is not None and jobs:
        text = f"queue {name} is paused, with {jobs} jobs in it"
        found.append(warning("fleet.paused", text, f"`workd queues resume {name}`"))
    elif state.oldest_s is not None and state.oldest_s > _LONG_S and state.daemons:
        text = f"the first job of queue {name} has waited {state.oldest_s / 60:.0f} minutes"
        found.append(warning("fleet.backlog", text, "more workers, or find what takes so long: `workd status`"))
    if state.due_in_s is not None and state.due_in_s < -_LATE_S and state.daemons:
        text = f"a job of queue {name} is {-state.due_in_s:.0f} s past its time and still scheduled"
        found.append(warning("fleet.schedule", text, "do its daemons get on with Redis? see what they log"))
    if state.inbox and state.daemons and state.paused is None and state.inbox > _MANY_IN_INBOX:
        text = f"{state.inbox} messages lie in the inbox of queue {name}"
        found.append(warning("fleet.inbox", text, f"name {name} in inbox_queues of a daemon (none with signing_keys)"))
    if state.dead:
        text = f"{state.dead} dead letters in queue {name}"
        found.append(note("fleet.dead", text, f"`workd dead list --queue {name}`, then replay or purge them"))
    return found or [ok("fleet.queue", f"queue {name}: {jobs} jobs, {state.daemons or 0} daemons")]
