import json
import time
from typing import Any

import pytest

from workd import wire
from workd.errors import InvalidMessageError, UnknownVersionError
from workd.wire import Envelope, ErrorInfo, Outcome, Status


def details(raw: bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidMessageError) as caught:
        wire.decode(raw)
    return caught.value.details


def message(**fields: Any) -> bytes:
    return json.dumps({"task": "square"} | fields).encode()


class TestDecode:
    def test_the_smallest_message(self) -> None:
        envelope = wire.decode(b'{"task":"square"}')
        assert (envelope.task, envelope.args, envelope.kwargs, envelope.v) == ("square", (), {}, 1)
        assert envelope.id is None

    def test_every_field(self) -> None:
        envelope = wire.decode(
            message(
                v=1,
                args=[4],
                kwargs={"y": None},
                id="a",
                run_at=1.5,
                expires_at=2,
                timeout=3,
                max_retries=0,
                unique="u",
                reply_to="r.1_-",
                result_ttl=0,
                trace={"traceparent": "00-1-2-01", "tracestate": "x=y"},
                meta={"k": "v"},
            )
        )
        assert envelope.args == (4,)
        assert envelope.kwargs == {"y": None}
        assert (envelope.run_at, envelope.expires_at, envelope.timeout) == (1.5, 2.0, 3.0)
        assert envelope.trace == {"traceparent": "00-1-2-01", "tracestate": "x=y"}

    def test_null_is_missing(self) -> None:
        assert wire.decode(message(id=None, timeout=None)).id is None

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("2026-01-01T00:00:00Z", 1767225600.0),
            ("2026-01-01t00:00:00z", 1767225600.0),
            ("2026-01-01 01:30:00.25+01:30", 1767225600.25),
            ("2025-12-31T23:00:00.123456789-01:00", 1767225600.123456),
        ],
    )
    def test_times_as_rfc_3339(self, text: str, seconds: float) -> None:
        assert wire.decode(message(run_at=text)).run_at == seconds

    @pytest.mark.parametrize(
        "time_",
        [
            "2026-01-01T00:00:00",
            "2026-02-31T00:00:00Z",
            "20260101T000000Z",
            "2026-01-01",
            "soon",
            "1767225600",
            "",
        ],
    )
    def test_other_strings_are_no_times(self, time_: str) -> None:
        assert details(message(expires_at=time_)) == (
            "expires_at: should be a time as RFC 3339 with its offset, or as epoch seconds",
        )

    def test_milliseconds_are_no_epoch_seconds(self) -> None:
        assert details(message(run_at=time.time() * 1000))[0].startswith("run_at: Input should be less than")

    @pytest.mark.parametrize(
        ("raw", "where"),
        [
            (b"", "Invalid JSON"),
            (b"{", "Invalid JSON"),
            (b"garbage" * 1000, "Invalid JSON"),
            (b'{"task":"\xff"}', "Invalid JSON"),
            (b'{"task":"a","id":"\\ud800"}', "Invalid JSON"),
            (b'{"task":"a","args":' + b"[" * 300 + b"]" * 300 + b"}", "Invalid JSON: recursion limit"),
            (b"[]", "Input should be an object"),
            (b"null", "Input should be an object"),
            (b"{}", "task: Field required"),
            (b'{"task":null}', "task: "),
            (b'{"task":"1st"}', "task: String should match"),
            (b'{"task":"square\\n"}', "task: String should match"),
            (message(args={"x": 1}), "args: Input should be a valid array"),
            (message(args=None), "args: "),
            (message(kwargs=[1]), "kwargs: Input should be an object"),
            (message(priority=3), "priority: Extra inputs are not permitted"),
            (message(v="1"), "v: "),
            (message(v=1.0), "v: "),
            (message(v=True), "v: "),
            (message(v=False), "v: "),
            (message(id=""), "id: "),
            (message(id="x" * 129), "id: "),
            (message(id=5), "id: Input should be a valid string"),
            (message(unique="x" * 257), "unique: "),
            (message(reply_to="a:b"), "reply_to: "),
            (message(reply_to="a\n"), "reply_to: "),
            (message(timeout=0), "timeout: "),
            (message(timeout=1e300), "timeout: "),
            (message(timeout="5"), "timeout: "),
            (message(timeout=True), "timeout: "),
            (message(max_retries=-1), "max_retries: "),
            (message(max_retries=1.0), "max_retries: "),
            (message(result_ttl=-1), "result_ttl: "),
            (message(run_at=-1), "run_at: "),
            (message(run_at=True), "run_at: "),
            (message(trace={"traceparent": 1}), "trace.traceparent: "),
            (message(trace={"baggage": "x"}), "trace.baggage"),
            (message(meta={"k": 1}), "meta.k: Input should be a valid string"),
            (message(meta={str(n): "" for n in range(65)}), "meta: "),
            (message(args=[float("nan")]), "NaN is not a JSON number"),
            (message(kwargs={"x": [float("-inf")]}), "-Infinity is not a JSON number"),
        ],
    )
    def test_what_is_wrong_is_told_with_its_path(self, raw: bytes, where: str) -> None:
        assert details(raw)[0].startswith(where)

    def test_limits_are_inclusive(self) -> None:
        fields = {"id": "x" * 128, "unique": "x" * 256, "meta": {str(n): "" for n in range(64)}}
        assert wire.decode(message(**fields)).id == "x" * 128

    def test_nan_in_a_string_is_text(self) -> None:
        assert wire.decode(message(args=["NaN", "Infinity"])).args == ("NaN", "Infinity")

    def test_all_errors_are_told_at_once_but_not_without_end(self) -> None:
        assert details(b'{"id":1,"x":2}') == (
            "task: Field required",
            "id: Input should be a valid string",
            "x: Extra inputs are not permitted",
        )
        many = details(message(**{f"k{n}": 0 for n in range(30)}))
        assert len(many) == 21
        assert many[-1] == "and 10 more"
        assert details(message(**{f"k{n}": 0 for n in range(5000)})) == ("5000 errors, too many to list",)
        assert len(details(message(**{"k" * 100_000: 0}))[0]) <= 300

    def test_the_input_is_not_repeated(self) -> None:
        assert "secret" not in str(details(message(timeout="secret")))

    @pytest.mark.parametrize("version", [2, 0, -1, 10**30])
    def test_another_version_is_not_judged_by_our_fields(self, version: int) -> None:
        with pytest.raises(UnknownVersionError) as caught:
            wire.decode(json.dumps({"v": version, "job": "square"}).encode())
        assert caught.value.version == version

    def test_an_envelope_cannot_be_changed(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            wire.decode(b'{"task":"a"}').task = "b"


class TestEncode:
    def test_only_what_was_set_is_written(self) -> None:
        assert wire.encode(Envelope(task="square", args=(4,), id=None)) == b'{"task":"square","args":[4]}'

    def test_null_arguments_stay(self) -> None:
        raw = wire.encode(Envelope(task="f", args=(None,), kwargs={"x": None, "y": {"z": None}}))
        assert json.loads(raw) == {"task": "f", "args": [None], "kwargs": {"x": None, "y": {"z": None}}}

    def test_what_is_encoded_can_be_decoded(self) -> None:
        envelope = Envelope(task="f", args=("ä\x00\n",), run_at=1.25, meta={"k": "v"}, unique="u", result_ttl=60.0)
        assert wire.decode(wire.encode(envelope)) == envelope

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            (object(), "unknown type"),
            ("\ud800", "surrogates"),
            (float("nan"), "NaN is not"),
            (float("-inf"), "Infinity is"),
        ],
    )
    def test_arguments_that_json_cannot_hold_are_refused(self, value: object, why: str) -> None:
        with pytest.raises(InvalidMessageError, match=why):
            wire.encode(Envelope(task="f", args=(value,)))


