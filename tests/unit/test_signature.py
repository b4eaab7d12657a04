import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import from_json

from workd_tasks import TaskDefinitionError, registry, signature, task
from workd_tasks.signature import ArgumentsError, ResultError, Signature


class Colour(Enum):
    RED = "red"


class Node(BaseModel):
    n: int
    kids: list["Node"] = []


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_by_name", {})
    monkeypatch.setattr(registry, "_by_function", {})
    monkeypatch.setattr(signature, "_signatures", {})


def of(fn: Callable[..., Any]) -> Signature:
    task(name="t")(fn)
    known = registry.get("t")
    assert known is not None
    return signature.of(known)


def called(fn: Callable[..., Any], message: dict[str, Any] | str) -> Any:
    """Call `fn` as a worker would."""
    text = message if isinstance(message, str) else json.dumps({"task": "t", "id": "x"} | message)
    args, kwargs = of(fn).bind(text.encode())
    return fn(*args, **kwargs)


def refused(fn: Callable[..., Any], message: dict[str, Any]) -> str:
    with pytest.raises(ArgumentsError) as caught:
        called(fn, message)
    cause = caught.value.__cause__
    if isinstance(cause, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))} {e['type']}" for e in cause.errors())
    return str(cause)


def nothing() -> tuple[()]:
    return ()


def one(x: int) -> int:
    return x


def defaults(a: int = 1, b: int = 2) -> tuple[int, int]:
    return a, b


def every_kind(p: int, /, q: int, *rest: int, k: int = 0, **kw: int) -> Any:
    return p, q, rest, k, kw


