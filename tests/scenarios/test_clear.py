"""\\clear beside questions: each is done once, however their requests meet, and nothing that was said stays."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers import Clock, Reply, is_append, is_commit, lose_the_commit, write_turns
from tests.stand_ins.dingtalk import Message
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault, Received

PARAGRAPH = "一二三四五六七八九十" * 300  # one part of an answer


def shown_numbers(cloud: LocalCloud, message: Message) -> list[int]:
    """Which parts the chat shows, in order; a reply of one part has no number."""
    texts = [bubble.text for bubble in cloud.dingtalk.shown(message)]
    return [int(found[1]) for text in texts if (found := re.match(r"（(\d+)/", text))] or [0] * len(texts)


def is_delete(received: Received) -> bool:
    return received.method == "DELETE"


def epochs(cloud: LocalCloud) -> list[str]:
    """The objects with words that there are."""
    keys = cloud.oss.keys()
    return [key.rpartition("/")[2] for key in keys if key.startswith("chat-history/")]


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.full)])
def test_clear_that_runs_three_times_at_once_is_done_once(reply: Reply, cloud: LocalCloud, rounds: int) -> None:
    """One reply, one line, one new epoch."""
    reply.ask("我叫小明")
    for number in range(1, rounds + 1):
        message = cloud.dingtalk.message("\\clear")
        runs = [(message, {"delay": random.uniform(0, 0.01)}) for _ in range(3)]
        assert sorted(reply.run_at_once(*runs)) == ["cleared", "duplicate", "duplicate"]
        assert len(cloud.dingtalk.shown(message)) == 1
        commits = [line for line in cloud.journal(message) if line.get("clear")]
        assert [line["epoch"] for line in commits] == list(range(1, number + 1))
    assert epochs(cloud) == []


def test_clear_ends_no_answer_that_is_being_sent(reply: Reply, cloud: LocalCloud) -> None:
    """The run keeps its lease, and all of its parts are shown."""
    message, clearing = cloud.dingtalk.message("请讲讲"), cloud.dingtalk.message("\\clear")
    cloud.openai_api.answer_next("\n\n".join([PARAGRAPH] * 6))
    cloud.dingtalk.plan(Fault())
    cloud.dingtalk.plan(Fault(then=lambda: reply.run_at_once((clearing, {}))))
    assert reply.run_at_once((message, {})) == ["answered"]
    assert shown_numbers(cloud, message) == [1, 2, 3, 4, 5, 6]
    assert len(cloud.dingtalk.shown(clearing)) == 1
    assert epochs(cloud) == []


def test_clear_ends_no_answer_whose_webhook_stalls(reply: Reply, cloud: LocalCloud) -> None:
    """The first post is lost; the second shows the answer, although \\clear has come in between."""
    message, clearing = cloud.dingtalk.message("1+1=?"), cloud.dingtalk.message("\\clear")
    cloud.dingtalk.plan(Fault(drop=True, then=lambda: reply.run_at_once((clearing, {}))))
    assert reply.run_at_once((message, {})) == ["answered"]
    assert [bubble.text for bubble in cloud.dingtalk.shown(message)] == ["1+1=2"]


@pytest.mark.parametrize("moment", [is_commit, is_delete], ids=["before", "after"])
def test_message_delivered_while_clear_deletes_is_known_afterwards(
    reply: Reply, cloud: LocalCloud, moment: Callable[[Received], bool]
) -> None:
    """Its repeat is neither answered nor paid again."""
    message, clearing = cloud.dingtalk.message("1+1=?"), cloud.dingtalk.message("\\clear")
    reply.ask("我叫小明")
    cloud.oss.plan(Fault(where=moment, then=lambda: reply.run_at_once((message, {}))))
    assert reply.run_at_once((clearing, {})) == ["cleared"]
    asked = len(cloud.openai_api.asked)
    assert reply.run_at_once((message, {})) == ["duplicate"]
    assert len(cloud.openai_api.asked) == asked
    assert len(cloud.dingtalk.shown(message)) == 1


def test_clear_that_died_before_it_deleted_takes_nothing_that_was_said_since(reply: Reply, cloud: LocalCloud) -> None:
    """The event runs again after two turns of the new epoch: the old words go, the new ones stay."""
    clearing = cloud.dingtalk.message("\\clear")
    key = write_turns(cloud, clearing, 1)
    line = {"msgId": clearing["msgId"], "run": "dead", "until": 1, "say": "好的", "epoch": 1, "clear": True}
    cloud.oss.write(key, (cloud.oss.read(key) or b"") + json.dumps(line).encode() + b"\n")
    reply.ask("我叫小明")
    reply.ask("1+1=?")
    assert epochs(cloud) == ["0.jsonl", "1.jsonl"]
    assert reply.run(clearing)["result"] == "answered again"
    assert epochs(cloud) == ["1.jsonl"]
    assert reply.ask("我叫什么？") == "你叫小明。"
    assert len(cloud.dingtalk.shown(clearing)) == 1


def test_epoch_is_known_when_the_line_of_clear_is_no_longer_read(reply: Reply, cloud: LocalCloud) -> None:
    """Every line names it: of three questions at once none goes back to what was said before \\clear."""
    messages = [cloud.dingtalk.message(f"第 {number} 题") for number in range(3)]
    for line in [cloud.dingtalk.message("我叫小明"), cloud.dingtalk.message("\\clear")]:
        reply.run(line)
    filler = {"at": 1, "run": "r", "until": 1, "say": "好的", "epoch": 1}
    keys = cloud.oss.keys()
    key = next(key for key in keys if key.startswith("chat-journal/"))
    lines = "".join(json.dumps({"msgId": f"m{number}", **filler}) + "\n" for number in range(400))
    cloud.oss.write(key, (cloud.oss.read(key) or b"") + lines.encode())
    assert reply.run_at_once(*[(message, {}) for message in messages]) == ["answered"] * 3
    assert [line["words"][0] for line in cloud.journal(messages[0]) if line.get("turn")][-3:] == [1, 1, 1]
    assert epochs(cloud) == ["1.jsonl"]
    assert "不知道" in reply.ask("我叫什么？")
    assert len(cloud.openai_api.asked[-1]["messages"]) == 7


def test_reply_whose_words_were_cleared_before_they_were_sent_is_over(reply: Reply, cloud: LocalCloud) -> None:
    """Its run died, and \\clear came before the next one: nothing is sent, nothing paid, and it is marked."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    assert reply.run_at_once((message, {})) == ["NotDelivered"]
    reply.ask("\\clear")
    assert reply.run(message)["result"] == "forgotten"
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)
    assert len(cloud.openai_api.asked) == 1


