"""What DingTalk answers to the bot's reply: which codes end it, which are told to the person, which are tried again."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import Clock, Reply, field_cases, set_clock
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault


@pytest.fixture
def clock(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test can turn."""
    clock = Clock()
    set_clock(monkeypatch, reply.module, clock)
    return clock


@pytest.mark.parametrize("answer", ["长颈鹿在火星上唱歌", "giraffes sing on Mars"])
def test_errmsg_that_quotes_the_reply_is_logged_without_it(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any, answer: str
) -> None:
    """What was said stands in no log, whoever repeats it."""
    cloud.openai_api.answer_next(answer)
    cloud.dingtalk.refuse_next(990001, f"拦截了“{answer}”")
    assert reply.run(cloud.dingtalk.message("1+1=?"))["result"] == "answered"
    assert "errcode 990001: 拦截了" in caplog.text
    assert answer[2:-2] not in caplog.text


@pytest.mark.parametrize("case", field_cases("webhook"))
def test_reported_answer_of_the_webhook_has_its_outcome(
    reply: Reply, cloud: LocalCloud, clock: Clock, case: dict[str, Any]
) -> None:
    """How often the reply is posted, what the chat shows, and whether Function Compute runs the event again."""
    for status, answer in case["answers"]:
        cloud.dingtalk.plan(Fault(status=status, body=json.dumps(answer)))
    message, expect = cloud.dingtalk.message("1+1=?"), case["expect"]
    if expect.get("raises"):
        with pytest.raises(reply.module.NotDelivered):
            reply.run(message)
    else:
        reply.run(message)
    shown = cloud.dingtalk.shown(message)
    assert len(cloud.dingtalk.received) == expect["posts"]
    assert len(shown) == expect.get("shown", len(shown))
    assert "last" not in expect or re.search(expect["last"], shown[-1].text)


@pytest.mark.parametrize(
    ("errmsg", "result"),
    [
        ("内容包含敏感词", "withheld"),
        ("msg content exceeds the length limit", "withheld"),
        ("请求的参数不合法", "withheld"),
        ("会话已过期", "Undeliverable"),
        ("robot not exist", "Undeliverable"),
        ("exceeded the qps limit", "answered"),
        ("发送速度太快而限流", "answered"),
        ("不知道为什么", "answered"),
    ],
)
def test_unknown_code_is_told_by_its_words(
    reply: Reply, cloud: LocalCloud, clock: Clock, errmsg: str, result: str
) -> None:
    """The tables cannot have every code; a code without words is taken for one that passes."""
    cloud.dingtalk.refuse_next(990001, errmsg)
    assert reply.run(cloud.dingtalk.message("1+1=?"))["result"] == result


