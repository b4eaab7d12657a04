"""What is read of /proc and of the memory cgroups, of machines that are written down here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workd import pressure

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30


class Machine:
    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        self.write("proc/meminfo", f"MemTotal:  {16 * GIB // 1024} kB\nMemAvailable:  {8 * GIB // 1024} kB\nHuge:\n")
        self.write("proc/pressure/memory", "some avg10=5.00 avg60=0.00 total=1\nfull avg10=90.00 avg60=0.00 total=1\n")
        self.write("proc/pressure/cpu", "some avg10=42.00 avg60=0.00 avg300=0.00 total=1\n")

    def write(self, name: str, text: str) -> None:
        path = self.proc.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self) -> pressure.Pressure:
        return pressure.read(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_machine_itself(machine: Machine) -> None:
    assert machine.read() == pressure.Pressure(8 * GIB, 16 * GIB, 0.05, 0.42)


def test_the_limit_of_a_unit_with_version_2_or_of_one_above_it(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/system.slice/workd.service\n")
    machine.write("cgroup/system.slice/workd.service/memory.max", "max\n")
    machine.write("cgroup/system.slice/workd.service/memory.current", f"{GIB}\n")
    assert machine.read().free_bytes == 8 * GIB
    machine.write("cgroup/system.slice/memory.max", f"{3 * GIB}\n")
    machine.write("cgroup/system.slice/memory.current", f"{2 * GIB}\n")
    machine.write("cgroup/system.slice/memory.stat", f"anon 1\ninactive_file {GIB // 2}\n")
    assert machine.read()[:2] == (3 * GIB - 2 * GIB + GIB // 2, 3 * GIB)


def test_the_limit_of_a_unit_with_version_1(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "12:cpu,cpuacct:/x\n4:memory:/unit\n0::/unit\n")
    machine.write("cgroup/memory/unit/memory.limit_in_bytes", f"{2 * GIB}\n")
    machine.write("cgroup/memory/unit/memory.usage_in_bytes", f"{GIB}\n")
    machine.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    machine.write("cgroup/memory/memory.usage_in_bytes", f"{GIB}\n")
    assert machine.read()[:2] == (GIB, 2 * GIB)


def test_the_load_stands_in_where_the_kernel_does_not_tell(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workd.pressure.os.cpu_count", lambda: 4)
    (machine.proc / "pressure" / "cpu").unlink()
    (machine.proc / "pressure" / "memory").unlink()
    machine.write("proc/loadavg", "3.9 1.0 1.0 1/1 1\n")
    assert machine.read()[2:] == (0.0, 0.0)
    machine.write("proc/loadavg", "4.1 1.0 1.0 1/1 1\n")
    assert machine.read().cpu_stall == 1.0


def test_what_cannot_be_read_is_plenty(tmp_path: Path) -> None:
    assert pressure.read(tmp_path / "none", tmp_path / "none") == pressure.Pressure()


def test_this_machine_can_be_read() -> None:
    seen = pressure.read()
    assert seen.free_bytes is None or 0 <= seen.free_bytes <= seen.total_bytes
