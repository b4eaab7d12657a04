"""Arguments and results come out as what went in: by the client's message, the worker, and the client's reading.

The way of a value: the producer writes it without knowing annotations, the worker validates it by the parameter's and
writes what the task returns by the return annotation, by which the client reads it again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, NewType, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as checked_dataclass
from typing_extensions import TypedDict

from workd import excerpt, wire
from workd.client import message
from workd.client.message import JobOptions
from workd.client.outcomes import value_of
from workd.errors import InvalidJobError
from workd.pool import frames
from workd.pool.child.runner import RunnerJob, TaskRunner
from workd_tasks import registry, signature, task


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    monkeypatch.setattr(signature, "_signatures", {})


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Word(enum.StrEnum):
    YES = "yes"


class Address(BaseModel):
    street: str
    since: dt.date


class Person(BaseModel):
    id: UUID
    address: Address | None = None
    friends: list[Person] = Field(default_factory=list)


@dataclasses.dataclass
class Item:
    price: Decimal
    photo: bytes
    tags: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True)
class Order:
    items: tuple[Item, ...]
    placed: dt.datetime
    by: Person


@checked_dataclass
class Checked:
    number: int


class Point(NamedTuple):
    x: int
    y: float


class Row(TypedDict, total=False):
    when: dt.time
    raw: bytes


class Renamed(BaseModel):
    user_id: int = Field(alias="userId")


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


UserId = NewType("UserId", int)

MOMENT = dt.datetime(2026, 2, 28, 12, 30, 15, 123456, tzinfo=dt.UTC)
ANY_BYTES = bytes(range(256))
ID = UUID("12345678-1234-5678-1234-567812345678")
PERSON = Person(id=ID, address=Address(street="Hög 1", since=dt.date(2020, 2, 29)), friends=[Person(id=ID)])
ITEM = Item(Decimal("19.90"), ANY_BYTES, {"a", "b"})

VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (bool, True),
    (int, 2**70),
    (float, 0.1),
    (str, "Zoë 🦊"),
    (bytes, ANY_BYTES),
    (bytes, b""),
    (dt.datetime, MOMENT),
    (dt.datetime, MOMENT.replace(tzinfo=None)),
    (dt.datetime, MOMENT.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))),
    (dt.date, dt.date(2026, 2, 28)),
    (dt.time, dt.time(23, 59, 59, 5)),
    (dt.timedelta, dt.timedelta(days=2, seconds=3, microseconds=4)),
    (UUID, ID),
    (Decimal, Decimal("1.10")),
    (Path, Path("a/b")),
    (Colour, Colour.RED),
    (Level, Level.HIGH),
    (Rights, Rights.WRITE),
    (Word, Word.YES),
    (Literal["a", 1], 1),
    (UserId, 7),
    (list[int], [1, 2]),
    (tuple[int, str], (1, "a")),
    (tuple[bytes, ...], (b"\xff", b"\x00")),
    (set[int], {1, 2, 3}),
    (frozenset[UUID], frozenset({ID})),
    (dict[str, Decimal], {"a": Decimal("0.5")}),
    (dict[int, bytes], {1: b"\xff"}),
    (dict[UUID, dt.date], {ID: dt.date(2026, 1, 1)}),
    (dict[Colour, int], {Colour.BLUE: 1}),
    (Sequence[dt.datetime], [MOMENT]),
    (Person, PERSON),
    (Renamed, Renamed(userId=1)),
    (dict[str, list[Renamed]], {"x": [Renamed(userId=1)]}),
    (Box[dt.datetime], Box[dt.datetime](content=MOMENT)),
    (Item, ITEM),
    (Order, Order((ITEM,), MOMENT, PERSON)),
    (Checked, Checked(3)),
    (Point, Point(1, 2.5)),
    (Row, {"when": dt.time(12, 0), "raw": b"\xff"}),
    (Person | None, PERSON),
    (Person | None, None),
    (int | str, "4"),
    (int | str, 4),
    (Item | Person, ITEM),
    (list[Item | None], [ITEM, None]),
    (dict[str, list[Order]], {"x": [Order((), MOMENT, PERSON)]}),
]


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))[:40]


def echo_task(annotation: Any) -> tuple[Any, list[Any]]:
    """Define a task that takes and returns one value of this annotation, and keeps what it got."""
    got: list[Any] = []

    def echo(value: Any) -> Any:
        got.append(value)
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return task(echo), got


def run(raw: bytes) -> tuple[int, bytes]:
    """Run a message as a daemon does, up to its outcome's value."""
    _, start, end = excerpt.read(raw)
    return TaskRunner("d", 10_000_000).run(RunnerJob("1-0", "echo", 1, 1, memoryview(raw), start, end))


def there_and_back(annotation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return the value as the task got it, and as the client gets it back."""
    echo, got = echo_task(annotation)
    message.resolve.cache_clear()
    draft = message.draft(echo, JobOptions(), "default", "me")
    kind, payload = run(message.build(draft, args, kwargs))
    assert kind == frames.RETURNED, payload
    outcome = wire.encode_outcome(
        "1-0",
        "echo",
        wire.Status.SUCCEEDED,
        payload,
        None,
        1,
        1,
        enqueued_at=0.0,
        started_at=0.0,
        ended_at=0.0,
        daemon="d",
    )
    return got[0], value_of(wire.decode_outcome(outcome), draft.target.adapter)


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=[name_of(annotation) for annotation, _ in VALUES])
def test_a_value_comes_to_the_task_and_back_as_itself(annotation: Any, value: Any) -> None:
    for args, kwargs in (((value,), {}), ((), {"value": value})):
        arrived, returned = there_and_back(annotation, args, kwargs)
        assert (arrived, type(arrived)) == (value, type(value))
        assert (returned, type(returned)) == (value, type(value))


@pytest.mark.parametrize("annotation", [bytes, list[bytes]])
def test_so_it_does_in_a_long_message(annotation: Any) -> None:
    value: Any = ANY_BYTES * 40 if annotation is bytes else [ANY_BYTES] * 40
    assert there_and_back(annotation, (value,), {}) == (value, value)


def test_other_languages_may_write_bytes_in_either_alphabet_of_base64() -> None:
    _, got = echo_task(bytes)
    for text in ("//4+Pz8=", "__4-Pz8="):
        assert run(json.dumps({"task": "echo", "args": [text]}).encode())[0] == frames.RETURNED
    assert got == [b"\xff\xfe>??"] * 2
    kind, payload = run(b'{"task":"echo","args":["\xc3\xb6"]}')
    assert kind == frames.INVALID
    assert b"base64" in payload


def test_a_model_keeps_its_own_way_with_bytes() -> None:
    class Raw(BaseModel):
        body: bytes

    assert there_and_back(Raw, (Raw(body=b"text"),), {})[1] == Raw(body=b"text")
    echo, _ = echo_task(Raw)
    message.resolve.cache_clear()
    with pytest.raises(InvalidJobError, match="utf-8"):
        message.build(message.draft(echo, JobOptions(), "default", "me"), (Raw(body=b"\xff"),), {})
