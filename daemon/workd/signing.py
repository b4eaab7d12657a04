"""Signatures of messages: HMAC-SHA256 over the exact bytes, as 64 lower-case hex digits in the entry's field `s`.

Pure; used by the clients, which sign, and by daemons, which verify what they fetch and sign what they enqueue.

A group's callback is put together by a script, around an argument that nobody knows before. What is signed of it is
what stands before and after that argument, and its entry says how much that is: `s` is `<digits>:<bytes before>:<bytes
after>`. The two are joined by a NUL, which no JSON text has: a signature of a message is none of a callback, and the
other way round. The argument has to be one JSON object, so it can be nothing but the argument.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json

from workd.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_KEY_BYTES: Final = 16
KEY_RULE: Final = re.compile(r"[^\s,]+")  # lists of keys are cut at white space and commas
_WRONG: Final = "the signature is of other bytes, or was made with another key than those in signing_keys"
_COMMAND: Final = b"workd:orders"
_SIGNATURE: Final = re.compile(rb"([0-9a-f]{64})(?::([0-9]{1,9}):([0-9]{1,9}))?")


class Signing:
    """Some keys: the first signs, all verify. Safe for threads; never shows them."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[str]) -> None:
        """Take one key or more; ValueError says what is wrong with one, without showing it."""
        for key in keys:
            check_key(key)
        # Begun once and copied for each message: half the time of beginning anew. Nothing is ever added to these.
        self._keys = tuple(hmac.new(key.encode(), digestmod="sha256") for key in keys)

    @classmethod
    def of(cls, keys: Sequence[str]) -> Signing | None:
        """Return None for no keys: nothing is signed then."""
        return cls(keys) if keys else None

    @classmethod
    def of_client(cls, key: str | None) -> Signing | None:
        """Return what a client signs with. Raises SettingsError."""
        if key is None:
            return None
        try:
            return cls((key,))
        except ValueError as error:
            raise SettingsError("signing_key", str(error)) from None

    def sign(self, message: bytes) -> bytes:
        """Return the field `s` for a message."""
        return _digits(self._keys[0], message)

    def sign_each(self, messages: Sequence[bytes]) -> list[bytes]:
        """Return each message and its signature, in turn."""
        key = self._keys[0]
        return [word for message in messages for word in (message, _digits(key, message))]

    def sign_callback(self, before: bytes, after: bytes) -> bytes:
        """Return the digits for a group's callback, which is to have its first argument between the two."""
        return _digits(self._keys[0], _joined(before, after))

    def sign_command(self, command: bytes) -> bytes:
        """Return what goes before an order to daemons. It is the signature of no message."""
        return _digits(self._keys[0], _joined(_COMMAND, command))

    def knows_command(self, command: bytes, digits: bytes) -> bool:
        """Say whether one of these keys has signed this order."""
        return self._knows(digits, _joined(_COMMAND, command))

    def refusal(self, message: bytes, signature: bytes | None) -> str:
        """Return what is wrong with the signature of a message, '' if nothing is. Nothing is parsed before that."""
        if signature is None:
            return "the entry has no signature (field `s`), and this daemon takes signed messages alone (signing_keys)"
        said = _SIGNATURE.fullmatch(signature)
        if said is None:
            return "the field `s` is no signature: it should be the HMAC-SHA256 of `m` as 64 lower-case hex digits"
        if said[2] is None:
            return "" if self._knows(said[1], message) else _WRONG
        end, start = int(said[2]), max(0, len(message) - int(said[3]))
        if not self._knows(said[1], _joined(message[:end], message[start:])):
            return _WRONG
        return "" if _is_object(message[end:start]) else "the first argument of a group's callback is no JSON object"

    def _knows(self, digits: bytes, signed: bytes) -> bool:
        return any(hmac.compare_digest(_digits(key, signed), digits) for key in self._keys)


def split_keys(value: object) -> object:
    """Read keys as people write them in one word or, in a file of their own, one in a line; leave lists as they are.

    A place for keys that is empty is a mistake, such as a file that was never written: ValueError. Going on without
    any would be going on unsigned.
    """
    if not isinstance(value, str):
        return value
    if not (keys := tuple(value.replace(",", " ").split())):
        raise ValueError("there is no key in it: where nothing is to be signed, leave it out")
    return keys


def check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse as `check_key`."""
    for key in keys:
        check_key(key)
    return keys


def check_key(key: str) -> None:
    """Refuse with ValueError what should be no key; the text does not show it."""
    if KEY_RULE.fullmatch(key) is None:
        raise ValueError("a key has neither white space nor commas in it")
    if len(key.encode()) < MIN_KEY_BYTES:
        raise ValueError(f"a key should have at least {MIN_KEY_BYTES} bytes: make one with `openssl rand -hex 32`")


def _digits(key: hmac.HMAC, text: bytes) -> bytes:
    mac = key.copy()
    mac.update(text)
    return mac.hexdigest().encode()


def _joined(before: bytes, after: bytes) -> bytes:
    return b"%b\0%b" % (before, after)


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(from_json(text), dict)
    except ValueError:
        return False
