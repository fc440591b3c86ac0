"""What people send, and what they see: kinds of messages, Markdown, long answers, @, commands, access and limits."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bot.sentences import zh
from tests.helpers import Reply, asked
from tests.stand_ins.dingtalk import VISITOR, XIAODING, XIAOMING
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault, Received


@pytest.fixture
def redeployed(cloud: LocalCloud) -> Iterator[LocalCloud]:
    """A cloud where a test deploys Dingtalk_ChatGPT_Reply with settings of its own; then it has the usual ones."""
    yield cloud
    cloud.function_compute.wait_idle(20)
    cloud.redeploy(REPLY)


# --- replies ---

MARKDOWN = "## 标题\n\n**重点**：\n- 一\n- 二"


@pytest.mark.parametrize(
    ("setting", "answer", "kind"),
    [
        (None, MARKDOWN, "markdown"),
        (None, "1+1=2，就是这样。", "text"),
        ("text", MARKDOWN, "text"),
        ("markdown", "1+1=2", "markdown"),
    ],
)
def test_reply_format_decides_the_kind(
    reply: Reply, cloud: LocalCloud, setting: str | None, answer: str, kind: str
) -> None:
    """auto looks at the answer, the others force one."""
    reply.environment["REPLY_FORMAT"] = setting
    cloud.openai_api.answer_next(answer)
    message = cloud.dingtalk.message("你好")
    reply.run(message)
    assert cloud.dingtalk.shown(message)[0].kind == kind


def test_markdown_answer_comes_as_markdown_end_to_end(cloud: LocalCloud) -> None:
    """Through both functions, with the beginning of the answer as the title of the notification."""
    cloud.openai_api.answer_next(MARKDOWN)
    message = cloud.dingtalk.message("你好")
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    assert (shown.kind, shown.title) == ("markdown", "标题 重点： 一 二")


# --- long answers ---


def long_answer() -> str:
    """30,000 characters with code, lists and emoji."""
    pieces: list[str] = []
    while sum(map(len, pieces)) < 30_000:
        number = len(pieces)
        pieces.append(f"## 第 {number} 节 👨‍👩‍👧‍👦\n\n" + "这一段讲的是怎么做。" * 20 + "\n\n")
        pieces.append("".join(f"- 第 {item} 点 🇨🇳 [链接](https://example.com/{item})\n" for item in range(8)) + "\n")
        pieces.append("```python\n" + "".join(f"print({line})  # 👍🏽\n" for line in range(40)) + "```\n\n")
    return "".join(pieces).strip()


def test_long_answer_arrives_complete_and_in_order(cloud: LocalCloud) -> None:
    """30,000 characters: every part is taken by DingTalk, numbered, and nothing is missing."""
    answer = long_answer()
    cloud.openai_api.answer_next(answer)
    message = cloud.dingtalk.message("写长一点", group="测试群")
    cloud.dingtalk.deliver(message)
    cloud.function_compute.wait_idle(30)
    shown = cloud.dingtalk.shown(message)
    assert len(shown) >= 9
    assert not cloud.dingtalk.refusals
    assert all(f"（{number}/{len(shown)}）" in bubble.text for number, bubble in enumerate(shown, 1))
    assert all(len(bubble.text) <= 3500 for bubble in shown)
    assert all(bubble.text.count("```") % 2 == 0 for bubble in shown)
    together = "".join(bubble.text for bubble in shown)
    for line in answer.splitlines():
        assert line.strip() in together
    assert [int(n) for n in re.findall(r"第 (\d+) 节", together)] == [
        int(n) for n in re.findall(r"第 (\d+) 节", answer)
    ]


def test_second_run_goes_on_after_the_parts_that_arrived(reply: Reply, cloud: LocalCloud, monkeypatch: Any) -> None:
    """Parts that are in the chat are not sent again when FC runs the event again."""
    cloud.openai_api.answer_next("字" * 9000)
    message = cloud.dingtalk.message("写长一点")
    third = iter(range(100))
    cloud.dingtalk.plan(Fault(where=lambda received: next(third) >= 2, drop=True, times=3))
    monkeypatch.setattr(reply.module.rooms["bot.dingtalk.webhook"], "SEND_PAUSES_SECONDS", (0, 0))
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message, request_id="same")
    assert len(cloud.dingtalk.shown(message)) == 2
    assert reply.run(message, request_id="same")["result"] == "answered again"
    assert [bubble.text[:5] for bubble in cloud.dingtalk.shown(message)] == ["（1/3）", "（2/3）", "（3/3）"]


# --- groups ---


@pytest.mark.parametrize("answer", ["1+1=2", MARKDOWN])
def test_asker_in_a_group_is_mentioned(cloud: LocalCloud, answer: str) -> None:
    """Both in atUserIds and by @id in the text: DingTalk needs both."""
    cloud.openai_api.answer_next(answer)
    message = cloud.dingtalk.message("你好", person=XIAOMING, group="测试群")
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    assert shown.at_user_ids == (XIAOMING.staff_id,)
    assert shown.text.startswith(f"@{XIAOMING.staff_id} ")


def test_outsider_in_a_group_is_addressed_by_name(cloud: LocalCloud) -> None:
    """Without a staff id there is nobody to @."""
    message = cloud.dingtalk.message("1+1=?", person=VISITOR, group="测试群")
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    assert (shown.text, shown.at_user_ids) == ("@访客 1+1=2", ())


def test_private_chat_has_no_mention(cloud: LocalCloud) -> None:
    """There is nobody else."""
    assert cloud.dingtalk.ask("1+1=?") == "1+1=2"


@pytest.mark.parametrize("command", ["\\help", "/help", "帮助", "\\STATUS", "状态", "重置"])
def test_command_in_a_group_is_understood(cloud: LocalCloud, command: str) -> None:
    """Behind the @ there is a blank before the words."""
    cloud.dingtalk.ask(command, group="测试群")
    assert not cloud.openai_api.asked


# --- access and limits ---


def test_person_who_is_not_on_the_list_is_told_the_own_id(redeployed: LocalCloud) -> None:
    """The sentence says who can change it, and has the id to add."""
    redeployed.redeploy(REPLY, ALLOWED_USERS=f"{XIAODING.staff_id}, someone")
    text = redeployed.dingtalk.ask("1+1=?", person=XIAOMING)
    assert all(part in text for part in ("部署者", "ALLOWED_USERS", XIAOMING.staff_id))
    assert "ALLOWED_USERS" in redeployed.dingtalk.ask("\\clear", person=XIAOMING)
    assert not redeployed.openai_api.asked
    assert redeployed.dingtalk.ask("1+1=?", person=XIAODING) == "1+1=2"


def test_group_that_is_not_on_the_list_is_told_its_id(reply: Reply, cloud: LocalCloud) -> None:
    """Other groups and private chats are not concerned."""
    message = cloud.dingtalk.message("1+1=?", group="测试群")
    reply.environment["ALLOWED_GROUPS"] = message["conversationId"]
    reply.run(message)
    assert cloud.dingtalk.shown(message)[0].text.endswith("1+1=2")
    assert reply.ask("1+1=?") == "1+1=2"
    other = cloud.dingtalk.message("1+1=?", group="另一个群")
    reply.run(other)
    text = cloud.dingtalk.shown(other)[0].text
    assert all(part in text for part in ("部署者", "ALLOWED_GROUPS", other["conversationId"]))


def test_daily_limit_is_kept_and_told(redeployed: LocalCloud) -> None:
    """So many questions a day and person; commands and failures do not count."""
    redeployed.redeploy(REPLY, DAILY_LIMIT="2")
    dingtalk = redeployed.dingtalk
    redeployed.openai_api.fail_next("invalid_api_key")
    for text in ("失败的问题", "\\help", "1+1=?", "\\status", "1+2=?"):
        assert "DAILY_LIMIT" not in dingtalk.ask(text)
    redeployed.function_compute.wait_idle(30)
    paid = len(redeployed.openai_api.asked)
    text = dingtalk.ask("1+3=?")
    assert "2 次" in text
    assert "DAILY_LIMIT" in text
    assert len(redeployed.openai_api.asked) == paid == 2
    assert dingtalk.ask("1+1=?", person=XIAOMING) == "1+1=2"
    assert "记住的对话：2 轮" in dingtalk.ask("\\status")


def test_daily_limit_is_exact_for_questions_at_the_same_instant(redeployed: LocalCloud) -> None:
    """Of ten at once exactly as many are answered as are allowed."""
    redeployed.redeploy(REPLY, DAILY_LIMIT="3")
    messages = [redeployed.dingtalk.message("1+1=?") for _ in range(10)]

    def deliver(message: dict[str, Any]) -> None:
        for _ in range(200):  # Function Compute answers 429 while all instances are busy, and DingTalk repeats
            if redeployed.dingtalk.deliver(message, timeout=30).status == 200:
                return
            time.sleep(0.05)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(deliver, messages))
    redeployed.function_compute.wait_idle(60)
    texts = [redeployed.dingtalk.shown(message)[0].text for message in messages]
    assert sorted(text == "1+1=2" for text in texts) == [False] * 7 + [True] * 3
    (usage,) = filter(re.compile("chat-usage/").match, redeployed.oss.keys())
    assert len(redeployed.oss.read(usage) or b"") == 3 * len(b"+0123456789abcdef\n")


def test_question_over_the_limit_is_not_asked(reply: Reply, cloud: LocalCloud) -> None:
    """The last question is answered, the next one is told why not."""
    reply.environment["DAILY_LIMIT"] = "1"
    assert reply.ask("1+1=?") == "1+1=2"
    assert "DAILY_LIMIT" in reply.ask("1+2=?")
    assert len(cloud.openai_api.asked) == 1


def usage_key() -> str:
    """The object that counts today's questions of the usual person."""
    return f"chat-usage/{time.strftime('%Y-%m-%d', time.gmtime(time.time() + 8 * 3600))}/{XIAODING.staff_id}"


