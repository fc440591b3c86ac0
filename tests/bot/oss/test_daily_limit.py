"""DAILY_LIMIT: how many questions a person has today."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.helpers import Clock, Reply, is_append
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault, Received


def test_count_that_loses_every_race_does_not_keep_the_answer_back(
    reply: Reply, cloud: LocalCloud, caplog: Any
) -> None:
    """A limit is no reason for silence: the question is answered and not counted."""
    reply.environment["DAILY_LIMIT"] = "1"
    in_usage = Fault(
        where=lambda received: is_append(received) and "chat-usage" in received.path,
        times=100,
        status=409,
        body=b"<Error><Code>PositionNotEqualToLength</Code></Error>",
        headers=(("x-oss-next-append-position", "5"),),
    )
    cloud.oss.plan(in_usage)
    assert reply.ask("1+1=?") == "1+1=2"
    assert "not counted" in caplog.text


def test_count_that_cannot_be_read_does_not_keep_the_answer_back(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """The log says what OSS says."""
    reply.environment["DAILY_LIMIT"] = "1"
    cloud.oss.plan(error_fault("AccessDenied", where=lambda received: "chat-usage" in received.path))
    assert reply.ask("1+1=?") == "1+1=2"
    assert "not counted" in caplog.text and "AccessDenied" in caplog.text


def test_largest_limit_is_counted_to_the_end(reply: Reply, cloud: LocalCloud) -> None:
    """10,000 questions of one day, three thousand of which got no answer and were asked again, are all read."""
    reply.environment["DAILY_LIMIT"] = "10000"
    message = cloud.dingtalk.message("1+1=?")
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600))
    lines = "".join(f"+{number:016x}\n" for number in range(9_999))
    lines += "".join(f"+{number:016x}\n-{number:016x}\n" for number in range(10_000, 13_000))
    cloud.oss.write(f"chat-usage/{day}/{message['senderStaffId']}", lines)
    assert reply.run(message)["result"] == "answered"
    assert "10000" in reply.ask("1+1=?")


def test_question_without_answer_is_given_back_by_the_run_that_sends_the_sentence(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """The run that committed it died before it could: the line says that the question does not count."""
    reply.environment["DAILY_LIMIT"] = "1"
    message = cloud.dingtalk.message("1+1=?")
    cloud.openai_api.fail_next("invalid_api_key")
    cloud.oss.plan(error_fault("InternalError", where=is_give_back))
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    assert reply.run(message)["result"] == "answered again"
    assert reply.ask("1+1=?") == "1+1=2"


def is_give_back(received: Received) -> bool:
    """For Fault.where: the line that takes a question back."""
    return is_append(received) and received.body.startswith(b"-")
