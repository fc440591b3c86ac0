"""Dingtalk_Conversation: one case of each kind the whole way, through WSGI on 2.0 and through an event on 3.0.

The tables of all cases are in test_signature.py and test_request.py, the answers of Function Compute in
test_handing_over.py.
"""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conversation import (
    EMPTY,
    HOUR_MS,
    KIB_64,
    NO_ROLE,
    SECOND_MS,
    body_of,
    chat_shows,
    log_line,
    log_lines,
)
from tests.helpers import Conversation, HttpAnswer, as_new, http_event, role_context
from tests.stand_ins.local_cloud import LocalCloud

pytestmark = pytest.mark.usefixtures("no_secret_in_log")


@pytest.fixture
def cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """In this module every test runs on both generations."""
    yield from as_new(cloud_of_each_generation)


# --- a message ---


def test_message_is_accepted_and_chat_shows_nothing(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """DingTalk gets the empty message; one line in the log tells what became of it; one request is made."""
    message = cloud.dingtalk.message()
    answer = conversation.post(message)
    assert (answer.status, json.loads(answer.body)) == (200, EMPTY)
    assert answer.headers["Content-Type"].startswith("application/json")
    level, text = log_line(caplog)
    assert level == "INFO"
    outcome = rf"request {conversation.context.request_id}: message '{re.escape(message['msgId'])}' accepted in \d+ ms"
    assert re.fullmatch(outcome, text)
    assert [request.status for request in cloud.function_compute.received] == [202]


def test_person_is_answered_by_whole_cloud(cloud: LocalCloud) -> None:
    """The file works behind the trigger as well, in a process of its own."""
    delivery = cloud.dingtalk.deliver(cloud.dingtalk.message("hello"), timeout=30)
    assert (delivery.status, delivery.json) == (200, EMPTY)
    assert len(cloud.dingtalk.wait_shown(1, delivery.message)) == 1


@pytest.mark.parametrize("size", [0, KIB_64])
def test_message_arrives_byte_for_byte(conversation: Conversation, cloud: LocalCloud, size: int) -> None:
    """Whatever its size and encoding."""
    body = f' {{ "unknown":\t[1.50, null, "\\u00e9é\\/"],{body_of().decode()[1:]}\r\n'.encode().ljust(size)
    assert json.loads(conversation.post(body=body).body) == EMPTY
    assert [invocation.event for invocation in cloud.function_compute.invocations] == [body]


# --- a request that goes no further ---


def test_person_who_opens_address_reads_self_check(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """A GET makes neither an outgoing request nor a line in the log."""
    answer = conversation.call(method="GET")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "All settings are there" in answer.body.decode()
    assert cloud.function_compute.received == []
    assert log_lines(caplog) == []


def test_person_who_opens_address_reads_what_is_missing(conversation: Conversation) -> None:
    """What the environment and the context lack."""
    conversation.environment["DINGTALK_APP_SECRET"] = None
    conversation.context = role_context(**NO_ROLE)
    page = conversation.call(method="GET").body.decode()
    assert "DINGTALK_APP_SECRET 没有设置" in page and "没有角色" in page


@pytest.mark.parametrize(
    ("spoiled", "status", "level", "text"),
    [
        ({"method": "PUT"}, 405, "INFO", "WrongMethod: PUT"),
        ({"timestamp": None}, 403, "WARNING", "NotFromDingtalk: the header timestamp is missing or not a number"),
        ({"age_ms": HOUR_MS + SECOND_MS}, 403, "WARNING", "NotFromDingtalk: the header timestamp is "),
        ({"sign": None}, 403, "WARNING", "NotFromDingtalk: the header sign is missing"),
        ({"sign": "签名"}, 403, "WARNING", "NotFromDingtalk: the header sign is wrong"),
        ({"secret": "another-secret"}, 403, "WARNING", "NotFromDingtalk: the header sign is wrong"),
        ({"body": b" " * (KIB_64 + 1)}, 413, "WARNING", "TooLarge: the body is longer than 65536 bytes"),
        ({"body": b"\xff" * (KIB_64 + 1)}, 413, "WARNING", "TooLarge: the body is longer than 65536 bytes"),
        ({"body": b""}, 400, "WARNING", "NotAMessage: the body is not JSON"),
        ({"body": b'{"encrypt": "do-not-show"}'}, 400, "WARNING", "NotAMessage: the message is encrypted: switch "),
        ({"body": body_of(msgId=...)}, 400, "WARNING", "NotAMessage: the field msgId is missing or not a text"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_spoiled_request_is_refused_and_logged(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    spoiled: dict[str, Any],
    status: int,
    level: str,
    text: str,
) -> None:
    """The sender sees the status, the log the reason; nothing is handed over."""
    answer = conversation.post(**spoiled)
    assert answer.status == status
    assert answer.body.decode().startswith(f"{status} ") and len(answer.body) < 40
    assert answer.headers.get("Allow") == ("GET, POST" if status == 405 else None)
    assert log_line(caplog)[0] == level
    assert log_line(caplog)[1].startswith(f"request {conversation.context.request_id}: {text}")
    assert cloud.function_compute.received == []


def test_age_is_measured_by_real_clock(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """In milliseconds since 1970."""
    before_ms = time.time_ns() // 1_000_000
    conversation.post(timestamp="1")
    clocks = re.search(r"timestamp is 1, our clock (\d+)", log_line(caplog)[1])
    assert clocks
    assert before_ms <= int(clocks[1]) <= time.time() * 1000


def test_missing_setting_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """And is gone with the next message if it is corrected: a warm instance keeps nothing of the environment."""
    conversation.environment["DINGTALK_APP_SECRET"] = None
    text = chat_shows(conversation.post(), caplog, "DINGTALK_APP_SECRET", "部署者")
    assert "NotHandedOver: DINGTALK_APP_SECRET" in text
    assert cloud.function_compute.received == []
    conversation.environment["DINGTALK_APP_SECRET"] = "example-app-secret"
    assert json.loads(conversation.post().body) == EMPTY


def test_request_without_context_is_told_in_chat(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that Function Compute gives is taken for granted."""
    conversation.context = None
    chat_shows(conversation.post(), caplog, "角色", "部署者")


def test_context_without_request_id_does_not_cost_message(conversation: Conversation) -> None:
    """The line in the log is not worth it."""
    del conversation.context.request_id
    assert json.loads(conversation.post().body) == EMPTY
    assert conversation.call(method="PUT").status == 405


def test_request_id_with_newline_does_not_forge_line(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """Each outcome is one line, also where Function Compute sends something strange."""
    conversation.context.request_id = "x\nERROR forged"
    conversation.post()
    conversation.post(method="PUT")
    assert ["\n" in text for _, text in log_lines(caplog)] == [False, False]


# --- anything unforeseen ---


def place_of_error(answer: HttpAnswer, caplog: pytest.LogCaptureFixture) -> str:
    """Asserts a 500 without a detail; returns the line in the log."""
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error")
    level, text = log_line(caplog)
    assert level == "ERROR"
    return text


def test_unforeseen_error_answers_500_and_logs_its_place(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """The place, on one line, but not the error's text: it may quote a key."""
    del conversation.context.credentials.security_token
    text = place_of_error(conversation.post(), caplog)
    assert conversation.context.request_id in text
    assert re.search(r"unforeseen: AttributeError at signed_[23]:\d+ < invoke:\d+ < hand_over:\d+ < respond:\d+", text)


class BrokenInput(io.BytesIO):
    """The body of a client that hung up."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("do-not-show")


def test_request_that_cannot_be_read_is_answered(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """What leaves the handler would reach the sender as a stack trace."""
    if conversation.cloud.generation == 2:
        broken: dict[str, Any] = {"wsgi.input": BrokenInput()}
        answer = conversation.post(**broken)
        assert "OSError" in place_of_error(answer, caplog)
    else:
        answer = conversation.send(b"no JSON")  # type: ignore[attr-defined]
        assert (answer.status, log_line(caplog)[0]) == (400, "WARNING")
        assert "is no HTTP request" in answer.body.decode()
        assert "NotARequest: the event is not one of an HTTP trigger" in log_line(caplog)[1]


# --- the forms ---


def test_answer_is_what_trigger_of_3_expects(conversation: Conversation) -> None:
    """The four fields, the status as a number, and of the headers each one text."""
    conversation.set_environment()
    answer = conversation.module.handler(http_event(b"", "PUT", {}), conversation.context)
    assert answer == {
        "statusCode": 405,
        "headers": {"Content-Type": "text/plain; charset=utf-8", "Allow": "GET, POST"},
        "isBase64Encoded": False,
        "body": "405 Method Not Allowed",
    }


# --- the log ---


@pytest.mark.parametrize("level", ["DEBUG", "1", "INFO", "25", "ERROR", None])
def test_log_level_holds_for_own_logger_only(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, level: str | None
) -> None:
    """A level by number, such as 25, silences the INFO line; the root logger keeps its own."""
    conversation.environment["VERBOSE"] = level
    conversation.post()
    assert len(log_lines(caplog)) == (0 if level in ("25", "ERROR") else 1)
    assert logging.getLogger().level == logging.DEBUG
