"""What is said of code that does not load."""

import pytest

from workd.pool.child.complaints import complain


@pytest.mark.parametrize("said", ["\ud800", "a name \udcff of a file"])
def test_whoever_is_told_can_be_told(said: str) -> None:
    told = complain(RuntimeError(said), "my_tasks")
    shown = said.encode("ascii", "backslashreplace").decode()
    assert told["module"] == "my_tasks"
    assert told["cause"] == f"RuntimeError: {shown}"
    assert told["traceback"].endswith(f"RuntimeError: {shown}\n")
    assert all(text.encode() for text in told.values())
