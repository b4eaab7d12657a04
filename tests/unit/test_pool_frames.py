import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workd.pool import frames
from workd.pool.parsing import Frame, FrameError, FrameParser

LIMIT = 10_000
FRAMES = st.builds(
    Frame,
    st.sampled_from(sorted(frames.KINDS)),
    st.integers(0, 2**64 - 1),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.binary(max_size=300) | st.integers(0, LIMIT).map(bytes),
)


SMALL_OR_LARGE = st.sampled_from([0, 100, LIMIT])  # from which size on a payload is read straight into its place


def fed(parser: FrameParser, data: bytes | memoryview) -> list[Frame]:
    """Do what the channel does with what it reads."""
    found: list[Frame] = []
    rest = memoryview(data)
    while rest and (room := parser.room) is not None:
        size = min(len(room), len(rest))
        room[:size] = rest[:size]
        frame = parser.fill(size)
        found.extend([frame] if frame is not None else [])
        rest = rest[size:]
    return [*found, *parser.feed(rest)] if rest else found


def fed_whole(parser: FrameParser, stream: bytes) -> list[Frame]:
    """Feed piece by piece as long as a large payload may begin anywhere."""
    return [frame for start in range(0, len(stream), 64) for frame in fed(parser, stream[start : start + 64])]


def encoded(frame: Frame) -> bytes:
    return frames.encode_frame(frame.kind, frame.key, frame.started_at, frame.ended_at, bytes(frame.payload))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at these places, taken modulo its length; pieces may be empty."""
    ends = sorted(place % (len(stream) + 1) for place in places)
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 2**20), max_size=12), SMALL_OR_LARGE)
def test_frames_survive_any_cut(sent: list[Frame], places: list[int], large_bytes: int) -> None:
    parser = FrameParser(LIMIT, large_bytes)
    received = [frame for piece in cut(b"".join(map(encoded, sent)), places) for frame in fed(parser, piece)]
    assert received == sent
    assert not parser.pending_bytes
    assert parser.room is None


@given(st.lists(FRAMES, max_size=3), FRAMES, st.integers(0, 2**20), SMALL_OR_LARGE)
def test_a_frame_that_was_cut_off_by_a_death_is_kept_apart(
    whole: list[Frame], last: Frame, place: int, large_bytes: int
) -> None:
    parser = FrameParser(LIMIT, large_bytes)
    tail = encoded(last)
    tail = tail[: place % len(tail)]
    assert fed_whole(parser, b"".join(map(encoded, whole)) + tail) == whole
    assert parser.pending_bytes == len(tail)


@given(FRAMES, st.lists(st.integers(0, 2**20), max_size=4))
def test_frames_do_not_share_memory_with_the_read_buffer(sent: Frame, places: list[int]) -> None:
    buffer = bytearray(encoded(sent))
    parser = FrameParser(LIMIT)
    (received,) = parser.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert received == sent


@given(st.integers(LIMIT + 1, 2**32 - 1), st.lists(FRAMES, max_size=2), st.lists(st.integers(0, 2**20), max_size=6))
def test_a_length_over_the_limit_is_refused_as_soon_as_the_header_is_there(
    length: int, before: list[Frame], places: list[int]
) -> None:
    parser = FrameParser(LIMIT)
    stream = b"".join(map(encoded, before)) + frames.FRAME_HEAD.pack(length, frames.RETURNED, 1, 0.0, 0.0)
    received: list[Frame] = []

    def feed_all() -> None:
        for piece in cut(stream, places):
            received.extend(fed(parser, piece))

    with pytest.raises(FrameError, match=f"{length} bytes, the limit is {LIMIT}"):
        feed_all()


@given(st.integers(0, 255).filter(lambda kind: kind not in frames.KINDS))
def test_a_kind_that_there_is_not_is_refused(kind: int) -> None:
    with pytest.raises(FrameError, match=f"kind {kind}"):
        list(FrameParser(LIMIT).feed(memoryview(frames.encode_frame(kind, 1, 0.0, 0.0, b""))))


@given(st.binary(max_size=500), st.lists(st.integers(0, 2**20), max_size=6))
def test_any_bytes_are_frames_or_an_error_or_too_few(noise: bytes, places: list[int]) -> None:
    parser = FrameParser(LIMIT)
    try:
        for piece in cut(noise, places):
            fed(parser, piece)
    except FrameError:
        return
    assert parser.pending_bytes < frames.FRAME_HEAD.size + LIMIT


def test_a_large_frame_in_many_small_pieces_takes_linear_time() -> None:
    sent = Frame(frames.RETURNED, 1, 0.0, 0.0, bytes(20_000_000))
    stream = memoryview(encoded(sent))
    parser = FrameParser(len(sent.payload))
    received = [
        frame for start in range(0, len(stream), 65_536) for frame in fed(parser, stream[start : start + 65_536])
    ]
    assert received == [sent]


@given(st.text(max_size=200), st.text(max_size=50), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary())
def test_jobs_are_decoded_as_they_were_encoded(
    job_id: str, task: str, attempt: int, delivery: int, message: bytes
) -> None:
    body = frames.encode_job(job_id.encode(), task.encode(), attempt, delivery, message, 1, 2, 3, 4.5, 10**15 - 1)
    decoded = (job_id, task, attempt, delivery, memoryview(message), 1, 2, 3, 4.5, 10**15 - 1)
    assert frames.decode_job(memoryview(body)) == decoded


@given(st.binary(max_size=1000), st.binary(max_size=1000))
def test_a_spilled_body_is_read_whole_and_its_descriptor_closed(body: bytes, rest: bytes) -> None:
    fd = frames.spill(body, rest)
    assert frames.read_body(fd) == body + rest
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
