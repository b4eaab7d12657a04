"""What a task prints becomes lines of its job."""

import asyncio
import contextvars
import io
import sys
import threading
from collections.abc import Iterator

import pytest

from workd.output import printing
from workd_tasks.context import Context, current, running

Said = list[tuple[str, str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Said]:
    lines: Said = []
    monkeypatch.setattr(printing, "emit", lambda stream, line, job: lines.append((stream, line, job.id if job else "")))
    monkeypatch.setattr(printing, "_main", None)
    yield lines
    assert not printing.open_lines
    printing.open_lines.clear()


@pytest.fixture
def out() -> printing.Stream:
    return printing.Stream("stdout", 1)


def test_each_line_is_said_for_its_job(said: Said, out: printing.Stream) -> None:
    with running(Context("1-0", "resize")):
        print("one", 2, file=out)
        print("three\nfour", file=out)
        out.writelines(["five\n", "six\n"])
    print("outside", file=out)
    assert said == [
        *(("stdout", line, "1-0") for line in ("one 2", "three", "four", "five", "six")), ("stdout", "outside", "")
    ]  # fmt: skip


def test_what_has_no_line_break_is_said_at_the_end_of_the_job(said: Said, out: printing.Stream) -> None:
    job = Context("1-0", "resize")
    with running(job):
        print("half", end="", file=out, flush=True)
        assert said == []
        assert printing.open_lines
        printing.end_job(job)
    assert said == [("stdout", "half", "1-0")]


def test_lines_of_threads_do_not_mix_and_are_those_of_the_running_job(said: Said, out: printing.Stream) -> None:
    def work() -> None:
        out.write("a ")
        done = threading.Thread(target=print, args=("b",), kwargs={"file": out})
        done.start()
        done.join()
        out.write("c\n")

    def run_a_job() -> None:
        with running(Context("1-0", "resize")):
            work()

    context = contextvars.copy_context()
    printing.look_into(context)
    context.run(run_a_job)
    assert said == [("stdout", "b", "1-0"), ("stdout", "a c", "1-0")]


async def test_lines_of_jobs_in_one_loop_do_not_mix(said: Said, out: printing.Stream) -> None:
    met = asyncio.Barrier(2)

    async def one(name: str) -> None:
        job = Context(name, "fetch")
        current.set(job)
        out.write(f"{name} begins")
        await met.wait()
        out.write(" and ends")
        await met.wait()
        printing.end_job(job)

    await asyncio.gather(one("a"), one("b"))
    assert sorted(said) == [("stdout", "a begins and ends", "a"), ("stdout", "b begins and ends", "b")]


def test_bytes_are_utf_8_also_in_pieces_and_what_is_none_is_escaped(said: Said, out: printing.Stream) -> None:
    raw = "täglich\n".encode()
    out.buffer.write(raw[:2])
    out.buffer.write(raw[2:])
    out.buffer.write(b"\xff\n")
    out.write("\ud800\n")
    assert [line for _, line, _ in said] == ["täglich", "\\xff", "\ud800"]


def test_half_a_character_is_the_business_of_the_job_that_wrote_it(said: Said, out: printing.Stream) -> None:
    one, other = Context("1-0", "resize"), Context("2-0", "resize")
    for job in (one, other):
        with running(job):
            out.buffer.write("ä".encode()[:1])
    for job in (one, other):
        with running(job):
            out.buffer.write("ä".encode()[1:] + b"\n\xf0\x9f")
    with running(one):
        print("!", file=out)
    with running(other):
        assert printing.open_lines
        printing.end_job(other)
    with running(other):
        out.buffer.write(b"next\n")
    assert said == [
        ("stdout", "ä", "1-0"),
        ("stdout", "ä", "2-0"),
        ("stdout", "\\xf0\\x9f!", "1-0"),
        ("stdout", "\\xf0\\x9f", "2-0"),
        ("stdout", "next", "2-0"),
    ]


def test_of_a_progress_bar_the_last_state_is_said_and_no_more_than_that_is_kept(
    said: Said, out: printing.Stream
) -> None:
    for percent in range(100):
        out.write(f"\r{percent} %")
    [line] = printing.open_lines.values()
    assert line.chars < 10
    out.write("\n")
    out.write("a dos line\r\n")
    out.write("and another\r")
    out.write("\n")
    assert [line for _, line, _ in said] == ["99 %", "a dos line", "and another"]


def test_a_line_without_an_end_has_a_bound(said: Said, out: printing.Stream) -> None:
    for _ in range(5):
        out.write("x" * (printing.MAX_LINE_CHARS // 2))
    out.write("y" * (3 * printing.MAX_LINE_CHARS) + "\n")
    assert max(len(line) for _, line, _ in said) <= printing.MAX_LINE_CHARS
    text = "".join(line for _, line, _ in said)
    assert (text.count("x"), text.count("y")) == (5 * printing.MAX_LINE_CHARS // 2, 3 * printing.MAX_LINE_CHARS)


def test_a_stream_is_what_libraries_expect_of_stdout(out: printing.Stream) -> None:
    assert out.fileno() == 1
    assert out.buffer.fileno() == 1
    assert (out.writable(), out.readable(), out.isatty(), out.closed) == (True, False, False, False)
    assert (out.encoding, out.name) == ("utf-8", "<stdout>")
    assert isinstance(out, io.TextIOBase)
    out.reconfigure(line_buffering=False)
    out.close()
    assert not out.closed
    with pytest.raises(TypeError, match="must be str"):
        out.write(b"bytes")  # type: ignore[arg-type]


def test_a_line_that_cannot_be_said_ends_no_job(out: printing.Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(printing, "emit", broken)
    assert out.write("line\n") == 5


def test_installing_twice_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)  # as with a stderr that was closed before the start
    for sink in printing.sinks.values():
        monkeypatch.setattr(sink, "waits", False)
    printing.install()
    first = sys.stdout, sys.stderr
    printing.install()
    assert (sys.stdout, sys.stderr) == first
    assert all(isinstance(stream, printing.Stream) for stream in first)
