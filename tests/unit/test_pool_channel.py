"""The channel of a slot, both ends in one process: whoever reads a packet owns the job."""

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.processes import descriptors
from workd.pool import frames
from workd.pool.channel import READ_BYTES_PER_TURN, Channel
from workd.pool.memory import resident_bytes
from workd.pool.parsing import FrameError, FrameParser
from workd.pool.slot import Job


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel(1000)
    yield channel
    channel.close()


def job(key: int, body: bytes) -> Job:
    return Job(key, body, "task", None)


def claim(channel: Channel) -> int | None:
    """Do what a worker does."""
    try:
        packet = channel.worker_end.recv(frames.MAX_PACKET, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    key, _ = frames.PACKET_HEAD.unpack_from(packet)
    return int(key)


@given(st.lists(st.sampled_from(["send", "claim", "take back"]), max_size=60))
def test_each_job_is_claimed_or_taken_back_and_never_both(steps: list[str]) -> None:
    channel = Channel(1000)
    sent: list[int] = []
    owned: list[int] = []
    for number, step in enumerate(steps):
        if step == "send":
            assert channel.send(job(number, b"x" * number))
            sent.append(number)
        elif step == "claim":
            key = claim(channel)
            owned.extend([] if key is None else [key])
        else:
            owned.extend(channel.take_back())
    assert owned + channel.take_back() == sent
    channel.close()


def test_a_full_socket_refuses_and_nothing_is_lost(channel: Channel) -> None:
    sent = 0
    while channel.send(job(sent, bytes(frames.MAX_INLINE_BODY))):
        sent += 1
    assert sent >= 2
    assert channel.take_back() == list(range(sent))
    assert channel.send(job(sent, b""))


@pytest.mark.parametrize("body_bytes", [1, frames.MAX_JOINED_BYTES + 1])
@pytest.mark.parametrize("rest_bytes", [0, 1, 100_000])
def test_a_body_in_two_parts_is_one_packet(channel: Channel, body_bytes: int, rest_bytes: int) -> None:
    body, rest = b"b" * body_bytes, b"r" * rest_bytes
    assert channel.send(Job(1, body, "task", None, rest=rest))
    assert channel.worker_end.recv(frames.MAX_PACKET) == frames.PACKET_HEAD.pack(1, 0) + body + rest


def test_what_the_socket_takes_in_no_packet_spills(channel: Channel) -> None:
    channel.jobs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    assert channel.send(Job(1, b"body", "task", None, rest=bytes(100_000)))
    packet, fds, _, _ = socket.recv_fds(channel.worker_end, frames.MAX_PACKET, 1)
    assert packet == frames.PACKET_HEAD.pack(1, frames.SPILLED)
    assert frames.read_body(fds[0]) == b"body" + bytes(100_000)


def test_a_large_body_taken_back_leaves_no_descriptor(channel: Channel) -> None:
    before = len(descriptors())
    assert channel.send(job(1, bytes(frames.MAX_INLINE_BODY + 1)))
    assert channel.take_back() == [1]
    assert len(descriptors()) == before


def test_a_worker_finds_what_it_claims_before_it_hears_that_it_may_leave(channel: Channel) -> None:
    channel.send(job(7, b""))
    channel.hang_up()
    channel.hang_up()
    assert claim(channel) == 7
    assert channel.worker_end.recv(10) == b""


def test_a_copy_of_the_supervisors_end_in_another_process_does_not_hide_that_it_hung_up(channel: Channel) -> None:
    copy = channel.jobs.dup()
    channel.hang_up()
    assert channel.worker_end.recv(10) == b""
    copy.close()


def test_the_last_results_are_read_to_the_end_or_until_the_pipe_is_empty(channel: Channel) -> None:
    for keep_open in (True, False):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        channel.results_fd = reader
        os.write(writer, b"".join(frames.encode_frame(frames.RETURNED, key, 0.0, 0.0, b"x") for key in range(9)))
        os.write(writer, b"part")
        if not keep_open:
            os.close(writer)
        assert [frame.key for frame in channel.read_last_results()] == list(range(9))
        if keep_open:
            os.close(writer)
        os.close(channel.results_fd)
        channel.results_fd = -1
        channel._parser = FrameParser(1000)


def test_the_channels_of_many_slots_take_little_memory_before_they_have_read() -> None:
    before = resident_bytes(os.getpid())
    channels = [Channel(1000) for _ in range(64)]
    taken = resident_bytes(os.getpid()) - before
    for one in channels:
        one.close()
    assert taken < 64 * 256 * 1024


def test_a_pipe_that_was_enlarged_is_read_in_larger_pieces_and_no_frame_is_lost() -> None:
    channel = Channel(1000 * 1000)
    channel.results_fd, writer = os.pipe()
    os.set_blocking(channel.results_fd, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, READ_BYTES_PER_TURN)
    frame = frames.encode_frame(frames.RETURNED, 1, 0.0, 0.0, bytes(50_000))
    reads = []
    for _ in range(2):
        for _ in range(10):
            os.write(writer, frame)
        reads += [len(list(channel.read_results())) for _ in range(2)]
    os.close(writer)
    rest = len(list(channel.read_last_results()))
    channel.close()
    assert sum(reads) + rest == 20
    assert max(reads[2:]) >= 10


def test_after_a_wrong_frame_nothing_is_believed(channel: Channel) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    channel.results_fd = reader
    os.write(writer, frames.encode_frame(99, 1, 0.0, 0.0, b""))
    with pytest.raises(FrameError):
        list(channel.read_results())
    channel.distrust()
    os.write(writer, frames.encode_frame(frames.RETURNED, 1, 0.0, 0.0, b""))
    assert list(channel.read_last_results()) == []
    os.close(writer)
