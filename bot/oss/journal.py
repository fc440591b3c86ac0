"""The journal: what happened to the messages of a person in a conversation, without a word of anybody. Never deleted.

A line is one of these; numbers named at and until are milliseconds since 1970.

    {"msgId", "at", "run", "until", "words": [epoch, offset, length], "turn": true}   a reply, its words lie there
    {"msgId", "at", "run", "until", "say": "...", "epoch": n}                         a sentence of ours, without any
    {"msgId", "at", "run", "until", "say": "...", "epoch": n + 1, "clear": true}      the reply to \\clear
    {"msgId", "at", "run", "until", "sent": k}    the lease to send it is renewed, or taken over, after k parts
    {"msgId", "at", "run", "sent": k}             it is given back
    {"msgId", "at", "delivered": true}            all of it is in the chat

The first three commit a reply. Such a line names the epoch whose words count from there on, "cleared", when the last
\\clear was sent, and "settings": true if the conversation has some. With "turn" the model sees it later; with "free"
the question does not count for DAILY_LIMIT.
"""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bot.deadline import LOAD_SHARE, Run, now_ms
from bot.logs import log
from bot.oss.bucket import OssFailure, append_bytes, back_off, open_bucket, read_tail, version_problem
from bot.values import digest, percent_encoded, read_json, text_in

Line = dict[str, Any]

TAIL_BYTES = 30 * 1024  # of the journal are read, however long it is: the last 140 messages or so
OSS_TRIES = 3  # of an append that OSS neither did nor refused
MIN_APPEND_SECONDS = 0.5  # with less left, another try is not worth beginning
MOST_ID_CHARACTERS = 100  # a longer msgId becomes its digest: lines are short, so that the tail holds many
CLOCKS_MS = 5000  # by which the clocks of two instances may differ


class JournalFailure(Exception):
    """Nothing was recorded; the person sees the message below the answer."""

    def __init__(self, problem: object, unsure: bool) -> None:
        super().__init__(str(problem))
        self.unsure = unsure  # it may have been recorded after all


class Journal(NamedTuple):
    """What the end of a journal said when it was read last, and what it said about one message."""

    bucket: Any  # oss2.Bucket; None: there is none, because the settings are not complete
    place: str  # <conversation>/<person>, as in the names of the objects
    message_id: str
    asked_ms: int = 0  # when the message was sent, by DingTalk's clock; 0: unknown
    length: int = 0  # of the whole object, in bytes
    separator: bytes = b""  # a newline if the object does not end in one, because somebody edited it
    problem: str = ""  # why it could not be read, for the person
    denied: bool = False  # because permission was refused; or, once there is a line, because there was no object
    epoch: int = 0  # whose words count
    words_end: int = 0  # of the words of the epoch, as far as the lines tell
    cleared_ms: int = 0  # when the last \\clear was sent, by DingTalk's clock
    settings: bool = False  # whether the conversation has settings of its own
    turns: tuple[Line, ...] = ()  # the last ones of the epoch, oldest first
    about: tuple[Line, ...] = ()  # the message, from its commit on; marks always

    @property
    def key(self) -> str:
        """The name of the object."""
        return f"chat-journal/{self.place}.jsonl"

    @property
    def commit(self) -> Line | None:
        """The line that commits the reply to the message: the first one."""
        return next((line for line in self.about if is_commit(line)), None)

    @property
    def delivered(self) -> bool:
        """Whether all of the reply is in the chat."""
        return any("delivered" in line for line in self.about)

    @property
    def lease(self) -> tuple[str, int, int]:
        """The run that has, or had last, the lease to send the reply; until when; how many parts were sent."""
        holder, until_ms, sent = "", 0, 0
        for line in self.about:
            first = is_commit(line) and not holder
            if first or ("sent" in line and holder and ("until" in line or line["run"] == holder)):
                holder, until_ms, sent = line["run"], line.get("until", 0), max(sent, line.get("sent", 0))
        return holder, until_ms, sent


def is_commit(line: Line) -> bool:
    """Whether the line commits a reply."""
    return "words" in line or "say" in line


def epoch_in(line: Line) -> int:
    """The epoch that a line names which commits a reply."""
    return int(line["words"][0] if "words" in line else line["epoch"])


def open_journal(
    conversation_id: str, person: str, corp_id: str, message_id: str, asked_ms: int, in_group: bool, run: Run
) -> Journal:
    """The journal of a message, as it is now; one without a bucket if the settings do not tell where it is."""
    settings = run.settings
    place = place_of(conversation_id, person, corp_id, message_id, settings.history_scope, in_group)
    short_id = message_id if len(message_id) <= MOST_ID_CHARACTERS else digest(message_id)
    if not settings.oss_bucket_name or version_problem():
        return Journal(None, place, short_id)
    journal = Journal(open_bucket(settings, run.context, run.role), place, short_id, asked_ms)
    return load_journal(journal, settings.history_length, run.share(LOAD_SHARE))


