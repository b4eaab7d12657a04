"""Lines of source files, asked for by names that nobody has checked."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from workd import source_lines

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_lines_are_read_without_their_indentation(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("first\n    second é\n" + "x" * 500)
    places = [(str(file), line) for line in (0, 1, 2, 3, 4)]
    assert await source_lines.read(places) == {
        (str(file), 1): "first",
        (str(file), 2): "second é",
        (str(file), 3): "x" * source_lines.MAX_LINE_CHARS,
    }


async def test_what_is_no_regular_source_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "huge.py").write_bytes(b"x" * (source_lines.MAX_FILE_BYTES + 1))
    (tmp_path / "device.py").symlink_to("/dev/zero")
    names = [*(str(path) for path in tmp_path.iterdir()), "relative.py", "/dev/zero", "/a\0b.py", "<string>", ""]
    assert await source_lines.read((name, 1) for name in names) == {}


async def test_a_file_that_takes_for_ever_is_waited_for_no_longer_than_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = threading.Event()

    def hang(_file: str) -> list[str]:
        stop.wait()
        return []

    monkeypatch.setattr(source_lines, "PATIENCE_S", 0.05)
    monkeypatch.setattr(source_lines, "_lines", hang)
    assert await source_lines.read([("/a.py", 1)]) == {}
    stop.set()
    for thread in threading.enumerate():
        if thread.name == "source-lines":
            thread.join()
