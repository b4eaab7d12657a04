import json

import pytest
from pydantic_core import from_json

from workd_tasks import finite
from workd_tasks.finite import MAX_DEPTH, refuse_deep, refuse_huge_integers, refuse_non_finite


@pytest.mark.parametrize("before", ["", "N", "I", "N" * 100, "I" * 100, "NaN", "Infinity", "xNaN Infinityx" * 50])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_found_wherever_it_stands(before: str, number: str) -> None:
    text = json.dumps([before])
    refuse_non_finite(text.encode())
    for raw in (f"[{number}]", f"[{text}, {number}]", f"[{number}, {text}]", f'{{"{before}": {number}}}'):
        with pytest.raises(ValueError, match=f"^{number} is not a JSON number"):
            refuse_non_finite(raw.encode())


def test_a_huge_integer_is_told_by_its_own_error_whatever_stands_beside_it() -> None:
    raw = b'{"NaN": 1' + b"0" * 5000 + b"}"
    refuse_non_finite(raw)
    with pytest.raises(ValueError, match="5,001 digits"):
        refuse_huge_integers(raw)


@pytest.mark.parametrize("size", [100, 5000, 100_000])
def test_words_in_strings_are_not_read_by_the_slow_reader(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed in Python"))
    refuse_non_finite(b'["NaN and Infinity", "' + b"N I " * (size // 4) + b'"]')


def nested(levels: int) -> bytes:
    return (
        b'{"a":' * (levels // 2) + b"[" * (levels - levels // 2) + b"]" * (levels - levels // 2) + b"}" * (levels // 2)
    )


@pytest.mark.parametrize("beside", [b"1", b'"[[{{"', b"[{},[]]", b"[" + b"[]," * 500 + b'"{"]'])
def test_what_is_deeper_than_readers_follow_is_refused_and_nothing_less(beside: bytes) -> None:
    for levels in (1, 30, 150, MAX_DEPTH - 1):
        raw = b"[" + beside + b"," + nested(levels) + b"]"
        refuse_deep(raw)
        from_json(b'{"value":' + raw + b"}")
    raw = b"[" + beside + b"," + nested(MAX_DEPTH) + b"]"
    with pytest.raises(ValueError, match="nested more than 200 levels"):
        refuse_deep(raw)
    with pytest.raises(ValueError, match="recursion"):
        from_json(b'{"value":' + raw + b"}")


def test_depth_is_no_business_of_other_faults() -> None:
    refuse_deep(b"[" * 150 + b'"{", 1' + b"0" * 5000 + b"]" * 150)


def test_what_is_long_and_flat_is_not_read_to_tell_its_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite, "from_json", lambda *_: pytest.fail("read as a whole"))
    refuse_deep(json.dumps([{"point": [n, {"x": [n]}]} for n in range(1000)]).encode())
    refuse_deep(b'"' + b"x" * 100_000 + b'"')