def place_of(conversation_id: str, person: str, corp_id: str, message_id: str, scope: str, in_group: bool) -> str:
    """Where the objects lie: for this person in this conversation, or for all in it, or for the person anywhere.

    'cid7+Q==', '../x' -> 'cid7%2BQ%3D%3D/%2E%2E%2Fx': no id can leave its place, nor be an @ name
    """
    name = percent_encoded(person) if person else f"@nobody-{digest(message_id)}"
    if scope == "person":  # staff ids are unique in an organisation only
        return f"@person-{percent_encoded(corp_id)}/{name}"
    return f"{percent_encoded(conversation_id)}/{'@group' if scope == 'group' and in_group else name}"


def load_journal(journal: Journal, history_length: int, deadline: float) -> Journal:
    """The journal as it is now; why it cannot be read is in `problem`, because the person is answered all the same."""
    journal = Journal(*journal[:4])
    try:
        data, length = read_tail(journal.bucket, journal.key, TAIL_BYTES, deadline)
    except OssFailure as failure:
        if failure.missing:
            return journal
        return journal._replace(problem=str(failure), denied=failure.denied)
    lines = data.split(b"\n")
    if length > len(data):
        del lines[0]  # its beginning was not read
    separator = b"\n" if data and not data.endswith(b"\n") else b""
    return read_lines(journal._replace(length=length, separator=separator), lines, history_length)


def read_lines(journal: Journal, lines: list[bytes], history_length: int) -> Journal:
    """What the lines say; they are parsed from the newest on, as far as necessary, and those about the message."""
    turns: list[Line] = []
    newest: Line = {}
    words_end = spoiled = 0
    for data in filter(bytes.strip, reversed(lines)):
        line = parse_line(data)
        spoiled += line is None
        if line is None or not is_commit(line):
            continue
        if not newest:
            newest = line
            if line.get("at", 0) - now_ms() > CLOCKS_MS:
                log.warning("%s: the clock of another instance is %d ms ahead", journal.key, line["at"] - now_ms())
        elif epoch_in(line) != epoch_in(newest):
            break
        if "words" in line:
            words_end = words_end or sum(line["words"][1:])
            turns += [line] if line.get("turn") is True else []
        if words_end and len(turns) >= history_length:
            break
    if spoiled:
        log.warning("%s: %d lines make no sense and are skipped", journal.key, spoiled)
    written = json.dumps(journal.message_id, ensure_ascii=False).encode()
    own = [line for line in (parse_line(data) for data in lines if written in data) if line]
    about = tuple(line for line in own if line["msgId"] == journal.message_id)
    return journal._replace(
        epoch=epoch_in(newest) if newest else 0,
        words_end=words_end,
        cleared_ms=newest.get("cleared", 0),
        settings=newest.get("settings") is True,
        turns=tuple(reversed(turns[:history_length])),
        about=about,
    )


def parse_line(data: bytes) -> Line | None:
    """A line of a journal; None if it makes no sense."""
    line = read_json(data)
    if not isinstance(line, dict) or not isinstance(line.get("msgId"), str):
        return None
    if line.get("delivered") is True:
        return {"msgId": line["msgId"], "delivered": True}
    words = line.get("words", [0, 0, 0])
    if not isinstance(words, list) or len(words) != 3:
        return None
    numbers = [*words, *(line[name] for name in ("at", "until", "sent", "epoch", "cleared") if name in line)]
    needed = {"until"} if "words" in line else {"until", "epoch"} if "say" in line else {"sent"}
    if not all(type(number) is int and 0 <= number < 2**53 for number in numbers) or not needed <= line.keys():
        return None
    texts = {name: text_in(line, name) for name in ("run", "say") if name in line}
    return {**line, **texts} if "run" in texts and None not in texts.values() else None


def append_line(next_line: Callable[[Journal], Line | None], journal: Journal, deadline: float) -> Journal:
    """The journal with the line that next_line makes of it, or as it is if that makes none; or JournalFailure.

    OSS refuses a position that is not the object's end, so this is a compare-and-swap: if another run was faster, the
    journal is read and next_line asked again. So it is if no answer came: then the line may be there.
    """
    if journal.bucket is None:
        raise JournalFailure("no bucket", unsure=False)
    tries, failures, unsure, known = 0, 0, False, not journal.problem or journal.denied
    problem: object = journal.problem
    while True:
        tries += 1
        if known:
            line = next_line(journal)
            if line is None:
                return journal
            if failures >= OSS_TRIES:
                break
            try:
                return with_line(journal, line, time.monotonic() + (deadline - time.monotonic()) / 2)
            except OssFailure as failure:
                problem = failure
                failures += failure.end is None
                unsure = unsure or not failure.undone
                if failure.final:
                    break
        back_off(tries, deadline)
        if time.monotonic() > deadline - MIN_APPEND_SECONDS:
            break
        latest = load_journal(journal, 0, deadline)
        known = not latest.problem
        if known:
            journal = latest
        else:
            failures += 1
            problem = latest.problem
            if latest.denied or failures >= OSS_TRIES:
                break
    raced = isinstance(problem, OssFailure) and problem.end is not None  # perhaps against a run for the same message
    raise JournalFailure(problem, unsure or raced)


def with_line(journal: Journal, line: Line, deadline: float) -> Journal:
    """The journal with one more line, appended at its end; or OssFailure."""
    data = journal.separator + json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    length = append_bytes(journal.bucket, journal.key, journal.length, data, deadline)
    return journal._replace(length=length, separator=b"", problem="", about=(*journal.about, line))
