import json
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from workd import settings
from workd.errors import SettingsError
from workd.settings import Settings, load, masked


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in settings.names():
        monkeypatch.delenv(settings.variable(name), raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", tmp_path / "absent.toml")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "workd.toml"


def refusal(flags: dict[str, object], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults_are_those_that_are_documented() -> None:
    chosen = load({}).settings
    assert chosen.redis_url == "redis://localhost:6379/0"
    assert chosen.queues == chosen.inbox_queues == ("default",)
    assert (chosen.lease_s, chosen.drain_s, chosen.timeout_s, chosen.unknown_task_s) == (15, 30, 3600, 60)
    assert (chosen.max_crashes, chosen.max_takeovers, chosen.max_message_bytes) == (3, 10, 1024 * 1024)
    assert chosen.http == "127.0.0.1:9977"
    assert chosen.workers == settings.usable_cores()


def test_each_source_overrides_the_one_before(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('workers = 1\nlease_s = 2\ndrain_s = 3\nqueues = ["a", "b"]\n')
    monkeypatch.setenv("WORKD_LEASE_S", "20")
    monkeypatch.setenv("WORKD_DRAIN_S", "30")
    loaded = load({"drain_s": "300", "timeout_s": None}, config)
    assert (loaded.settings.workers, loaded.settings.lease_s, loaded.settings.drain_s) == (1, 20, 300)
    assert loaded.settings.queues == ("a", "b")
    assert loaded.origins["workers"] == loaded.origins["queues"] == str(config)
    assert loaded.origins["lease_s"] == "WORKD_LEASE_S"
    assert loaded.origins["drain_s"] == "--drain-s"
    assert loaded.origins["timeout_s"] == "default"


def test_the_default_file_is_read_if_it_exists(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("workers = 7")
    monkeypatch.setattr(settings, "DEFAULT_CONFIG", config)
    assert load({}).settings.workers == 7


def test_a_secret_comes_from_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis_url").write_text("redis://:secret@cache:6379/1\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    loaded = load({})
    assert loaded.settings.redis_url == "redis://:secret@cache:6379/1"
    assert loaded.origins["redis_url"] == "credential redis_url"
    monkeypatch.setenv("WORKD_REDIS_URL", "redis://env")
    assert load({}).origins["redis_url"] == "WORKD_REDIS_URL"


def test_lists_are_written_with_commas_and_repetitions_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_QUEUES", "images, default,images")
    assert load({}).settings.queues == ("images", "default")
    assert load({"modules": ("a", "b")}).settings.modules == ("a", "b")


def test_sizes_may_have_a_unit(config: Path) -> None:
    config.write_text('memory_limit_bytes = "512M"\nworker_max_growth_bytes = 1048576')
    chosen = load({}, config).settings
    assert (chosen.memory_limit_bytes, chosen.worker_max_growth_bytes) == (512 * 2**20, 2**20)
    assert load({"worker_max_growth_bytes": "1.5G"}).settings.worker_max_growth_bytes == 3 * 2**29


def test_only_the_inboxes_of_served_queues_are_served() -> None:
    assert load({"queues": "images"}).settings.inboxes == ()
    assert load({"queues": "b,a", "inbox_queues": "a,b"}).settings.inboxes == ("b", "a")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"lease_s": "0.5"}, "lease_s: should be greater than or equal to 1 ('0.5' from --lease-s)"),
        ({"timeout_s": "never"}, "timeout_s: should be a valid number"),
        ({"timeout_s": "inf"}, "timeout_s: "),
        ({"workers": 0}, "workers: should be greater than or equal to 1 (0 from --workers)"),
        ({"memory_limit_bytes": "512 monkeys"}, "memory_limit_bytes: '512 monkeys' is no size"),
        ({"memory_limit_bytes": "1K"}, "memory_limit_bytes: should be 0, or at least 1048576"),
        ({"worker_max_growth_bytes": "-1"}, "worker_max_growth_bytes: '-1' is no size"),
        ({"worker_max_jobs": "-1"}, "worker_max_jobs: should be greater than or equal to 0"),
        ({"worker_max_age_s": "nan"}, "worker_max_age_s: "),
        ({"boot_timeout_s": "0"}, "boot_timeout_s: should be greater than 0"),
        ({"queues": ""}, "queues: "),
        ({"queues": "a{b}"}, "queues: "),
        ({"redis_url": "localhost:6379"}, "redis_url: "),
        ({"redis_url": "redis://localhost:1/0?foo=bar"}, "redis_url: the parameter 'foo' is none that redis-py knows"),
        ({"redis_url": "redis://[::1/0"}, "redis_url: is no URL: look at its host"),
        ({"redis_url": "redis://h/notadb"}, "redis_url: its path should be the number of a database"),
        ({"redis_url": "redis://h:port/0"}, "redis_url: its port is no number"),
        ({"http": "9977"}, "http: '9977' is no address: write host:port or unix:/path"),
        ({"log_level": "loud"}, "log_level: should be 'debug', 'info'"),
    ],
)
def test_a_wrong_value_is_named_with_its_origin(flags: dict[str, object], said: str) -> None:
    line = refusal(flags)
    assert line.startswith(said)
    assert f"from {settings.flag(next(iter(flags)))}" in line


def test_a_wrong_value_in_the_environment_is_named_as_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_MAX_CRASHES", "many")
    assert "('many' from WORKD_MAX_CRASHES)" in refusal({})


