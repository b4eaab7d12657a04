"""Steps, chains and groups: the words in which people tie jobs to each other.

Made by users, given to `Client.enqueue_chain` and `enqueue_group`. group_messages.py makes messages of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeAlias, TypeVar, overload

from workd.client import message
from workd.client.message import JobOptions, Options
from workd.client.sending import SENDING_OPTIONS
from workd.errors import InvalidJobError
from workd.steps import GROUP_ID_PATTERN
from workd_tasks.options import MAX_SPAN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Unpack

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)

DEFAULT_DEADLINE_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Step(Generic[R_co]):
    """One job of a chain or a group: a task with its arguments, not enqueued yet. Made by `step`."""

    task: str | Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    pass_value: bool = True

    def with_options(self, **options: Unpack[Options]) -> Step[R_co]:
        """Return the same step with these options, those of `Client.with_options`; raises InvalidJobError."""
        for name in SENDING_OPTIONS:
            if name in options:
                raise InvalidJobError(
                    f"{name}: it says how messages are sent, which they are together: give it to the client"
                )
        message.merged(JobOptions(), options)
        return replace(self, options={**self.options, **options})

    @overload
    def then(self, task: Callable[Concatenate[R_co, P], S], /, *args: P.args, **kwargs: P.kwargs) -> Chain[S]: ...
    @overload
    def then(self, task: str, /, *args: object, **kwargs: object) -> Chain[Any]: ...

    def then(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Chain[Any]:
        """Return a chain in which `task` runs next, with this one's value before its own arguments."""
        return Chain((self,)).then(task, *args, **kwargs)

    @overload
    def after(self, task: Callable[P, S], /, *args: P.args, **kwargs: P.kwargs) -> Chain[S]: ...
    @overload
    def after(self, task: str, /, *args: object, **kwargs: object) -> Chain[Any]: ...

    def after(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Chain[Any]:
        """Return a chain in which `task` runs next, with its own arguments alone."""
        return Chain((self,)).after(task, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class Chain(Generic[R_co]):
    """Steps that run one after the other; the last value is the chain's. Made by `chain`, or `step(…).then(…)`."""

    steps: tuple[Step[Any], ...]

    def with_options(self, **options: Unpack[Options]) -> Chain[R_co]:
        """Return the same chain, its last step with these options; raises InvalidJobError."""
        return Chain((*self.steps[:-1], self.steps[-1].with_options(**options)))

    @overload
    def then(self, task: Callable[Concatenate[R_co, P], S], /, *args: P.args, **kwargs: P.kwargs) -> Chain[S]: ...
    @overload
    def then(self, task: str, /, *args: object, **kwargs: object) -> Chain[Any]: ...

    def then(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Chain[Any]:
        """Return the chain with `task` as its next step, which gets the value before its own arguments."""
        return Chain((*self.steps, Step(task, args, kwargs)))

    @overload
    def after(self, task: Callable[P, S], /, *args: P.args, **kwargs: P.kwargs) -> Chain[S]: ...
    @overload
    def after(self, task: str, /, *args: object, **kwargs: object) -> Chain[Any]: ...

    def after(self, task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Chain[Any]:
        """Return the chain with `task` as its next step, which gets its own arguments alone."""
        return Chain((*self.steps, Step(task, args, kwargs, pass_value=False)))


Work: TypeAlias = Step[Any] | Chain[Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs that are counted together. Made by `group`."""

    members: Iterable[Work]
    then: Work | None = None
    deadline_s: float = DEFAULT_DEADLINE_S
    results: bool = False
    cancel_rest: bool = False
    id: str = ""

    def __post_init__(self) -> None:
        """Refuse what no group can be."""
        if not 0 < self.deadline_s <= MAX_SPAN_S:
            raise InvalidJobError(f"deadline_s: {self.deadline_s!r} is no time that a group can take, in seconds")
        if self.id and re.fullmatch(GROUP_ID_PATTERN, self.id) is None:
            raise InvalidJobError(f"id: {self.id!r} is no group's id: it must match {GROUP_ID_PATTERN}")


@overload
def step(task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Step[R]: ...
@overload
def step(task: Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs) -> Step[R]: ...
@overload
def step(task: str, /, *args: object, **kwargs: object) -> Step[Any]: ...


def step(task: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Step[Any]:
    """Return a job that is not enqueued yet, for `chain` and `group`.

    For a later step of a chain leave out the first argument: it will be the value of the step before.
    """
    return Step(task, args, kwargs)


def chain(*steps: Work) -> Chain[Any]:
    """Return steps that run one after the other, each with the value of the one before as its first argument."""
    flat = [single for work in steps for single in (work.steps if isinstance(work, Chain) else (work,))]
    if not flat:
        raise InvalidJobError("a chain needs a step")
    return Chain(tuple(flat))


def group(
    *members: Work,
    then: Work | None = None,
    deadline_s: float = DEFAULT_DEADLINE_S,
    results: bool = False,
    cancel_rest: bool = False,
    id: str = "",
) -> Group:
    """Return jobs that are counted together, for `Client.enqueue_group`, which says what the options mean."""
    return Group(members, then, deadline_s, results, cancel_rest, id)
