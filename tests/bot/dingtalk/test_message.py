"""What a message from DingTalk says to the model: its kinds, quotations, records, the bot's own name, commands."""

from __future__ import annotations

import json
import re
import time
from types import ModuleType
from typing import Any

import pytest

from tests.helpers import Reply, asked, field_cases
from tests.stand_ins.local_cloud import LocalCloud


@pytest.mark.parametrize("case", field_cases("messages"))
def test_reported_message_has_its_outcome(reply: Reply, cloud: LocalCloud, case: dict[str, Any]) -> None:
    """What clients were reported to send: what ends the request to the model, or the sentence in the chat."""
    message = {
        name: value for name, value in (cloud.dingtalk.message("你好") | case["fields"]).items() if value is not None
    }
    reply.run(message)
    (shown,) = cloud.dingtalk.shown(message)
    if "asked" in case["expect"]:
        assert re.search(case["expect"]["asked"], asked(cloud))
    else:
        assert not cloud.openai_api.asked
        assert re.search(case["expect"]["chat"], shown.text)


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("text", "你好"),
        ("audio", "钉钉，让进步发生"),
        ("rich_text", "这个问题示例图如下：[图片]请解释"),
        ("text_group_quote", "> 明天下午三点开会\n\n这句话是什么意思"),
    ],
)
def test_message_with_words_is_answered(cloud: LocalCloud, kind: str, question: str) -> None:
    """Text, voice as DingTalk recognised it, rich text with a mark for its picture, and a quotation marked as one."""
    message = cloud.dingtalk.message(kind=kind)
    cloud.dingtalk.deliver(message)
    cloud.dingtalk.wait_shown(1, message)
    assert asked(cloud) == question


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("picture", "图片"), ("video", "视频"), ("file", "文件"), ("unknown", "文字"), ("over_quota", "调用量")],
)
def test_message_without_words_gets_one_sentence(cloud: LocalCloud, kind: str, sentence: str) -> None:
    """Nobody is met with silence, and nothing is paid for."""
    message = cloud.dingtalk.message(kind=kind)
    cloud.dingtalk.deliver(message)
    (shown,) = cloud.dingtalk.wait_shown(1, message)
    cloud.function_compute.wait_idle(30)
    assert sentence in shown.text
    assert len(cloud.dingtalk.shown(message)) == 1
    assert not cloud.openai_api.asked


QUOTED = "明天开会"


@pytest.mark.parametrize(
    "changes",
    [
        {"text": {"content": "何时？", "isReplyMsg": True, "repliedMsg": {"content": {"text": QUOTED}}}},
        {"text": {"content": "何时？", "repliedMsg": {"content": {"content": QUOTED}}}},
        {"text": {"content": "何时？", "repliedMsg": {"content": json.dumps({"text": QUOTED})}}},
        {"text": {"content": "何时？", "repliedMsg": {"content": QUOTED}}},
        {"text": {"content": "何时？", "repliedMsg": {"msgType": "audio", "content": {"recognition": QUOTED}}}},
        {
            "text": {
                "content": "何时？",
                "repliedMsg": {
                    "msgType": "richText",
                    "content": {"richText": [{"msgType": "text", "content": QUOTED}]},
                },
            }
        },
        {"quoteMessage": {"msgId": "x", "msgtype": "text", "text": {"content": QUOTED}}, "text": {"content": "何时？"}},
        {
            "msgtype": "richText",
            "text": None,
            "content": {"richText": [{"text": "何时？"}], "repliedMsg": {"content": {"text": QUOTED}}},
        },
        {"msgtype": "richText", "text": None, "content": json.dumps({"richText": [{"text": f"> {QUOTED}\n\n何时？"}]})},
    ],
)
def test_quotation_is_found_in_all_its_forms(reply: Reply, cloud: LocalCloud, changes: dict[str, Any]) -> None:
    """Quotations are documented nowhere; these forms were seen by others."""
    reply.run(cloud.dingtalk.message() | changes)
    assert asked(cloud) == f"> {QUOTED}\n\n何时？"


@pytest.mark.parametrize("replied", [None, [], "", 5, {}])
def test_quotation_that_is_none_is_left_out(reply: Reply, cloud: LocalCloud, replied: Any) -> None:
    """The field may be there without anything in it."""
    reply.run(cloud.dingtalk.message() | {"text": {"content": "何时？", "repliedMsg": replied}})
    assert asked(cloud) == "何时？"


@pytest.mark.parametrize("replied", [{"originalMsgId": "x"}, {"content": {}}, {"msgType": "x"}, {"content": [[]] * 99}])
def test_quotation_without_words_is_told_to_the_model(reply: Reply, cloud: LocalCloud, replied: Any) -> None:
    """Or it would answer as if there were none."""
    reply.run(cloud.dingtalk.message() | {"text": {"content": "何时？", "repliedMsg": replied}})
    assert asked(cloud) == "> [引用的消息没有文字]\n\n何时？"


