"""The golden vectors in `tests/vectors`, with which producers in any language can be tried: workd reads them so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict

from workd import wire
from workd.errors import InvalidMessageError, UnknownVersionError

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[1] / "vectors"


class _Vector(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    message: str
    read_as: dict[str, Any] | None = None
    invalid: str | None = None
    delayed: bool = False


def _rows(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{file}.json").read_text(encoding="utf-8"))[file]
    return found


MESSAGES = [_Vector.model_validate(row) for row in _rows("messages")]
OUTCOMES = _rows("outcomes")


def _those(wanted: Callable[[_Vector], bool]) -> pytest.MarkDecorator:
    chosen = [vector for vector in MESSAGES if wanted(vector)]
    return pytest.mark.parametrize("vector", chosen, ids=[vector.name for vector in chosen])


def test_every_vector_says_one_thing_and_has_a_name_of_its_own() -> None:
    for vector in MESSAGES:
        assert sum((vector.read_as is not None, vector.invalid is not None, vector.delayed)) == 1, vector.name
    assert len({vector.name for vector in MESSAGES}) == len(MESSAGES)


@_those(lambda vector: vector.read_as is not None)
def test_a_message_is_read_as_the_vector_says(vector: _Vector) -> None:
    envelope = wire.decode(vector.message.encode())
    expected = wire.Envelope.model_fields
    fields = {name: _plain(getattr(envelope, name)) for name in expected}
    defaults: dict[str, Any] = {name: field.get_default(call_default_factory=True) for name, field in expected.items()}
    read_as = vector.read_as or {}
    assert fields == defaults | read_as | {"args": tuple(read_as.get("args", ()))}


def _plain(value: object) -> object:
    """Return a part of a message as JSON has it, with what was given alone."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


@_those(lambda vector: vector.invalid is not None)
def test_what_is_invalid_is_refused_with_the_path(vector: _Vector) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        wire.decode(vector.message.encode())
    assert refused.value.details[0].startswith(vector.invalid or "")


@_those(lambda vector: vector.delayed)
def test_another_version_is_told_from_what_is_invalid(vector: _Vector) -> None:
    with pytest.raises(UnknownVersionError):
        wire.decode(vector.message.encode())


def test_every_field_of_a_message_is_in_a_vector() -> None:
    named = {field for vector in MESSAGES for field in vector.read_as or ()}
    assert named == set(wire.Envelope.model_fields)


@pytest.mark.parametrize("row", OUTCOMES, ids=[row["name"] for row in OUTCOMES])
def test_an_outcome_is_read_as_the_vector_says(row: dict[str, Any]) -> None:
    assert wire.decode_outcome(row["outcome"].encode()).model_dump(mode="json") == row["fields"]


@pytest.mark.parametrize(
    "row", [row for row in OUTCOMES if "region" not in row["outcome"]], ids=lambda row: row["name"]
)
def test_an_outcome_is_written_as_the_vector_says(row: dict[str, Any]) -> None:
    fields = dict(row["fields"])
    assert fields.pop("v") == wire.VERSION
    value, error = fields.pop("value"), fields.pop("error")
    written = wire.encode_outcome(
        **fields,
        value_json=json.dumps(value).encode(),
        error_json=None if error is None else wire.encode_error(wire.ErrorInfo(**error)),
    )
    assert written.decode() == row["outcome"]


def test_the_vectors_show_every_status() -> None:
    assert {row["fields"]["status"] for row in OUTCOMES} == set(wire.Status)