def test_code_that_does_not_pass_leaves_the_event_to_function_compute(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """The answer was paid for and is in the journal: silence for ever is the worst that could happen."""
    cloud.dingtalk.refuse_next(990001, "不知道为什么", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(cloud.dingtalk.message("1+1=?"))
    assert len(cloud.dingtalk.received) == 3


def test_words_of_dingtalk_reach_the_log_short_and_plain(
    reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any
) -> None:
    """One line, no address, no sign of control, 80 characters."""
    cloud.dingtalk.refuse_next("9\x1b9\n0" + "x" * 999, "坏\n了\x00 https://a.com/?session=s " + "很" * 999)
    reply.run(cloud.dingtalk.message("1+1=?"))
    assert "errcode 9 9 0xxx" in caplog.text
    assert "坏 了 … 很很" in caplog.text
    assert "session=" not in caplog.text and "很" * 80 not in caplog.text and "x" * 30 not in caplog.text


@pytest.mark.parametrize("errcode", [430101, "460101"])
def test_text_that_dingtalk_refuses_is_told(reply: Reply, cloud: LocalCloud, caplog: Any, errcode: int | str) -> None:
    """The chat is there, only not for this text: the person is told, once, with the code."""
    cloud.dingtalk.refuse_next(errcode, "内容不合规")
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "withheld"
    (shown,) = cloud.dingtalk.shown(message)
    assert str(errcode) in shown.text
    assert str(errcode) in caplog.text
    assert reply.run(message)["result"] == "duplicate"


@pytest.mark.parametrize("errcode", [300001, "300001", 400013, 400101, 400102, 400106, 310000])
def test_final_errcode_is_not_tried_again(reply: Reply, cloud: LocalCloud, caplog: Any, errcode: Any) -> None:
    """errcode in an HTTP 200 is a failure; what cannot pass ends at once, with the code in the log."""
    cloud.dingtalk.refuse_next(errcode, "不行")
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "Undeliverable"
    assert len(cloud.dingtalk.received) == 1
    assert f"errcode {errcode}" in caplog.text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=200, body='{"errcode": -1, "errmsg": "系统繁忙"}'),
        Fault(status=200, body='{"errcode": "130101", "errmsg": "too fast"}'),
        Fault(status=200, body='{"errcode": 990001, "errmsg": "what nobody has seen"}'),
        Fault(status=200, body='{"errcode": null}'),
        Fault(status=200, body='{"errcode": [], "errmsg": {}}'),
        Fault(status=500, body="{}"),
        Fault(status=502, body="<html>"),
        Fault(status=200, body="<html>"),
        Fault(status=200, body="{}"),
        Fault(status=200, body="[]"),
        Fault(status=200, body=b"[" * 60_000),
        Fault(status=200, body=b" " * 70_000),
        Fault(status=302, headers=(("Location", "https://example.com/"),)),
        Fault(drop=True),
    ],
)
def test_passing_failure_of_the_webhook_is_tried_three_times(
    reply: Reply, cloud: LocalCloud, clock: Clock, fault: Fault
) -> None:
    """With pauses; then the run fails so that FC repeats it later. Redirects are not followed."""
    for _ in range(2):
        cloud.dingtalk.plan(fault)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "answered"
    assert clock.slept == [1, 2]
    assert len(cloud.dingtalk.shown(message)) == 1