@pytest.mark.parametrize(
    "said", ['{"title": 5}', '{"errcode": 40035}', '{"code": 400, "message": "参数错误"}', "[1, 2]", "{"]
)
def test_json_that_somebody_wrote_is_quoted_as_it_is(reply: Reply, cloud: LocalCloud, said: str) -> None:
    """It is not the body of a message, or there are no words in it."""
    reply.run(cloud.dingtalk.message() | {"text": {"content": "何时？", "repliedMsg": {"content": said}}})
    assert asked(cloud) == f"> {said}\n\n何时？"


def test_quoted_file_is_known_by_its_name_alone(reply: Reply, cloud: LocalCloud) -> None:
    """Some quotations do not tell what kind they are."""
    reply.run(
        cloud.dingtalk.message() | {"text": {"content": "总结", "repliedMsg": {"content": {"fileName": "a.pdf"}}}}
    )
    assert asked(cloud) == "> [文件 a.pdf]\n\n总结"


def test_file_that_answers_to_another_has_neither_its_name_nor_its_code(warm_reply: ModuleType) -> None:
    """What is quoted is a message of its own."""
    quoted = {"msgType": "file", "content": {"fileName": "old.txt", "downloadCode": "x"}}
    content = {"fileName": "new.txt", "repliedMsg": quoted}
    event = {"msgId": "m", "conversationId": "c", "msgtype": "file", "content": content}
    (attachment,) = warm_reply.parse_message(json.dumps(event).encode()).attachments
    assert (attachment.words, attachment.download_code) == ("[文件 old.txt]", "x")


def test_quotation_alone_is_a_question(reply: Reply, cloud: LocalCloud) -> None:
    """Somebody quotes a message and only @-s the bot."""
    reply.run(cloud.dingtalk.message() | {"text": {"content": " ", "repliedMsg": {"content": {"text": "1+1=?"}}}})
    assert asked(cloud) == "> 1+1=?\n"


@pytest.mark.parametrize("text", ['{"content": "x"}', '{"text": {"a": 1}} 怎么解析', "{", '{"richText": []}'])
def test_json_as_a_question_is_left_as_it_is(reply: Reply, cloud: LocalCloud, text: str) -> None:
    """People ask about JSON; only bodies that should be objects are unpacked."""
    reply.ask(text)
    assert asked(cloud) == text


@pytest.mark.parametrize("content", ["{broken", '{"a": 1'])
def test_body_that_only_looks_like_json_is_words(reply: Reply, cloud: LocalCloud, content: str) -> None:
    """A future kind with a plain text for its content is read."""
    reply.run(cloud.dingtalk.message(kind="unknown", content=content))
    assert asked(cloud) == content


def test_unknown_fields_and_missing_ones_do_no_harm(reply: Reply, cloud: LocalCloud) -> None:
    """Only what is needed is needed."""
    message = cloud.dingtalk.message("1+1=?", openThreadId="x", atUsers=None, extra={"a": [1]})
    for name in ("sessionWebhookExpiredTime", "senderNick", "isAdmin", "createAt", "chatbotUserId", "conversationType"):
        message.pop(name)
    reply.run(message)
    assert len(cloud.dingtalk.shown(message)) == 1


def test_top_level_content_is_read_as_text(reply: Reply, cloud: LocalCloud) -> None:
    """The older documented form of a text message has `content` beside `msgtype`."""
    message = cloud.dingtalk.message(content=" 1+1=? ")
    del message["text"]
    reply.run(message)
    assert "2" in cloud.dingtalk.shown(message)[0].text


def test_message_without_words_gets_a_polite_sentence(reply: Reply, cloud: LocalCloud) -> None:
    """A picture cannot be read, and the person is told so."""
    message = cloud.dingtalk.message(kind="picture")
    assert reply.run(message)["result"] == "unreadable"
    assert "文字" in cloud.dingtalk.shown(message)[0].text
    assert not cloud.openai_api.asked


def test_bare_at_gets_the_help(reply: Reply) -> None:
    """Somebody who only @-s the bot is told what it can do."""
    assert "\\clear" in reply.ask("", group="测试群")


def test_half_a_surrogate_pair_is_replaced(reply: Reply, cloud: LocalCloud) -> None:
    """JSON can hold what UTF-8 cannot; the question is answered all the same."""
    message = cloud.dingtalk.message("你好")
    body = json.dumps(message).replace("\\u4f60\\u597d", "\\ud83d 1+1=?").encode()
    reply.run(body)
    assert "1+1" in cloud.dingtalk.shown(message)[0].text
    assert cloud.journal(message)[0]["question"] == "\ufffd 1+1=?"


# --- commands ---


