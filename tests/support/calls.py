"""Functions that tests have a local pool call: its workers must be able to import them."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from support.waiting import eventually
from workd_tasks.errors import SoftTimeout


def square(x: int) -> int:
    return x * x


def add(x: int, y: int = 0) -> int:
    return x + y


def same(value: Any) -> Any:
    return value


def fail(text: str) -> None:
    raise LookupError(text)


def square_or_fail(x: int) -> int:
    if x % 10 == 7:
        raise LookupError(x)
    return x * x


def die(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(60)


def square_or_die(x: int) -> int:
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def sleep_softly(seconds: float) -> str:
    """Clean up when the time is up, and say so."""
    try:
        time.sleep(seconds)
    except SoftTimeout:
        return "cleaned up"
    return "slept"


def grow(size: int) -> int:
    """Fill so much memory and keep it for a while."""
    block = bytearray(os.urandom(1024)) * (size // 1024)
    time.sleep(30)
    return len(block)


def leave(code: int) -> None:
    sys.exit(code)


def make_lock(_: int) -> object:
    return threading.Lock()


def pid(_: object = None) -> int:
    return os.getpid()


def touch(path: str) -> None:
    Path(path).touch()


def touch_and_wait(path: str, other: str) -> None:
    """Say that the call runs, and return once the other file is there."""
    Path(path).touch()
    eventually(lambda: Path(other).exists(), timeout_s=30)


def leave_trace(path: str, _: object) -> None:
    """Have each call leave one byte."""
    with Path(path).open("a") as file:
        file.write(".")


class TwoArgumentsError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first}, {second}")


def fail_unpicklably() -> NoReturn:
    raise TwoArgumentsError(1, 2)


class PretendingError(Exception):
    """Is a string once it has been unpickled."""

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, ("no exception",)


class FrozenError(Exception):
    """Has attributes that can't be set."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{name} is frozen"
        raise AttributeError(msg)


def fail_with(kind: type[BaseException], text: str) -> NoReturn:
    raise kind(text)


class Refusing:
    """Can't be pickled."""

    def __reduce__(self) -> NoReturn:
        msg = "not to be pickled"
        raise RuntimeError(msg)


class Multiplier:
    """A callable with a state."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def times(self, x: int) -> int:
        return x * self.factor


def remember(value: object) -> None:
    globals()["remembered"] = value


def recall(_: int) -> object:
    return globals().get("remembered")


def refuse_to_start(text: str) -> None:
    raise RuntimeError(text)


def is_same(one: object, other: object) -> bool:
    return one is other


def fail_after(seconds: float, text: str) -> None:
    time.sleep(seconds)
    raise LookupError(text)


def wait_with(block: tuple[str, str, bytes]) -> None:
    touch_and_wait(*block[:2])


class Counted:
    """Knows how many of it there are."""

    instances = 0

    def __init__(self) -> None:
        type(self).instances += 1

    def __getstate__(self) -> object:
        return 1

    def __setstate__(self, _: object) -> None:
        type(self).instances += 1

    def __del__(self) -> None:
        type(self).instances -= 1


def raise_if(path: str) -> None:
    if Path(path).exists():
        msg = "the flag is there"
        raise RuntimeError(msg)


def count_up(number: int) -> None:
    """Use what was given to the initializer: a lock, a queue, a shared value and the end of a pipe."""
    lock, queue, value, connection = globals()["remembered"]
    with lock:
        value.value += 1
        connection.send("counted")
    queue.put(number)
