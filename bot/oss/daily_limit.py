"""DAILY_LIMIT: how many questions a person has today."""

import time

from bot.deadline import COUNT_SHARE, Run, now_ms
from bot.logs import log
from bot.oss.bucket import OssFailure, append_bytes, back_off, open_bucket, read_tail
from bot.values import digest, percent_encoded

USAGE_BYTES = 512 * 1024  # of a day's questions are read; one takes 18, and as much again if no answer came
COUNT_TRIES = 40  # every race lost was won by another run


def count_question(sign: str, person: str, message_id: str, run: Run) -> bool:
    """Count a question of this person today before ChatGPT is asked, "+", or take it back, "-".

    False if there are no questions left. The object has a line for each, `+` or `-` and the digest of its msgId, so a
    message that runs twice counts once. Appending at the length that was read is a compare-and-swap, so the limit
    holds for concurrent questions too. If OSS fails, the person is answered and nothing is counted.
    """
    limit, deadline = run.settings.daily_limit, run.share(COUNT_SHARE)
    if not limit:
        return True
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ms() / 1000 + 8 * 3600))  # of Asia/Shanghai, which has no DST
    key = f"chat-usage/{day}/{percent_encoded(person)}"
    bucket = open_bucket(run.settings, run.context, run.role)
    asked = digest(message_id)
    problem = "too many at once"
    for tries in range(COUNT_TRIES):
        try:
            data, length = read_tail(bucket, key, USAGE_BYTES, deadline)
        except OssFailure as failure:
            if not failure.missing:
                problem = str(failure)
                break
            data, length = b"", 0
        questions = counted(data)
        if (asked in questions) == (sign == "+"):
            return True
        if sign == "+" and len(questions) >= limit:
            return False
        try:
            append_bytes(bucket, key, length, f"{sign}{asked}\n".encode(), deadline)
            return True
        except OssFailure as failure:
            if failure.end is None:
                problem = str(failure)
                break
        back_off(tries, deadline)
    log.warning("%s: not counted: %s", key, problem)
    return True


def counted(data: bytes) -> set[str]:
    """The digests of the messages that count."""
    found: set[str] = set()
    for line in data.decode("ascii", "replace").splitlines():
        (found.add if line.startswith("+") else found.discard)(line[1:])
    return found
