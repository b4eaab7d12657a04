"""What the workers of a local pool are told before their first call: the main module, the initializer.

Used by `start.py`, once the forkserver is being started.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any

from workd.pool.api.handover import Handover
from workd.pool.pickling import dumps
from workd.pool.requests import CALL_WORK, LoadSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.pool.requests import StartMethod


def prepare(
    method: StartMethod, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> tuple[LoadSpec, Callable[[], None]]:
    """Return what the workers load, and what to call when no worker is to be started any more.

    Raises whatever the pickling of the initializer and its arguments raises.
    """
    preparation = spawn.get_preparation_data("workd-worker")
    preparation.pop("start_method", None)
    if not os.path.isfile(preparation.get("init_main_from_path", "")):  # noqa: PTH113 - `python -` calls it <stdin>
        preparation.pop("init_main_from_path", None)
    preparation["authkey"] = bytes(preparation["authkey"]).hex()
    handover = Handover()
    try:
        with handover.pickling():
            pickled = dumps((initializer, initargs))
    except BaseException:
        handover.close()
        raise
    options = {"preparation": preparation, "initializer": pickled.hex()}
    return LoadSpec(CALL_WORK, options=options, path=tuple(sys.path), start_method=method), handover.close
