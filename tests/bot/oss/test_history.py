"""The words: whose history it is, how much of it the model sees, and that nothing of it locks anybody out."""

from __future__ import annotations

import json
import re
import time
from urllib.parse import quote

import pytest

from bot.oss.history import parse_words
from tests.helpers import Reply, is_get, write_turns
from tests.stand_ins.dingtalk import VISITOR, XIAODING, XIAOMING
from tests.stand_ins.local_cloud import LocalCloud

MINUTE_MS = 60_000


def test_outsider_has_a_history_by_sender_id(reply: Reply, cloud: LocalCloud) -> None:
    """People outside the organisation have no staff id."""
    reply.ask("我叫小明", person=VISITOR)
    assert reply.ask("我叫什么？", person=VISITOR) == "你叫小明。"
    assert quote(VISITOR.sender_id, safe="") in cloud.oss.keys()[0]


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".", "a/b", "%2e%2e", "a\nb", "😀" * 20, "长" * 400, "\\", "a?b#c", "/"]
)
def test_any_id_stays_in_its_place(reply: Reply, cloud: LocalCloud, name: str) -> None:
    """Whatever ids look like, the journal is one object, and so are the words, and both are found again."""
    for _ in range(2):
        message = cloud.dingtalk.message("1+1=?", conversationId=name, senderStaffId=name)
        assert reply.run(message)["result"] == "answered"
    words, journal = cloud.oss.keys()
    conversation, person = journal.removeprefix("chat-journal/").removesuffix(".jsonl").split("/")
    assert words == f"chat-history/{conversation}/{person}/0.jsonl"
    assert set(conversation + person) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%-_~=")
    assert len(words.encode()) <= 1023
    assert len(cloud.openai_api.asked[1]["messages"]) == 3


@pytest.mark.parametrize(("length", "turns"), [("0", 0), ("1", 1), ("3", 3), (None, 10)])
def test_history_length_limits_what_the_model_sees(
    reply: Reply, cloud: LocalCloud, length: str | None, turns: int
) -> None:
    """The last turns, oldest first; 0 means none, not all."""
    reply.environment["HISTORY_LENGTH"] = length
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 20)
    reply.run(message)
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == [*[f"问题 {number}" for number in range(20 - turns, 20)], "你好"]


@pytest.mark.parametrize(
    ("minutes", "ages", "seen"),
    [
        (None, [900, 500, 1], ["0", "1", "2"]),
        ("30", [29, 20, 10], ["0", "1", "2"]),
        ("30", [60, 29, 10], ["1", "2"]),
        ("30", [90, 45, 31], []),
        ("30", [100, 5, 1], ["1", "2"]),
        ("30", [None, 40, 20], ["0", "1", "2"]),
        ("30", [100, None, 20], ["1", "2"]),
        ("30", [5, 10, -10], ["0", "1", "2"]),
    ],
)
def test_turns_before_a_pause_are_not_shown(
    reply: Reply, cloud: LocalCloud, minutes: str | None, ages: list[int | None], seen: list[str]
) -> None:
    """HISTORY_MINUTES: by the times of the turns; one without a time, or with one that makes no sense, is no pause."""
    reply.environment["HISTORY_MINUTES"] = minutes
    message = cloud.dingtalk.message("你好")
    now_ms = int(time.time() * 1000)
    key = write_turns(cloud, message, len(ages))
    turns = [json.loads(line) for line in (cloud.oss.read(key) or b"").splitlines()]
    for turn, age in zip(turns, ages, strict=True):
        del turn["at"]
        turn |= {} if age is None else {"at": now_ms - age * MINUTE_MS}
    cloud.oss.write(key, "".join(json.dumps(turn) + "\n" for turn in turns))
    reply.run(message)
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == [*[f"问题 {number}" for number in seen], "你好"]


def test_two_people_with_one_name_have_two_histories(reply: Reply) -> None:
    """The nick is nobody's identity."""
    reply.ask("我叫小明", person=XIAODING)
    namesake = XIAOMING.__class__(XIAODING.nick, XIAOMING.staff_id, XIAOMING.sender_id)
    assert "不知道" in reply.ask("我叫什么？", person=namesake)


def asked_words(cloud: LocalCloud) -> list[str]:
    """What the model was shown at last, in order."""
    return [part["content"] for part in cloud.openai_api.asked[-1]["messages"]]


def test_turn_longer_than_what_is_read_is_shown_shortened(reply: Reply, cloud: LocalCloud) -> None:
    """Its beginning, in which the model finds its way; the turns after it are shown as ever."""
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 300] * 20))
    reply.run(cloud.dingtalk.message("我叫小明"))
    assert reply.ask("我叫什么？") == "你叫小明。"
    _, answer, _ = asked_words(cloud)
    assert answer.startswith("一二三四五") and answer.endswith("…")
    assert 120_000 < len(answer.encode()) < 128 * 1024


