"""Cutting what a worker writes into frames, the supervisor's side. Owned by `channel.py`; nothing here blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from workd.errors import PoolError
from workd.pool import frames

if TYPE_CHECKING:
    from collections.abc import Iterator


LARGE_BYTES: Final = 64 * 1024


class FrameError(PoolError):
    """A worker sent bytes that cannot be a frame; its slot is killed."""


class Frame(NamedTuple):
    """One complete frame: which run ended, how, and when."""

    kind: int
    key: int
    started_at: float
    ended_at: float
    payload: bytes | bytearray


class FrameParser:
    """Cut a byte stream into frames; what is incomplete is kept until the rest comes.

    Small frames come through `feed`. The rest of a large payload is read straight into its place: while `room` is not
    None, read into it and say with `fill` how much came.
    """

    __slots__ = ("_filled", "_head", "_large", "_large_bytes", "_max_payload_bytes", "_partial")

    def __init__(self, max_payload_bytes: int, large_bytes: int = LARGE_BYTES) -> None:
        """Refuse payloads over `max_payload_bytes`: a broken worker must not fill the supervisor's memory."""
        self._large_bytes = large_bytes
        self._max_payload_bytes = max_payload_bytes
        self._partial = bytearray()  # less than a frame
        self._large: bytearray | None = None  # the payload that is being filled
        self._filled = 0
        self._head = (0, 0, 0.0, 0.0)  # kind, key and times of that frame

    @property
    def pending_bytes(self) -> int:
        """How much of a frame that is not whole has come."""
        return len(self._partial) if self._large is None else frames.FRAME_HEAD.size + self._filled

    def feed(self, data: memoryview) -> Iterator[Frame]:
        """Yield every frame that `data` completes. Only while `room` is None.

        Raises `FrameError` when a header announces more than the limit, or a kind that there is not.
        """
        if self._partial:
            self._partial += data
            if not self._is_ripe():
                return
            data = memoryview(bytes(self._partial))
            self._partial = bytearray()
        position, end, head = 0, len(data), frames.FRAME_HEAD
        while end - position >= head.size:
            length, kind, key, started_at, ended_at = head.unpack_from(data, position)
            self._check(length, kind)
            start = position + head.size
            stop = start + length
            if stop > end:
                if length > self._large_bytes:
                    self._head = (kind, key, started_at, ended_at)
                    self._begin_large(length, data[start:end])
                    return
                break
            yield Frame(kind, key, started_at, ended_at, bytes(data[start:stop]))
            position = stop
        if position < end:
            self._partial += data[position:]

    @property
    def room(self) -> memoryview | None:
        """Where the rest of a large payload belongs; None if none is under way."""
        return None if self._large is None else memoryview(self._large)[self._filled :]

    def fill(self, size: int) -> Frame | None:
        """Take note that `size` bytes were read into `room`; return the frame if that was all of it."""
        self._filled += size
        if self._large is None or self._filled < len(self._large):
            return None
        payload, self._large = self._large, None
        return Frame(*self._head, payload)

    def _is_ripe(self) -> bool:
        """Say whether looking at the partial frame again can bring anything."""
        if len(self._partial) < frames.FRAME_HEAD.size:
            return False
        length, kind, *_ = frames.FRAME_HEAD.unpack_from(self._partial)
        self._check(length, kind)
        return bool(length > self._large_bytes or len(self._partial) >= frames.FRAME_HEAD.size + length)

    def _begin_large(self, length: int, first: memoryview) -> None:
        self._large = bytearray(length)
        self._large[: len(first)] = first
        self._filled = len(first)

    def _check(self, length: int, kind: int) -> None:
        if length > self._max_payload_bytes:
            msg = f"a worker announced a result of {length} bytes, the limit is {self._max_payload_bytes}"
            raise FrameError(msg)
        if kind not in frames.KINDS:
            msg = f"a worker sent a frame of kind {kind}, which there is not"
            raise FrameError(msg)
