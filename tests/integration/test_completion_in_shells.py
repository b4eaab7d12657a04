"""What Tab does in real shells, with the script that `workd completion` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ASK = {
    "bash": "source {script}; COMP_WORDS=(workd dead re); COMP_CWORD=2; _workd_completion workd;"
    ' echo "${{COMPREPLY[@]}}"',
    # Outside of the line editor zsh has no compsys: what it would offer is shown instead.
    "zsh": "autoload -Uz compinit; compinit -u -d {folder}/dump; source {script};"
    ' words=(workd dead re); CURRENT=3; _arguments() {{ print -r -- "$@" }}; _workd_completion',
    "fish": "source {script}; complete -C 'workd dead re'",
}


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes_the_word(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed (Debian: {shell})")
    folder = tmp_path / "bin"
    folder.mkdir()
    workd = folder / "workd"
    workd.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workd "$@"\n')
    workd.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    script = tmp_path / f"workd.{shell}"
    script.write_bytes(
        subprocess.run([workd, "completion", shell], check=True, capture_output=True, env=environ).stdout
    )
    command = [program, "-c", ASK[shell].format(script=script, folder=tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ, cwd=tmp_path)
    assert "replay" in done.stdout, done
    assert "resume" not in done.stdout
