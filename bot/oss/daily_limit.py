"""DAILY_LIMIT: how many questions a person has today."""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING

import oss2

from bot.deadline import COUNT_SHARE, Run, call_until, now_ms
from bot.logs import log
from bot.oss.bucket import OSS_ERRORS, open_bucket, oss_problem, read_tail
from bot.values import digest, percent_encoded

if TYPE_CHECKING:
    from bot.dingtalk.message import Message

USAGE_BYTES = 256 * 1024  # of a day's questions are read; one takes 18, and as much again if no answer came
COUNT_TRIES = 40  # every race lost was won by another run


def count_question(sign: str, message: Message, run: Run) -> bool:
    """Count a question of this person today before ChatGPT is asked, "+", or take it back, "-".

    False if there are no questions left. The object has a line for each, `+` or `-` and the digest of its msgId, so a
    message that runs twice counts once. Appending at the length that was read is a compare-and-swap, so the limit
    holds for concurrent questions too. If OSS fails, the person is answered and nothing is counted.
    """
    limit, deadline = run.settings.daily_limit, run.share(COUNT_SHARE)
    if not limit:
        return True
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ms() / 1000 + 8 * 3600))  # of Asia/Shanghai, which has no DST
    key = f"chat-usage/{day}/{percent_encoded(message.person or message.conversation_id)}"
    bucket = open_bucket(run.settings, run.context)
    asked = digest(message.id)
    for _ in range(COUNT_TRIES):
        try:
            questions, length = read_usage(bucket, key, deadline)
            if (asked in questions) == (sign == "+"):
                return True
            if sign == "+" and len(questions) >= limit:
                return False
            line = f"{sign}{asked}\n".encode()
            call_until(deadline, functools.partial(bucket.append_object, key, length, line))
            return True
        except oss2.exceptions.PositionNotEqualToLength:
            time.sleep(random.uniform(0, 0.05))
        except OSS_ERRORS as error:
            log.warning("%s: not counted: %s", key, oss_problem(error))
            return True
    log.warning("%s: not counted: too many at once", key)
    return True


def read_usage(bucket: oss2.Bucket, key: str, deadline: float) -> tuple[set[str], int]:
    """The digests of the messages that count, and the length of the object."""
    try:
        data, length = call_until(deadline, lambda: read_tail(bucket, key, USAGE_BYTES))
    except oss2.exceptions.NoSuchKey:
        return set(), 0
    counted: set[str] = set()
    for line in data.decode("ascii", "replace").splitlines():
        (counted.add if line.startswith("+") else counted.discard)(line[1:])
    return counted, length
