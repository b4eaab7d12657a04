"""Where everybody in a worker is, told by the worker itself: the threads, and the coroutines that wait in its loop.

The supervisor writes a number onto the board and sends `QUESTION_SIGNAL`; the handler, in the worker's main thread,
writes the answer onto the board. It runs between two steps of Python code with the interpreter's lock, so what it sees
is whole, which cannot be said of `faulthandler` while other threads run: it reads their frames under their feet, and
the worker may die of that. It is the answer of a worker that can give one; for one that is in C code, see `xray.py`.

It must not change anything for the task: no lock is taken that the interrupted code may hold, no exception gets out but
those that were on their way anyway, and the signal restarts system calls where the kernel can do that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from workd.pool import board

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from types import CodeType, FrameType

Place = tuple[str, int, str]
"""File, line, function."""

MAX_STACKS: Final = 1_200  # more than a worker may run coroutines at once
MAX_FRAMES: Final = 60  # of one stack: the innermost
_ALL_FRAMES: Final = 8_000
_PATH_CHARS: Final = 300
_NAME_CHARS: Final = 80
_OWN_FOLDERS: Final = (os.path.dirname(__file__), os.path.dirname(board.__file__))  # noqa: PTH120 - pathlib is heavy
_BOTTOM: Final = frozenset(f"{_OWN_FOLDERS[0]}/{name}" for name in ("worker.py", "forkserver.py"))

runs_on_loop: Callable[[], dict[int, list[asyncio.Task[Any]]]] | None = None
"""Set by `looping`: each job's asyncio tasks, by key."""
_board_fd = -1
_own_pid = 0
_answered = 0


def install(board_fd: int) -> None:
    """Answer the questions on this board. Called once in a worker, in its main thread."""
    global _board_fd, _own_pid
    _board_fd, _own_pid = board_fd, os.getpid()
    signal.signal(board.QUESTION_SIGNAL, _on_question)
    signal.siginterrupt(board.QUESTION_SIGNAL, False)  # noqa: FBT003 - C code that knows no EINTR is not disturbed


def _on_question(_number: int, frame: FrameType | None) -> None:
    global _answered  # noqa: PLW0603 - the state of one process
    with suppress(Exception):  # whatever it is, the task has nothing to do with it. `SoftTimeout` is none of these.
        question = board.read_question(_board_fd)
        if question not in (0, _answered) and os.getpid() == _own_pid:  # what a task forks has this handler, too
            _answered = question
            text = as_json(describe(frame))
            if len(text) > board.MAX_ANSWER_BYTES:  # nearly every frame is in a place of its own
                text = as_json(describe(frame, _ALL_FRAMES // 16))
            board.write_answer(_board_fd, question, text)


def as_json(stacks: list[dict[str, Any]]) -> bytes:
    """Write stacks with each place once, since a thousand coroutines are mostly in the same few: frames are indices."""
    places: dict[Place, int] = {}
    for stack in stacks:
        stack["frames"] = [places.setdefault(place, len(places)) for place in stack["frames"]]
    said = {"places": list(places), "stacks": stacks}
    # Half a surrogate pair, as in names of files that are no UTF-8, is not JSON that anybody else reads.
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def describe(interrupted: FrameType | None, left: int = _ALL_FRAMES) -> list[dict[str, Any]]:
    """Return the stacks, the main thread's first, of `left` frames in all; `interrupted` is its frame. See `_stack`."""
    main = threading.main_thread().ident
    frames = sys._current_frames()  # noqa: SLF001 - the documented way
    frames.pop(main or 0, None)
    found: list[dict[str, Any]] = []
    for ident, frame in ((main, interrupted), *frames.items()):
        thread = threading._active.get(ident)  # type: ignore[attr-defined]  # noqa: SLF001 - enumerate() takes a lock
        stack = _stack("thread", thread.name if thread else f"thread {ident}", _thread_frames(frame))
        found.append(stack | {"tid": getattr(thread, "native_id", None) or 0})
    for key, name, task, is_running in _tasks():
        coroutine = task.get_coro()
        own = _running_frames(interrupted, coroutine) if is_running else _coroutine_frames(coroutine)
        found.append(_stack("coroutine", name, own) | {"key": key})
    for stack in found[:MAX_STACKS]:
        stack["frames"] = stack["frames"][: max(0, left)]
        left -= len(stack["frames"])
    return found[:MAX_STACKS]


def _stack(kind: str, name: str, frames: list[Place]) -> dict[str, Any]:
    """Return what one stack is: kind, name, frames (file, line, function), innermost first."""
    return {"kind": kind, "name": str(name)[:_NAME_CHARS], "frames": frames}  # a thread's may be set to anything


def _thread_frames(frame: FrameType | None) -> list[Place]:
    """Return a thread's frames, without ours and without what has started the worker."""
    found: list[Place] = []
    while frame is not None and len(found) < MAX_FRAMES and frame.f_code.co_filename not in _BOTTOM:
        if not _is_ours(frame.f_code):
            found.append(_place(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found


def _running_frames(frame: FrameType | None, coroutine: Any) -> list[Place]:
    """Return the frames of the coroutine that the main thread is just in: they are on its stack."""
    outermost = getattr(coroutine, "cr_frame", None)
    found: list[Place] = []
    while frame is not None and len(found) < MAX_FRAMES:
        if not _is_ours(frame.f_code):
            found.append(_place(frame.f_code, frame.f_lineno))
        if frame is outermost:
            break
        frame = frame.f_back
    return found


def _coroutine_frames(coroutine: Any) -> list[Place]:
    """Return the frames of a coroutine and of what it awaits."""
    found: list[Place] = []
    while coroutine is not None and len(found) < MAX_FRAMES:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        frame = frame or getattr(coroutine, "ag_frame", None)
        if frame is not None and not _is_ours(frame.f_code):
            found.append(_place(frame.f_code, frame.f_lineno))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    found.reverse()
    return found


def _is_ours(code: CodeType) -> bool:
    return os.path.dirname(code.co_filename) in _OWN_FOLDERS  # noqa: PTH120 - as above


def _place(code: CodeType, line: int | None) -> Place:
    return code.co_filename[-_PATH_CHARS:], line or 0, code.co_qualname[-_NAME_CHARS:]


def _tasks() -> list[tuple[int, str, asyncio.Task[Any], bool]]:
    """Return all asyncio tasks of the main thread's loop: job key (0: nobody's), name, task, whether it is running."""
    events = sys.modules.get("asyncio.events")
    loop = events._get_running_loop() if events is not None else None  # noqa: SLF001 - by this name it is documented
    if loop is None:
        return []
    whose = {id(task): key for key, tasks in (runs_on_loop() if runs_on_loop else {}).items() for task in tasks}
    asyncio_tasks = sys.modules["asyncio.tasks"]
    running = asyncio_tasks.current_task(loop)
    tasks = asyncio_tasks.all_tasks(loop)
    keyed = [(whose.get(id(task), 0), task.get_name(), task, task is running) for task in tasks]
    return sorted(keyed, key=lambda one: (not one[0], one[0]))
