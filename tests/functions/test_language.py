"""LANGUAGE=en: every sentence of both functions is English; nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bot.sentences import en, zh
from tests.helpers import Conversation, Reply, as_new, warm_up
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.server import Fault

WORDS = ("清除", "帮助", "状态", "重置", "模型", "角色")  # of commands, which work in every language
CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")


@pytest.fixture
def english(reply: Reply) -> Reply:
    """Dingtalk_ChatGPT_Reply in English."""
    reply.environment["LANGUAGE"] = "en"
    return reply


def chinese_in(text: str) -> list[str]:
    """What is left of the other language, but for the words of commands."""
    for word in WORDS:
        text = text.replace(word, "")
    return CHINESE.findall(text)


@pytest.mark.parametrize("command", ["\\help", "帮助", "\\status", "状态", "\\clear", "清除", "\\unknown"])
def test_command_answers_in_english(english: Reply, command: str) -> None:
    """Its Chinese words work as well."""
    shown = english.ask(command)
    assert shown and not chinese_in(shown)


def test_help_is_the_english_one(english: Reply) -> None:
    """Word by word."""
    assert english.ask("\\help").replace("- ", "").count("\\") >= 3
    assert english.ask("\\clear") == en.CLEARED


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, '{"error": {"code": "invalid_api_key", "message": "Incorrect API key provided."}}', "key"),
        (429, '{"error": {"code": "insufficient_quota", "message": "You exceeded your current quota."}}', "balance"),
        (404, '{"error": {"code": "model_not_found", "message": "The model `x` does not exist"}}', "model"),
        (400, '{"error": {"code": "content_filter", "message": "The prompt was filtered"}}', "filtered"),
    ],
)
def test_failure_of_chatgpt_is_told_in_english(
    english: Reply, cloud: LocalCloud, status: int, body: str, cause: str
) -> None:
    """With the service's own words below it, where they help."""
    cloud.openai_api.plan(Fault(status=status, body=body))
    shown = english.ask("hello")
    assert shown.startswith(en.FAILURES[cause]) and not chinese_in(shown)


def test_failure_of_oss_is_told_in_english(english: Reply, cloud: LocalCloud) -> None:
    """Below the answer."""
    cloud.oss.plan(Fault(status=403, body="<Error><Code>AccessDenied</Code></Error>", times=9))
    shown = english.ask("hello")
    assert "OSS error AccessDenied" in shown and not chinese_in(shown)


def test_message_without_words_is_answered_in_english(english: Reply, cloud: LocalCloud) -> None:
    """A video, say."""
    message = cloud.dingtalk.message(kind="video")
    english.run(message)
    assert cloud.dingtalk.shown(message)[0].text == en.UNREADABLE["视频"]


def test_bad_setting_is_told_in_english(english: Reply) -> None:
    """What it is, and what to enter."""
    english.environment["TIMEOUT"] = "soon"
    shown = english.ask("hello")
    assert "TIMEOUT is malformed: enter a whole number from 1 to 3600" in shown and not chinese_in(shown)


def test_self_check_is_in_english(english: Reply) -> None:
    """All of the report."""
    assert not chinese_in(str(english.run(b"{}")))


def test_long_answer_is_numbered_in_english(english: Reply, cloud: LocalCloud) -> None:
    """With the brackets of the language."""
    message = cloud.dingtalk.message("tell me")
    cloud.openai_api.answer_next("word " * 1500)
    english.run(message)
    assert cloud.dingtalk.shown(message)[0].text.startswith("(1/")


@pytest.mark.parametrize("language", ["", "zh", "fr"])
def test_any_other_language_is_chinese(reply: Reply, language: str) -> None:
    """A language that there is not is told, in Chinese."""
    reply.environment["LANGUAGE"] = language
    shown = reply.ask("\\clear")
    assert shown == zh.CLEARED if language != "fr" else "LANGUAGE 格式不对" in shown


def test_conversation_tells_in_english_why_a_message_was_not_handed_over(conversation: Conversation) -> None:
    """The chat shows it."""
    conversation.environment["LANGUAGE"] = "en"
    conversation.context.credentials = None
    assert conversation.post().chat_text == en.NO_ROLE.format(owner="service")
    conversation.environment["CHATGPT_FUNCTION"] = "a b"
    shown = conversation.post().chat_text
    assert shown.startswith("The bot is not set up yet.") and not chinese_in(shown)


@pytest.fixture
def cloud_in_english(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """Both functions deployed with LANGUAGE=en, on either generation."""
    cloud = cloud_of_each_generation
    for name in (CONVERSATION, REPLY):
        cloud.redeploy(name, LANGUAGE="en")
    warm_up(cloud)
    yield from as_new(cloud)
    cloud.deploy()
    warm_up(cloud)


def test_whole_way_is_in_english(cloud_in_english: LocalCloud) -> None:
    """A person writes a command, and the chat shows English."""
    assert cloud_in_english.dingtalk.ask("\\clear") == en.CLEARED
