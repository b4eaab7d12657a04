"""`workd run --reload`: a reload whenever a file with Python code changes. For development.

A loop of the supervisor's. It watches the folders of the task modules, found without importing them, and the present
folder if one of them is in it. A reload that fails says so, with the traceback; the former code goes on.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from workd.log import get_logger

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterable
    from importlib.machinery import ModuleSpec

DEBOUNCE_MS = 400  # an editor that saves several files asks for one reload
SHOWN_FILES = 5

log = get_logger("workd.watching")


async def watch(modules: Iterable[str], reload: Callable[[], Future[str]], here: Path) -> None:
    """Reload after each change of code, one reload at a time, until cancelled."""
    from watchfiles import PythonFilter, awatch

    folders = folders_of(modules, here)
    if not folders:
        log.warning("there is nothing to watch: the task modules are no files", modules=list(modules))
        await asyncio.Event().wait()
    log.info("watching for changes", folders=[str(folder) for folder in folders])
    async for changes in awatch(
        *folders, watch_filter=PythonFilter(), debounce=DEBOUNCE_MS, recursive=True, raise_interrupt=False
    ):
        files = sorted({path for _, path in changes})
        log.info("files have changed", files=files[:SHOWN_FILES], count=len(files))
        await reload()


def folders_of(modules: Iterable[str], here: Path) -> list[Path]:
    """Return the folders to watch, none of them inside another."""
    found = {folder for module in modules for folder in _folders(module.partition(".")[0], here)}
    if any(folder.is_relative_to(here) for folder in found):
        found.add(here)
    return sorted(folder for folder in found if not any(other in folder.parents for other in found))


def _folders(top: str, here: Path) -> Iterable[Path]:
    spec = _find(top, here)
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        yield from (Path(place).resolve() for place in spec.submodule_search_locations)
    elif spec.origin is not None:
        yield Path(spec.origin).resolve().parent


def _find(top: str, here: Path) -> ModuleSpec | None:
    """Find a module that is in no package, which imports nothing: as workers do, first where the daemon was started."""
    if spec := PathFinder.find_spec(top, [str(here), *sys.path]):
        return spec
    try:
        return find_spec(top)  # what is installed to be edited has a finder of its own
    except (ImportError, ValueError):
        return None
