"""Functions that tests have a local pool call: its workers must be able to import them."""

import os
import sys
import threading
import time


def square(x: int) -> int:
    return x * x


def add(x: int, y: int = 0) -> int:
    return x + y


def fail(text: str) -> None:
    raise LookupError(text)


def die(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)
    time.sleep(60)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def leave(code: int) -> None:
    sys.exit(code)


def make_lock(_: int) -> object:
    return threading.Lock()


class TwoArgumentsError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first}, {second}")


def fail_unpicklably() -> None:
    raise TwoArgumentsError(1, 2)


def remember(value: int) -> None:
    globals()["remembered"] = value


def recall(_: int) -> object:
    return globals().get("remembered")


def refuse_to_start(text: str) -> None:
    raise RuntimeError(text)
