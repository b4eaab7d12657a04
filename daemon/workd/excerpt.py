"""What the supervisor reads of a message: its terms, and as little as can be of its arguments. Pure.

Called by the intake for every message, while all else in the daemon waits; the arguments are the worker's to look at.
A short message is simply decoded. In a long one the arguments are found by what stands around them, are left out, and
the rest is decoded as if it were a message. That is right if, and only if, what was left out is one JSON value by
itself; the worker sees to that (`check`), which parses it anyway. A long message of another shape is parsed whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import from_json

from workd import wire
from workd.errors import InvalidMessageError, UnknownVersionError
from workd_tasks.finite import refuse_non_finite

if TYPE_CHECKING:
    from workd.wire import Envelope

LONG_BYTES: Final = 2048  # of a message: with a shorter one there is nothing to gain
AROUND_BYTES: Final = 512  # how much on either side of the arguments is looked at

_NUMBER_OR_WORD = rb"[-+.\w]{1,32}"
_STRING = rb'"[^"\\]{0,512}"'
_FLAT = rb'\{[^{}\[\]"\\]*(?:"[^"\\]*"[^{}\[\]"\\]*)*\}'
_MEMBER = rb'"\w{1,16}"\s*:\s*(?:' + rb"|".join((_STRING, _NUMBER_OR_WORD, rb"\[\s*\]", _FLAT)) + rb")\s*"
_BEFORE: Final = re.compile(rb"\s*\{\s*(?:" + _MEMBER + rb',\s*)*"args"\s*:\s*(?=\[)')
# No second "args": the last one counts, so an empty one there would be what the message says.
_AFTER: Final = re.compile(rb"\](\s*(?:,\s*(?!\"args\")" + _MEMBER + rb")*\}\s*)\Z")
_OBJECT_LAST: Final = re.compile(rb"\}\s*\]\Z")

_validate = wire.Envelope.__pydantic_validator__.validate_python


class Excerpt(NamedTuple):
    """A message without its arguments, and where they stand in its bytes; 0 and 0 if they have been parsed already."""

    envelope: Envelope
    start: int
    end: int


def read(raw: bytes) -> Excerpt:
    """Return what `raw` asks for, or raise `InvalidMessageError` or `UnknownVersionError`."""
    if len(raw) <= LONG_BYTES:
        return Excerpt(wire.decode(raw), 0, 0)
    return _read_around(raw) or Excerpt(_parse(raw), 0, 0)


def check(raw: bytes, arguments: bytes) -> None:
    """Raise `InvalidMessageError` if `raw` is no message, or `arguments`, left out of it, are not one JSON value.

    Raises `UnknownVersionError` for a message of another version, with an array behind its arguments: the version was
    left out with them.
    """
    wire.decode(raw)
    try:
        from_json(arguments)
    except ValueError:  # although the message is one: its last "args" is not the one that began what was left out
        raise InvalidMessageError(["args: is there more than once"]) from None


def _read_around(raw: bytes) -> Excerpt | None:
    """Decode a message without its positional arguments; None if they are not where they mostly are."""
    before = _BEFORE.match(raw, 0, AROUND_BYTES)
    after = _AFTER.search(raw, len(raw) - AROUND_BYTES)
    if before is None or after is None:
        return None
    start, end = before.end(), after.start(1)
    # The other array that a message may have: what looks like the end of the arguments is then the end of its steps.
    if _OBJECT_LAST.search(raw, max(start, end - AROUND_BYTES), end) and raw.find(b'"then"', start, end) >= 0:
        return None
    try:
        envelope = wire.decode(b"".join((before[0], b"[]", after[1])))
    except (InvalidMessageError, UnknownVersionError):
        return None  # what is wrong is told of the message as it is
    return None if envelope.kwargs or end - start < LONG_BYTES // 2 else Excerpt(envelope, start, end)


def _parse(raw: bytes) -> Envelope:
    """Parse a whole message in one pass, and check all of it but what only the signature can."""
    try:
        message: Any = from_json(raw, allow_inf_nan=False)
        args, kwargs = message.pop("args", []), message.pop("kwargs", {})
        if type(args) is list and type(kwargs) is dict:
            envelope: Envelope = _validate(message)
            return envelope
    except (ValueError, AttributeError, TypeError):  # it is no message, or not an object at all
        pass
    return wire.decode(raw)  # which has the words for it


def refuse_non_finite_in(arguments: bytes) -> None:
    """Raise `InvalidMessageError` if there is NaN or an infinity among arguments that were left out."""
    try:
        refuse_non_finite(arguments)
    except ValueError as error:
        raise InvalidMessageError([str(error)]) from None
