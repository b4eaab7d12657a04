"""Pickling of calls and of what comes of them, as `multiprocessing` does it and for less.

`ForkingPickler` knows how to send what plain pickle can't (sockets, connections, and whatever libraries have registered
with it), and builds its table of reducers anew for each object. Here the table is one object that looks into both
registries when it is asked, so what is registered later counts too.

A call of a function that pickle sends by its name is the name and a pickle of the arguments: the worker keeps where
it found the name, since finding it takes ten times as long as unpickling a small argument. Any other call is one
pickle of everything, so that what the function and the arguments share stays shared.

    length of the name, 2 bytes; 0 if there is none │ module, line break, name │ pickle

Used on both sides of a local pool; imports nothing heavy. Pickling runs code of the host program: any exception may
come of it.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from io import BytesIO
from multiprocessing.reduction import ForkingPickler
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Call = tuple[Callable[..., Any], Iterable[Any], Mapping[str, Any]]

# Types whose pickles no reducer can change: most arguments and results of small calls.
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})
_SIZED: Final = frozenset({str, bytes})
_LARGE: Final = 4096  # from here on `pickle.dumps`, which takes and gives back fresh memory, is the slower way
_SENT_BY_NAME: Final = frozenset({FunctionType, BuiltinFunctionType, type})
_NAME_BYTES: Final = 2
_NO_NAME: Final = bytes(_NAME_BYTES)
_MAX_KNOWN: Final = 1000  # functions that either side remembers; beyond it, it starts anew

_heads: dict[Callable[..., Any], tuple[bytes, dict[str, Any], str]] = {}  # the sender's
_places: dict[bytes, tuple[dict[str, Any], str]] = {}  # the worker's: where a name is looked up, each time anew


class _Reducers(dict[type, Any]):
    """Always empty: each look-up is one of the two registries."""

    def __missing__(self, kind: type) -> Any:
        # Where `ForkingPickler.register` puts them.
        reducer = ForkingPickler._extra_reducers.get(kind)  # type: ignore[attr-defined]  # noqa: SLF001
        return copyreg.dispatch_table[kind] if reducer is None else reducer


class _Pickler(pickle.Pickler):
    dispatch_table = _Reducers()


def dumps(value: object) -> bytes:
    """Return the pickle of a value. Raises whatever the value's own code raises."""
    return _dump(b"", value, is_plain=_is_plain(value))


def dump_call(call: Call) -> bytes:
    """Return the body of a job. Raises whatever the code of the function or the arguments raises."""
    function, args, kwargs = call
    if type(function) not in _SENT_BY_NAME:
        return _dump(_NO_NAME, call, is_plain=False)
    head, namespace, name = _heads.get(function) or _learn(function)
    if namespace.get(name) is not function:  # pickle would not send it by its name either, or not at all
        return _dump(_NO_NAME, call, is_plain=False)
    is_plain = type(args) is tuple and not kwargs and all(map(_is_plain, args))
    return _dump(head, (args, kwargs), is_plain=is_plain)


def load_call(body: memoryview) -> Call:
    """Return the function and its arguments."""
    head_end = _NAME_BYTES + body[0] + (body[1] << 8)
    if head_end == _NAME_BYTES:
        call: Call = pickle.loads(body[head_end:])  # noqa: S301 - the host program's own
        return call
    function = _find(bytes(body[:head_end]))
    args, kwargs = pickle.loads(body[head_end:])  # noqa: S301
    return function, args, kwargs


def _dump(head: bytes, value: object, *, is_plain: bool) -> bytes:
    if is_plain:
        return head + pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    buffer = BytesIO()
    buffer.write(head)
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def _is_plain(value: object) -> bool:
    kind = type(value)
    return kind in _PLAIN and (kind not in _SIZED or len(value) < _LARGE)  # type: ignore[arg-type]


def _learn(function: Callable[..., Any]) -> tuple[bytes, dict[str, Any], str]:
    """Remember what names a function in a body, and where to see whether it is still called so."""
    module, name = function.__module__, function.__qualname__
    namespace = vars(sys.modules[module]) if module in sys.modules else {}
    line = f"{module}\n{name}".encode()
    known = len(line).to_bytes(_NAME_BYTES, "little") + line, namespace, name
    if namespace.get(name) is function:  # a method of some object must not be kept, and the object with it
        if len(_heads) >= _MAX_KNOWN:
            _heads.clear()
        _heads[function] = known
    return known


def _find(head: bytes) -> Callable[..., Any]:
    """Return the function that is called so now."""
    if (place := _places.get(head)) is not None:
        namespace, name = place
        if (function := namespace.get(name)) is not None:
            found: Callable[..., Any] = function
            return found
    module, _, name = head[_NAME_BYTES:].decode().partition("\n")
    # With the imports and the errors of pickle.
    found = pickle.Unpickler(BytesIO()).find_class(module, name)  # noqa: S301
    if len(_places) >= _MAX_KNOWN:
        _places.clear()
    _places[head] = vars(sys.modules[module]), name
    return found