class TestOutcome:
    def test_the_bytes_are_the_documented_ones(self) -> None:
        raw = wire.encode_outcome("1-0", "square", Status.SUCCEEDED, b"16", None, 1, 1, 1.5, 2.25, 3.0, "h:1:ab")
        assert raw == (
            b'{"v":1,"id":"1-0","task":"square","status":"succeeded","value":16,"error":null,"attempts":1,'
            b'"deliveries":1,"enqueued_at":1.5,"started_at":2.25,"ended_at":3.0,"daemon":"h:1:ab"}'
        )

    def test_the_plain_function_writes_what_the_model_reads(self) -> None:
        error = ErrorInfo(type="ValueError", message='no "x"\n', cause="KeyError: 1")
        raw = wire.encode_outcome(
            'a"\\\x01ä\u2028',
            "",
            Status.DEAD,
            None,
            wire.encode_error(error),
            0,
            2,
            1e9,
            None,
            2e9,
            "d",
        )
        assert wire.decode_outcome(raw) == Outcome(
            id='a"\\\x01ä\u2028',
            task="",
            status=Status.DEAD,
            error=error,
            attempts=0,
            deliveries=2,
            enqueued_at=1e9,
            started_at=None,
            ended_at=2e9,
            daemon="d",
        )

    def test_older_clients_read_newer_outcomes(self) -> None:
        raw = wire.encode_outcome("1-0", "f", Status.EXPIRED, None, None, 0, 0, 1.0, None, 2.0, "d")
        assert wire.decode_outcome(raw[:-1] + b',"new":1}').status is Status.EXPIRED
        with pytest.raises(UnknownVersionError):
            wire.decode_outcome(raw.replace(b'"v":1', b'"v":2'))

    def test_what_is_no_outcome_is_refused(self) -> None:
        with pytest.raises(InvalidMessageError, match="status"):
            wire.decode_outcome(b'{"id":"1","status":"done"}')


class TestSchema:
    def test_the_schema_names_every_field_and_forbids_others(self) -> None:
        schema = wire.envelope_schema()
        assert list(schema["properties"]) == list(Envelope.model_fields)
        assert schema["required"] == ["task"]
        assert schema["additionalProperties"] is False
        assert {"type": "string", "format": "date-time"} in schema["properties"]["run_at"]["anyOf"]

    def test_the_outcome_schema_lists_the_statuses(self) -> None:
        assert wire.outcome_schema()["$defs"]["Status"]["enum"] == [
            "succeeded",
            "dead",
            "cancelled",
            "expired",
        ]
