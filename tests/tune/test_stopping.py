"""Signals end a run in an orderly way: the first asks for it, the second does it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mlfd_tune.tune import stopping
from mlfd_tune.tune.stopping import RunStopped, Stopping

A_WHILE_S = 60.0


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_finish_and_the_second_interrupts(number: signal.Signals) -> None:
    run = Stopping()
    with run.listening():
        assert not run.asked
        send(number)
        assert run.asked
        with pytest.raises(KeyboardInterrupt):
            send(number)
    assert run.lost is None


def test_after_sigterm_there_is_only_so_much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "QUICK_S", 0.1)
    with Stopping().listening():
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            time.sleep(A_WHILE_S)


def test_after_ctrl_c_there_is_all_the_time_of_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "QUICK_S", 0.1)
    with Stopping().listening():
        send(signal.SIGINT)
        try:
            time.sleep(0.5)
        except KeyboardInterrupt:  # which would end the tests instead of failing one
            pytest.fail("a second signal came by itself")


def test_a_run_that_has_lost_ray_is_interrupted_and_knows_what_died() -> None:
    run = Stopping()
    with run.listening():
        watch = threading.Timer(0.2, run.lose, args=("the node manager",))
        watch.start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(A_WHILE_S)
    assert run.lost == "the node manager"


def test_ray_that_ends_after_a_signal_has_got_it_too() -> None:
    run = Stopping()
    with run.listening():
        send(signal.SIGTERM)
        threading.Timer(0.2, run.lose, args=("the node manager",)).start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(A_WHILE_S)
    assert run.lost is None


def test_a_main_thread_that_hears_no_signal_is_told_of_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_STUCK_S", 0.1)
    stuck: list[RunStopped] = []
    run = Stopping(stuck.append)
    with run.listening():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as in a call that does not return
        watch = threading.Thread(target=run.lose, args=("the node manager",))
        watch.start()
        watch.join(A_WHILE_S)
    assert [stop.lost for stop in stuck] == ["the node manager"]


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run = Stopping()
    with run.listening():
        pass
    run.lose("nothing that is needed any more")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_process_that_was_started_to_ignore_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = Stopping()
        with run.listening():
            send(signal.SIGINT)
            assert not run.asked
    finally:
        signal.signal(signal.SIGINT, before)