@pytest.mark.parametrize("sign", ["\\", '"', "😀", "\x01", "é"])
def test_words_cut_between_two_signs_are_read_as_far_as_they_go(sign: str) -> None:
    """Wherever the range ends in what JSON writes for a sign."""
    line = json.dumps({"msgId": "m", "question": "问题", "answer": sign * 9}, ensure_ascii=False).encode()
    for end in range(line.index(b'"answer": "') + 11, len(line)):
        words = parse_words(line[:end], "m")
        assert words["question"] == "问题"
        assert re.fullmatch(f"{re.escape(sign)}{{0,9}}…?", words["answer"]), words


def test_newest_turns_count_where_not_all_are_read(reply: Reply, cloud: LocalCloud) -> None:
    """128 KiB of words, however many turns are wanted."""
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 10, "好" * 10_000)
    reply.run(message)
    assert asked_words(cloud)[::2] == ["问题 6", "问题 7", "问题 8", "问题 9", "你好"]


@pytest.mark.parametrize("left", [None, b"", b"x" * 5000, b'{"msgId": "other", "question": "a", "answer": "b"}\n' * 99])
def test_words_that_are_gone_are_not_shown(reply: Reply, cloud: LocalCloud, left: bytes | None) -> None:
    """A lifecycle rule deleted them, and perhaps others lie there now: nothing else changes."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 3)
    key = cloud.oss.keys()[0]
    if left is None:
        del cloud.oss.buckets["example-bucket"].objects[key]
    else:
        cloud.oss.write(key, left)
    assert reply.run(message)["result"] == "answered"
    assert [shown.text for shown in cloud.dingtalk.shown(message)] == ["1+1=2"]
    assert asked_words(cloud) == ["1+1=?"]
    assert reply.ask("我叫小明")
    assert asked_words(cloud) == ["1+1=?", "1+1=2", "我叫小明"]


def test_conversation_without_turns_costs_no_request_for_words(reply: Reply, cloud: LocalCloud) -> None:
    """Neither the first message, nor one after \\clear, nor one with HISTORY_LENGTH=0."""
    reply.ask("1+1=?")
    reply.ask("\\clear")
    reply.ask("1+1=?")
    reply.environment["HISTORY_LENGTH"] = "0"
    reply.ask("1+1=?")
    assert not [received for received in cloud.oss.received if is_get(received) and "history" in received.path]


def test_long_question_is_kept_shortened(reply: Reply, cloud: LocalCloud) -> None:
    """So that some of the answer is always read with it."""
    reply.ask("长" * 20_000 + "abc" * 10_000)
    reply.ask("你好")
    question, answer, _ = asked_words(cloud)
    assert len(question) == 30_001 and question.endswith("…")
    assert answer


def test_words_of_another_message_at_the_same_place_are_not_shown(reply: Reply, cloud: LocalCloud) -> None:
    """An object that was deleted has begun anew, with lines of the same lengths."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 3)
    key = cloud.oss.keys()[0]
    cloud.oss.write(key, (cloud.oss.read(key) or b"").replace(b'"m', b'"x'))
    reply.run(message)
    assert asked_words(cloud) == ["1+1=?"]


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_turns_committed_in_another_order_than_their_words_are_all_shown(
    reply: Reply, cloud: LocalCloud, order: tuple[int, ...]
) -> None:
    """Two questions at once: the words of the first may lie before those of the second, and its line behind it."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 3)
    lines = (cloud.oss.read(key) or b"").splitlines(keepends=True)
    cloud.oss.write(key, b"".join(lines[number] for number in order))
    assert reply.run(message)["result"] == "answered"
    questions = [said["content"] for said in cloud.openai_api.asked[0]["messages"] if said["role"] == "user"]
    assert questions == [*(f"问题 {number}" for number in order), "你好"]


def test_turns_after_the_words_were_deleted_are_shown(reply: Reply, cloud: LocalCloud) -> None:
    """A lifecycle rule did it: the object begins anew, and the lines of what is gone name places far behind."""
    message = cloud.dingtalk.message("一")
    write_turns(cloud, message, 300, "很长的回答" * 50)
    (words,) = (key for key in list(cloud.oss.keys()) if key.startswith("chat-history/"))
    cloud.oss.write(words, "")
    for text in ("一", "二", "三"):
        reply.ask(text)
    questions = [said["content"] for said in cloud.openai_api.asked[-1]["messages"] if said["role"] == "user"]
    assert questions == ["一", "二", "三"]
