"""The words: what was said, a line for each reply that holds words of a person or of the model.

    {"msgId", "at", "question", "answer"}     without "question" it is no turn; with "memory" the model sees this later,
                                              not the answer that the chat showed: no sources, no pictures

Every epoch of a conversation has an object of its own; \\clear begins a new one. What counts of an object is only where
a line of the journal says that words lie, so nothing is lost if a line is appended twice.
"""

import contextlib
import json
import time
from typing import Any

from bot.deadline import now_ms
from bot.oss.bucket import OssFailure, append_bytes, back_off, call_oss, read_range
from bot.oss.journal import MIN_APPEND_SECONDS, OSS_TRIES, Journal, JournalFailure, Line
from bot.values import text_in

MOST_BYTES = 128 * 1024  # of words are read for the model, however many turns that are
MOST_REPLY_BYTES = 4 * 1024 * 1024  # of one reply, which ends at MOST_CHARACTERS
MOST_QUESTION_CHARACTERS = 30_000  # are kept; at most 90 KB, so that some of the answer is always read


def words_key(journal: Journal, epoch: int) -> str:
    """The name of the object with the words of an epoch."""
    return f"chat-history/{journal.place}/{epoch}.jsonl"


def append_words(journal: Journal, question: str, answer: str, memory: str, deadline: float) -> tuple[int, int, int]:
    """Keep words in the journal's epoch; return where they lie: epoch, offset and length. Or JournalFailure."""
    line = {"msgId": journal.message_id, "at": now_ms()}
    if question:
        cut = "…" if len(question) > MOST_QUESTION_CHARACTERS else ""
        line["question"] = question[:MOST_QUESTION_CHARACTERS] + cut
        line |= {"memory": memory} if memory not in ("", answer) else {}
    data = json.dumps({**line, "answer": answer}, ensure_ascii=False).encode() + b"\n"
    position, tries, failures = journal.words_end, 0, 0
    while True:
        tries += 1
        try:
            half = time.monotonic() + (deadline - time.monotonic()) / 2
            end = append_bytes(journal.bucket, words_key(journal, journal.epoch), position, data, half)
            break
        except OssFailure as failure:
            failures += failure.end is None
            if failures == OSS_TRIES or failure.final or time.monotonic() > deadline - MIN_APPEND_SECONDS:
                raise JournalFailure(failure, unsure=False) from failure
            position = position if failure.end is None else failure.end
        back_off(tries, deadline)
    return journal.epoch, end - len(data), len(data)


def read_reply(journal: Journal, line: Line, deadline: float) -> str | None:
    """The words of a reply that this line commits; None if they are gone. Or OssFailure."""
    if "say" in line:
        return str(line["say"])
    epoch, offset, length = line["words"]
    try:
        found = read_words(journal, epoch, offset, min(length, MOST_REPLY_BYTES), deadline)
    except OssFailure as failure:
        if failure.missing or (failure.denied and epoch != journal.epoch):  # OSS answers 403, not 404, to some roles
            return None
        raise
    return parse_words(found, journal.message_id).get("answer")


def read_turns(journal: Journal, pause_minutes: int | None, deadline: float) -> list[dict[str, Any]]:
    """The questions and answers of the journal's turns, oldest first, after the last pause of so long; or OssFailure.

    Of more than MOST_BYTES the newest count; if the newest alone is longer, its beginning does.
    """
    lines = since_pause(journal.turns, 60_000 * pause_minutes) if pause_minutes else journal.turns
    if not lines:
        return []
    places = [line["words"][1:] for line in lines]  # of runs at once, in another order than the lines, perhaps
    newest = places[-1][0]
    # What lies far behind it was in an object that is gone, because a lifecycle rule deleted it, say.
    end = max(offset + length for offset, length in places if offset <= newest + MOST_BYTES)
    start = min(newest, max(min(places)[0], end - MOST_BYTES))
    try:
        found = read_words(journal, journal.epoch, start, min(end - start, MOST_BYTES), deadline)
    except OssFailure as failure:
        if failure.missing:
            return []
        raise
    read = []
    for line in lines:
        _, offset, length = line["words"]
        if offset >= start:
            read.append(parse_words(found[offset - start : offset - start + length], line["msgId"]))
    turns = [{"question": turn.get("question"), "answer": turn.get("memory", turn.get("answer"))} for turn in read]
    return [turn for turn in turns if None not in turn.values()]


def since_pause(turns: tuple[Line, ...], pause_ms: int) -> tuple[Line, ...]:
    """The turns after the last pause of this length, all if there was none; a turn without a time makes no pause."""
    at_ms = now_ms()
    for number in reversed(range(len(turns))):
        before_ms = turns[number].get("at", at_ms)
        if at_ms - before_ms >= pause_ms:
            return turns[number + 1 :]
        at_ms = before_ms
    return turns


def read_words(journal: Journal, epoch: int, start: int, length: int, deadline: float) -> bytes:
    """So many bytes of an epoch's words, fewer if the object is shorter: it may have begun anew. Or OssFailure."""
    where, most_bytes = (start, start + max(length, 1) - 1), start + length
    data, content_range = call_oss(
        deadline, read_range, journal.bucket, words_key(journal, epoch), where, min(most_bytes, 2 * MOST_REPLY_BYTES)
    )
    # A range that begins behind the object's end is answered with the whole object.
    return data if content_range.startswith(f"bytes {start}-") else data[start : start + length]


def parse_words(data: bytes, message_id: str) -> dict[str, str]:
    """The texts in a line, as far as it has them; {} if it is about another message.

    A line that was not read to its end is read as far as it goes: its last text ends in "…".
    """
    text, line = data.decode("utf-8", "ignore"), None
    for cut in range(7 if text and not text.endswith("\n") else 1):  # half a sign, written such as \u4f60, is cut off
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text if text.endswith("\n") else text[: len(text) - cut] + '…"}')
            break
    if not isinstance(line, dict) or line.get("msgId") != message_id:
        return {}
    texts = {name: text_in(line, name) for name in ("question", "memory", "answer")}
    return {name: text for name, text in texts.items() if text is not None}
