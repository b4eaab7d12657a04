"""How a page of documentation is read that a test follows word by word."""

from __future__ import annotations

from support.machines.page import Step, steps

PAGE = """\
# Operations

```sh
not run
```

## First

```sh run
# no heading
echo one
```

It says:

```text
one …
```

```sh run
true
```
"""


def test_the_marked_blocks_are_the_steps_with_what_has_to_appear() -> None:
    first, second = steps(PAGE)
    assert first == Step("First", 9, "# no heading\necho one\n", ("one …",))
    assert second.expected == ()
    assert first.name == "First, line 9"


def test_lines_appear_in_order_within_lines_and_dots_stand_for_anything() -> None:
    step = Step("", 1, "", ("a … c", "d"))
    assert step.missing("x\n a b c \n cde") is None
    assert step.missing("d\na b c") == "d"
    assert step.missing("a\nc\nd") == "a … c"
    assert Step("", 1, "", ("price(1)",)).missing("price(1)") is None
    assert Step("", 1, "", ("a.c",)).missing("abc") == "a.c"
