"""What people's tasks import comes along with every environment that deploy/install.sh makes anew."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from support.machines.release import REPOSITORY, release

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_S = 300

pytestmark = [
    pytest.mark.skipif(not (REPOSITORY / "daemon").exists(), reason="the tests run outside the repository"),
    pytest.mark.timeout(2 * INSTALL_S),
    pytest.mark.xdist_group("install"),
]


def library(folder: Path) -> Path:
    """Make a library that no index has."""
    path = folder / "shoplib-1.0-py3-none-any.whl"
    about = "shoplib-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("shoplib.py", "VALUE = 17\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: shoplib\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return path


def test_what_the_file_of_requirements_names_is_in_the_new_environment(tmp_path: Path) -> None:
    settings = tmp_path / "etc" / "workd"
    settings.mkdir(parents=True)
    (settings / "requirements.txt").write_text(f"{library(tmp_path)}\n")
    [wheel] = (release() / "dist").glob("*.whl")
    done = subprocess.run(
        ["sh", "-eu", str(release() / "deploy" / "install.sh"), "--wheel", str(wheel), "--python", sys.executable],
        env=dict(os.environ) | {"DESTDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"pip has no index here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    installed = list((tmp_path / "opt" / "workd" / "lib").glob("python3.*/site-packages"))
    assert [(folder / "shoplib.py").exists() for folder in installed] == [True]
    assert [(folder / "workd" / "__main__.py").exists() for folder in installed] == [True]