def test_a_wrong_name_in_the_file_gets_the_nearest_right_one(config: Path) -> None:
    config.write_text("leases_s = 3\n")
    assert refusal({}, config) == (f"leases_s: there is no such setting, from {config}; did you mean lease_s?")


def test_a_file_that_was_named_has_to_be_there_and_to_be_toml(config: Path) -> None:
    assert refusal({}, config) == f"config: {config} cannot be read: No such file or directory"
    config.write_text("workers: 3")
    assert refusal({}, config).startswith(f"config: {config} is not TOML: ")
    config.write_bytes(b"\xff")
    assert refusal({}, config).startswith(f"config: {config} is not TOML: ")


def test_a_variable_that_is_no_setting_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_LEASE", "3")
    assert load({}).warnings == ("WORKD_LEASE is not a setting; did you mean WORKD_LEASE_S?",)


def test_an_inbox_of_a_queue_that_is_not_served_is_a_warning_only_if_asked_for() -> None:
    assert load({"queues": "a"}).warnings == ()
    assert load({"queues": "a", "inbox_queues": "a,b"}).warnings == (
        "inbox_queues: b is not among queues: its inbox is not served",
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
        ("rediss://me:hunter2@h/0", "rediss://me:***@h/0"),
        ("unix:///run/r.sock?db=1&password=hunter2", "unix:///run/r.sock?db=1&password=***"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://me@h/0", "redis://me@h/0"),
        ("redis://:hun:t@er2@h:1/0", "redis://:***@h:1/0"),
        ("rediss://h:1/0?ssl_password=hunter2", "rediss://h:1/0?ssl_password=***"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked("redis_url", url) == shown
    assert load({"redis_url": url}).shown()["redis_url"] == shown


def test_a_wrong_secret_is_not_repeated_in_the_error() -> None:
    for url in ("http://:hunter2@h", "redis://:hunter2/@h", "redis://h?password=hunter2&hunter2=1"):
        assert "hunter2" not in refusal({"redis_url": url})
    assert masked("redis_url", "redis://:hun:t@er/2@h:1/0") == "redis://:***@h:1/0"


def test_settings_made_by_hand_read_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKD_WORKERS", "99")
    assert Settings(workers=2).workers == 2
    assert Settings().workers == settings.usable_cores()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().workers = 3


def test_what_is_shown_can_be_read_again(config: Path) -> None:
    shown = load({"workers": 3, "queues": "a,b", "http": ""}).shown()
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in shown.items()))
    assert tomllib.loads(config.read_text())["queues"] == ["a", "b"]
    assert load({}, config).shown() == shown


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_schedule_is_read_from_tables_of_the_file(config: Path) -> None:
    config.write_text(
        '[schedule.nightly]\ntask = "report"\ncron = "0 3 * * *"\ntimezone = "Europe/Berlin"\n'
        '[schedule."each.minute"]\ntask = "tick"\ncron = "* * * * *"\nargs = [1]\ncatch_up = "all"\n'
    )
    schedule = load({}, config).settings.schedule
    assert list(schedule) == ["nightly", "each.minute"]
    assert (schedule["nightly"].timezone, schedule["nightly"].catch_up) == ("Europe/Berlin", "last")
    assert (schedule["each.minute"].args, schedule["each.minute"].catch_up) == ((1,), "all")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[schedule.nightly]\ntask = "report"\ncron = "0 0 30 2 *"', "schedule.nightly: '0 0 30 2 *' is no cron line"),
        (
            '[schedule.nightly]\ntask = "report"\ncron = "@daily"\ntimezone = "Mars"',
            "schedule.nightly.timezone: there is no time zone 'Mars'",
        ),
        ('[schedule.nightly]\ntask = "report"', "schedule.nightly.cron: Field required"),
        ('[schedule.nightly]\ntask = "r"\ncron = "@daily"\nwhen = 1', "schedule.nightly.when: Extra inputs"),
        ('[schedule."no name"]\ntask = "r"\ncron = "@daily"', "schedule.no name: String should match"),
        ("schedule = 3", "schedule: should be a valid dictionary"),
    ],
)
def test_a_line_of_the_schedule_that_is_wrong_is_named(table: str, said: str, config: Path) -> None:
    config.write_text(table)
    told = refusal({}, config)
    assert said in told
    assert str(config) in told


def test_weights_are_written_in_one_word_or_as_a_table(config: Path) -> None:
    assert load({}).settings.queue_weights == {}
    flags = {"queues": "urgent,bulk", "queue_weights": "urgent=6, bulk=1,"}
    assert load(flags).settings.queue_weights == {"urgent": 6, "bulk": 1}
    config.write_text('queues = ["a", "b"]\n[queue_weights]\na = 3\n')
    assert load({}, config).settings.queue_weights == {"a": 3}


@pytest.mark.parametrize("weights", ["urgent", "urgent=", "urgent=0", "urgent=x", "urgent=1.5", "=3", "a b=1"])
def test_a_weight_that_is_none_is_refused_with_its_source(weights: str) -> None:
    assert "--queue-weights" in refusal({"queues": "urgent", "queue_weights": weights})


def test_a_weight_of_a_queue_that_is_not_served_is_a_warning() -> None:
    [warning] = load({"queue_weights": "default=2,images=3"}).warnings
    assert "images is not among queues" in warning
