"""The console script, and `python -m workd`.

What has to happen before anything heavy is imported happens here: `workd health` is answered with the
standard library alone, and the forkserver is started while this process is still small and single-threaded.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from workd.exits import Exit

if TYPE_CHECKING:
    from typing import TextIO

    from workd.pool.launcher import Forkserver

_COMMAND_LINE = ("typer", "pydantic_settings", "rich")


def main() -> int:
    """Run the command line of this process and return its exit code."""
    _have_standard_files()
    try:
        return _run(sys.argv[1:])
    except KeyboardInterrupt:  # before anything that has an answer to it was imported
        return Exit.INTERRUPTED
    except BrokenPipeError:  # of `workd health`, or stderr's; the others have their own answer
        return Exit.CLOSED
    finally:
        _flush()


def _have_standard_files() -> None:
    """Put the null device where this process was started without stdin, stdout or stderr.

    The first sockets that it opens would get their numbers otherwise, and all that is printed would go there. What
    stdout's encoding does not have is escaped, as on stderr: names and errors are others', and may have any character.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - the signature of the library
            setattr(sys, name, open(fd, "w" if fd else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    with contextlib.suppress(AttributeError):  # somebody has put something else there
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _run(argv: list[str]) -> int:
    if argv[:1] == ["health"]:
        from workd.cli import health

        return health.main(argv[1:])
    launched = _launch_early(argv)
    try:
        from workd.cli import app
    except ModuleNotFoundError as error:
        if error.name not in _COMMAND_LINE:
            raise
        extra = "demo" if argv[:1] == ["demo"] else "daemon"
        sys.stderr.write(f"workd: {error.name} is not installed: pip install 'workd[{extra}]'\n")
        return Exit.FAILURE
    return app.call(argv, launched)


def _launch_early(argv: list[str]) -> Forkserver | None:
    """Start the forkserver for `workd run`, before typer and pydantic make this process large.

    It imports its own libraries while we import ours. If the command line turns out to be wrong, this process ends,
    and the kernel ends the forkserver with it.
    """
    if argv[:1] != ["run"] or not {"-h", "--help"}.isdisjoint(argv):
        return None
    from workd.pool.launcher import Forkserver
    from workd.signals import hold_back

    hold_back()
    if "--reload" in argv:  # two versions of one size that were saved within a second are one to Python's cache
        os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    return Forkserver()


def _flush() -> None:
    """Write what is buffered; where nobody reads any more, throw it away.

    A terminal may go before the daemon does. Python would flush at its very end too, fail, and make the exit code of
    a clean drain 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def _silence(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # it has no file, or is closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
