"""The fields of a message that tie it to other jobs: its place in a group, and the steps of a chain.

Part of the wire format: `wire.Envelope` has them as its fields `group`, `then` and `chain`. Pure. What they mean for
the end of a job is in `kin.py`, how members are counted in `broker/scripts/groups.lua`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from workd_tasks.define import NAME_RULE
from workd_tasks.options import MAX_SPAN_S, QUEUE_RULE

GROUP_ID_PATTERN: Final = r"^[A-Za-z0-9._-]{1,64}$"
MAX_MEMBERS: Final = 100_000
MAX_STEPS: Final = 100
MAX_CHAIN_ID_CHARS: Final = 512  # a stream entry may carry any id; the names of steps are cut, not this

_MAX_EPOCH_S: Final = 253_402_300_799  # as everywhere: the end of the year 9999
_MAX_RETRIES: Final = 1_000_000
_CONFIG: Final = ConfigDict(strict=True, extra="forbid", frozen=True, ser_json_inf_nan="constants")

QueueName = Annotated[str, Field(pattern=f"^{QUEUE_RULE.pattern}$")]
Span = Annotated[float, Field(ge=0, le=MAX_SPAN_S)]


class GroupPlace(BaseModel):
    """Which member of which group a job is."""

    model_config = _CONFIG

    id: Annotated[str, Field(pattern=GROUP_ID_PATTERN)] = Field(description="the group's id")
    index: Annotated[int, Field(ge=0, lt=MAX_MEMBERS)] = Field(description="which member, from 0; counted once")
    outcomes: bool = Field(default=False, description="whether the group keeps its members' outcomes")


class ChainPlace(BaseModel):
    """Which step of which chain a job is. Daemons write it; the first step has none."""

    model_config = _CONFIG

    id: Annotated[str, Field(min_length=1, max_length=MAX_CHAIN_ID_CHARS)] = Field(
        description="the chain's id: that of its first job"
    )
    index: Annotated[int, Field(ge=1, le=MAX_STEPS)] = Field(description="which step after the first")
    queue: QueueName | None = Field(default=None, description="where the chain began, if not in this queue")


class Step(BaseModel):
    """What runs next: a job that has no id and no place of its own yet."""

    model_config = _CONFIG

    task: Annotated[str, Field(pattern=f"^{NAME_RULE.pattern}$")] = Field(description="name of a registered task")
    args: list[Any] = Field(
        default_factory=list, description="positional arguments, behind the value of the step before"
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments by name")
    pass_value: bool = Field(default=True, description="false: the value of the step before is not an argument")
    queue: QueueName | None = Field(default=None, description="another queue than that of the step before")
    delay: Span | None = Field(default=None, description="seconds to wait after the end of the step before")
    expires_at: Annotated[float, Field(ge=0, le=_MAX_EPOCH_S)] | None = Field(
        default=None,
        description="epoch seconds; expired if not started by then",
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_SPAN_S)] | None = Field(
        default=None,
        description="seconds one attempt may take; overrides the task's own",
    )
    max_retries: Annotated[int, Field(ge=0, le=_MAX_RETRIES)] | None = Field(
        default=None,
        description="further attempts after the first; overrides the task's own",
    )
    unique: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="at most one queued or running message with this key",
    )


Steps = Annotated[list[Step], Field(min_length=1, max_length=MAX_STEPS)]
