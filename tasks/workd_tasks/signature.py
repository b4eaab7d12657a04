"""What a task takes and gives, as pydantic sees it: from JSON text to a call, and from a value to JSON text.

Built once per task, when its module is loaded, so that processes forked later share it. The worker's runner
binds and dumps with it; `workd schema` prints it. It never calls the task.

Arguments are validated from the JSON text, strictly: `"4"` is no int, but a string is a datetime and an array
is a tuple, since JSON has neither, and bytes are base64 (see `adapters`). Types that bring a configuration of
their own (pydantic models, for one) keep it.
"""

from __future__ import annotations

import inspect
import re
import typing
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError
from pydantic.experimental.arguments_schema import generate_arguments_schema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError, SchemaValidator, core_schema, from_json, to_json

from workd_tasks import adapters
from workd_tasks.errors import TaskDefinitionError, TaskError
from workd_tasks.finite import refuse_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import TypeAdapter
    from pydantic_core import CoreSchema

    from workd_tasks.define import Task

_STRICT: Final = core_schema.CoreConfig(strict=True, val_json_bytes="base64", allow_inf_nan=False)
_NOTHING_GIVEN: Final[dict[Any, Any]] = {"var_args": (), "var_kwargs_uniform": {}, "var_kwargs_unpacked_typed_dict": {}}
_EXACT_TYPES: Final = (int, float, str, bool, NoneType)
_UNEXPECTED: Final = re.compile(r"UnexpectedValue\(Expected `([^`]*)`.*input_type=([^\]]*)\]\)$", re.MULTILINE)


class ArgumentsError(TaskError):
    """The message does not fit the signature; raised from the error that says where."""


class ResultError(TaskError):
    """JSON cannot hold what the task returned."""