class TestBind:
    @pytest.mark.parametrize(
        ("fn", "message", "result"),
        [
            (nothing, {}, ()),
            (nothing, {"args": []}, ()),
            (nothing, {"args": [], "kwargs": {}}, ()),
            (one, {"args": [4]}, 4),
            (one, {"kwargs": {"x": 4}}, 4),
            (one, {"args": [4], "kwargs": {}}, 4),
            (one, {"args": [], "kwargs": {"x": 4}}, 4),
            (defaults, {}, (1, 2)),
            (defaults, {"args": [5], "kwargs": {}}, (5, 2)),
            (defaults, {"args": [], "kwargs": {"b": 5}}, (1, 5)),
            (defaults, {"args": [5], "kwargs": {"b": 6}}, (5, 6)),
            (every_kind, {"args": [1, 2]}, (1, 2, (), 0, {})),
            (every_kind, {"args": [1, 2, 3, 4]}, (1, 2, (3, 4), 0, {})),
            (every_kind, {"args": [1], "kwargs": {"q": 2, "z": 3}}, (1, 2, (), 0, {"z": 3})),
            (every_kind, {"args": [1, 2, 3], "kwargs": {"k": 4, "p": 5}}, (1, 2, (3,), 4, {"p": 5})),
        ],
    )
    def test_arguments_arrive_as_in_a_call(self, fn: Callable[..., Any], message: dict[str, Any], result: Any) -> None:
        assert called(fn, message) == result

    @pytest.mark.parametrize(
        ("fn", "message", "why"),
        [
            (nothing, {"args": [1]}, "too many positional arguments"),
            (nothing, {"kwargs": {"x": 1}}, "got an unexpected keyword argument 'x'"),
            (one, {}, "x missing_argument"),
            (one, {"args": [], "kwargs": {}}, "x missing_argument"),
            (one, {"args": ["4"]}, "x int_type"),
            (one, {"args": [True]}, "x int_type"),
            (one, {"args": [4.0]}, "x int_type"),
            (one, {"args": [None]}, "x int_type"),
            (one, {"kwargs": {"x": "4"}}, "x int_type"),
            (one, {"args": [1], "kwargs": {"x": 1}}, "multiple values for argument 'x'"),
            (one, {"args": [1, 2]}, "too many positional arguments"),
            (every_kind, {"kwargs": {"p": 1, "q": 2}}, "'p' parameter is positional only, but was passed as a keyword"),
            (every_kind, {"args": [1, 2, "3"]}, "rest.0 int_type"),
            (every_kind, {"args": [1, 2], "kwargs": {"k": "1", "z": "2"}}, "k int_type; kw.z int_type"),
            (
                every_kind,
                {"kwargs": {"z": "2"}},
                "p missing_positional_only_argument; q missing_argument; kw.z int_type",
            ),
        ],
    )
    def test_what_does_not_fit_is_told_by_parameter(
        self, fn: Callable[..., Any], message: dict[str, Any], why: str
    ) -> None:
        assert refused(fn, message) == why

    @pytest.mark.parametrize("message", ["[]", "{", "null", '{"args":5}', "\x00"])
    def test_a_message_that_is_none_is_refused_all_the_same(self, message: str) -> None:
        with pytest.raises(ArgumentsError):
            called(one, message)

    @pytest.mark.parametrize("by_name", [False, True])
    def test_json_text_becomes_the_annotated_types(self, *, by_name: bool) -> None:
        def typed(
            at: datetime,
            day: date,
            pair: tuple[int, str],
            seen: set[int],
            colour: Colour,
            uid: UUID,
            path: Path,
            d: Decimal,
        ) -> Any:
            return at, day, pair, seen, colour, uid, path, d

        values = {
            "at": "2026-01-01T00:00:00Z",
            "day": "2026-01-01",
            "pair": [1, "a"],
            "seen": [1, 2],
            "colour": "red",
            "uid": "12345678123456781234567812345678",
            "path": "/tmp/x",
            "d": "1.10",
        }
        message = {"kwargs": values} if by_name else {"args": list(values.values())}
        assert called(typed, message) == (
            datetime(2026, 1, 1, tzinfo=UTC),
            date(2026, 1, 1),
            (1, "a"),
            {1, 2},
            Colour.RED,
            UUID("12345678123456781234567812345678"),
            Path("/tmp/x"),
            Decimal("1.10"),
        )

    def test_models_keep_their_own_rules_also_when_used_twice(self) -> None:
        def models(a: Node, b: Node, c: int = 0) -> Any:
            return a, b, c

        lax = {"args": [{"n": "5", "kids": [{"n": 6}]}, {"n": 7}]}
        assert called(models, lax) == (Node(n=5, kids=[Node(n=6)]), Node(n=7), 0)
        assert called(models, lax | {"kwargs": {"c": 1}})[2] == 1
        assert refused(models, {"args": [{"n": 1}, {"m": 1}, "1"]}) == "b.n missing; c int_type"

    def test_constraints_in_annotations_hold(self) -> None:
        def limited(x: Annotated[int, Field(ge=0)], y: Annotated[int, Field(strict=False)] = 0) -> Any:
            return x, y

        assert called(limited, {"args": [1, "2"]}) == (1, 2)
        assert refused(limited, {"args": [-1]}) == "x greater_than_equal"

    @pytest.mark.parametrize("by_name", [False, True])
    def test_a_number_beyond_all_floats_is_no_float(self, *, by_name: bool) -> None:
        def f(x: float | list[float | None]) -> object:
            return x

        for text, path in (("1e999", "x.float"), ("[null,-1e999]", r"x.list\[nullable\[float\]\].1")):
            message = f'{{"kwargs":{{"x":{text}}}}}' if by_name else f'{{"args":[{text}]}}'
            with pytest.raises(ArgumentsError) as caught:
                called(f, message)
            assert re.search(rf"{path}\n  Input should be a finite number", str(caught.value.__cause__))
        assert called(f, '{"args":[[1e308,null]]}') == [1e308, None]

    @pytest.mark.parametrize(
        ("message", "result"),
        [
            ({}, (1, (), {})),
            ({"args": [2]}, (2, (), {})),
            ({"args": [2, 3, 4], "kwargs": {"x": 5}}, (2, (3, 4), {"x": 5})),
            ({"kwargs": {"a": 2, "x": 3}}, (2, (), {"x": 3})),
        ],
    )
    def test_any_number_of_arguments_may_follow_one_with_a_default(self, message: dict[str, Any], result: Any) -> None:
        def f(a: int = 1, *rest: int, **more: int) -> object:
            return a, rest, more

        assert called(f, message) == result
        assert refused(f, {"args": [1, 2, "x"]}) == "rest.1 int_type"
        assert refused(f, {"kwargs": {"x": "y"}}) == "more.x int_type"

    @pytest.mark.parametrize(
        ("fn", "message", "result"),
        [
            (lambda a=1, **more: (a, more), {"kwargs": {"b": None}}, (1, {"b": None})),
            (lambda a=1, /, *rest: (a, rest), {"args": [2, [3]]}, (2, ([3],))),
            (lambda *rest, **more: (rest, more), {}, ((), {})),
        ],
    )
    def test_so_they_may_whatever_they_follow(
        self, fn: Callable[..., Any], message: dict[str, Any], result: Any
    ) -> None:
        assert called(fn, message) == result

    def test_a_signature_that_pydantic_refuses_late_is_told_with_its_task(self) -> None:
        def f(x: Annotated[str, Field(pattern="(")]) -> None: ...

        with pytest.raises(TaskDefinitionError, match=r"task 't': its signature cannot be validated from JSON"):
            of(f)

    def test_unannotated_parameters_take_anything(self) -> None:
        def free(a, b=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return a, b

        assert called(free, {"args": [{"x": [1.5, None]}], "kwargs": {"b": "NaN"}}) == ({"x": [1.5, None]}, "NaN")

    def test_a_validator_that_breaks_is_no_wrong_argument(self) -> None:
        def broken(_: int) -> int:
            raise KeyError("look-up")

        def guarded(x: Annotated[int, AfterValidator(broken)]) -> int:
            return x

        with pytest.raises(KeyError):
            called(guarded, {"args": [1]})

    def test_a_decorated_function_has_the_signature_of_what_it_wraps(self) -> None:
        def doubled(fn: Callable[..., int]) -> Callable[..., int]:
            @wraps(fn)
            def wrapper(*args: Any, **kwargs: Any) -> int:
                return 2 * fn(*args, **kwargs)

            return wrapper

        assert called(doubled(one), {"args": [4]}) == 8
        assert refused(doubled(one), {"args": ["4"]}) == "x int_type"


def returning(annotation: Any) -> Signature:
    def fn() -> None: ...

    fn.__annotations__["return"] = annotation
    return of(fn)


class TestDump:
    @pytest.mark.parametrize(
        ("annotation", "value", "text"),
        [
            (int, 16, b"16"),
            (None, None, b"null"),
            (str, "ä\n", '"ä\\n"'.encode()),
            (str, "NaN", b'"NaN"'),
            (float, 1.5, b"1.5"),
            (float, 1, b"1.0"),
            (Any, {"a": [1, None]}, b'{"a":[1,null]}'),
            (Any, {1, 2}, b"[1,2]"),
            (datetime, datetime(2026, 1, 1, tzinfo=UTC), b'"2026-01-01T00:00:00Z"'),
            (Node, Node(n=1), b'{"n":1,"kids":[]}'),
            (list[Node], [Node(n=1)], b'[{"n":1,"kids":[]}]'),
            (int | None, None, b"null"),
        ],
    )
    def test_values_become_json(self, annotation: Any, value: Any, text: bytes) -> None:
        assert returning(annotation).dump(value) == text

    @pytest.mark.parametrize(
        ("annotation", "value", "why"),
        [
            (Any, object(), "returned object, .*unknown type"),
            (Any, {"a": [object()]}, "returned dict, .*unknown type"),
            (Any, "\ud800", "returned str, .*surrogates"),
            (int, "16", "returned str, annotated int$"),
            (int | str, 1.5, r"returned float, annotated int \| str$"),
            (None, 1, "returned int, annotated None$"),
            (list[int], ["a"], r"returned list, annotated list\[int\]: it has str for int$"),
            (float, float("nan"), "NaN is not a JSON number"),
            (Any, from_json("[" * 201 + "]" * 201), "it is nested more than 200 levels deep, flatten it"),
            (Any, [float("-inf")], "Infinity is not a JSON number"),
            (list[float], [float("inf")], "Infinity is not a JSON number"),
        ],
    )
    def test_what_json_or_the_annotation_cannot_hold_is_refused(self, annotation: Any, value: Any, why: str) -> None:
        with pytest.raises(ResultError, match=f"task 't' {why}" if why.startswith("returned") else why):
            returning(annotation).dump(value)

    def test_a_coroutine_that_a_plain_wrapper_returns_is_told_as_one(self) -> None:
        async def f() -> int:
            return 1

        coroutine = f()
        with pytest.raises(ResultError, match="a coroutine, which nobody has run: it is wrapped in a plain function"):
            returning(int).dump(coroutine)
        coroutine.close()

    @pytest.mark.parametrize("before", [0, 1, 2149, 2150, 2151, 4300])
    def test_a_huge_integer_is_found_wherever_it_stands(self, before: int) -> None:
        with pytest.raises(ResultError, match="4,301 digits"):
            returning(Any).dump(["x" * before, 10**4300])
        with pytest.raises(ResultError, match="4,301 digits"):
            returning(Any).dump({"a": ["x" * before, -(10**4300)]})
        assert returning(Any).dump(["x" * before, 10**4299])

    def test_digits_that_are_no_integer_are_fine(self) -> None:
        assert returning(Any).dump("1" * 10_000) == b'"' + b"1" * 10_000 + b'"'
        assert returning(Any).dump([1] * 10_000)

    def test_a_circle_is_refused(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        with pytest.raises(ResultError, match="Circular reference"):
            returning(Any).dump(circle)


def test_signatures_are_built_once_per_task() -> None:
    known = of(one)
    assert signature.of(known.task) is known
    task(name="t")(one)
    again = registry.get("t")
    assert again is not None
    assert signature.of(again) is not known


def test_the_json_schema_tells_arguments_and_result() -> None:
    schema = of(every_kind).json_schema()
    assert list(schema["arguments"]["properties"]) == ["p", "q", "rest", "k", "kw"]
    assert schema["arguments"]["required"] == ["p", "q"]
    assert schema["result"] == {}


def test_the_json_schema_of_a_result_is_that_of_its_annotation() -> None:
    assert returning(int).json_schema()["result"] == {"type": "integer"}
    assert returning(Node).json_schema()["result"]["$ref"] == "#/$defs/Node"
