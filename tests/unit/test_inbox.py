"""The inbox: order, bounds of a turn, waiting, and a signal that comes at a bad moment."""

from __future__ import annotations

import signal
import threading
import time

from device_agent.shell.inbox import AT_ONCE, Inbox

WAIT_S = 20.0


def test_that_what_was_put_is_taken_once_in_order_and_in_bounded_turns() -> None:
    inbox = Inbox()
    for number in range(AT_ONCE + 3):
        inbox.put(number, 10)
    assert (len(inbox), inbox.size_bytes) == (AT_ONCE + 3, 10 * (AT_ONCE + 3))
    assert inbox.take(0) == list(range(AT_ONCE))
    assert (len(inbox), inbox.size_bytes) == (3, 30)
    assert inbox.take(0) == [AT_ONCE, AT_ONCE + 1, AT_ONCE + 2]
    assert (len(inbox), inbox.size_bytes, inbox.take(0)) == (0, 0, [])


def test_that_a_turn_waits_for_the_first_item_and_no_longer() -> None:
    inbox = Inbox()
    threading.Timer(0.05, inbox.put, ["late"]).start()
    begun_s = time.monotonic()
    assert inbox.take(WAIT_S) == ["late"]
    assert time.monotonic() - begun_s < WAIT_S
    assert inbox.take(0.01) == []


def test_that_a_signal_handler_may_put_while_its_thread_puts_and_takes() -> None:
    inbox = Inbox()
    done: list[object] = []
    before = signal.signal(signal.SIGALRM, lambda *_: inbox.put("signal"))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            inbox.put("own")
            done += inbox.take(0.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    done += inbox.take(0.0)
    assert done.count("signal") > 100, "with a lock that is not reentrant it hangs here"
    assert len(inbox) == 0


def test_that_no_item_is_lost_or_doubled_between_threads() -> None:
    inbox = Inbox()
    taken: list[int] = []
    many, senders = 5_000, 4

    def send(first: int) -> None:
        for number in range(many):
            inbox.put(first + number, 1)

    threads = [threading.Thread(target=send, args=(each * many,)) for each in range(senders)]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + WAIT_S
    while len(taken) < many * senders and time.monotonic() < until_s:
        taken += inbox.take(0.05)
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(many * senders))
    for each in range(senders):
        own = [number for number in taken if number // many == each]
        assert own == sorted(own), "each sender's in its order"
    assert inbox.size_bytes == 0
