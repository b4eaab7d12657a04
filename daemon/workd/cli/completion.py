"""`workd completion SHELL`: what a shell has to read so that Tab completes commands and options.

The script is typer's: the shell asks `workd` itself what could come next, by the variable _WORKD_COMPLETE.
"""

from __future__ import annotations

import contextlib
import io
import os
from enum import StrEnum
from typing import Annotated

import typer

from workd.cli import looking_after as shared
from workd.cli.looking_after import AsJson
from workd.exits import Exit

_VARIABLE = "_WORKD_COMPLETE"


class Shell(StrEnum):
    """The shells that are tested; typer knows PowerShell's, too."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish", show_default=False)],
    as_json: AsJson = False,
) -> int:
    """Print what a shell reads to complete workd's commands.

    For yourself alone `workd --install-completion` is shorter. System wide the places are
    /usr/share/bash-completion/completions/workd, /usr/share/zsh/vendor-completions/_workd and
    /usr/share/fish/vendor_completions.d/workd.fish.

    Example: workd completion bash > workd.bash
    """
    text = script(shell)
    if as_json:
        shared.echo_json({"shell": shell.value, "script": text})
    else:
        typer.echo(text)
    return Exit.OK


def script(shell: Shell) -> str:
    """Ask typer for it in the documented way, which is how a shell asks: by the environment."""
    from workd.cli import app

    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = f"source_{shell}"
    written = io.StringIO()
    try:
        with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
            app.app(args=[], prog_name="workd")
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
    return written.getvalue().strip()
