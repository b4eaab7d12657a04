"""What systemd itself says of the units, and what they have in common."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ("workd.service", "workd@.service")
OTHERS = ("workd.target", "workd-health.socket", "workd-health@.socket")
WORST_EXPOSURE = 1.5
"""Of 10; what is left of it is named, with its reason, at the end of the unit."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def directives(name: str) -> list[str]:
    """The lines that mean something, those of a drop-in as well."""
    lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are on a machine: with the program where they say that it is."""
    programs = tmp_path / "opt" / "bin"
    programs.mkdir(parents=True)
    for name in ("workd", "python"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for name in (*SERVICES, *OTHERS):
        text = (UNITS / name).read_text(encoding="utf-8")
        (units / name).write_text(text.replace("/opt/workd", str(tmp_path / "opt")))
    return units


@needs_systemd
def test_systemd_accepts_the_units(installed: Path) -> None:
    done = analyze("verify", "--man=no", *(str(installed / name) for name in (*SERVICES, *OTHERS)))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_has_something_to_say_about_a_word_that_it_does_not_know(installed: Path) -> None:
    unit = installed / "workd.service"
    unit.write_text(unit.read_text().replace("PrivateTmp=", "PrivatTmp="))
    assert "PrivatTmp" in analyze("verify", "--man=no", str(unit)).stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_little_is_exposed(name: str) -> None:
    threshold = str(int(WORST_EXPOSURE * 10))
    done = analyze("security", "--offline=true", f"--threshold={threshold}", "--no-pager", str(UNITS / name))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_what_is_left_out_has_its_reason_in_the_unit(name: str) -> None:
    done = analyze("security", "--offline=true", "--json=short", str(UNITS / name))
    exposed = [row["name"] for row in json.loads(done.stdout) if row["exposure"] not in {None, "0.0"}]
    assert exposed
    left_out = (UNITS / name).read_text(encoding="utf-8").partition("# Left out")[2].partition("[Install]")[0]
    words = {"RestrictAddressFamilies=~AF_UNIX": "AF_UNIX", "RestrictAddressFamilies=~AF_(INET|INET6)": "AF_INET"}
    unsaid = [name for name in exposed if words.get(name, name.partition("/")[0]) not in left_out]
    assert unsaid == []


def test_an_instance_differs_in_nothing_but_its_name() -> None:
    one, many = (directives(name) for name in SERVICES)
    differing = [line for line in many if line not in one]
    assert [line for line in differing if "%i" not in line] == []
    assert len(one) == len(many)
    assert [line.partition("=")[0] for line in one] == [line.partition("=")[0] for line in many]


def test_two_instances_share_no_directory_that_goes_with_one_of_them() -> None:
    text = (UNITS / "workd@.service").read_text(encoding="utf-8")
    assert re.findall(r"^RuntimeDirectory=(.*)$", text, re.MULTILINE) == ["workd-%i"]
