"""Machines that nobody has touched, for the fixtures of tests/system; a test is skipped where there can be none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.machines.able import CannotBootError, why_no_container, why_no_virtual_machine
from support.machines.container import Container
from support.machines.debian import kernel_image, root_folder
from support.machines.release import release, wheel_house
from support.machines.service import INTO_AN_IMAGE, RELEASE, WHEELS
from support.machines.virtual import VirtualMachine, make_disk

if TYPE_CHECKING:
    from pathlib import Path


def new_container(hostname: str) -> Container:
    """Return a clean Debian that is not booted yet, and sees the wheel house and the release."""
    if reason := why_no_container():
        pytest.skip(reason)
    try:
        folders = {WHEELS: wheel_house(), RELEASE: release()}
        return Container(root_folder(), folders, hostname)
    except CannotBootError as error:
        pytest.skip(str(error))


def new_virtual_machine(disk: Path) -> VirtualMachine:
    """Return a virtual machine that is not booted yet, with workd installed on a disk that is made here."""
    if reason := why_no_virtual_machine():
        pytest.skip(reason)
    try:
        make_disk(root_folder(), disk, INTO_AN_IMAGE, str(wheel_house()), str(release()))
        return VirtualMachine(kernel_image(), disk)
    except CannotBootError as error:
        pytest.skip(str(error))
