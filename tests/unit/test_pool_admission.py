"""Back-pressure: who comes in, who waits, and who never does."""

import threading

from support.waiting import eventually
from workd.pool.api.admission import Admission


def never() -> bool:
    return False


def test_so_many_come_in_and_the_next_waits_for_one_to_leave() -> None:
    admission = Admission(2)
    assert admission.enter(never)
    assert admission.enter(never)
    entered = []
    waiting = threading.Thread(target=lambda: entered.append(admission.enter(never)))
    waiting.start()
    eventually(lambda: admission._waiters)
    assert not entered
    admission.leave()
    waiting.join(5)
    assert entered == [True]


def test_whoever_waits_is_let_go_when_it_is_over() -> None:
    admission, over = Admission(1), threading.Event()
    assert admission.enter(over.is_set)
    entered = []
    waiting = threading.Thread(target=lambda: entered.append(admission.enter(over.is_set)))
    waiting.start()
    eventually(lambda: admission._waiters)
    over.set()
    admission.let_go()
    waiting.join(5)
    assert entered == [False]
    assert not admission.enter(over.is_set)


def test_who_came_in_without_a_token_brings_none_back() -> None:
    admission = Admission(1)
    for _ in range(3):
        admission.enter_at_once()
    admission.leave()
    admission.leave()
    assert not admission._tokens
    admission.leave()
    assert len(admission._tokens) == 1


def test_never_are_more_inside_than_there_is_room_for() -> None:
    admission, inside, most = Admission(3), [], []

    def come_and_go() -> None:
        for _ in range(300):
            assert admission.enter(never)
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            admission.leave()

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 2400
    assert max(most) <= 3
    assert len(admission._tokens) == 3
