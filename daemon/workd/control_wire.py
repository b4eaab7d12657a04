"""What daemons are asked and told over their channels, and what they answer: the models. Pure.

    asker ── PUBLISH workd:ask | workd:orders ──▶ daemons       {"v":1,"do":"inspect","reply":"<32 hex>","at":…}
    asker ◀── XREAD workd:answers:<32 hex> ◀── XADD a ── each    {"v":1,"daemon":"…","ok":true,"part":"done",…}

A question (`inspect`, `stacks`, `ping`) changes nothing and may come by either channel. An order (`scale`, `quiet`,
`resume`, `reload`) counts on `workd:orders` alone, so rights on channels tell who may look from who may steer; and
where a daemon has signing keys, it has to be signed: `<64 hex digits> <JSON>`. Daemons ignore what they do not know.
To cancel a job goes another way, by `workd:control` (`control.py`): nobody waits for an answer to that.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

MAX_MESSAGE_BYTES: Final = 4096
MAX_ANSWER_BYTES: Final = 1 << 20
ANSWERS_MS: Final = 60_000
"""How long answers stay for the asker after the last one came."""
MAX_WAIT_S: Final = 3600.0
SLACK_S: Final = 5.0
"""By how much the clocks of an asker and a daemon may differ; both go by the server's."""
FIELD: Final = "a"
"""The field of an answer in its stream."""
REPLY_RULE: Final = r"^[0-9a-f]{32}$"

Name = Annotated[str, Field(min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], Field(max_length=50)]


class Command(BaseModel):
    """What all of them have. `daemons` and `queues` say who is meant: without them, everybody."""

    model_config = ConfigDict(strict=True, frozen=True)

    v: Literal[1] = 1
    reply: Annotated[str, Field(pattern=REPLY_RULE)]
    """The name of the place for answers; no two commands have the same."""
    at: float
    """When it was asked, as epoch seconds by the server's clock."""
    wait_s: Annotated[float, Field(gt=0, le=MAX_WAIT_S)]
    """How long the asker waits. After that, nobody does what it says."""
    daemons: Names = ()
    """Ids of daemons; a host, or host and pid, stands for all whose ids begin so."""
    queues: Names = ()
    """Queues of which a daemon serves at least one."""

    def is_for(self, daemon_id: str, queues: tuple[str, ...]) -> bool:
        """Say whether this daemon is meant."""
        named = not self.daemons or any(daemon_id == name or daemon_id.startswith(f"{name}:") for name in self.daemons)
        return named and (not self.queues or not set(self.queues).isdisjoint(queues))


class Ping(Command):
    """Say that you are there, and how many jobs you have."""

    do: Literal["ping"] = "ping"


class Inspect(Command):
    """Say which jobs run; of these tasks and queues, if any are named."""

    do: Literal["inspect"] = "inspect"
    tasks: Names = ()


class Stacks(Command):
    """Say where the workers are that run something; or those that run this job."""

    do: Literal["stacks"] = "stacks"
    tasks: Names = ()
    job: Annotated[str, Field(max_length=512)] = ""
    sources: bool = True
    """Whether to read the lines themselves, too."""


class Scale(Command):
    """Have so many workers, or so many more or fewer."""

    do: Literal["scale"] = "scale"
    workers: Annotated[int, Field(ge=0, le=4096)] | None = None
    by: Annotated[int, Field(ge=-4096, le=4096)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Scale:
        if (self.workers is None) == (self.by is None):
            raise ValueError("scale: either workers or by")
        return self


class Quiet(Command):
    """Start nothing more, and stay."""

    do: Literal["quiet"] = "quiet"


class Resume(Command):
    """Start jobs again."""

    do: Literal["resume"] = "resume"


class Reload(Command):
    """Load code and settings anew."""

    do: Literal["reload"] = "reload"


Question = Ping | Inspect | Stacks
Order = Scale | Quiet | Resume | Reload
Any_ = Annotated[Question | Order, Field(discriminator="do")]

read_command: Final = TypeAdapter[Question | Order](Any_).validate_json
"""Read a command. Raises pydantic's ValidationError."""


class Frame(BaseModel):
    """One call on a stack. `source` is the text of its line, where that can be had; `line` 0 is not known."""

    model_config = ConfigDict(frozen=True)

    file: Annotated[str, Field(max_length=400)]
    line: Annotated[int, Field(ge=0, lt=2**31)]
    function: Annotated[str, Field(max_length=100)]
    source: Annotated[str, Field(max_length=200)] = ""


class Stack(BaseModel):
    """The calls that a thread or a waiting coroutine is in, innermost first."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["thread", "coroutine"]
    name: Annotated[str, Field(max_length=100)]
    frames: Annotated[tuple[Frame, ...], Field(max_length=200)]
    tid: Annotated[int, Field(ge=0)] = 0
    """The thread, as the kernel counts; 0 is not known."""
    key: Annotated[int, Field(ge=0)] = 0
    """The job of a coroutine, as its daemon counts; 0 is nobody's."""
    job: str = ""
    """The id of that job."""


class RunningJob(BaseModel):
    """A job that a worker is on. What is said of the worker is said of all that it runs at the same time."""

    model_config = ConfigDict(frozen=True)

    id: str
    task: str
    queue: str
    pid: int
    slot: int
    seconds: float
    """Since its run began, at the most."""
    attempt: int
    delivery: int
    rss_bytes: int
    cpu_percent: float
    """Of one core, just now."""
    state: str
    """What the kernel says of the worker: R runs, S sleeps, D waits for a device, T is stopped."""
    shared_by: int = 1
    """How many jobs this worker runs at the same time."""


class WorkerStacks(BaseModel):
    """Where one worker is."""

    model_config = ConfigDict(frozen=True)

    pid: int
    slot: int
    jobs: tuple[RunningJob, ...]
    stacks: tuple[Stack, ...]
    how: Literal["answer", "signal", "none"]
    """Who told: the worker itself, a signal handler in C, or nobody."""
    note: str = ""
    kernel: str = ""
    """Where in the kernel it is, if it gave no answer at all."""


class Answer(BaseModel):
    """What one daemon says to one command. Fields that are not named here are ignored."""

    model_config = ConfigDict(frozen=True)

    v: Literal[1] = 1
    daemon: str
    ok: bool = True
    error: str = ""
    part: Literal["accepted", "done"] = "done"
    """`accepted`: it was heard, and takes its time."""
    state: str = ""
    workers: int = 0
    running: int = 0
    buffered: int = 0
    """Jobs that are in this daemon's hands and have not started."""
    jobs: tuple[RunningJob, ...] = ()
    stacks: tuple[WorkerStacks, ...] = ()
    left_out: int = 0
    """Jobs or workers that the answer had no room for."""


def encode(answer: Answer) -> bytes:
    """Write an answer, leaving out as many jobs or workers from the end as it takes to stay within the limit."""
    raw = _dump(answer)
    while len(raw) > MAX_ANSWER_BYTES and (answer.jobs or answer.stacks):
        jobs, stacks = answer.jobs[: len(answer.jobs) // 2], answer.stacks[: len(answer.stacks) // 2]
        gone = len(answer.jobs) - len(jobs) + len(answer.stacks) - len(stacks)
        answer = answer.model_copy(update={"jobs": jobs, "stacks": stacks, "left_out": answer.left_out + gone})
        raw = _dump(answer)
    return raw


def _dump(answer: Answer) -> bytes:
    return answer.model_dump_json(exclude_defaults=True).encode(errors="replace")
