"""What DingTalk answers to the bot's reply: which codes end it, which are told to the person, which are tried again."""

from __future__ import annotations

import json
import re
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
