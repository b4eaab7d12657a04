"""Finds CPython's cases that use a pool, by looking at their code. Used by `runner.py` alone.

A case uses a pool if "pool" occurs, in a name or in a text, in its code, or in a function, constant or default of its
class or module that this refers to. What says so by accident is run as well: one case too many costs a moment, one too
few is a hole.
"""

from __future__ import annotations

import unittest
from importlib import import_module
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ("stdlib.installed", "test.test_multiprocessing_main_handling", "test.test_importlib.test_threaded_import")


def cases() -> Iterator[tuple[str, str, str | None]]:
    """Give the class and name of each case that uses a pool, what to load it by, and its own start method, if any."""
    for module in map(import_module, MODULES):
        for name, value in vars(module).items():
            if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
                continue
            for case in unittest.defaultTestLoader.getTestCaseNames(value):
                if _mentions_pool(getattr(value, case), value, set()):
                    yield f"{name}.{case}", f"{module.__name__}.{name}.{case}", getattr(value, "start_method", None)


def _mentions_pool(value: object, cls: type, seen: set[int]) -> bool:
    """Say whether a function or a text of `cls` or its module has to do with a pool; `seen` are done already."""
    function = _function_of(value)
    if function is None or id(function) in seen:
        return isinstance(value, str) and "pool" in value.lower()
    seen.add(id(function))
    names, constants = _contents(function.__code__)
    if any("pool" in text.lower() for text in (*names, *constants) if text != function.__doc__):
        return True
    scope = {**function.__globals__, **{name: getattr(cls, name, None) for name in dir(cls)}}
    known = [scope[name] for name in names if name in scope]
    return any(_mentions_pool(found, cls, seen) for found in (*known, *(function.__defaults__ or ())))


def _function_of(value: Any) -> FunctionType | None:
    inner = getattr(value, "__wrapped__", getattr(value, "__func__", value))
    return inner if isinstance(inner, FunctionType) else None


def _contents(code: CodeType) -> tuple[set[str], set[str]]:
    names, texts = set(code.co_names), {constant for constant in code.co_consts if isinstance(constant, str)}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner_names, inner_texts = _contents(constant)
            names |= inner_names
            texts |= inner_texts
    return names, texts
