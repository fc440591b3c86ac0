"""THINKING=on: an emoji on the message while its answer is under way, and nothing else is different."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.helpers import Reply
from tests.stand_ins.dingtalk_api import EMOTION_PATHS, TOKEN_PATH, api_fault
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault

REPLY_PATH, RECALL_PATH = EMOTION_PATHS


@pytest.fixture
def thinking(reply: Reply, cloud: LocalCloud) -> Reply:
    """Dingtalk_ChatGPT_Reply with the setting, without a token from another test, and a model that takes a moment."""
    reply.environment.update({**cloud.application(), "THINKING": "on"})
    reply.module.api_tokens.clear()
    cloud.openai_api.think_seconds = 0.1
    return reply


@pytest.fixture(autouse=True)
def model_thinks_no_more(cloud: LocalCloud) -> Iterator[None]:
    """For the next test."""
    seconds = cloud.openai_api.think_seconds
    yield
    cloud.openai_api.think_seconds = seconds


def verbs(cloud: LocalCloud) -> list[str]:
    """What people saw happen to the emoji."""
    return [emotion.verb for emotion in cloud.dingtalk.api.emotions]


def tries(cloud: LocalCloud, path: str) -> list[float]:
    """When it was tried."""
    return [received.at for received in cloud.dingtalk.received if received.path == path]


def test_emoji_is_there_until_the_answer(thinking: Reply, cloud: LocalCloud) -> None:
    """On the message that is answered, and taken off after the answer."""
    message = cloud.dingtalk.message("1+1=?", group="测试群")
    thinking.run(message)
    shown, recalled = cloud.dingtalk.api.emotions
    assert (shown.verb, recalled.verb) == ("reply", "recall")
    assert (shown.message_id, shown.conversation_id) == (message["msgId"], message["conversationId"])
    assert shown.name == recalled.name == "🤔思考中"
    (bubble,) = cloud.dingtalk.shown(message)
    assert shown.at < bubble.at < recalled.at


@pytest.mark.parametrize("setting", [None, "off"])
def test_off_means_no_call(thinking: Reply, cloud: LocalCloud, setting: str | None) -> None:
    """It costs two metered calls."""
    thinking.environment["THINKING"] = setting
    thinking.ask("你好")
    assert not cloud.dingtalk.api.calls


def test_on_without_a_key_is_a_bad_setting(thinking: Reply) -> None:
    """It would do nothing, and nobody would know why."""
    thinking.environment["DINGTALK_APP_KEY"] = None
    assert "THINKING" in thinking.ask("你好")


@pytest.mark.parametrize("text", ["\\help", "\\status", "清除"])
def test_command_has_no_emoji(thinking: Reply, cloud: LocalCloud, text: str) -> None:
    """It is answered at once."""
    thinking.ask(text)
    assert not cloud.dingtalk.api.calls


def test_emoji_is_tried_three_times(thinking: Reply, cloud: LocalCloud) -> None:
    """At 0, 0.4 and 1.2 s: just after a message came, DingTalk may not know it yet."""
    cloud.openai_api.think_seconds = 1.6
    cloud.dingtalk.plan(api_fault(500, "system.err", path=REPLY_PATH, times=2))
    thinking.ask("你好")
    first, second, third = tries(cloud, REPLY_PATH)
    assert 0.35 < second - first < 0.8
    assert 1.15 < third - first < 1.9
    assert verbs(cloud) == ["reply", "recall"]


def test_emoji_that_is_not_needed_any_more_is_not_tried_again(thinking: Reply, cloud: LocalCloud) -> None:
    """The answer was faster. What got lost may be there, so it is taken off."""
    cloud.dingtalk.plan(Fault(lambda received: received.path == REPLY_PATH, drop=True, carry_out=True))
    thinking.ask("你好")
    assert verbs(cloud) == ["reply", "recall"]


def test_emoji_that_is_refused_is_not_recalled(thinking: Reply, cloud: LocalCloud) -> None:
    """Nor tried again: the permission will not come."""
    cloud.dingtalk.api.permissions.clear()
    assert thinking.ask("1+1=?") == "1+1=2"
    assert len(tries(cloud, REPLY_PATH)) == 1
    assert not tries(cloud, RECALL_PATH)


def test_recall_that_fails_is_tried_again(thinking: Reply, cloud: LocalCloud) -> None:
    """After 1.5 s."""
    cloud.dingtalk.plan(api_fault(500, "system.err", path=RECALL_PATH))
    thinking.ask("你好")
    assert verbs(cloud) == ["reply", "recall"]
    first, second = tries(cloud, RECALL_PATH)
    assert 1.4 < second - first < 3


@pytest.mark.parametrize("path", [TOKEN_PATH, REPLY_PATH])
@pytest.mark.full
def test_emoji_never_delays_an_answer(thinking: Reply, cloud: LocalCloud, path: str) -> None:
    """However slow DingTalk is."""
    cloud.dingtalk.plan(Fault(lambda received: received.path == path, delay=3))
    started = time.monotonic()
    message = cloud.dingtalk.message("1+1=?")
    thinking.run(message, timeout=5)
    (shown,) = cloud.dingtalk.shown(message)
    assert shown.text == "1+1=2"
    assert shown.at - started < 3  # it did not wait


def test_run_ends_in_time_if_the_recall_hangs(thinking: Reply, cloud: LocalCloud) -> None:
    """Before Function Compute would kill it."""
    cloud.dingtalk.plan(Fault(lambda received: received.path == RECALL_PATH, delay=9))
    started = time.monotonic()
    assert thinking.run(cloud.dingtalk.message("你好"), timeout=5)["result"] == "answered"
    assert time.monotonic() - started < 4


def test_second_run_recalls_what_a_dead_one_left(thinking: Reply, cloud: LocalCloud) -> None:
    """The first one recorded its answer and died before it could send it."""
    cloud.dingtalk.plan(Fault(lambda received: received.path == RECALL_PATH, status=400))
    cloud.dingtalk.plan(Fault(lambda received: received.path == "/robot/sendBySession", times=3, status=500))
    message = cloud.dingtalk.message("1+1=?")
    with pytest.raises(thinking.module.NotDelivered):
        thinking.run(message)
    assert verbs(cloud) == ["reply"]
    assert thinking.run(message)["result"] == "answered again"
    assert verbs(cloud) == ["reply", "recall"]


def test_failed_question_loses_its_emoji(thinking: Reply, cloud: LocalCloud) -> None:
    """The sentence is an answer as well."""
    cloud.openai_api.fail_next("invalid_api_key")
    thinking.ask("你好")
    assert verbs(cloud) == ["reply", "recall"]
