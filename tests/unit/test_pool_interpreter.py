from workd import systemd
from workd.pool import interpreter


def test_no_process_that_we_start_may_speak_to_the_service_manager() -> None:
    assert interpreter.SERVICE_VARIABLES == systemd.VARIABLES
    assert set(systemd.VARIABLES) < interpreter.DAEMON_VARIABLES
