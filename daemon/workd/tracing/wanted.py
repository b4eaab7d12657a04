"""Whether the environment asks for traces, and where they are to go. Loads nothing: each forkserver asks this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_BY_PROTOCOL: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def exporters(environ: Mapping[str, str]) -> list[str]:
    """Return the names of the exporters that the environment asks for; none if it asks for none.

    `otlp` is asked for by its endpoint alone, too.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = [word.strip() for word in environ.get("OTEL_TRACES_EXPORTER", "").split(",") if word.strip()]
    if not named and any(environ.get(name) for name in _ENDPOINTS):
        named = ["otlp"]
    return [_of_protocol(environ) if name == "otlp" else name for name in named if name != "none"]


def _of_protocol(environ: Mapping[str, str]) -> str:
    chosen = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    return _BY_PROTOCOL.get(chosen, f"otlp with the protocol {chosen}")
