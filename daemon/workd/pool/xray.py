"""Where a worker is, asked without stopping it.

    question on the board, QUESTION_SIGNAL ──▶ its own answer (`child/stacks`): whole, with names and coroutines
        │ none within ASK_S: its main thread is in C code
        ├─ no other thread is at work ──▶ STACKS_SIGNAL: `faulthandler`, all threads, without the interpreter's lock
        ├─ one is ──▶ OWN_STACK_SIGNAL: the main thread alone, since to read frames that change can kill the worker
        └─ nothing is written within DUMP_S ──▶ what the kernel says of the process

A worker is asked by one at a time; who asks meanwhile has the same answer. Of what a worker has written nothing is
believed: it is bounded, parsed, and text for people. Nothing here blocks, and nothing here kills.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from workd.control_wire import Frame, Stack
from workd.pool import board, processes
from workd.pool.slot import TenantState

if TYPE_CHECKING:
    from workd.pool.slot import Tenant

ASK_S: Final = 0.3
SLEEPS_S: Final = 0.05  # who sleeps after so long is in a system call that the signal did not end
STARVED_S: Final = 2.0  # more, if it had no core meanwhile
_CORE_S: Final = 0.03  # who has had a core for so long would have answered, were it not in C code
DUMP_S: Final = 1.0
AT_ONCE: Final = 16  # workers that are asked at the same time
_POLL_S: Final = 0.005
_LOOKS: Final = 3  # so many times in a row a thread is to be at work: one that waits for the lock wakes up now and then
_LOOK_S: Final = 0.002
_SLICE: Final = 100  # stacks that are made in one turn of the loop
_THREAD: Final = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):")
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')

Line = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at one worker has brought. `note` is for people: what could not be seen, and why."""

    stacks: tuple[Stack, ...] = ()
    how: Literal["answer", "signal", "none"] = "none"
    note: str = ""
    kernel: str = ""  # where in the kernel it is, if it gave no answer at all


class _Stack(BaseModel):
    kind: Literal["thread", "coroutine"]
    name: str
    frames: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=200)]
    tid: Annotated[int, Field(ge=0)] = 0
    key: Annotated[int, Field(ge=0)] = 0


class _Said(BaseModel):
    """A worker's answer. Frames are indices of places."""

    places: list[tuple[str, Line, str]]
    stacks: Annotated[list[_Stack], Field(max_length=2_000)]


