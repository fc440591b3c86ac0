"""The journal of a conversation."""

from __future__ import annotations

import functools
import itertools
import json
import random
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import oss2

from bot import sentences
from bot.deadline import LOAD_SHARE, MARK_SECONDS, Run, call_until, now_ms
from bot.errors import Taken
from bot.logs import log
from bot.oss.bucket import OSS_ERRORS, open_bucket, oss_problem, read_tail
from bot.oss.history import journal_key, since_pause
from bot.values import digest, text_in

if TYPE_CHECKING:
    from bot.dingtalk.message import Message

TAIL_BYTES = 128 * 1024  # of the journal are read, however long it is
MAX_LINE_BYTES = 96 * 1024  # a longer turn is kept shortened: it must fit the tail, and leave room for the next ones
LEASE_SECONDS = (
    10  # until another run may send; a run that needs longer renews its lease, one that died blocks no longer
)
OSS_TRIES = 3  # of an append that OSS neither did nor refused
MIN_APPEND_SECONDS = 0.5  # with less left, another try is not worth beginning


class JournalFailure(Exception):
    """OSS did not do what it was asked; the person sees the message below the answer."""


class Journal:
    """The end of one journal object, read for one message. A line is one of

    {"msgId", "at" (ms), "run", "until" (ms), "question", "answer"}  a turn; without "question" a reply that is no turn
    {"msgId", "at", "run", "until", "sent"}                          the lease is taken or renewed after `sent` parts
    {"msgId", "at", "run", "sent"}                                   this run stopped sending; another may go on now
    {"msgId", "at", "delivered": true}                               all of the reply is in the chat

    The reply to \\clear, the first line of a new object, also has "forgotten": digests of messages answered before.
    """

    def __init__(self, bucket: oss2.Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.length = 0  # of the whole object, in bytes
        self.separator = b""  # a newline if the object does not end in one, because somebody edited it
        self.problem: str | None = None  # why it could not be read, for the person
        self.denied = False  # because permission was refused
        self.lines: list[bytes] = []  # oldest first; of a thousand, only those that are needed are parsed
        self.turns: list[dict[str, Any]] = []  # the last ones, oldest first
        self.cleared_by = ""  # the message with the last \\clear
        self.forgotten: list[str] = []  # digests of the messages that were answered before that
        # The reply to this message:
        self.answer: str | None = None
        self.holder = ""  # the run that has, or had last, the lease to send it
        self.until_ms = 0
        self.sent = 0  # parts of it that are in the chat
        self.delivered = False

    def update(self, latest: Journal) -> None:
        """Know what was read just now."""
        if latest.problem is None:
            vars(self).update(vars(latest), turns=self.turns)

    def delivered_ids(self) -> list[str]:
        """The messages whose replies are in the chat, oldest first."""
        return [line["msgId"] for line in parsed(self.lines) if "delivered" in line]


def open_journal(message: Message, run: Run) -> Journal:
    """The journal that this message belongs to."""
    bucket, key = open_bucket(run.settings, run.context), journal_key(message, run.settings.history_scope)
    journal = load_journal(bucket, key, message.id, run.settings.history_length, run.share(LOAD_SHARE))
    if run.settings.history_minutes:
        journal.turns = since_pause(journal.turns, 60_000 * run.settings.history_minutes)
    return journal


def load_journal(bucket: oss2.Bucket, key: str, message_id: str, history_length: int, deadline: float) -> Journal:
    """The end of the journal object; what fails is in `problem`, because the person is answered all the same."""
    journal = Journal(bucket, key)
    try:
        data, journal.length = call_until(deadline, lambda: read_tail(bucket, key, TAIL_BYTES))
    except oss2.exceptions.NoSuchKey:
        return journal
    except OSS_ERRORS as error:
        journal.problem, journal.denied = oss_problem(error), isinstance(error, oss2.exceptions.AccessDenied)
        return journal
    if data and not data.endswith(b"\n"):
        journal.separator = b"\n"
    lines = data.split(b"\n")
    if journal.length > len(data):
        del lines[0]  # its beginning was not read
    journal.lines = [line for line in lines if line.strip()]
    read_lines(journal, message_id, history_length)
    return journal


def read_lines(journal: Journal, message_id: str, history_length: int) -> None:
    """Set what the lines say: the turns, what was forgotten, and the reply to this message."""
    since_clear = itertools.takewhile(lambda line: "forgotten" not in line, parsed(reversed(journal.lines)))
    newest_first = (line for line in since_clear if "question" in line)
    journal.turns = list(itertools.islice(newest_first, history_length))[::-1]
    for line in parsed(data for data in journal.lines if b'"forgotten": [' in data):  # in a text, its quotes have a \\
        journal.cleared_by, journal.forgotten = line["msgId"], line.get("forgotten", [])
    journal.delivered = digest(message_id) in journal.forgotten
    written = json.dumps(message_id, ensure_ascii=False).encode()
    for line in parsed(data for data in journal.lines if written in data):
        if line["msgId"] == message_id:
            read_line_about_message(journal, line)


def read_line_about_message(journal: Journal, line: dict[str, Any]) -> None:
    """Set what one line says about the reply; lines of runs that never had the lease belong to another answer."""
    if "delivered" in line:
        journal.delivered = True
    elif "answer" in line:
        if journal.answer is None:
            journal.answer, journal.holder, journal.until_ms = line["answer"], line["run"], line["until"]
    elif journal.answer is not None and ("until" in line or line["run"] == journal.holder):
        journal.holder, journal.until_ms, journal.sent = line["run"], line.get("until", 0), line["sent"]
    if journal.until_ms - now_ms() > 2000 * LEASE_SECONDS:
        journal.until_ms = 0  # no lease is that long: a clock is wrong


def parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The lines that make sense."""
    for data in lines:
        line = parse_line(data)
        if line:
            yield line
        else:
            log.warning("a line of the journal is skipped: it makes no sense")


def parse_line(data: bytes) -> dict[str, Any] | None:
    """A line of a journal, see there; None if it is none."""
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("msgId"), str):
        return None
    if line.get("delivered") is True:
        return {"msgId": line["msgId"], "delivered": True}
    texts = {name: text_in(line, name) for name in ("msgId", "run", "question", "answer") if name in line}
    numbers = {name: line[name] for name in ("at", "until", "sent") if isinstance(line.get(name), int)}
    if None in texts.values() or "run" not in texts or not ("answer" in texts or "sent" in numbers):
        return None
    if "answer" in texts:
        numbers.setdefault("until", 0)
    forgotten = line.get("forgotten")
    known = {"forgotten": list(map(str, forgotten))} if isinstance(forgotten, list) else {}
    return {**texts, **numbers, **known}


def shortened(line: dict[str, Any]) -> dict[str, Any]:
    """The line with its longer text cut as often as necessary, so that it fits the tail."""
    while len(json.dumps(line, ensure_ascii=False).encode()) > MAX_LINE_BYTES:
        name = max((name for name in ("question", "answer") if name in line), key=lambda name: len(line[name]))
        line = {**line, name: line[name][: len(line[name]) * 3 // 4] + "…"}
    return line


def append_line(line: dict[str, Any], journal: Journal, deadline: float) -> None:
    """Append as compare-and-swap, or JournalFailure.

    OSS refuses a position that is not the object's length: then another run was first, or this one was but never got
    the answer. The journal tells which. Taken if the line is a lease and another run has it.
    """
    races = failures = 0
    while True:
        position = journal.length
        data = journal.separator + json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            half = time.monotonic() + (deadline - time.monotonic()) / 2  # a try that hangs leaves time for another
            append = functools.partial(journal.bucket.append_object, journal.key, position, data)
            journal.length = int(call_until(half, append).next_position)  # None, if it was not OSS that answered
            break
        except oss2.exceptions.PositionNotEqualToLength as refused:
            position, problem = refused.next_position, sentences.TOO_MANY_AT_ONCE
        except OSS_ERRORS as error:
            failures += 1
            problem = oss_problem(error)
            refused_for_good = isinstance(error, oss2.exceptions.ServerError) and error.status < 500
            if failures == OSS_TRIES or refused_for_good:
                raise JournalFailure(problem) from error
        races += 1
        time.sleep(random.uniform(0, 0.01 * min(races, 10)))
        if time.monotonic() > deadline - MIN_APPEND_SECONDS:
            raise JournalFailure(problem)
        latest = load_journal(journal.bucket, journal.key, line["msgId"], 0, deadline)
        if latest.problem and not latest.denied:
            failures += 1  # without the journal nobody can tell whether the line is there, or that of another run
            if failures == OSS_TRIES:
                raise JournalFailure(latest.problem)
            continue
        journal.separator = latest.separator
        journal.length = position if latest.problem else latest.length
        if latest.problem is None and has_landed(line, journal, latest):
            break
        if latest.cleared_by != journal.cleared_by:
            line.pop("question", None)  # \\clear was faster: what was said before it stays forgotten
    journal.separator = b""
    if position == 0 and journal.denied:
        journal.problem = None  # there was none: OSS answers 403, not 404, to a role that may not list
    if "until" in line:
        journal.holder, journal.until_ms = line["run"], line["until"]


def has_landed(line: dict[str, Any], journal: Journal, latest: Journal) -> bool:
    """Whether the line is in the journal as read now; Taken if it is a lease, and meanwhile another run has it."""
    if "delivered" in line:
        return bool(latest.delivered)
    if latest.delivered or latest.holder not in (journal.holder, line["run"]):
        raise Taken(line["msgId"])
    return latest.holder == str(line["run"]) and latest.until_ms == line.get("until", 0)


def append_if_possible(line: dict[str, Any], journal: Journal, run: Run) -> None:
    """Append a line about the delivery, whose lack only means that a repetition may be sent again."""
    try:
        append_line(line, journal, run.share((MARK_SECONDS, 1)))
    except (JournalFailure, Taken) as failure:
        log.warning("%s: no %s mark: %s", journal.key, "delivery" if "delivered" in line else "release", failure)
