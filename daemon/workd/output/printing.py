"""What a worker prints, line by line: `sys.stdout` and `sys.stderr` of the processes that load task modules.

A line becomes a log line that names its job. Who writes to the descriptors 1 and 2 themselves, as C libraries and
programs that a task starts do, passes by here. A line is what ends with a line break, and what is left without one at
the end of a job; lines of several threads, or of several jobs in one event loop, do not mix. Of a line that was
written over, as progress bars do it, the last state counts.

Loaded in forkservers before the task modules are, so it must load nothing that they may want to load in their own way.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from workd.output.sink import FdTarget, Sink
from workd.output.targets import of_fd
from workd_tasks.context import current

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Iterable

    from typing_extensions import Buffer

    from workd_tasks.context import Context

    Emit = Callable[[str, str, Context | None], None]

MAX_LINE_CHARS: Final = 64 * 1024
"""A line is cut where it is longer: what is kept of it until its end has to have a bound."""

sinks: Final = {"stdout": Sink(FdTarget(1, of_fd)), "stderr": Sink(FdTarget(2, of_fd))}
"""What is written to our own stdout and stderr goes through these, log lines too."""


class _Open:
    """A line that has no end yet."""

    __slots__ = ("chars", "half", "parts", "whose")

    def __init__(self, whose: Context | None) -> None:
        self.whose = whose
        self.parts: list[str] = []
        self.chars = 0
        self.half = b""  # of a character: its rest is to come

    def add(self, text: str) -> None:
        text = self.take_half().decode("utf-8", "backslashreplace") + text
        if "\r" in text:
            self.parts, text = [], _last_state("".join((*self.parts, text)))
            self.chars = 0
        self.parts.append(text)
        self.chars += len(text)

    def take_half(self) -> bytes:
        half, self.half = self.half, b""
        return half

    def text(self) -> str:
        return "".join((*self.parts, self.half.decode("utf-8", "backslashreplace")))


open_lines: Final[dict[tuple[str, int, int], _Open]] = {}
"""What was printed and has no end yet, by stream, thread and job. Whoever runs jobs looks at it after each of them."""

_make_decoder: Final = codecs.getincrementaldecoder("utf-8")

_main: contextvars.Context | None = None  # that of the thread that runs jobs


def job() -> Context | None:
    """Return the job in whose name something is said here: that of this context, or of the thread that runs jobs.

    A thread that a task starts does not inherit its context.
    """
    found = current.get(None)
    return found if found is not None or _main is None else _main.get(current)


def look_into(context: contextvars.Context) -> None:
    """Say where the jobs of this process run, so that threads that they start can be told whose they are."""
    global _main  # noqa: PLW0603 - one worker, one thread that runs jobs
    _main = context


def _emit_plainly(stream: str, line: str, _job: Context | None) -> None:
    sinks[stream].write(f"{line}\n".encode("utf-8", "backslashreplace"))


emit: Emit = _emit_plainly
"""How a line is written; changed by `render_with`."""


def render_with(make: Emit) -> None:
    """Have each printed line, without its end, go to `make` from now on, with its stream and its job."""
    global emit  # noqa: PLW0603 - there is one log
    emit = make


def end_job(of: Context | None) -> None:
    """Write what a job has printed and not ended with a line break. To be called while `open_lines` is not empty."""
    for key, line in list(open_lines.items()):
        if line.whose is of:
            open_lines.pop(key, None)
            _emit(key[0], line.text(), of)


def end_all() -> None:
    """Write what anybody has printed and not ended."""
    for line in list(open_lines.values()):
        end_job(line.whose)


def _emit(stream: str, line: str, whose: Context | None) -> None:
    with contextlib.suppress(Exception):  # logging's own rule: what cannot be logged ends no job
        emit(stream, _last_state(line).rstrip("\r"), whose)


def _last_state(line: str) -> str:
    """Return what is to be seen of a line in which carriage returns went back to its beginning."""
    seen = line.rstrip("\r")
    return seen.rpartition("\r")[2] + line[len(seen) :][:1]


class Stream(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`. No terminal, whatever is behind it."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = False
    mode = "w"

    def __init__(self, name: str, fd: int) -> None:
        """`name` is stdout or stderr, `fd` what the process has for it."""
        super().__init__()
        self._stream = name
        self._fd = fd
        self._bytes = _Bytes(self)
        self.name = f"<{name}>"

    @property
    def buffer(self) -> _Bytes:
        """The same for bytes."""
        return self._bytes

    def write(self, text: str, /) -> int:
        """Take text, and write the lines that it completes."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        whose = job()
        key = (self._stream, get_ident(), id(whose))
        *lines, rest = text.split("\n")
        if lines and (before := open_lines.pop(key, None)) is not None:
            lines[0] = before.text() + lines[0]
        for line in lines:
            self._say(line, whose)
        if rest:
            self._keep(key, whose, rest)
        return len(text)

    def write_bytes(self, raw: bytes) -> None:
        """Take bytes; of a character that is not whole yet, the next ones of the same job and thread are the rest."""
        key = (self._stream, get_ident(), id(whose := job()))
        line = open_lines.get(key)
        decoder = _make_decoder("backslashreplace")
        text = decoder.decode(raw if line is None else line.take_half() + raw)
        self.write(text)
        if half := decoder.getstate()[0]:
            open_lines.setdefault(key, _Open(whose)).half = half

    def _keep(self, key: tuple[str, int, int], whose: Context | None, text: str) -> None:
        line = open_lines.setdefault(key, _Open(whose))
        line.add(text)
        if line.chars > MAX_LINE_CHARS:
            del open_lines[key]
            self._say(line.text(), whose)

    def _say(self, line: str, whose: Context | None) -> None:
        while len(line) > MAX_LINE_CHARS:
            _emit(self._stream, line[:MAX_LINE_CHARS], whose)
            line = line[MAX_LINE_CHARS:]
        _emit(self._stream, line, whose)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]  # typeshed has Iterable[Buffer] for bytes
        """Take the text of several lines, ends included."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: whole lines are written at once, and half ones when they are whole."""

    def fileno(self) -> int:
        """Return the descriptor: what is written there is no log line."""
        return self._fd

    def isatty(self) -> bool:
        """Say no, so that nobody draws here."""
        return False

    def writable(self) -> bool:
        """Say yes."""
        return True

    def readable(self) -> bool:
        """Say no."""
        return False

    def reconfigure(self, **_: Any) -> None:
        """Change nothing: what programs set here (UTF-8, lines at once) is so already."""

    def close(self) -> None:
        """Stay open: a library that closes its stream must not silence whoever logs after it."""


class _Bytes(io.BufferedIOBase):
    """`sys.stdout.buffer`: UTF-8, where what is none is escaped."""

    def __init__(self, of: Stream) -> None:
        super().__init__()
        self._of = of

    def write(self, data: Buffer, /) -> int:
        raw = bytes(data)
        self._of.write_bytes(raw)
        return len(raw)

    def flush(self) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        return self._of.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open."""

    @property
    def raw(self) -> Any:
        return self


def install() -> None:
    """Put our streams in the place of this process's, for good. Safe twice."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        if not isinstance(before, Stream):
            with contextlib.suppress(Exception):  # closed, or None
                before.flush()
            setattr(sys, name, Stream(name, fd))
        sinks[name].waits = True