@pytest.mark.parametrize(
    "text",
    [
        "\\clear",
        "/clear",
        "清除",
        "重置",
        " \\CLEAR ",
        "/清除",
        "／Ｃｌｅａｒ",
        "＼clear",
        "、清除",
        "\u200b/clear\ufeff",
    ],
)
def test_clear_is_understood_in_all_its_forms(reply: Reply, cloud: LocalCloud, text: str) -> None:
    """Backslash, slash, their full-width forms and the comma of Chinese keyboards; any case, also unseen blanks."""
    reply.ask("我叫小明")
    assert "忘掉" in reply.ask(text)
    assert "不知道" in reply.ask("我叫什么？")


@pytest.mark.parametrize("text", ["\\help", "/help", "帮助", "/hi", "\\unknown", "\\n"])
def test_help_and_unknown_words_get_the_help(reply: Reply, cloud: LocalCloud, text: str) -> None:
    """One word after a slash is meant as a command."""
    assert "\\clear" in reply.ask(text)
    assert not cloud.openai_api.asked


@pytest.mark.parametrize(
    "text",
    [
        "\\frac{a}{b} 怎么算",
        "/usr/bin 是什么",
        "clear",
        "\\clear 之后呢",
        "请清除",
        "\\",
        "//",
        "\\帮我",
        "/" + "a" * 60,
    ],
)
def test_question_that_looks_like_a_command_is_a_question(reply: Reply, cloud: LocalCloud, text: str) -> None:
    """A message is a command only as a whole."""
    reply.ask(text)
    assert cloud.openai_api.asked[0]["messages"][-1]["content"] == text


# --- the bot's own name ---

ROBOT, OTHER = {"dingtalkId": "$:LWCP_v1:$bot"}, {"dingtalkId": "$:LWCP_v1:$li"}


@pytest.mark.parametrize(
    ("content", "at_users", "question"),
    [
        ("@小助手 你好", [ROBOT], "你好"),
        ("\u200b@小助手\u2005你好", [ROBOT], "你好"),
        ("@小助手，你好", [ROBOT], "，你好"),
        (" @李四 你好", [ROBOT, OTHER], "@李四 你好"),
        ("@小助手 @李四 你好", [ROBOT, OTHER], "@李四 你好"),
        ("a@b.com 是谁", [ROBOT], "a@b.com 是谁"),
        ("@李四 你好", [OTHER], "@李四 你好"),
        ("@李四 你好", [], "@李四 你好"),
    ],
)
def test_own_name_is_taken_off_and_no_other(
    reply: Reply, cloud: LocalCloud, content: str, at_users: list[dict[str, str]], question: str
) -> None:
    """Only where the robot was @-ed, and only where its name is to be seen."""
    fields = {"text": {"content": content}, "atUsers": at_users, "chatbotUserId": ROBOT["dingtalkId"]}
    reply.run(cloud.dingtalk.message() | fields)
    assert asked(cloud) == question


@pytest.mark.parametrize(
    ("people", "question"), [([ROBOT], "写周报"), ([], "写周报"), ([ROBOT, OTHER], "@李四 和@小助手 写周报")]
)
def test_name_in_a_piece_of_its_own_is_taken_off_if_it_is_the_only_one(
    reply: Reply, cloud: LocalCloud, people: list[dict[str, str]], question: str
) -> None:
    """Such a piece tells a name but not whose it is."""
    others = [{"type": "at", "atName": "李四"}, {"text": "和"}] if len(people) > 1 else []
    pieces = [{"text": " "}, *others, {"type": "at", "atName": "小助手"}, {"text": "写周报"}]
    fields = {
        "msgtype": "richText",
        "text": None,
        "content": {"richText": pieces},
        "atUsers": people,
        "isInAtList": True,
    }
    reply.run(cloud.dingtalk.message() | fields)
    assert asked(cloud) == question


def test_name_alone_in_a_piece_of_its_own_gets_the_help(reply: Reply, cloud: LocalCloud) -> None:
    """It is the robot's own, and there is nothing else."""
    content = {"richText": [{"type": "at", "atName": "小助手"}]}
    message = cloud.dingtalk.message() | {"msgtype": "richText", "text": None, "content": content, "isInAtList": True}
    assert reply.run(message)["result"] == "help"


def test_name_of_several_words_is_taken_off_a_command(reply: Reply, cloud: LocalCloud) -> None:
    """Where it ends nobody tells, but behind it is a command and nothing else."""
    content = {"richText": [{"text": "@My Bot"}, {"text": " /status"}]}
    message = cloud.dingtalk.message() | {"msgtype": "richText", "text": None, "content": content, "isInAtList": True}
    assert reply.run(message)["result"] == "status"


# --- words in structures that nobody has described ---