class Signature:
    """The validators and the serializer of one task."""

    __slots__ = (
        "_by_name",
        "_call_signature",
        "_dump",
        "_exact_type",
        "_needs_nothing",
        "_positional",
        "_returns",
        "_schema",
        "_whole",
        "task",
    )

    def __init__(self, task: Task) -> None:
        """Build everything; raises `TaskDefinitionError`, naming the task and what of it."""
        fn = task.fn
        self.task = task
        self._call_signature = inspect.signature(fn)
        self._schema = _arguments_schema(task, fn, "arguments-v3")
        self._positional: Callable[[bytes], Any] | None = None
        try:
            self._by_name = _by_name_validator(self._schema).validate_json
            self._whole = _message_validator(_arguments_schema(task, fn, "arguments")).validate_json
        except SchemaError as error:  # what pydantic finds only now, such as a pattern that is none
            raise _definition_error(task, "its signature", error) from error
        self._needs_nothing = self._fits(b"{}")
        self._returns = returns = _return_type(task, fn)
        self._dump = _result_adapter(task, returns).serializer.to_json
        self._exact_type = returns if returns in _EXACT_TYPES else Any

    def bind(self, message: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments in `message` as (positional, by name), validated; raises `ArgumentsError`.

        `message` is an envelope that was decoded before: nothing but the arguments is looked at again. One pass
        over the text does for what messages have nearly always: either `args` or `kwargs`, and right. All else
        goes the longer way, which also finds the better words for what is wrong.
        """
        try:
            found = self._whole(message)
        except ValidationError:
            return self._bind_by_name(message)
        args, kwargs = found.get("args"), found.get("kwargs")
        if args and not kwargs:
            return cast("tuple[tuple[Any, ...], dict[str, Any]]", args)
        if kwargs and not args:
            return cast("tuple[tuple[Any, ...], dict[str, Any]]", kwargs)
        if self._needs_nothing and not args:
            return (), {}
        return self._bind_by_name(message)

    def bind_positional(self, arguments: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Do the same with the JSON array of all arguments, which nobody has parsed before; `bind` has better words."""
        if self._positional is None:  # only for long messages
            schema = _arguments_schema(self.task, self.task.fn, "arguments")
            self._positional = SchemaValidator(schema, _STRICT).validate_json
        try:
            return cast("tuple[tuple[Any, ...], dict[str, Any]]", self._positional(arguments))
        except ValidationError as error:
            raise ArgumentsError from error

    def dump(self, value: object) -> bytes:
        """Return `value` as JSON; raises `ResultError` when JSON or the return annotation cannot hold it."""
        try:
            if type(value) is self._exact_type:
                raw = self._dump(value)
            else:
                # "error" costs 1.3 us, so it is not for what cannot be wrong. By alias a model is read, too.
                raw = self._dump(value, warnings="error", by_alias=True)
            refuse_unreadable(raw)
        except ValueError as error:  # as pydantic calls all that its serializers meet
            raise ResultError(f"task {self.task.name!r} returned {self._fault(value, error)}") from error
        return raw

    def _fault(self, value: object, error: ValueError) -> str:
        if inspect.iscoroutine(value):
            return "a coroutine, which nobody has run: it is wrapped in a plain function; make that one `async def`"
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        if not (unexpected := _UNEXPECTED.findall(str(error))):
            return (
                f"{kind}, which cannot be sent as JSON as it is annotated ({_one_line(error)}); "
                f"return numbers, strings, lists, dicts, dataclasses or pydantic models"
            )
        annotation = "None" if self._returns is NoneType else inspect.formatannotation(self._returns)
        wanted, found = " or ".join(dict.fromkeys(name for name, _ in unexpected)), unexpected[0][1]
        inside = found != type(value).__name__ or isinstance(value, (list, tuple, dict, set))
        return f"{kind}, annotated {annotation}" + (f": it has {found} for {wanted}" if inside else "")

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schemas of the arguments (by parameter name) and of the result."""
        returns = _return_type(self.task, self.task.fn)
        return {
            "arguments": GenerateJsonSchema().generate(self._schema, "validation"),
            "result": _result_adapter(self.task, returns).json_schema(mode="serialization"),
        }

    def _bind_by_name(self, message: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort the arguments by parameter first, as a call would, then validate them under those names."""
        try:
            envelope = from_json(message)
            bound = self._call_signature.bind_partial(*envelope.get("args", ()), **envelope.get("kwargs", {}))
        except (AttributeError, TypeError, ValueError) as error:
            raise ArgumentsError from error
        try:
            found = self._by_name(to_json(bound.arguments))
        except ValidationError as error:
            raise ArgumentsError from error
        return cast("tuple[tuple[Any, ...], dict[str, Any]]", found)

    def _fits(self, arguments: bytes) -> bool:
        try:
            self._by_name(arguments)
        except ValidationError:
            return False
        return True


_signatures: dict[str, Signature] = {}


def of(task: Task) -> Signature:
    """Return the signature of `task`, built at the first call."""
    known = _signatures.get(task.name)
    if known is None or known.task is not task:
        known = _signatures[task.name] = Signature(task)
    return known


def _by_name_validator(schema: CoreSchema) -> SchemaValidator:
    """Return a validator over an object with all arguments under their parameters' names.

    pydantic takes `*rest` and `**more` for required parameters, which may not follow one that has a default, unless
    they have one, too.
    """
    found, definitions = _split(schema)
    arguments = cast("core_schema.ArgumentsV3Schema", found)
    parameters: list[core_schema.ArgumentsV3Parameter] = [
        {**one, "schema": core_schema.with_default_schema(one["schema"], default=_NOTHING_GIVEN[mode])}
        if (mode := one.get("mode")) in _NOTHING_GIVEN
        else one
        for one in arguments["arguments_schema"]
    ]
    found = {**arguments, "arguments_schema": parameters}
    return SchemaValidator(core_schema.definitions_schema(found, definitions) if definitions else found, _STRICT)


def _message_validator(arguments: CoreSchema) -> SchemaValidator:
    """Return a validator over a whole message that looks at `args` and `kwargs` only.

    Each comes out as (positional, by name) or, when it was empty, as what it was: many producers always send
    both.
    """
    arguments, definitions = _split(arguments)
    no_args = core_schema.list_schema(max_length=0)
    no_kwargs = core_schema.dict_schema(max_length=0)
    message = core_schema.typed_dict_schema(
        {
            "args": core_schema.typed_dict_field(core_schema.union_schema([no_args, arguments], mode="left_to_right")),
            "kwargs": core_schema.typed_dict_field(
                core_schema.union_schema([no_kwargs, arguments], mode="left_to_right"),
            ),
        },
        total=False,
        extra_behavior="ignore",
        config=_STRICT,  # a typed dict starts with a configuration of its own: without this, all below is lax
    )
    return SchemaValidator(core_schema.definitions_schema(message, definitions) if definitions else message, _STRICT)


def _split(schema: CoreSchema) -> tuple[CoreSchema, list[CoreSchema]]:
    """Take shared definitions off a schema: one that is used twice may define them only once."""
    if schema["type"] == "definitions":
        return schema["schema"], schema["definitions"]
    return schema, []


def _arguments_schema(
    task: Task,
    fn: Callable[..., Any],
    kind: typing.Literal["arguments", "arguments-v3"],
) -> CoreSchema:
    seen: list[str] = []

    def remember(_index: int, name: str, _annotation: object) -> None:
        seen.append(name)

    try:
        return generate_arguments_schema(fn, kind, parameters_callback=remember, config=adapters.STRICT)
    except Exception as error:  # whatever annotations, and the hooks of the types in them, can raise
        where = f"parameter {seen[-1]!r}" if seen else _unresolved(fn, error)
        raise _definition_error(task, where, error) from error


def _unresolved(fn: Callable[..., Any], error: Exception) -> str:
    """Name the parameter whose annotation uses a name that is not there (the error tells only the name)."""
    missing = str(getattr(error, "name", None) or "")
    for parameter, annotation in fn.__annotations__.items():
        if missing and isinstance(annotation, str) and missing in annotation:
            return "the return annotation" if parameter == "return" else f"parameter {parameter!r}"
    return "an annotation"


def _return_type(task: Task, fn: Callable[..., Any]) -> Any:
    try:
        return typing.get_type_hints(fn, include_extras=True).get("return", Any)
    except Exception as error:  # as for the parameters
        raise _definition_error(task, "the return annotation", error) from error


def _result_adapter(task: Task, returns: Any) -> TypeAdapter[Any]:
    try:
        return adapters.adapter_of(returns)
    except Exception as error:  # as for the parameters
        raise _definition_error(task, "the return annotation", error) from error


def _definition_error(task: Task, where: str, error: Exception) -> TaskDefinitionError:
    message = f"task {task.name!r}: {where} cannot be validated from JSON: {_one_line(error)} (in {task.place})"
    return TaskDefinitionError(message, task.module)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
