"""Bodies of calls: what is sent by name and what as a whole, with the reducers and the errors of `multiprocessing`."""

from __future__ import annotations

import copyreg
import functools
import math
import pickle
import sys
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from support.calls import Multiplier, Refusing, same, square
from workd.pool import pickling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def round_trip(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return pickling.load_call(memoryview(pickling.dump_call((function, args, kwargs))))


@pytest.mark.parametrize("function", [square, abs, int, math.sqrt, Multiplier])
def test_functions_of_modules_go_by_name(function: Callable[..., Any]) -> None:
    body = pickling.dump_call((function, (1,), {}))
    line = f"{function.__module__}\n{function.__qualname__}".encode()
    assert body.startswith(len(line).to_bytes(2, "little") + line)
    assert round_trip(function, 1) == (function, (1,), {})
    assert round_trip(function, 1) == (function, (1,), {})


@pytest.mark.parametrize(
    "function", [functools.partial(square, 3), Multiplier(3).times, Multiplier.times, "text".join, [1].append]
)
def test_everything_else_goes_as_a_whole(function: Callable[..., Any]) -> None:
    assert pickling.dump_call((function, (), {})).startswith(bytes(2))
    loaded, args, kwargs = round_trip(function, 1, key=2)
    assert type(loaded) is type(function)
    assert (args, kwargs) == ((1,), {"key": 2})


def test_arguments_of_any_kind_arrive() -> None:
    for args in ((), (1, "two", b"3", None, 4.0, True), ([1], {2: 3}), (Multiplier,)):
        assert round_trip(square, *args)[1] == args
    assert round_trip(square, 1, x=[2])[1:] == ((1,), {"x": [2]})


def test_what_function_and_arguments_share_stays_shared() -> None:
    shared = [1]
    function, args, _ = round_trip(functools.partial(same, shared), shared)
    assert isinstance(function, functools.partial)
    assert function.args[0] is args[0]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module that can be changed."""
    made = ModuleType("made_for_a_test")
    exec("def function(): return 1", vars(made))
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def test_a_function_that_is_not_what_its_name_says_is_refused_as_by_pickle(module: ModuleType) -> None:
    function = module.function
    assert round_trip(function)[0] is function
    vars(module)["function"] = abs
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickling.dump_call((function, (), {}))
    del module.function
    with pytest.raises(pickle.PicklingError, match="attribute lookup function on made_for_a_test failed"):
        pickling.dump_call((function, (), {}))


def test_a_worker_looks_a_name_up_each_time(module: ModuleType) -> None:
    body = memoryview(pickling.dump_call((module.function, (), {})))
    assert pickling.load_call(body)[0]() == 1
    vars(module)["function"] = lambda: 2
    assert pickling.load_call(body)[0]() == 2
    del module.function
    with pytest.raises(AttributeError, match="Can't get attribute 'function' on <module 'made_for_a_test'"):
        pickling.load_call(body)


def test_a_module_that_is_not_imported_yet_is() -> None:
    body = memoryview(pickling.dump_call((math.sqrt, (4,), {})))
    body_of_other = bytes(body).replace(b"math\nsqrt", b"this_module_is_nowhere\nf")
    line_length = len(b"this_module_is_nowhere\nf").to_bytes(2, "little")
    with pytest.raises(ModuleNotFoundError, match="this_module_is_nowhere"):
        pickling.load_call(memoryview(line_length + body_of_other[2:]))


def test_only_functions_that_go_by_name_are_remembered() -> None:
    numbers = [1]
    for function in (numbers.append, "text".join, abs):
        pickling.dump_call((function, (), {}))
    assert abs in pickling._heads
    assert not {numbers.append, "text".join} & pickling._heads.keys()


def test_lambdas_and_inner_functions_are_refused() -> None:
    def inner() -> None: ...

    for function in (lambda: 1, inner):
        with pytest.raises((pickle.PicklingError, AttributeError), match="pickle"):
            pickling.dump_call((function, (), {}))


def test_errors_of_the_arguments_come_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="not to be pickled"):
        pickling.dump_call((square, (Refusing(),), {}))


class Registered:
    """Whose reducers come late."""


def test_reducers_of_both_registries_count_whenever_they_are_registered() -> None:
    assert isinstance(pickle.loads(pickling.dumps(Registered())), Registered)
    register: Any = copyreg.pickle
    try:
        register(Registered, lambda _: (str, ("by copyreg",)))
        assert pickle.loads(pickling.dumps(Registered())) == "by copyreg"
        register = ForkingPickler.register
        register(Registered, lambda _: (str, ("by multiprocessing",)))
        assert pickle.loads(pickling.dumps([Registered()])) == ["by multiprocessing"]
    finally:
        copyreg.dispatch_table.pop(Registered, None)
        ForkingPickler._extra_reducers.pop(Registered, None)  # type: ignore[attr-defined]


def test_neither_side_remembers_functions_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickling, "_MAX_KNOWN", 2)
    for function in (abs, len, sum, min, max):
        assert round_trip(function)[0] is function
    assert len(pickling._heads) <= 2
    assert len(pickling._places) <= 2