@pytest.mark.parametrize("moment", [is_append, is_commit], ids=["words", "line"])
def test_question_on_its_way_is_not_in_the_bucket_when_clear_has_ended(
    reply: Reply, cloud: LocalCloud, moment: Any
) -> None:
    """Whoever wrote words into an epoch that is over deletes them; the answer is shown, and goes to the new epoch."""
    message, clearing = cloud.dingtalk.message("机密的问题"), cloud.dingtalk.message("\\clear")
    own = message["msgId"].encode()
    hit = Fault(
        where=lambda received: moment(received) and own in received.body,
        delay=0.0,
        then=lambda: reply.run_at_once((clearing, {})),
        status=409 if moment is is_commit else None,
        body=b"<Error><Code>PositionNotEqualToLength</Code></Error>",
        headers=(("x-oss-next-append-position", "5"),),
    )
    cloud.oss.plan(hit)
    assert reply.run_at_once((message, {})) == ["answered"]
    assert len(cloud.dingtalk.shown(message)) == len(cloud.dingtalk.shown(clearing)) == 1
    assert "机密的问题".encode() not in b"".join(data for data in cloud.oss.everything() if b'"question"' in data)
    assert epochs(cloud) == ["1.jsonl"]
    assert [line.get("turn") for line in cloud.journal(message) if "words" in line] == [None]