@dataclass(slots=True)
class Xray:
    """Asks the workers of one pool."""

    _asked: dict[Tenant, asyncio.Future[Look]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def look(self, tenant: Tenant) -> Look:
        """Say where a worker is, within some seconds of its turn: at once, as a rule."""
        asked = self._asked.get(tenant)
        if asked is None:
            asked = self._asked[tenant] = asyncio.ensure_future(self._look(tenant))
            asked.add_done_callback(lambda _: self._asked.pop(tenant, None))
        return await asyncio.shield(asked)

    async def _look(self, tenant: Tenant) -> Look:
        async with self._places:
            if (why := _unfit(tenant)) is not None:
                return why
            board.clear_stacks(tenant.channel.board_fd)
            number = secrets.randbits(63) | 1  # never one that it has answered before
            board.write_question(tenant.channel.board_fd, number)
            try:
                return await self._ask(tenant, number)
            finally:
                if _is_askable(tenant):
                    board.write_question(tenant.channel.board_fd, 0)
                    board.clear_stacks(tenant.channel.board_fd)  # its memory

    async def _ask(self, tenant: Tenant, number: int) -> Look:
        """Have the worker answer, or its signal handler."""
        before = processes.usage(tenant.pid)
        tenant.signal(board.QUESTION_SIGNAL)
        if (found := await _answer(tenant, number, ASK_S)) is not None:
            return found
        more_s = STARVED_S if _is_starved(before, processes.usage(tenant.pid)) else 0.0
        if (found := await _answer(tenant, number, more_s)) is not None:
            return found
        if not _is_askable(tenant):
            return Look(note=_GONE)
        if await _is_held_up(tenant.pid):
            return _mute(tenant.pid)  # a dump that it makes when it goes on, nobody knows when, could do harm
        alone = not await _others_at_work(tenant.pid)
        tenant.signal(board.STACKS_SIGNAL if alone else board.OWN_STACK_SIGNAL)
        text = await _dump(tenant, number, DUMP_S)
        if not _is_askable(tenant):
            return Look(note=_GONE)
        if (found := await _answer(tenant, number, 0.0)) is not None:  # it came out of the C code meanwhile
            return found
        if stacks := parse(text):
            note = "its main thread is in C code" if alone else _OTHERS_RUN
            return Look(stacks, "signal", note)
        return _mute(tenant.pid)


_GONE: Final = "the worker has ended, or is being killed"
_OTHERS_RUN: Final = (
    "its main thread is in C code, and other threads are running: to read their stacks now could harm the worker"
)


def _is_askable(tenant: Tenant) -> bool:
    """Say whether the board is there, and nobody else's question is on it: a worker that is to be killed has one."""
    return not tenant.gone and tenant.kill_order is None and tenant.channel.board_fd >= 0


def _unfit(tenant: Tenant) -> Look | None:
    """Return why a worker cannot be asked; None if it can."""
    if tenant.state is TenantState.BOOTING:
        return Look(note="it is starting")
    if not _is_askable(tenant):
        return Look(note=_GONE)
    wanted = (board.QUESTION_SIGNAL, board.STACKS_SIGNAL, board.OWN_STACK_SIGNAL)
    if not all(processes.takes(tenant.pid, number) for number in wanted):
        note = f"the task has taken away the handlers of the signals {board.QUESTION_SIGNAL:d} and following"
        return Look(note=note, kernel=processes.kernel_stack(tenant.pid))
    return None


def _mute(pid: int) -> Look:
    """Say what is known of a worker that does not answer."""
    found = processes.usage(pid)
    state = processes.STATES.get(found.state, found.state) if found is not None else "gone"
    blocked = "; the task blocks the signal that asks" if processes.holds_back(pid, board.QUESTION_SIGNAL) else ""
    return Look(note=f"it does not answer: it is {state}{blocked}", kernel=processes.kernel_stack(pid))


async def _answer(tenant: Tenant, number: int, patience_s: float) -> Look | None:
    """Wait for the worker's own answer; None if there is none, or one that makes no sense."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadline = began + patience_s
    while _is_askable(tenant):
        if text := board.read_answer(tenant.channel.board_fd, number):
            try:
                return Look(await _stacks(_Said.model_validate_json(text)), "answer")
            except (ValidationError, IndexError):
                return None
        now = loop.time()
        if now >= deadline or (now - began > SLEEPS_S and _sleeps(tenant.pid)):
            return None
        await asyncio.sleep(_POLL_S)
    return None


def _sleeps(pid: int) -> bool:
    """Say whether all threads of a worker wait for something, so that no answer is to be expected."""
    found = processes.usage(pid)
    return found is not None and found.state == "S" and not processes.other_threads_at_work(pid)


async def _stacks(said: _Said) -> tuple[Stack, ...]:
    """Return an answer's stacks, made in slices. Raises IndexError for a place that there is not."""
    frames = [Frame(file=file[:400], line=line, function=name[:100]) for file, line, name in said.places]
    found: list[Stack] = []
    for number, stack in enumerate(said.stacks, 1):
        own = tuple(frames[index] for index in stack.frames)
        found.append(Stack(kind=stack.kind, name=stack.name[:100], frames=own, tid=stack.tid, key=stack.key))
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return tuple(found)


def _is_starved(before: processes.Usage | None, after: processes.Usage | None) -> bool:
    """Say whether a worker wants to run and others have the cores."""
    if before is None or after is None:
        return False
    return after.state == "R" and after.cpu_s - before.cpu_s < _CORE_S


async def _is_held_up(pid: int) -> bool:
    """Say whether a worker takes no signals at all, and does not just read a file."""
    for _ in range(_LOOKS):
        found = processes.usage(pid)
        if found is None or found.state not in processes.HELD_UP:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def _others_at_work(pid: int) -> bool:
    """Say whether other threads run Python, for all that can be seen: then the main one does not have its lock."""
    for _ in range(_LOOKS):
        if not processes.other_threads_at_work(pid):
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def _dump(tenant: Tenant, number: int, patience_s: float) -> str:
    """Wait until `faulthandler` has written, and return what it wrote."""
    deadline, before = asyncio.get_running_loop().time() + patience_s, 0
    while _is_askable(tenant):
        fd = tenant.channel.board_fd
        size = board.stacks_size(fd)
        if (size > 0 and size == before) or board.read_answer(fd, number):
            return board.read_all_stacks(fd)
        if asyncio.get_running_loop().time() >= deadline:
            return ""
        before = size
        await asyncio.sleep(_POLL_S)
    return ""


def parse(text: str) -> tuple[Stack, ...]:
    """Read what `faulthandler` writes: the main thread is marked as the current one, or the only one."""
    found: list[tuple[str, list[Frame]]] = []
    for line in text.splitlines():
        if line.startswith(("Thread 0x", "Current thread 0x", "Stack (most")):
            head = _THREAD.fullmatch(line)
            is_main = not line.startswith("Thread") or head is None
            name = "MainThread" if is_main or head is None else head[2] or f"thread 0x{head[1].lstrip('0')}"
            found.append((name[:100], []))
        elif found and (frame := _FRAME.fullmatch(line)) is not None and not board.is_ours(frame[1]):
            number = int(frame[2]) if frame[2].isdigit() else 0
            found[-1][1].append(Frame(file=frame[1][:400], line=min(number, 2**31 - 1), function=frame[3][:100]))
    stacks = [Stack(kind="thread", name=name, frames=tuple(frames[:200])) for name, frames in found]
    return tuple(sorted(stacks, key=lambda stack: stack.name != "MainThread"))
