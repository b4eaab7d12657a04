import pytest

from support.flying import entry, flight
from workd.broker.ops import Finish
from workd.flights import Book, Flight
from workd.retry import Counters


def test_a_flight_without_a_readable_message_has_no_task() -> None:
    assert Flight(entry(message=None), "1000-0").task == ""
    assert flight(task="resize").task == "resize"


def test_deliveries_are_counted_from_one_and_count_all_runs() -> None:
    assert flight().delivery == 1
    assert flight(counters=Counters(attempts=1, crashes=2, takeovers=3, handbacks=4)).delivery == 11


@pytest.mark.parametrize(
    ("job", "named"),
    [
        (flight(), False),
        (flight(id="order-7"), True),
        (flight(unique="customer-7"), True),
        (Flight(entry(id="1-0"), "1-0"), True),
        (Flight(entry(), "1-0"), False),
    ],
)
def test_only_jobs_with_a_name_or_a_past_need_admission(job: Flight, named: bool) -> None:
    assert job.has_a_name is named


def test_a_book_knows_a_flight_from_its_opening_to_its_close() -> None:
    book, job = Book("default"), flight("1-0")
    assert not book.knows("1-0")
    book.open(job)
    assert book.knows("1-0")
    book.close("1-0")
    book.close("1-0")
    assert not book.knows("1-0")


def test_only_undecided_jobs_are_listed_and_found() -> None:
    book = Book("default")
    jobs = [flight(f"{n}-0") for n in range(4)]
    for job in jobs:
        book.open(job)
    jobs[1].settlement = Finish("1-0", "1-0", None)
    assert book.job_ids() == ["0-0", "2-0", "3-0"]
    assert list(book.find(frozenset({"1-0", "2-0", "9-0"}))) == [jobs[2]]


def test_flights_may_be_closed_while_they_are_found() -> None:
    book = Book("default")
    for n in range(3):
        book.open(flight(f"{n}-0"))
    for job in book.find(frozenset({"0-0", "1-0", "2-0"})):
        book.close(job.entry.entry_id)
    assert not book.flights


def test_dropped_flights_are_forgotten_and_marked() -> None:
    book = Book("default")
    for n in range(3):
        book.open(flight(f"{n}-0"))
    dropped = book.drop(["0-0", "2-0"])
    assert [job.dropped for job in dropped] == [True, True]
    assert list(book.flights) == ["1-0"]
    assert not book.flights["1-0"].dropped