@pytest.mark.parametrize(
    ("fields", "question"),
    [
        ({"msgtype": "calendar", "content": {"title": "周会", "startTime": "2026-11-25", "id": "x"}}, "周会"),
        (
            {"msgtype": "link", "link": {"title": "公告", "text": "放假三天", "messageUrl": "https://a.com"}},
            "公告\n放假三天",
        ),
        ({"msgtype": "actionCard", "content": {"title": "审批", "markdown": "## 审批\n同意吗"}}, "## 审批\n同意吗"),
        (
            {
                "msgtype": "oa",
                "content": {"body": {"form": [{"key": "数量", "value": "2"}, {"key": "共", "value": "2 件"}]}},
            },
            "数量\n2\n共\n2 件",
        ),
        ({"msgtype": "markdown", "markdown": {"title": "说明", "text": "# 一"}}, "说明\n# 一"),
        ({"msgtype": "feedCard", "content": {"links": [{"title": "一", "picURL": "https://a.com"}]}}, "一"),
        ({"text": {"content": ""}, "content": {"richText": [{"text": "在这里"}]}}, "在这里"),
        ({"msgtype": "chatRecord", "content": {"chatRecord": "甲：三点开会"}}, "甲：三点开会"),
        ({"msgtype": "strange", "content": {"a": [{"b": {"c": "这里有话"}}]}}, "这里有话"),
        ({"msgtype": "strange", "content": {"a": "https://a.com/图", "b": "这里有话"}}, "这里有话"),
    ],
)
def test_words_in_any_structure_are_read(
    reply: Reply, cloud: LocalCloud, fields: dict[str, Any], question: str
) -> None:
    """Kinds that are documented elsewhere, and those that are not documented: addresses and ids are no words."""
    reply.run(cloud.dingtalk.message() | {"text": None} | fields)
    assert asked(cloud) == question


@pytest.mark.parametrize(
    ("msgtype", "content", "word"),
    [
        ("picture", {"downloadCode": "x"}, "图片"),
        ("picture", '{"downloadCode": "x"}', "图片"),
        ("richText", {"richText": [{"type": "picture"}]}, "图片"),
        ("video", {"videoType": "mp4"}, "视频"),
        ("audio", {"duration": 4}, "语音"),
        ("audio", " ", "语音"),
        ("file", {"fileName": "报告.pdf"}, "文件"),
        ("location", {"title": "西湖", "address": "杭州", "lng": 1}, "位置"),
        ("personCard", {"name": "张三"}, "名片"),
        ("sticker", {"mediaId": "@x"}, "表情"),
        ("interactiveCard", {"url": "https://a.com/文档"}, "卡片"),
        ("alidoc", {}, "文档"),
        ("link", {"messageUrl": "https://a.com"}, "链接"),
        ("chatRecord", {"summary": "[]"}, "聊天记录"),
        ("somethingNew", {"id": "1"}, "这种消息"),
    ],
)
def test_message_without_words_is_called_by_its_name(
    reply: Reply, cloud: LocalCloud, msgtype: str, content: Any, word: str
) -> None:
    """Not one sentence for all, so that the person knows what was not understood."""
    message = cloud.dingtalk.message() | {"msgtype": msgtype, "text": None, "content": content}
    assert reply.run(message)["result"] == "unreadable"
    assert word in cloud.dingtalk.shown(message)[0].text
    assert not cloud.openai_api.asked


@pytest.mark.parametrize(
    "content",
    [
        {"text": "a" * 60_000},
        [{"x": "字"}] * 3000,
        {f"desc{number}" * 9: "字" for number in range(1500)},
        {"desc" * 15_000 + "!": "字"},
        json.loads('{"children":[' * 400 + "1" + "]}" * 400),
        json.dumps({"content": json.dumps({"content": "[" * 20_000})}),
        {"richText": [{"text": "@" * 20_000}]},
        {"text": " " * 60_000 + "x"},
    ],
)
def test_monstrous_structure_is_read_in_time(warm_reply: ModuleType, content: Any) -> None:
    """The search for words has an end, in depth and in time: 64 KiB is what gets here."""
    event = {"msgId": "m", "conversationId": "c", "sessionWebhook": "https://x", "msgtype": "new", "isInAtList": True}
    started = time.process_time()
    assert warm_reply.parse_message(json.dumps({**event, "content": content}).encode())
    assert time.process_time() - started < 1


def test_half_a_sign_in_a_forwarded_name_does_not_reach_the_model(reply: Reply, cloud: LocalCloud) -> None:
    """JSON can hold half a surrogate pair, UTF-8 cannot: the question would be refused as a mistake in the settings."""
    records = [{"senderNick": "小\ud83d明", "content": "1+1=?"}]
    message = cloud.dingtalk.message(msgtype="chatRecord", content={"chatRecord": json.dumps(records)})
    assert reply.run(message)["result"] == "answered"
    assert "小\ufffd明" in asked(cloud)
