import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from workd import excerpt, wire
from workd.errors import InvalidMessageError, UnknownVersionError

TEXT = 'NaN, [Infinity] and \\ " { } ] , ' * 100
FIELDS: dict[str, Any] = {
    "v": 1,
    "id": "a",
    "timeout": 2.5,
    "unique": "],}",
    "trace": {"traceparent": "00-1-2-01"},
    "meta": {"a": "}]", "b": '"]'},
}


def members(fields: dict[str, Any]) -> str:
    return "".join(f", {json.dumps(name)} : {json.dumps(value)}" for name, value in fields.items())


def both_ways(raw: bytes) -> tuple[wire.Envelope | None, wire.Envelope | None]:
    """Return the message as `wire` decodes it, and as supervisor and worker do together; None: refused."""
    try:
        whole = wire.decode(raw)
    except (InvalidMessageError, UnknownVersionError):
        whole = None
    try:
        envelope, start, end = excerpt.read(raw)
        if not end:
            return whole, None if whole is None else whole.model_copy(update=terms(envelope))
        arguments = raw[start:end]
        try:
            args = from_json(arguments)
        except ValueError:
            excerpt.check(raw, arguments)
            pytest.fail("took for a message what is none")
        excerpt.refuse_non_finite_in(arguments)
    except (InvalidMessageError, UnknownVersionError):
        return whole, None
    return whole, envelope.model_copy(update={"args": tuple(args)})


def terms(envelope: wire.Envelope) -> dict[str, Any]:
    return {name: value for name, value in envelope if name not in {"args", "kwargs"}}


@pytest.mark.parametrize("names", [(), ("v",), ("id", "timeout"), ("timeout", "trace"), ("unique",), ("meta",)])
def test_the_terms_are_read_on_both_sides_of_arguments_that_are_not_parsed(names: tuple[str, ...]) -> None:
    fields = members({name: FIELDS[name] for name in names})
    args = [TEXT, {"a": [TEXT], "timeout": 5}]
    for raw in (
        f'{{"task":"t"{fields},"args":{json.dumps(args)}}}'.encode(),
        f' {{ "task" : "t" , "args" : {json.dumps(args)} {fields} }} '.encode(),
        f'{{"task":"t","kwargs":{{}},"args":{json.dumps(args)}{fields}}}'.encode(),
        f'{{"task":"t","args":{json.dumps(args)},"kwargs":{{}}{fields}}}'.encode(),
    ):
        whole = wire.decode(raw)
        envelope, start, end = excerpt.read(raw)
        if "meta" not in names:  # there is a backslash in it: such a message may be parsed whole
            assert json.loads(raw[start:end]) == args
        assert envelope.model_dump(exclude={"args"}) == whole.model_dump(exclude={"args"})


@pytest.mark.parametrize(
    "raw",
    [
        f'{{"task":"t","kwargs":{{"args":{json.dumps([TEXT])}}}}}',
        f'{{"task":"t","args":{json.dumps([TEXT])},"kwargs":{{"a":1}}}}',
        f'{{"task":"t","kwargs":{{"a":1}},"args":{json.dumps([TEXT])}}}',
        f'{{"task":"t","meta":{{"args":{json.dumps([TEXT])}}}}}',
        f'{{"task":"t","meta":{{"k":{json.dumps(TEXT)}}}}}',
        f'{{"task":"t","args":{json.dumps([TEXT])},"priority":1}}',
        f'{{"task":"t","args":{json.dumps([TEXT])},"priority":[1]}}',
        f'{{"task":"t","args":{json.dumps([TEXT])},"v":2}}',
        f'{{"task":"t","args":{json.dumps([TEXT])}',
        f'{{"task":"t","args":{json.dumps([TEXT])}}}}}',
        f'{{"task":"t","args":[{json.dumps(TEXT)}, NaN]}}',
        f'{{"task":"t","kwargs":{{"a":{json.dumps(TEXT)}, "b": NaN}}}}',
        f'{{"task":"t","args":[{json.dumps(TEXT)}, {"9" * 5000}]}}',
        f'{{"task":"t","args":[{json.dumps(TEXT)} 1]}}',
        f'{{"task":"t","args":{json.dumps(TEXT)}}}',
        f'{{"task":"t","kwargs":{json.dumps([TEXT])}}}',
        json.dumps([TEXT]),
        json.dumps(TEXT),
        TEXT,
    ],
)
def test_what_stands_elsewhere_or_is_wrong_is_found_as_in_a_short_message(raw: str) -> None:
    whole, found = both_ways(raw.encode())
    assert found == whole


@pytest.mark.parametrize("second", ["[1]", "[]", "[ ]"])
def test_a_message_that_has_its_arguments_twice_is_refused(second: str) -> None:
    raw = f'{{"task":"t","args":{json.dumps([TEXT])},"timeout":3,"args":{second}}}'.encode()
    _, start, end = excerpt.read(raw)
    with pytest.raises(InvalidMessageError, match="args: is there more than once"):
        excerpt.check(raw, raw[start:end])


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        '"',
        ",",
        ":",
        " ",
        "\\",
        "1",
        "NaN",
        '"args":[',
        '"kwargs":{',
        '"v":1',
        '"id":"x"',
        '"meta":{',
    ]
)


@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=12))
def test_no_text_is_taken_for_a_message_that_is_none(first: list[str], middle: list[str], last: list[str]) -> None:
    filler = json.dumps("x" * excerpt.LONG_BYTES)
    raw = f'{{"task":"t",{"".join(first)}"args":[{filler}{"".join(middle)}]{"".join(last)}}}'.encode()
    whole, found = both_ways(raw)
    assert found == whole or (found is None and raw.count(b'"args"') > 1)


def test_a_long_message_is_not_parsed_by_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = wire.decode

    def decode_short(raw: bytes) -> wire.Envelope:
        assert len(raw) < 100
        return decode(raw)

    monkeypatch.setattr(wire, "decode", decode_short)
    monkeypatch.setattr(excerpt, "from_json", lambda *_, **__: pytest.fail("parsed"))
    assert excerpt.read(json.dumps({"task": "t", "args": ["x" * 1_000_000]}).encode()).envelope.task == "t"


@pytest.mark.parametrize("last", [{}, {"group": {"id": "g", "index": 1}, "timeout": 5}])
@pytest.mark.parametrize("args", [[1], [TEXT], [{"then": TEXT}]])
def test_the_steps_of_a_chain_behind_the_arguments_are_none_of_them(args: list[Any], last: dict[str, Any]) -> None:
    steps = [{"task": "t", "args": [TEXT]}, {"task": "u", "args": [1]}]
    message = {"task": "t", "args": args, "meta": {"a": "b"}, "then": steps} | last
    for raw in (json.dumps(message).encode(), json.dumps(message, indent=2).encode()):
        whole, parts = both_ways(raw)
        assert whole is not None
        assert parts == whole