@pytest.mark.parametrize(("limit", "answered"), [("1", False), ("2", True)])
def test_question_counted_by_another_run_meanwhile_counts(
    reply: Reply, cloud: LocalCloud, limit: str, answered: bool
) -> None:
    """Between reading and counting, another question of the same person was faster: this one is the second today."""
    reply.environment["DAILY_LIMIT"] = limit
    other = b"+0123456789abcdef\n"
    of_usage = Fault(
        where=lambda received: received.method == "GET" and "chat-usage" in received.path,
        then=lambda: cloud.oss.write(usage_key(), other),
    )
    cloud.oss.plan(of_usage)
    assert (reply.ask("1+1=?") == "1+1=2") == answered
    assert len(cloud.openai_api.asked) == answered
    assert len(cloud.oss.read(usage_key()) or b"") == len(other) * (2 if answered else 1)


def test_question_without_an_answer_does_not_count(reply: Reply, cloud: LocalCloud) -> None:
    """It is counted before ChatGPT is asked, and taken back when no answer came: the next one is answered."""
    reply.environment["DAILY_LIMIT"] = "1"
    cloud.openai_api.fail_next("invalid_api_key")
    assert reply.ask("1+1=?").startswith(zh.FAILURES["key"])
    lines = (cloud.oss.read(usage_key()) or b"").decode().split()
    assert [line[0] for line in lines] == ["+", "-"]
    assert lines[0][1:] == lines[1][1:]
    assert reply.ask("1+1=?") == "1+1=2"
    assert "DAILY_LIMIT" in reply.ask("1+1=?")