@pytest.mark.parametrize(
    ("webhook", "hosts", "allowed"),
    [
        ("https://oapi.dingtalk.com/robot/sendBySession?session=1", None, True),
        ("https://dingtalk.com/robot/sendBySession?session=1", None, True),
        ("https://oapi.dingtalk.com:443/robot/sendBySession?session=1", None, True),
        ("https://OAPI.DingTalk.com/robot/sendBySession?session=1", None, True),
        ("https://oapi.example.com/robot/sendBySession?session=1", "example.com,dingtalk.com", True),
        ("http://127.0.0.1:8000/robot/sendBySession?session=1", "127.0.0.1", True),
        ("http://oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("http://127.0.0.1/robot/sendBySession?session=1", None, False),
        ("http://10.0.0.1/robot/sendBySession?session=1", "10.0.0.1", False),
        ("https://127.0.0.1/robot/sendBySession?session=1", None, False),
        ("https://dingtalk.com.example.com/robot/sendBySession?session=1", None, False),
        ("https://evildingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://example.com/dingtalk.com", None, False),
        ("https://oapi.dingtalk.com/robot/send?access_token=1", None, False),
        ("https://oapi.dingtalk.com/robot/sendBySession/../send?access_token=1", None, False),
        ("https://oapi.dingtalk.com/robot/sendBySession%2F..%2Fsend?access_token=1", None, False),
        ("https://oapi.dingtalk.com/robot/../robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com//robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com/?/robot/sendBySession", None, False),
        ("https://oapi.dingtalk.com:65536/robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com:0/robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com:４４３/robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com:x/robot/sendBySession?session=1", None, False),
        ("https://oapi..dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://.dingtalk.com/robot/sendBySession?session=1", None, False),
        (
            "https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.dingtalk.com/robot/sendBySession?session=1",
            None,
            False,
        ),
        ("https://user@oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://user:password@oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://example.com\\@oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://example.com#@oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com/robot/sendBySession?session=1\r\nHost: example.com", None, False),
        ("https://oapi.dingtalk.com /robot/sendBySession?session=1", None, False),
        ("https://oapi.dingtalk.com/robot/sendBySession?session=1中", None, False),
        ("https://[::1]/robot/sendBySession?session=1", None, False),
        ("ftp://oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("oapi.dingtalk.com/robot/sendBySession?session=1", None, False),
        ("https://", None, False),
    ],
)
def test_webhook_host_is_checked(reply: Reply, webhook: str, hosts: str | None, allowed: bool) -> None:
    """Answers go to https at and below WEBHOOK_HOSTS, to a loopback address only if it is listed; by one path only."""
    reply.environment = {"CHATGPT_API_KEY": "x", "OSS_BUCKET_NAME": "bucket", "WEBHOOK_HOSTS": hosts}
    settings, _ = reply.module.read_settings(
        reply.module.ReplySettings, {k: v for k, v in reply.environment.items() if v}
    )
    message = SimpleNamespace(webhook=webhook, webhook_expires_ms=None)
    if allowed:
        reply.module.check_webhook(message, settings.webhook_hosts)
    else:
        with pytest.raises(reply.module.Undeliverable):
            reply.module.check_webhook(message, settings.webhook_hosts)


def test_forbidden_webhook_costs_nothing(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """ChatGPT is not asked for an answer that cannot be sent; the log names the setting, not the address."""
    message = cloud.dingtalk.message("你好", sessionWebhook="https://example.com/robot/sendBySession?session=secret")
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received
    assert "WEBHOOK_HOSTS" in caplog.text
    assert "session=" not in caplog.text


def test_expired_webhook_costs_nothing(reply: Reply, cloud: LocalCloud) -> None:
    """An event that waited too long is not answered, and not tried again."""
    message = cloud.dingtalk.message("你好", sessionWebhookExpiredTime=int(time.time() * 1000) - 1)
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received


def test_undelivered_reply_leaves_as_an_exception_without_cause(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """FC logs what leaves the handler: not the exception of requests, which quotes the address."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.plan(Fault(drop=True, times=3))
    with pytest.raises(reply.module.NotDelivered) as raised:
        reply.run(message)
    assert raised.value.__suppress_context__
    assert "session=" not in str(raised.value)


def test_slow_webhook_is_given_up_in_time(reply: Reply, cloud: LocalCloud, clock: Clock, monkeypatch: Any) -> None:
    """A byte now and then does not keep the function waiting."""
    monkeypatch.setattr(reply.module.rooms["bot.dingtalk.webhook"], "SEND_SECONDS", 0.3)
    cloud.dingtalk.plan(Fault(byte_seconds=0.1, times=3))
    with pytest.raises(reply.module.NotDelivered):
        reply.run(cloud.dingtalk.message("1+1=?"))


def test_long_answer_of_the_webhook_is_not_read(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """DingTalk's has some 30 bytes: who sends more, whatever it says, is somebody else."""
    long = json.dumps({"errcode": 0, "errmsg": "x" * 65_536})
    cloud.dingtalk.plan(Fault(status=200, body=long, times=3))
    with pytest.raises(reply.module.NotDelivered, match="TooLarge"):
        reply.run(cloud.dingtalk.message("1+1=?"))


def test_webhook_that_cannot_be_an_address_is_not_tried_again(reply: Reply, cloud: LocalCloud) -> None:
    """Function Compute would run the event again for nothing."""
    reply.environment["WEBHOOK_HOSTS"] = "dingtalk.com"
    message = cloud.dingtalk.message(
        "你好", sessionWebhook="https://oapi.dingtalk.com:99999/robot/sendBySession?session=1"
    )
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received
