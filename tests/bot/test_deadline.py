"""One run: what waits, and for how long."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from typing import NoReturn

import pytest

from bot.deadline import call_until, close_when_given_up, pause, refuse_if_late
from tests.stand_ins.local_cloud import ROOT


def test_pause_ends_at_the_deadline() -> None:
    """What comes after it looks at the clock; a deadline that is past costs nothing."""
    started = time.monotonic()
    pause(60, started + 0.05)
    pause(60, started - 1)
    pause(0.01, started + 60)
    assert time.monotonic() - started < 30


def test_nothing_sleeps_but_pauses() -> None:
    """And ChatGPT's tries, which are not made if the pause before them would end too late."""
    sleeping = [file.name for file in (ROOT / "bot").rglob("*.py") if "time.sleep(" in file.read_text(encoding="utf-8")]
    assert sorted(sleeping) == ["asking.py", "deadline.py"]


def test_call_that_ends_in_time_gives_what_it_returns_or_raises() -> None:
    """From a thread of its own."""

    def fail() -> NoReturn:
        raise LookupError("example")

    assert call_until(time.monotonic() + 60, threading.get_ident) != threading.get_ident()
    with pytest.raises(LookupError, match="example"):
        call_until(time.monotonic() + 60, fail)


def test_call_that_is_given_up_loses_its_connection_and_begins_no_request() -> None:
    """Its connection is closed, which ends its thread; connected later, it is refused."""
    closed = threading.Event()
    late: concurrent.futures.Future[str] = concurrent.futures.Future()

    def wait() -> None:
        close_when_given_up(closed.set)
        closed.wait(60)
        try:
            refuse_if_late()
        except TimeoutError as error:
            late.set_result(str(error))

    with pytest.raises(concurrent.futures.TimeoutError):
        call_until(time.monotonic() + 0.5, wait)
    assert closed.is_set()
    assert late.result(60) == "connected after the deadline"
