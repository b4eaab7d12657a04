"""`workd status`: which daemons there are, and what they do."""

from __future__ import annotations

import json
import time

from workd import settings
from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson, Config, RedisUrl
from workd.exits import Exit


def status(as_json: AsJson = False, redis_url: RedisUrl = None, config: Config = None) -> int:
    """List the daemons of this Redis, as each shows itself.

    What it shows is at most half of its lease old. Exit code 1: there is none.

    Example: workd status --json
    """
    from workd.client.sync import Client

    with Client(settings.load({"redis_url": redis_url}, config).settings.redis_url) as client:
        found = client.daemons()
    if as_json:
        shared.echo_json([json.loads(info.model_dump_json()) for info in found])
    else:
        now_s = time.time()
        shared.table(
            ("DAEMON", "STATE", "WORKERS", "JOBS", "ENDED", "DEAD", "CRASHES", "UP", "SEEN", "VERSION", "QUEUES"),
            [
                (
                    info.id,
                    info.state,
                    f"{info.workers_ready}/{info.workers}",
                    str(info.jobs_in_hand),
                    str(info.ended),
                    str(info.dead_letters),
                    str(info.crashes),
                    shared.span(max(0.0, now_s - info.started_at)),
                    shared.span(max(0.0, now_s - info.at)),
                    info.version,
                    ",".join(info.queues),
                )
                for info in found
            ],
        )
    return Exit.OK if found else Exit.FAILURE
