import pytest

from workd.address import TcpAddress, UnixAddress, of_instance, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9977", TcpAddress("127.0.0.1", 9977)),
        (":9977", TcpAddress("127.0.0.1", 9977)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("[::1]:80", TcpAddress("::1", 80)),
        ("unix:/run/workd/health.sock", UnixAddress("/run/workd/health.sock")),
    ],
)
def test_an_address_is_read_and_written(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "9977", "host", "host:", "host:x", "host:70000", "host:-1", "::1:80", "unix:", "unix:rel", "host:٣"]
)
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"no address|no absolute path"):
        parse(text)


def test_a_path_that_the_kernel_would_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse("unix:/" + "x" * 107)


def test_each_daemon_has_a_socket_of_its_own() -> None:
    assert of_instance({"RUNTIME_DIRECTORY": "/run/workd:/run/other"}, 7) == UnixAddress("/run/workd/health-7.sock")
    assert of_instance({"XDG_RUNTIME_DIR": "/run/user/1"}, 7) == UnixAddress("/run/user/1/workd-health-7.sock")
    assert of_instance({}, 7) is None
    assert of_instance({"XDG_RUNTIME_DIR": "/" + "x" * 107}, 7) is None
