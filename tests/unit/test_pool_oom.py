from pathlib import Path

import pytest

from workd.pool.oom import OomWatch, find_counter


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    file = tmp_path / "memory.events"
    file.write_text("low 0\noom 2\noom_kill 3\noom_group_kill 0\n")
    return file


def count(file: Path, number: int) -> None:
    file.write_text(f"low 0\noom 9\noom_kill {number}\n")


def test_a_kill_while_the_counter_rose_was_the_oom_killer(counter: Path) -> None:
    watch = OomWatch(str(counter))
    count(counter, 4)
    assert watch.explain(killed=True) is True
    assert watch.explain(killed=True) is False  # the one count is told already


def test_of_several_deaths_as_many_count_as_the_counter_rose_by(counter: Path) -> None:
    watch = OomWatch(str(counter))
    count(counter, 5)
    assert [watch.explain(killed=True) for _ in range(3)] == [True, True, False]


def test_a_death_that_was_no_sigkill_or_our_own_takes_no_count(counter: Path) -> None:
    watch = OomWatch(str(counter))
    count(counter, 4)
    assert watch.explain(killed=False) is False
    assert watch.explain(killed=True) is True


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", None])
def test_what_cannot_be_read_is_unknown_and_not_no(counter: Path, text: str | None) -> None:
    watch = OomWatch(str(counter))
    if text is None:
        counter.unlink()
    else:
        counter.write_text(text)
    assert watch.explain(killed=True) is None
    assert watch.explain(killed=False) is False
    assert OomWatch(None).explain(killed=True) is None


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/system.slice/workd.service\n", "system.slice/workd.service/memory.events"),
        ("0::/docker/abc\n", "memory.events"),  # the mount shows our own cgroup as its root
        ("4:cpu:/x\n3:memory:/work\n0::/\n", "memory/work/memory.oom_control"),
        ("3:cpu,memory:/docker/abc\n", "memory/memory.oom_control"),
        ("0::/café.slice\n", "café.slice/memory.events"),
    ],
)
def test_the_counter_is_found_in_both_versions_of_cgroups(tmp_path: Path, cgroup: str, file: str) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    counter = tmp_path / "mount" / file
    counter.parent.mkdir(parents=True)
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    assert find_counter(str(tmp_path / "cgroup"), str(tmp_path / "mount")) == str(counter)


def test_without_a_memory_cgroup_there_is_no_counter(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    assert find_counter(str(tmp_path / "cgroup"), str(tmp_path / "mount")) is None
    assert find_counter(str(tmp_path / "none"), str(tmp_path / "mount")) is None
