"""The typer application, and the one place where an exception becomes a line on stderr and an exit code."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from workd import errors
from workd.cli import (
    acl,
    cancel,
    completion,
    config,
    dead,
    demo,
    doctor,
    enqueue,
    inspect,
    plain,
    probe,
    queues,
    quiet,
    result,
    run,
    scale,
    schedule,
    schema,
    stacks,
    status,
)
from workd.exits import Exit
from workd_tasks import TaskError

app = typer.Typer(
    name="workd",
    help="Run Redis task messages in a supervised pool of worker processes.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("run")(run.run)
app.command("enqueue")(enqueue.enqueue)
app.command("result")(result.result)
app.command("cancel")(cancel.cancel)
app.command("status")(status.status)
app.command("inspect")(inspect.inspect)
app.command("stacks")(stacks.stacks)
app.command("scale")(scale.scale)
app.command("quiet")(quiet.quiet)
app.command("resume")(quiet.resume)
app.command("reload")(quiet.reload)
app.command("config")(config.config)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("completion")(completion.completion)
app.command("health")(probe.health)
app.command("acl")(acl.acl)
app.add_typer(dead.app, name="dead")
app.add_typer(queues.app, name="queues")
app.add_typer(schedule.app, name="schedule")

_NEGATIVE_NUMBER = re.compile(r"-\d")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workd {version('workd')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks (anywhere on the line)")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Run Redis task messages in a supervised pool of worker processes."""


def call(argv: list[str], launched: object = None) -> int:
    """Run one command line and return its exit code. `launched` is what `__main__` started beforehand."""
    argv, debug = _take_debug(argv)
    try:
        result = app(args=argv or ["--help"], prog_name="workd", standalone_mode=False, obj=launched)
    except BrokenPipeError:
        return Exit.CLOSED
    except SystemExit as end:  # typer's answer to a closed pipe; and its own ends, such as a completion's
        if isinstance(end.__context__, BrokenPipeError):
            return Exit.CLOSED
        raise
    except Exception as error:  # noqa: BLE001 - the end of the line: whatever it is becomes an exit code
        return _report(error, debug=debug)
    return int(result or 0)


def _take_debug(argv: list[str]) -> tuple[list[str], bool]:
    """Find `--debug` before or after the command's name; what comes after `--` is not ours."""
    end = argv.index("--") if "--" in argv else len(argv)
    ours = [word for word in argv[:end] if word != "--debug"]
    return ours + argv[end:], len(ours) < end


def _report(error: Exception, *, debug: bool) -> int:
    """Say what went wrong in one line, and what exit code that is."""
    code = exit_code(error)
    if debug or code is Exit.BUG:
        traceback.print_exception(error)
    line = plain.line(_words(error)) or type(error).__name__
    hint = " (a mistake of workd's: please report it with the lines above)" if code is Exit.BUG else ""
    sys.stderr.write(f"workd: {line}{hint}\n")
    return code


def _words(error: Exception) -> str:
    """Take an error's own one-line form, which typer's have (click's, in its older versions)."""
    option = str(getattr(error, "option_name", ""))
    if _NEGATIVE_NUMBER.match(option):  # in our words: the library's quotes differ from release to release
        return f"No such option: {option} (for an argument, write -- before the first one)"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return f"the output cannot be written: {error.strerror}"
    format_message = getattr(error, "format_message", None)
    return str(format_message()) if callable(format_message) else str(error)


def exit_code(error: Exception) -> Exit:
    """Map what a command raised to how the process ends."""
    match error:
        case errors.SettingsError():
            return Exit.CONFIG
        case TaskError():
            return Exit.TASKS
        case errors.BootError():
            return Exit.TASKS if error.module else Exit.BOOT
        case errors.BrokerError() | errors.ServerUnavailableError() | errors.EnqueueTimeoutError():
            return Exit.REDIS
        case errors.InvalidJobError():
            return Exit.USAGE
        case errors.WorkdError():
            return Exit.FAILURE
        case OSError() if error.errno in _NO_ROOM:
            return Exit.FAILURE
        case _:
            return Exit.USAGE if hasattr(error, "format_message") else Exit.BUG
