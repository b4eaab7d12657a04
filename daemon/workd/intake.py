"""Reading a fetched entry: what it asks for, and under which terms it runs. Pure.

Called by the dispatcher for each entry, before anything is done about it. What cannot be read comes back with the
event that says so; nothing here raises for what a producer wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workd import excerpt, kin, retry, wire
from workd.errors import InvalidMessageError, UnknownVersionError
from workd.flights import Flight
from workd.terms import Extras, Terms, with_unique_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workd.broker.entries import Entry
    from workd.retry import Event
    from workd.signing import Signing
    from workd.wire import Envelope

_SHOWN_BYTES = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The daemon's own limits, for messages and tasks that set none."""

    timeout_s: float = 3600.0
    max_crashes: int = 3
    max_takeovers: int = 10
    unknown_task_s: float = 60.0
    max_message_bytes: int = 1024 * 1024
    cancel_grace_s: float = 5.0
    async_concurrency: int = 1
    signing: Signing | None = None
    """What verifies messages, and signs those that the daemon writes itself; None: nothing is signed."""


class Reader:
    """Turns entries into flights under the terms of one catalogue."""

    def __init__(self, limits: Limits, catalogue: Mapping[str, Mapping[str, Any]], wall: Callable[[], float]) -> None:
        """`catalogue` is what the workers can run, by name; `wall` gives epoch seconds."""
        self._limits = limits
        self._catalogue = catalogue
        self._wall = wall
        self._default = Terms.of({}, limits)
        self._terms = {name: Terms.of(options, limits) for name, options in catalogue.items()}
        self.coroutines = {
            name: options["concurrency"] or limits.async_concurrency
            for name, options in catalogue.items()
            if options.get("is_async")
        }
        """Of each `async def` task, how many a worker runs at once."""

    def read(self, entry: Entry) -> tuple[Flight, Event | None]:
        """Return the flight, and an event if it can't start as it is."""
        flight = Flight(entry, entry.id or entry.entry_id, policy=self._default.policy)
        message = entry.message
        if message is None:
            fields = b", ".join(sorted(entry.fields or ())).decode(errors="replace")
            text = f"the stream entry has no field `m` (it has: {fields[:_SHOWN_BYTES]})"
            return flight, _refused(wire.DeadReason.INVALID, "MissingField", text)
        if len(message) > self._limits.max_message_bytes:
            limit = self._limits.max_message_bytes
            text = f"the message has {len(message)} bytes, max_message_bytes is {limit}: send a reference instead"
            return flight, _refused(wire.DeadReason.TOO_LARGE, "MessageTooLarge", text)
        if self._limits.signing is not None and (wrong := self._limits.signing.refusal(message, entry.signature)):
            return flight, _refused(wire.DeadReason.BAD_SIGNATURE, "BadSignature", wrong)
        try:
            if len(message) <= excerpt.LONG_BYTES:
                envelope = wire.decode(message)  # nearly all are short: nothing more is made for them
            else:
                envelope, start, end = excerpt.read(message)
                flight.arguments = start, end
            self._apply_terms(flight, envelope)
        except InvalidMessageError as error:
            return flight, _refused(wire.DeadReason.INVALID, "InvalidMessage", "; ".join(error.details))
        except UnknownVersionError as error:
            return flight, retry.TaskUnknown(wire.ErrorInfo(type="UnknownVersion", message=str(error)), self._wall())
        if envelope.group is not None or envelope.then is not None or envelope.chain is not None:
            flight.kin_ids = kin.ids_of(envelope, flight.job_id, entry.queue)
            if wrong := kin.refusal(envelope):
                return flight, _refused(wire.DeadReason.INVALID, "InvalidMessage", wrong)
        return flight, None

    def knows(self, task: str) -> bool:
        """Say whether the workers can run a task of that name."""
        return task in self._catalogue

    def unknown(self, task: str) -> Event:
        """Return the event of a task that nobody here knows."""
        known = ", ".join(sorted(self._catalogue)[:10])
        text = f"no task is called {task!r} here; known are: {known}"
        return retry.TaskUnknown(wire.ErrorInfo(type="UnknownTask", message=text), self._wall())

    def _apply_terms(self, flight: Flight, envelope: Envelope) -> None:
        """Settle what holds for this job: the message's own wishes, else its task's, else the daemon's."""
        terms = self._terms.get(envelope.task, self._default)
        policy = terms.policy
        if envelope.max_retries is not None:
            policy = replace(policy, max_retries=envelope.max_retries)
        flight.envelope = envelope
        flight.job_id = flight.entry.id or envelope.id or flight.entry.entry_id
        flight.policy = policy
        flight.timeout_s = envelope.timeout or terms.timeout_s
        flight.result_ttl_s = terms.result_ttl_s if envelope.result_ttl is None else envelope.result_ttl
        extras = terms.extras
        if envelope.soft_timeout is not None or envelope.start_by is not None:
            extras = (extras or Extras()).with_wishes_of(envelope)
        if extras is not None:
            self._apply_extras(flight, envelope, extras)

    @staticmethod
    def _apply_extras(flight: Flight, envelope: Envelope, extras: Extras) -> None:
        flight.extras = extras
        if extras.unique and envelope.unique is None:
            if len(flight.entry.message or b"") > excerpt.LONG_BYTES:  # its arguments were left out
                envelope = wire.decode(flight.entry.message or b"")
                flight.arguments = 0, 0
            flight.envelope = with_unique_key(envelope, extras.parameters)


def _refused(reason: wire.DeadReason, error_type: str, text: str) -> Event:
    return retry.Refused(reason, wire.ErrorInfo(type=error_type, message=text), ran=False)