def test_message_whose_first_run_died_counts_once(reply: Reply, cloud: LocalCloud) -> None:
    """Its question is counted already: the next run asks it all the same."""
    reply.environment["DAILY_LIMIT"] = "1"
    message = cloud.dingtalk.message("1+1=?")
    cloud.oss.write(usage_key(), f"+{reply.module.digest(message['msgId'])}\n".encode())
    assert reply.run(message)["result"] == "answered"
    assert "DAILY_LIMIT" in reply.ask("1+1=?")


def test_person_off_the_list_may_not_even_clear(reply: Reply) -> None:
    """The list is about everything that the bot does."""
    reply.environment["ALLOWED_USERS"] = XIAODING.staff_id
    assert XIAOMING.staff_id in reply.ask("\\clear", person=XIAOMING)


def test_notice_of_the_quota_is_passed_on(reply: Reply, cloud: LocalCloud) -> None:
    """DingTalk's notice has neither text nor content."""
    message = cloud.dingtalk.message(kind="over_quota")
    assert reply.run(message)["result"] == "over quota"


def test_daily_limit_begins_anew_in_the_chinese_night(reply: Reply, cloud: LocalCloud) -> None:
    """The day is that of Asia/Shanghai, which has no daylight saving time."""
    reply.environment["DAILY_LIMIT"] = "5"
    reply.ask("1+1=?")
    (usage,) = filter(re.compile("chat-usage/").match, cloud.oss.keys())
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    assert usage == f"chat-usage/{day}/{XIAODING.staff_id}"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_daily_limit_keeps_nobody_waiting_when_oss_fails(reply: Reply, cloud: LocalCloud, method: str) -> None:
    """A person is answered rather than counted."""

    def is_usage(received: Received) -> bool:
        return received.method == method and "chat-usage" in received.path

    reply.environment["DAILY_LIMIT"] = "1"
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_usage, times=2))  # a read is tried twice
    assert reply.ask("1+1=?") == "1+1=2"


# --- whose history ---


def test_history_of_a_group_is_shared_and_tells_who_spoke(redeployed: LocalCloud) -> None:
    """HISTORY_SCOPE=group: the model is told who says what; private chats stay private."""
    redeployed.redeploy(REPLY, HISTORY_SCOPE="group")
    redeployed.dingtalk.ask("我喜欢红色", person=XIAOMING, group="测试群")
    redeployed.dingtalk.ask("他喜欢什么颜色？", person=XIAODING, group="测试群")
    questions = [part["content"] for part in redeployed.openai_api.asked[-1]["messages"] if part["role"] == "user"]
    assert [re.sub("#[0-9a-f]{4}：", "：", question) for question in questions] == [
        "小明：我喜欢红色",
        "小钉：他喜欢什么颜色？",
    ]
    redeployed.dingtalk.ask("我喜欢什么？", person=XIAOMING)
    assert asked(redeployed) == "我喜欢什么？"
    assert len(redeployed.openai_api.asked[-1]["messages"]) == 1


def test_history_of_a_person_is_the_same_everywhere(redeployed: LocalCloud) -> None:
    """HISTORY_SCOPE=person: what was said in a group is known in the private chat."""
    redeployed.redeploy(REPLY, HISTORY_SCOPE="person")
    redeployed.dingtalk.ask("我叫小明", person=XIAOMING, group="测试群")
    assert redeployed.dingtalk.ask("我叫什么？", person=XIAOMING) == "你叫小明。"
    assert "不知道" in redeployed.dingtalk.ask("我叫什么？", person=XIAODING)
