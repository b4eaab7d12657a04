"""Which part of a job's way a sample belongs to: tables of files and functions, in the order of that way.

A sample belongs to the innermost of its frames that a table names. Files that it does not name (redis-py, asyncio,
dataclasses, `retry`) work for whoever called them.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.budget.samples import Frame, Sample

OTHER: Final = "all else"


@dataclass(frozen=True, slots=True)
class Rule:
    """A frame that puts its sample into `group`."""

    group: str
    file: str  # the end of its path
    functions: tuple[str, ...] = ()  # what its qualified name is or, with a dot, ends with; none given: any
    text: str = ""  # what stands in the line itself

    def fits(self, frame: Frame) -> bool:
        """Say whether this rule is about that frame."""
        return (
            frame.path.endswith(self.file)
            and (not self.functions or frame.function.rpartition(".")[2] in self.functions)
            and (not self.text or self.text in linecache.getline(frame.path, frame.line))
        )


HOW_MANY = "how many to fetch"
FETCH = "fetch: the command, parsing its reply"
ENTRIES = "fetch: entries out of the reply"
DECODE = "decode the envelope, find its terms"
TAKE = "books, checks, the job's packet"
CHOOSE = "hand over: to which worker, its books"
SEND = "hand over: send()"
READ = "results: read()"
FRAMES = "results: frames out of bytes"
DELIVER = "results: to the job, off the pool's books"
DECIDE = "outcome: rules, settlement, its JSON"
BATCH = "settle: batches, off the daemon's books"
SETTLE = "settle: packing, the call, its reply"
COLLECT = "garbage collector"
TIMERS = "timers of the pool"
LOOP = "event loop: epoll, reads from Redis, tasks"

SUPERVISOR: Final = (
    Rule(HOW_MANY, "workd/dispatcher.py", ("room",)),
    Rule(HOW_MANY, "workd/pool/core.py", ("capacity",)),
    Rule(FETCH, "workd/broker/fetching.py"),
    Rule(FETCH, "workd/broker/session.py", ("fetch",)),
    Rule(FETCH, "workd/consumer.py", ("_fetch",)),
    Rule(ENTRIES, "workd/broker/entries.py"),
    Rule(DECODE, "workd/wire.py", ("decode", "_refuse_non_finite")),
    Rule(DECODE, "workd/intake.py"),
    Rule(TAKE, "workd/arrivals.py", ("take", "_take_slice", "_note_size", "_start", "_may_start", "_submit", "_read")),
    Rule(SEND, "workd/pool/channel.py", ("send", "_head", "_send_spilled")),
    Rule(CHOOSE, "workd/pool/core.py", ("submit", "fill", "_hand_over_run", "_roomiest")),
    Rule(CHOOSE, "workd/pool/slot.py", ("has_room", "hand_over")),
    Rule(READ, "workd/pool/channel.py", ("read_results",), "readv"),
    Rule(FRAMES, "workd/pool/channel.py", ("read_results",)),
    Rule(FRAMES, "workd/pool/parsing.py"),
    Rule(DELIVER, "workd/pool/endings.py"),
    Rule(DELIVER, "workd/pool/slot.py", ("finish",)),
    Rule(DELIVER, "workd/pool/core.py", ("note_if_empty",)),
    Rule(DECIDE, "workd/dispatcher.py", ("on_result", "_decide", "_conclude", "_settle")),
    Rule(DECIDE, "workd/verdicts.py", ("event_of_frame", "write", "_finish", "_outcome")),
    Rule(SETTLE, "workd/broker/session.py", ("settle",)),
    Rule(SETTLE, "workd/broker/ops.py"),
    Rule(BATCH, "workd/settler.py"),
    Rule(COLLECT, "<gc>"),
    Rule(TIMERS, "workd/pool/watch.py"),
    Rule(LOOP, "asyncio/runners.py"),
    Rule(LOOP, "asyncio/streams.py", ("data_received", "feed_data")),
)

CLAIM = "claim: recvmsg()"
SERVE = "between jobs"
UNPACK = "unpack the job"
BIND = "validate the arguments"
CALL = "context, call, soft timeout's switch"
TASK = "the task itself"
DUMP = "result to JSON"
WRITE = "result: frame, write()"

WORKER: Final = (
    Rule(CLAIM, "workd/pool/child/worker.py", ("serve",), "receive("),
    Rule(WRITE, "workd/pool/child/worker.py", ("serve",), "put_frame("),
    Rule(WRITE, "workd/pool/child/result_queue.py"),
    Rule(WRITE, "workd/pool/frames.py", ("encode_frame",)),
    Rule(UNPACK, "workd/pool/child/taskwork.py"),
    Rule(UNPACK, "workd/pool/frames.py", ("decode_job",)),
    Rule(BIND, "workd_tasks/signature.py", ("bind", "of", "_bind_by_name")),
    Rule(DUMP, "workd_tasks/signature.py", ("dump",)),
    Rule(CALL, "workd/pool/child/runner.py"),
    Rule(CALL, "workd/pool/child/alarm.py"),
    Rule(TASK, "workd_tasks/samples/numbers.py"),
    Rule(COLLECT, "<gc>"),
    Rule(SERVE, "workd/pool/child/worker.py", ("serve",)),
)


def order(rules: tuple[Rule, ...]) -> list[str]:
    """Return the groups as they stand in a table, each once."""
    return [*dict.fromkeys(rule.group for rule in rules), OTHER]


def group_of(sample: Sample, rules: tuple[Rule, ...]) -> str:
    """Return the group of the innermost frame that a rule knows."""
    return next((group for frame in sample.frames if (group := _group_of_frame(frame, rules))), OTHER)


@cache
def _group_of_frame(frame: Frame, rules: tuple[Rule, ...]) -> str:
    return next((rule.group for rule in rules if rule.fits(frame)), "")


def lines_of(sample: Sample) -> set[str]:
    """Return the line that was executed: `pool/channel.py:117 Channel.send`."""
    return {_shown(frame, with_line=True) for frame in sample.frames[:1]}


def functions_of(sample: Sample) -> set[str]:
    """Return every function that was on its way: the one that was executed, its caller, and so on."""
    return {_shown(frame, with_line=False) for frame in sample.frames}


def _shown(frame: Frame, *, with_line: bool) -> str:
    place = "/".join(frame.path.split("/")[-2:])
    return f"{place}:{frame.line} {frame.function}" if with_line else f"{place} {frame.function}"
