"""Samples the process that it is imported into, wherever its CPU time goes; Python imports it by its name at the start.

`samples.py` puts this folder on the PYTHONPATH of a daemon and names a folder in BENCH_SAMPLES. Every process of that
daemon writes one line to a file of its own for each tick of its CPU clock (the kernel's: some milliseconds):

    monotonic seconds · P or V · the frames, innermost first, as file:function:line, with tabs between all

Two clocks run: P ticks with all CPU time, V with that in user mode. What is missing in V was the kernel's.

A signal's handler runs at the interpreter's next look at its signals: after a call of a C function, so that the time
in it (a system call, pydantic, hiredis) counts for the line that called; at a jump back; and on the way into a Python
function. There the time before belongs to the caller, so that frame is left out: a callback that the event loop has
just called stands for time in the loop. The garbage collector, which would count for whatever line made an object just
then, is found by a callback that it calls at its end, and stands in the innermost place. Only the main thread is seen,
where a daemon does everything.
"""

import gc
import opcode
import os
import signal
import sys
import time
from types import CodeType, FrameType

FOLDER = os.environ.get("BENCH_SAMPLES", "")
INTERVAL_S = 0.001  # finer than the kernel's tick: it rounds up
MAX_DEPTH = 24
RESUME = opcode.opmap["RESUME"]
CLOCKS = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGVTALRM: signal.ITIMER_VIRTUAL}

_names: dict[CodeType, str] = {}
_bytecode: dict[CodeType, bytes] = {}
_fd = -1


def _sample(number: int, frame: FrameType | None) -> None:
    words = [f"{time.monotonic():.6f}", "P" if number == signal.SIGPROF else "V"]
    while frame is not None and _is_entering(frame):
        if frame.f_code is _at_collection.__code__ and frame.f_locals["phase"] == "stop":
            words.append("<gc>:collect:0")
        frame = frame.f_back
    while frame is not None and len(words) < MAX_DEPTH:
        code = frame.f_code
        name = _names.get(code)
        if name is None:
            name = _names[code] = f"{code.co_filename}:{code.co_qualname}:"
        words.append(f"{name}{frame.f_lineno or code.co_firstlineno}")
        frame = frame.f_back
    os.write(_fd, ("\t".join(words) + "\n").encode())


def _at_collection(phase: str, info: dict[str, int]) -> None:
    """Be called by the collector before and after its work: a tick of that time is handled on the way in here."""


def _is_entering(frame: FrameType) -> bool:
    code = frame.f_code
    bytecode = _bytecode.get(code)
    if bytecode is None:
        bytecode = _bytecode[code] = code.co_code  # a copy each time that it is asked for
    return bytecode[frame.f_lasti] == RESUME


def _start() -> None:
    """Sample this process from here on; called again in each fork, which inherits no timers."""
    global _fd  # noqa: PLW0603 - of this process
    if _fd >= 0:
        os.close(_fd)
    _fd = os.open(os.path.join(FOLDER, str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # noqa: PTH118
    for number, clock in CLOCKS.items():
        signal.signal(number, _sample)
        signal.siginterrupt(number, False)
        signal.setitimer(clock, INTERVAL_S, INTERVAL_S)


if FOLDER:
    _start()
    gc.callbacks.append(_at_collection)
    os.register_at_fork(after_in_child=_start)
    sys.modules.pop("opcode", None)  # the daemon is to find nothing imported that it would not import itself
