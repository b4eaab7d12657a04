"""The control channel: what daemons are told at once, instead of finding it out at their next look.

A loop of the consumer, beside a session. It listens to `workd:control` on a connection of its own and never ends a
session: without it everything happens all the same, only later. Messages are JSON objects, `{"v":1,"do":"cancel",…}`.
Anybody who may write to Redis may publish, so what is no valid command is counted and ignored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workd.errors import BrokerError
from workd.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from workd.broker.session import Session

FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0  # nothing depends on it
MAX_MESSAGE_BYTES: Final = 4096

log = get_logger("workd.control")


class Cancel(BaseModel):
    """Stop a job, if it is in this daemon's hands."""

    model_config = ConfigDict(strict=True, frozen=True)

    do: Literal["cancel"]
    v: Literal[1] = 1
    queue: str
    id: Annotated[str, Field(min_length=1, max_length=512)]


Command = Cancel
"""Every command that there is; further ones are told apart by `do`, and may have further fields."""

_read = TypeAdapter(Command).validate_json


class Control:
    """What has come by the channel, and who is told of it."""

    def __init__(self, obey: Callable[[Command], None]) -> None:
        """`obey` is called in the loop with each valid command; it must not block."""
        self._obey = obey
        self._complained = False
        self.obeyed = 0
        self.ignored = 0

    def hear(self, raw: bytes) -> None:
        """Take one message."""
        try:
            if len(raw) > MAX_MESSAGE_BYTES:
                raise ValueError  # noqa: TRY301 - ignored, like all that is no command
            command = _read(raw)
        except (ValidationError, ValueError):
            self.ignored += 1
            log.debug("what came by the control channel is no command", said=raw[:200].decode(errors="replace"))
            return
        self.obeyed += 1
        self._obey(command)

    async def listen(self, session: Session) -> None:
        """Listen beside a session, until cancelled; a connection that is lost is made again, each time later."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                subscription = await session.listen(self.hear)
                try:
                    backoff_s = FIRST_BACKOFF_S
                    self._complained = False
                    await subscription.wait_lost()
                finally:
                    await subscription.close()
            except NotImplementedError:
                return
            except BrokerError as error:
                self._complain(error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, backoff_s * 2)

    def _complain(self, error: BrokerError) -> None:
        """Say it once: it goes on without, and a session that is broken says so itself."""
        if not self._complained:
            self._complained = True
            log.info("the control channel is not there; a cancelled job is stopped at a renewal", error=str(error))
