"""The words: whose history it is, how much of it the model sees, and that nothing of it locks anybody out."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest

from tests.helpers import Reply, write_turns
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
