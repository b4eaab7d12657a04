"""Standard output and error of processes that may be killed at any moment, or forked in the middle of a line."""

from __future__ import annotations

import contextlib
import io
import sys


def write_whole_lines() -> None:
    """Have each line that a task prints leave at once, in one write.

    A worker may be killed at any moment, and what its buffers hold then is lost. `write_through`, which
    PYTHONUNBUFFERED sets, would write the line and its end apart, so that lines of several workers mix.
    """
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if isinstance(stream, io.TextIOWrapper):  # a task module may have put anything there
            stream.reconfigure(line_buffering=True, write_through=False)


def flush_streams() -> None:
    """Write out what is buffered for stdout and stderr, as far as anybody takes it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # closed, or broken
            if stream is not None:
                stream.flush()


def print_exception() -> None:
    """Print the exception that ends this process; nobody is left to tell."""
    import traceback

    traceback.print_exc()
