import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from workd import activation
from workd.address import TcpAddress, UnixAddress

ME = 4242


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def handed(*sockets: socket.socket, names: str = "", pid: int = ME) -> tuple[dict[str, str], int]:
    """Announce copies of these sockets as systemd does: with consecutive numbers, and inheritable."""
    first_fd = 200
    for fd, one in enumerate(sockets, first_fd):
        os.dup2(one.fileno(), fd)
    environ = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names, "HOME": "/"}
    return environ, first_fd


def test_a_socket_of_systemd_is_taken_over_under_its_address(listener: socket.socket) -> None:
    environ, first_fd = handed(listener, names="health")
    taken = activation.take(environ, ME, first_fd)
    host, port = listener.getsockname()
    assert list(taken) == [TcpAddress(host, port)]
    with taken[TcpAddress(host, port)] as one:
        assert not one.get_inheritable()
        with socket.create_connection((host, port), 10):
            one.settimeout(10)
            one.accept()[0].close()


def test_a_unix_socket_too(tmp_path: Path) -> None:
    path = str(tmp_path / "h.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        environ, first_fd = handed(listener, names="health")
        taken = activation.take(environ, ME, first_fd)
    assert list(taken) == [UnixAddress(path)]
    taken[UnixAddress(path)].close()


def test_the_variables_are_gone_for_whatever_is_started_later(listener: socket.socket) -> None:
    environ, first_fd = handed(listener)
    for one in activation.take(environ, ME, first_fd).values():
        one.close()
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("pid", "count"), [(str(ME + 1), "1"), ("", "1"), (str(ME), ""), (str(ME), "-1"), (str(ME), "x")]
)
def test_what_is_meant_for_another_process_is_left_alone(pid: str, count: str) -> None:
    assert activation.take({"LISTEN_PID": pid, "LISTEN_FDS": count}, ME, first_fd=200) == {}


def test_without_names_every_socket_is_for_health(listener: socket.socket) -> None:
    environ, first_fd = handed(listener)
    taken = activation.take(environ, ME, first_fd)
    assert len(taken) == 1
    taken.popitem()[1].close()


def test_a_socket_of_another_name_is_closed_with_a_word_on_what_its_unit_needs(listener: socket.socket) -> None:
    environ, first_fd = handed(listener, names="workd-health.socket")
    with structlog.testing.capture_logs() as lines:
        assert activation.take(environ, ME, first_fd) == {}
    assert "FileDescriptorName=health" in lines[0]["event"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first_fd)


def test_a_socket_that_listens_to_nobody_is_closed() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        environ, first_fd = handed(one, names="health")
    with structlog.testing.capture_logs() as lines:
        assert activation.take(environ, ME, first_fd) == {}
    assert len(lines) == 1


def test_a_descriptor_that_is_not_there_is_a_warning() -> None:
    environ = {"LISTEN_PID": str(ME), "LISTEN_FDS": "1"}
    with structlog.testing.capture_logs() as lines:
        assert activation.take(environ, ME, first_fd=250) == {}
    assert [line["fd"] for line in lines] == [250]


@pytest.mark.parametrize(
    ("address", "is_answered"),
    [
        (TcpAddress("127.0.0.1", 9977), True),
        (TcpAddress("localhost", 9977), True),
        (TcpAddress("127.0.0.1", 9978), False),
        (TcpAddress("127.0.0.2", 9977), False),
        (TcpAddress("no.such.host.invalid", 9977), False),
        (UnixAddress("/run/h.sock"), True),
        (UnixAddress("/run/other.sock"), False),
    ],
)
def test_an_address_that_systemd_has_opened_is_not_opened_again(
    address: TcpAddress | UnixAddress, is_answered: bool
) -> None:
    with socket.socket() as one, socket.socket() as other:
        taken: dict[TcpAddress | UnixAddress, socket.socket] = {
            TcpAddress("127.0.0.1", 9977): one,
            UnixAddress("/run/h.sock"): other,
        }
        assert activation.answers(address, taken) is is_answered


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
def test_who_listens_everywhere_listens_here(wildcard: str) -> None:
    with socket.socket() as one:
        assert activation.answers(TcpAddress("127.0.0.1", 9977), {TcpAddress(wildcard, 9977): one})
