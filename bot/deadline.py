"""One run: its deadline, the shares of its steps, and calls that end in time."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from bot.settings import ReplySettings

T = TypeVar("T")

ENDING_SECONDS = 2  # of the function's time-out: FC kills a run that exceeds it, bills it, and runs the event again
# What a step may take: seconds, and at most this part of what is left before the deadline.
LOAD_SHARE = (8, 1 / 5)
COUNT_SHARE = (4, 1 / 10)  # for DAILY_LIMIT
FETCH_SHARE = (20, 1 / 3)  # for all pictures and files of a message, which take it from ChatGPT
UPLOAD_SHARE = (8, 1 / 3)  # for all pictures of an answer, which take it from sending
COMMIT_SHARE = (6, 1 / 3)
AFTER_ASKING_SHARE = (20, 1 / 2)  # stays for the commit, sending and the mark; ChatGPT may have all before
MARK_SHARE = (3, 1 / 4)  # stays for the mark, which may have more if sending was quick; sending may have all before
MARK_SECONDS = 6
MIN_SEND_SECONDS = 1  # with less left, a request is not begun: given up too early, a part may show twice
MOST_SECONDS_WITHOUT_CHATGPT = 30  # the above together, which is what the function's time-out needs beside TIMEOUT


class Run(NamedTuple):
    """One run of this function."""

    id: str  # unique: FC may run one event twice at once, with the same request id
    context: Any
    role: Any  # the credentials of the function's role, None if it has none
    settings: ReplySettings
    deadline: float  # time.monotonic() by which everything ends

    def share(self, share: tuple[float, float]) -> float:
        """The deadline of a step that may have this share of what is left."""
        return time.monotonic() + self.part(share)

    def without(self, share: tuple[float, float]) -> float:
        """The deadline of a step after which this share must be left."""
        return self.deadline - self.part(share)

    def part(self, share: tuple[float, float]) -> float:
        """The seconds of a share."""
        most_seconds, fraction = share
        return max(0.0, min(most_seconds, fraction * (self.deadline - time.monotonic())))


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def epoch_ms(deadline: float) -> int:
    """A deadline of time.monotonic() in milliseconds since 1970, which other instances understand."""
    return now_ms() + round(1000 * (deadline - time.monotonic()))


def pause(seconds: float, deadline: float) -> None:
    """Sleep, but not beyond the deadline (time.monotonic): what comes after it looks at the clock itself."""
    time.sleep(max(0.0, min(seconds, deadline - time.monotonic())))


def call_until(deadline: float, call: Callable[[], T]) -> T:
    """What call() returns or raises; concurrent.futures.TimeoutError at the deadline (time.monotonic).

    The time-outs of requests, and of openai, are per read: a byte a second keeps them waiting for ever; and none is for
    looking up a name. Of a call that is given up the connection is closed, so that its thread ends too; one that gets
    its connection later sends nothing any more, see refuse_if_late.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    closes: list[Callable[[], object]] = []

    def run() -> None:
        current.deadline, current.closes = deadline, closes
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=max(deadline - time.monotonic(), 0))
    finally:
        if not future.done():
            for close in closes:
                close()


current = threading.local()  # .deadline and .closes: of the call that a thread carries out


def refuse_if_late() -> None:
    """TimeoutError if the deadline of the call is past: called when it has a connection, before anything is sent."""
    if time.monotonic() > getattr(current, "deadline", math.inf):
        raise TimeoutError("connected after the deadline")


def close_when_given_up(close: Callable[[], object]) -> None:
    """Have this called if the call that this thread carries out is given up."""
    getattr(current, "closes", []).append(close)
