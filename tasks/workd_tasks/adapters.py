"""How values that JSON has no word for are written in it, by workers and producers alike.

Used by the worker for what a task takes and returns, and by clients for what comes back. Bytes are base64, since JSON
is text; NaN and the infinities are written as what they are, so that whoever writes JSON can find and refuse them
(`finite`). Types that bring a configuration of their own, pydantic models for one, keep it.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from typing_extensions import TypeAliasType

BYTES_MODE: Final = "base64"  # of `pydantic_core.to_json`, where there is no annotation

WIRE: Final = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")
STRICT: Final = ConfigDict(strict=True, val_json_bytes="base64", allow_inf_nan=False)

_numbers = count(1)


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """Return what validates and writes values of this annotation. Raises what pydantic does for one it can't read."""
    try:
        return TypeAdapter(annotation, config=WIRE)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
    # A dataclass or a typed dict would keep our configuration from what is in it; under another name it does not.
    # pydantic tells two aliases apart by name and address, and remembers those that are gone: each has a new name.
    alias: Any = TypeAliasType(f"Value{next(_numbers)}", annotation)
    return TypeAdapter(alias, config=WIRE)
