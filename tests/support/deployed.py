"""The files in `deploy/`, read: YAML documents, a Dockerfile's instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
_SCHEMAS = ROOT / "tests" / "schemas"


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file, none of them empty."""
    found = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]
    assert found, f"{path} is empty"
    return found


def faults(document: dict[str, Any], schema_file: str, kind: str = "") -> list[str]:
    """Return what is wrong with a document by a schema of tests/schemas, each with its path."""
    schema = json.loads((_SCHEMAS / schema_file).read_text(encoding="utf-8"))
    if kind:
        assert kind in schema["$defs"], f"tests/schemas/{schema_file} has no {kind}"
        schema = {"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile; continuation lines are joined."""

    stage: int
    word: str
    rest: str


def instructions(path: Path) -> list[Instruction]:
    """Read a Dockerfile: no heredocs, no escapes but the backslash at the end of a line."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    found: list[Instruction] = []
    stage = -1
    for line in filter(None, map(str.strip, lines)):
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest.strip()))
    return found


def seconds(span: str) -> float:
    """Read a span as Compose writes it: `45s`, `1m30s`."""
    parts = re.findall(r"(\d+)(ms|s|m|h)", span)
    assert parts, span
    return sum(int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit] for number, unit in parts)