def test_question_whose_journal_could_not_be_read_is_no_turn_after_clear(reply: Reply, cloud: LocalCloud) -> None:
    """Nobody knows in which epoch it was asked, so it does not go to the one that \\clear began meanwhile."""
    message, clearing = cloud.dingtalk.message("机密的问题"), cloud.dingtalk.message("\\clear")
    asked: list[bool] = []
    unread = error_fault("ServiceUnavailable", where=lambda received: not asked)
    cloud.oss.plan(replace(unread, times=100))

    def clear() -> None:
        asked.append(True)
        reply.run_at_once((clearing, {}))

    cloud.openai_api.plan(Fault(then=clear))
    assert reply.run_at_once((message, {})) == ["answered"]
    assert len(cloud.dingtalk.shown(message)) == len(cloud.dingtalk.shown(clearing)) == 1
    assert "机密的问题".encode() not in b"".join(data for data in cloud.oss.everything() if b'"question"' in data)
    assert [line.get("turn") for line in cloud.journal(message) if "words" in line] == [None]


@pytest.mark.parametrize("kind", [int, str])
def test_question_that_runs_after_a_later_clear_is_no_turn(reply: Reply, cloud: LocalCloud, kind: Any) -> None:
    """DingTalk's own time tells which was sent first, for this run and for a second one of the same event."""
    message, clearing = cloud.dingtalk.message("机密的问题"), cloud.dingtalk.message("\\clear")
    for number, each in enumerate((message, clearing)):
        each["createAt"] = kind(each["createAt"] + number)
    assert reply.run_at_once((clearing, {})) == ["cleared"]
    reply.ask("我叫小明")
    assert reply.run_at_once((message, {})) == ["answered"]
    assert len(cloud.dingtalk.shown(message)) == 1
    assert [line.get("question") for line in cloud.journal(message) if "words" in line] == ["我叫小明", None]
    assert [line.get("turn") for line in cloud.journal(message) if "words" in line] == [True, None]


def test_sample_of_long_ago_is_a_turn_after_clear(reply: Reply, cloud: LocalCloud) -> None:
    """Function Compute keeps no event for a day: such a message was not on its way."""
    reply.ask("\\clear")
    message = cloud.dingtalk.message("我叫小明")
    message["createAt"] = 1690362102194
    assert reply.run_at_once((message, {})) == ["answered"]
    assert reply.ask("我叫什么？") == "你叫小明。"


def play(reply: Reply, cloud: LocalCloud, odds: random.Random, group: str | None) -> None:
    """Two to four questions and \\clear once or twice, each event one to three times, at random within 200 ms."""
    cloud.reset()
    for _ in range(400):
        cloud.oss.plan(Fault(delay=odds.uniform(0, 0.05)))
    words = [f"第 {number} 题" for number in range(odds.randint(2, 4))] + ["\\clear"] * odds.randint(1, 2)
    messages = [cloud.dingtalk.message(text, group=group) for text in words]
    odds.shuffle(messages)
    runs = [(message, {"delay": odds.uniform(0, 0.2)}) for message in messages for _ in range(odds.randint(1, 3))]
    outcomes = reply.run_at_once(*runs)
    assert set(outcomes) <= {"answered", "cleared", "duplicate"}, outcomes
    lines = cloud.journal(messages[0])
    epoch = max(line["epoch"] for line in lines if line.get("clear"))
    for message in messages:
        assert len(cloud.dingtalk.shown(message)) == 1, message["text"]
        own = [line for line in lines if line["msgId"] == message["msgId"]]
        assert sum("answer" in line or "words" in line for line in own) == 1
        assert sum("delivered" in line for line in own) == 1
    assert set(epochs(cloud)) <= {f"{epoch}.jsonl"}
    turns = [line for line in lines if line.get("turn") and line["words"][0] == epoch]
    assert all("question" in line for line in turns), "the words of a turn are missing"


