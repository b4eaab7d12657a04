import json

import pytest

from workd_tasks.finite import refuse_huge_integers, refuse_non_finite


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
