import pytest

from workd.errors import SettingsError
from workd.settings import Settings, load
from workd.sizes import MAX_WORKERS, Bounds, bounds


def test_a_number_is_no_matter_of_load() -> None:
    assert bounds(Settings(workers=3), cores=8) == Bounds(3, 3)


def test_auto_is_between_one_and_four_for_each_core_or_what_is_said() -> None:
    assert bounds(Settings(workers="auto"), cores=8) == Bounds(1, 32)
    assert bounds(Settings(workers="auto", workers_min=0, workers_max=5), cores=8) == Bounds(0, 5)
    assert bounds(Settings(workers="auto", workers_min=40), cores=8) == Bounds(40, 40)
    assert bounds(Settings(workers="auto"), cores=2000).most == MAX_WORKERS


def test_the_first_boot_has_a_worker_that_can_fail() -> None:
    assert Bounds(0, 5).first == 1
    assert Bounds(3, 5).first == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"workers": "4097"}, "workers: should be less than or equal to 4096"),
        ({"workers": "many"}, "workers: should be a valid integer"),
        ({"workers_min": "5", "workers_max": "4"}, "workers_max: should be at least workers_min, which is 5"),
        ({"workers_min": "-1"}, "workers_min: should be greater than or equal to 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(flags: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(flags)
    assert words in str(caught.value)


def test_it_is_read_as_people_write_it() -> None:
    assert load({"workers": "auto"}).settings.workers == "auto"
    assert load({"workers": "7"}).settings.workers == 7