@pytest.mark.parametrize("group", [None, "测试群"], ids=["private", "group"])
@pytest.mark.parametrize("tries", [3, pytest.param(50, marks=pytest.mark.full)])
def test_clear_beside_questions_does_everything_once(
    reply: Reply, cloud: LocalCloud, tries: int, group: str | None
) -> None:
    """Whatever meets what: one reply to each message, no words of an epoch that is over, none missing of this one."""
    odds = random.Random(tries)
    for _ in range(tries):
        play(reply, cloud, odds, group)


@pytest.mark.parametrize("times", [4, 99], ids=["OSS is well again", "OSS stays ill"])
@pytest.mark.parametrize("carry_out", [True, False], ids=["on record", "not on record"])
def test_clear_of_which_nobody_knows_whether_it_is_on_record_is_done(
    reply: Reply, cloud: LocalCloud, clock: Clock, carry_out: bool, times: int
) -> None:
    """The words are deleted, whatever the journal says: what the chat shows is true."""
    reply.ask("我叫小明")
    clearing = cloud.dingtalk.message("\\clear")
    lose_the_commit(cloud, carry_out, times)
    assert reply.run(clearing)["result"] == "cleared"
    (shown,) = cloud.dingtalk.shown(clearing)
    assert shown.text.startswith("好的")
    assert epochs(cloud) == []


def test_clear_that_is_neither_known_nor_deleted_is_not_promised(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """OSS takes nothing any more."""
    reply.ask("我叫小明")
    clearing = cloud.dingtalk.message("\\clear")
    lose_the_commit(cloud, False, 99)
    cloud.oss.plan(error_fault("InternalError", where=is_delete, times=99))
    reply.run(clearing)
    (shown,) = cloud.dingtalk.shown(clearing)
    assert shown.text.startswith("没能忘掉")


# --- the process dies before or after each request of \clear ---

OF_CLEAR: dict[str, Callable[[Received], bool]] = {
    "read": lambda received: received.method == "GET",
    "commit": is_commit,
    "delete": is_delete,
    "mark": lambda received: b'"delivered"' in received.body,
}
SHOWN_TWICE = {("send", "after"), ("mark", "before")}  # it was shown, and that could not be recorded


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "step",
    ["read", *(pytest.param(step, marks=pytest.mark.full) for step in ("commit", "delete", "send", "mark"))],
)
def test_clear_whose_process_dies_is_done_by_the_next_run(cloud: LocalCloud, step: str, moment: str) -> None:
    """Once: one new epoch, no words of the old one, and what is said meanwhile stays."""
    cloud.dingtalk.ask("机密的问题")
    cloud.function_compute.wait_idle(30)
    clearing = cloud.dingtalk.message("\\clear")
    died = threading.Event()

    def die() -> None:
        cloud.function_compute.kill(REPLY)
        died.set()

    fault = Fault(drop=True, carry_out=moment == "after", then=die)
    service = cloud.dingtalk if step == "send" else cloud.oss
    service.plan(replace(fault, where=OF_CLEAR.get(step, fault.where)))
    cloud.dingtalk.deliver(clearing)
    assert died.wait(30)  # before somebody else's run can die with it
    cloud.dingtalk.ask("我叫小明", timeout=30)
    cloud.function_compute.wait_idle(60)
    assert len(cloud.dingtalk.shown(clearing)) == 1 + ((step, moment) in SHOWN_TWICE)
    lines = cloud.journal(clearing)
    assert [line["epoch"] for line in lines if line.get("clear")] == [1]
    assert "机密".encode() not in b"".join(cloud.oss.everything())
    assert "0.jsonl" not in epochs(cloud)
    said = [line for line in lines if "words" in line][-1]  # before \clear was committed, or after it
    assert said["words"][0] == 0 or "answer" in said
