"""`workd inspect`: which jobs run, over all daemons."""

from __future__ import annotations

from workd.cli import fleet
from workd.cli import looking_after as shared
from workd.cli.fleet import Daemons, JobQueues, Tasks, WaitS
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit

_MIB = 1024 * 1024


def inspect(
    daemon: Daemons = None,
    queue: JobQueues = None,
    task: Tasks = None,
    wait_s: WaitS = 5.0,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> Exit:
    """List the jobs that run, over all daemons.

    The longest first, each with its worker, for how long it has run, and what that worker uses now: memory, and
    percent of a core. A worker with several coroutines runs several jobs, and what it uses is said of each. Buffered
    jobs are with a daemon and have not started. Exit code 1: nobody answered, or not everybody.

    Example: workd inspect

    Example: workd inspect --queue images --task resize --json
    """
    with fleet.opened(redis_url, config) as daemons:
        heard = daemons.inspect(daemons=daemon or (), queues=queue or (), tasks=task or (), wait_s=wait_s)
    rows = [(answer.daemon, job) for answer in heard.answers for job in answer.jobs]
    rows.sort(key=lambda row: -row[1].seconds)
    if as_json:
        jobs = [{"daemon": name, **job.model_dump(mode="json")} for name, job in rows]
        states = [fleet.state_of(answer) for answer in heard.answers]
        shared.echo_json(fleet.document(heard, states, jobs=jobs))
        return fleet.end(heard)
    shared.table(
        ("DAEMON", "PID", "TASK", "FOR", "RSS MIB", "CPU %", "STATE", "ATTEMPT", "QUEUE", "JOB"),
        [
            (
                name,
                str(job.pid),
                job.task,
                shared.span(job.seconds),
                f"{job.rss_bytes / _MIB:.0f}",
                f"{job.cpu_percent:.0f}",
                job.state,
                str(job.attempt),
                job.queue,
                job.id,
            )
            for name, job in rows
        ],
    )
    running, buffered = (sum(getattr(answer, what) for answer in heard.answers) for what in ("running", "buffered"))
    shared.note(f"{running} jobs run on {len(heard.answers)} daemons, {buffered} are buffered there")
    return fleet.end(heard)
