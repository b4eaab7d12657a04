"""What answers in a virtual machine: reads commands from a serial line and runs them. It runs there, alone.

Both ways one line of JSON: `{"argv": […], "env": {…}, "stdin": "…", "timeout_s": 60}` comes in, and
`{"code": 0, "out": "…", "err": "…"}` goes out; the first line is `{"hello": true}`. One command at a time.
"""

import json
import subprocess
import sys
import termios
import tty
from io import FileIO
from typing import Any


def main(device: str) -> None:
    """Answer until the line is cut."""
    with open(device, "r+b", buffering=0) as line:  # noqa: PTH123 - a device, unbuffered
        tty.setraw(line.fileno(), termios.TCSAFLUSH)
        _say(line, {"hello": True})
        waiting = b""
        while chunk := line.read(4096):
            waiting += chunk
            while b"\n" in waiting:
                question, _, waiting = waiting.partition(b"\n")
                _say(line, _answer(json.loads(question)))


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            question["argv"],
            input=question["stdin"].encode(),
            env=question["env"],
            capture_output=True,
            check=False,
            timeout=question["timeout_s"],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"code": 127, "out": "", "err": str(error)}
    return {"code": done.returncode, "out": _text(done.stdout), "err": _text(done.stderr)}


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _say(line: FileIO, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[line.write(data) :]


if __name__ == "__main__":
    main(sys.argv[1])
