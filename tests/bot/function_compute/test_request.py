"""Dingtalk_Conversation: reading a request in either form, and deciding what becomes of it; all by plain calls."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conversation import (
    EMPTY,
    KIB_64,
    MODULE,
    NO_ROLE,
    NOW_MS,
    SECRETS,
    body_of,
    decide,
    deployment,
)
from tests.helpers import http_event, role_context

# --- WSGI ---


def request_in_environ(body: io.BytesIO, length: str | None) -> Any:
    """The request in a WSGI environ with this CONTENT_LENGTH; None: with none."""
    environ = {"REQUEST_METHOD": "POST", "wsgi.input": body, "CONTENT_LENGTH": length}
    return MODULE.request_in_environ({name: value for name, value in environ.items() if value is not None})


def test_environ_is_read() -> None:
    """The two headers have WSGI's names for them."""
    headers = {"HTTP_TIMESTAMP": "1", "HTTP_SIGN": "s"}
    environ = {"REQUEST_METHOD": "PUT", "wsgi.input": io.BytesIO(b"ab"), "CONTENT_LENGTH": "2", **headers}
    assert MODULE.request_in_environ(environ) == ("PUT", "1", "s", b"ab")


def test_environ_without_headers_is_read() -> None:
    """What is missing is an empty text."""
    assert request_in_environ(io.BytesIO(b""), None) == ("POST", "", "", b"")


@pytest.mark.parametrize("length", [None, "", "many", "１２", "-5", "1e3", "12 ", "9" * 18, "9" * 5000])
def test_length_that_makes_no_sense_is_ignored(length: str | None) -> None:
    """The body is read all the same."""
    assert request_in_environ(io.BytesIO(b"x" * 1000), length).body == b"x" * 1000


@pytest.mark.parametrize("length", [None, "", "65537", "655360", "9" * 18, "9" * 30])
def test_no_more_is_read_than_first_byte_too_much(length: str | None) -> None:
    """Nobody fills the memory of the instance."""

    class Endless(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and size >= 0
            self.asked += size
            return b" " * size

    body = Endless()
    assert len(request_in_environ(body, length).body) == body.asked == KIB_64 + 1


def test_nothing_past_length_is_read() -> None:
    """A server may not tell where the body ends; then reading on would wait for ever."""
    assert request_in_environ(io.BytesIO(b"body" + b"the next request"), "4").body == b"body"


# --- the event of an HTTP trigger of 3.0 ---

HEADERS = {"timestamp": "1", "sign": "s"}


@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, str.swapcase])
def test_header_names_are_taken_in_any_case(write: Callable[[str], str]) -> None:
    """The documents do not say in which case Function Compute writes them."""
    headers = {write(name): value for name, value in HEADERS.items()}
    assert MODULE.request_in_event(http_event(b"b", "POST", headers)) == ("POST", "1", "s", b"b")


@pytest.mark.parametrize("encoded", [False, True])
def test_body_is_taken_as_text_or_base64_byte_for_byte(encoded: bool) -> None:
    """The event of Dingtalk_ChatGPT_Reply is what DingTalk sent."""
    body = json.dumps({"text": "你好 😀"}, ensure_ascii=False, indent=3).encode()
    text = base64.b64encode(body).decode() if encoded else body.decode()
    event = http_event(body, "POST", HEADERS, body=text, isBase64Encoded=encoded)
    assert MODULE.request_in_event(event).body == body


@pytest.mark.parametrize("changes", [{"isBase64Encoded": ...}, {"unknown": [1]}, {"version": "v2"}, {"rawPath": ...}])
def test_fields_that_do_not_matter_may_be_missing_or_new(changes: dict[str, Any]) -> None:
    """Function Compute may add to the event."""
    assert MODULE.request_in_event(http_event(b"b", "POST", HEADERS, **changes)).body == b"b"


@pytest.mark.parametrize("changes", [{"body": ...}, {"body": ""}, {"body": None}])
def test_event_without_body_is_request_with_empty_body(changes: dict[str, Any]) -> None:
    """It is a request, though no message."""
    assert MODULE.request_in_event(http_event(b"", "POST", HEADERS, **changes)).body == b""


@pytest.mark.parametrize("size", [KIB_64 + 1, 10 * KIB_64])
@pytest.mark.parametrize("filler", [b" ", b"\xff"], ids=["as text", "as base64"])
def test_long_body_in_event_is_cut_after_first_byte_too_much(size: int, filler: bytes) -> None:
    """However the event holds it."""
    assert MODULE.request_in_event(http_event(filler * size, "POST", HEADERS)).body == filler * (KIB_64 + 1)


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"hello",
        b'{"key1": "value1", "key2": "value2", "key3": "value3"}',  # the console's default
        b"[]",
        b"null",
        b'"text"',
        b"17",
        b"\xff\xfe",
        b"[" * 100_000,
        http_event(b"", "POST", {}, headers=...),
        http_event(b"", "POST", {}, headers=None),
        http_event(b"", "POST", {}, headers=["timestamp"]),
        http_event(b"", "POST", {}, headers={"timestamp": 1}),
        http_event(b"", "POST", {}, headers={"sign": None}),
        http_event(b"", "POST", {}, requestContext=...),
        http_event(b"", "POST", {}, requestContext={}),
        http_event(b"", "POST", {}, requestContext={"http": "POST"}),
        http_event(b"", "POST", {}, requestContext={"http": {"method": None}}),
        http_event(b"", "POST", {}, body={"msgId": "x"}),
        http_event(b"", "POST", {}, body=17),
        http_event(b"", "POST", {}, body="\ud800"),
        http_event(b"", "POST", {}, body="不是 base64", isBase64Encoded=True),
        http_event(b"", "POST", {}, body="abc", isBase64Encoded=True),
        http_event(b"", "POST", {}, body=["abc"], isBase64Encoded=True),
    ],
    ids=lambda event: repr(event[:30]),
)
def test_event_that_is_no_http_request_is_refused(event: bytes) -> None:
    """Only a deployer with the test button can send one: the answer says what to do instead."""
    with pytest.raises(MODULE.Refused) as refused:
        MODULE.request_in_event(event)
    assert (refused.value.situation, refused.value.level) == ("NotARequest", logging.WARNING)
    assert refused.value.answer.status == "400 Bad Request"
    page = refused.value.answer.body.decode()
    assert "不是 HTTP 请求" in page and "is no HTTP request" in page


TEXTS = st.text(st.characters(), max_size=40)  # lone surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(
    changes=st.dictionaries(
        st.sampled_from(["body", "headers", "isBase64Encoded", "requestContext", "queryParameters"]), JSON, max_size=3
    ),
    headers=st.dictionaries(st.sampled_from(["timestamp", "Timestamp", "sign", "SIGN"]), JSON),
    method=JSON,
)
@example(changes={}, headers={"timestamp": "9" * 400, "sign": "x"}, method="POST")
def test_any_unsigned_event_is_refused(changes: dict[str, Any], headers: dict[str, Any], method: Any) -> None:
    """Without DingTalk's signature there is nothing to hand over, and nothing unforeseen happens."""
    try:
        request = MODULE.request_in_event(http_event(b"{}", method, headers, **changes))
        answer, message = MODULE.decide(request, deployment(generation=3), NOW_MS)
    except MODULE.Refused as refused:
        assert refused.answer.status[:3] in ("400", "403", "405")
    else:
        assert (request.method, answer.status, message) == ("GET", "200 OK", None)


# --- the method ---


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", ""])
def test_other_method_is_refused_with_allowed_ones(method: str) -> None:
    """The method comes before everything else, a good signature included."""
    outcome = decide(method=method)
    assert (outcome.answer.status, outcome.answer.headers["Allow"]) == (405, "GET, POST")
    assert (outcome.situation, outcome.reason, outcome.level) == ("WrongMethod", method, logging.INFO)


@pytest.mark.parametrize("method", ["X" * 100_000, "X\nERROR forged", "X\r\x1b[31m", "方法"])
def test_strange_method_is_short_and_on_one_line_in_log(method: str) -> None:
    """The sender writes it."""
    reason = decide(method=method).reason
    assert reason.isprintable() and 1 <= len(reason) <= 20


# --- GET: a person opens the address ---


def page(where: Any) -> str:
    outcome = decide(where, method="GET", timestamp="", sign="", body=b"")
    assert outcome.answer.status == 200
    assert outcome.answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert outcome.message is None
    return outcome.answer.body.decode()


@pytest.mark.parametrize("generation", [2, 3])
def test_page_of_complete_function_tells_next_step(generation: int) -> None:
    """In Chinese and English, without a value."""
    text = page(deployment(generation=generation))
    assert "已部署" in text and "is deployed" in text
    assert "设置齐全" in text and "All settings are there" in text
    assert "example" not in text and "STS" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DINGTALK_APP_SECRET", None),
        ("DINGTALK_APP_SECRET", "  "),
        ("DINGTALK_APP_SECRET", "${env(DINGTALK_APP_SECRET)}"),
        ("DINGTALK_APP_SECRET", "do-not-show 密钥"),
        ("CHATGPT_FUNCTION", "do-not-show/it"),
        ("SERVICE_NAME", "do-not-show it"),
        ("ENDPOINT", "ftp://do-not-show"),
        ("ENDPOINT", "https://do-not-show/2016-08-15"),
        ("VERBOSE", "do-not-show"),
    ],
)
def test_page_names_missing_or_malformed_setting(name: str, value: str | None) -> None:
    """The name, never the value: it may be a key that was pasted into the wrong field."""
    text = page(deployment({name: value}))
    problems = [line for line in text.splitlines() if line.startswith("  - ")]
    assert [problem.split()[1] for problem in problems] == [name, name]  # once in each language
    assert "do-not-show" not in text and "${" not in text
    assert "设置齐全" not in text and "All settings are there" not in text


@pytest.mark.parametrize(("generation", "words"), [(2, "服务没有角色"), (3, "函数没有角色")])
def test_page_tells_that_role_is_missing(generation: int, words: str) -> None:
    """Without a role the settings alone are not enough."""
    text = page(deployment(generation=generation, **NO_ROLE))
    assert words in text and "no role" in text
    assert "设置齐全" not in text


def test_page_lists_all_problems_at_once() -> None:
    """Nobody likes to correct one thing after the other."""
    text = page(deployment({"DINGTALK_APP_SECRET": None, "ENDPOINT": "ftp://do-not-show"}, **NO_ROLE))
    assert "DINGTALK_APP_SECRET 没有设置" in text and "ENDPOINT 格式不对" in text and "没有角色" in text


# --- settings ---


@pytest.mark.parametrize("value", [None, "", " ", "${env(DINGTALK_APP_SECRET)}", "do-not-show 密钥"])
@pytest.mark.parametrize("secret", ["another-secret", "example-app-secret"])
def test_missing_secret_is_told_to_everybody(value: str | None, secret: str) -> None:
    """No request can be verified, so every sender is told which setting it is; nothing is handed over."""
    outcome = decide(deployment({"DINGTALK_APP_SECRET": value}), secret=secret)
    sentence = outcome.answer.chat_text
    assert (outcome.answer.status, outcome.message) == (200, None)
    assert "DINGTALK_APP_SECRET" in sentence and "部署者" in sentence
    assert "do-not-show" not in sentence and "${" not in sentence
    assert (outcome.situation, outcome.level) == ("NotHandedOver", logging.ERROR)
    assert "DINGTALK_APP_SECRET" in outcome.reason and "do-not-show" not in outcome.reason


def test_malformed_setting_is_told_to_dingtalk() -> None:
    """Before the body is looked at."""
    outcome = decide(deployment({"ENDPOINT": "ftp://do-not-show"}), body=b"")
    assert "ENDPOINT 格式不对" in outcome.answer.chat_text
    assert outcome.message is None


# --- the body ---


@pytest.mark.parametrize("size", [KIB_64 - 1, KIB_64])
def test_body_up_to_64_kib_is_handed_over(size: int) -> None:
    """To its last byte."""
    body = body_of().ljust(size)
    outcome = decide(body=body)
    assert json.loads(outcome.answer.body) == EMPTY
    assert outcome.message.body == body


def test_body_over_64_kib_is_refused() -> None:
    """DingTalk never sends this much."""
    outcome = decide(body=body_of().ljust(KIB_64 + 1))
    assert (outcome.answer.status, outcome.situation, outcome.level) == (413, "TooLarge", logging.WARNING)
    assert str(KIB_64) in outcome.reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"msgId": "x"', "not JSON"),
        (b"[" * 60000, "not JSON"),
        (b'{"a":' * 10000, "not JSON"),
        (b'{"msgId": "\xff\xfe"}', "not JSON"),
        (b"\xff" * 100, "not JSON"),
        (b"1" * 10000, "not"),  # a number this long is no JSON for Python 3.10.7 and later
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"true", "not a JSON object"),
        (b"17", "not a JSON object"),
        (b'"msgId sessionWebhook conversationId"', "not a JSON object"),
        (b"{}", "msgId"),
        (b'{"encrypt": "do-not-show"}', "switch message encryption off at the robot"),
        (b'{"encrypt": null}', "switch message encryption off at the robot"),
        (b'{"encrypt": "do-not-show", "more": 1}', "msgId"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_body_that_is_no_message_is_refused(body: bytes, reason: str) -> None:
    """The sender sees the status, the log what is wrong."""
    outcome = decide(body=body)
    assert (outcome.answer.status, outcome.answer.body) == (400, b"400 Bad Request")
    assert (outcome.situation, outcome.level) == ("NotAMessage", logging.WARNING)
    assert reason in outcome.reason
    assert not SECRETS.findall(outcome.reason)


@pytest.mark.parametrize("name", ["msgId", "sessionWebhook", "conversationId"])
@pytest.mark.parametrize("value", [..., "", " \n", None, 17, True, ["x"], {"x": "y"}], ids=repr)
def test_message_without_needed_field_is_refused(name: str, value: object) -> None:
    """The log names the field and does not quote it."""
    outcome = decide(body=body_of(**{name: value}))
    assert (outcome.answer.status, outcome.level) == (400, logging.WARNING)
    assert outcome.reason == f"the field {name} is missing or not a text"


@pytest.mark.parametrize("changes", [{"msgtype": "hologram", "text": None}, {"encrypt": "x"}, {"text": ...}], ids=repr)
def test_message_of_any_kind_is_handed_over(changes: dict[str, Any]) -> None:
    """What its words are is the other function's business."""
    assert decide(body=body_of(**changes)).message


def test_body_is_handed_over_byte_for_byte() -> None:
    """Nothing is renamed, reordered, unescaped or dropped."""
    body = b' { "unknown":\t[1.50, null, "\\u00e9\xc3\xa9\\/"],' + body_of()[1:] + b"\r\n"
    outcome = decide(body=body)
    assert outcome.message == (json.loads(body)["msgId"], body)


# --- where the message goes ---


@pytest.mark.parametrize("generation", [2, 3])
def test_endpoint_is_that_of_own_account_and_region(generation: int) -> None:
    """Without ENDPOINT the context says where."""
    where = deployment(generation=generation, context=role_context(region="cn-hangzhou"))
    assert where.endpoint == "https://1234567890123456.cn-hangzhou.fc.aliyuncs.com"


def test_endpoint_that_is_set_comes_first() -> None:
    """As does the service."""
    where = deployment({"ENDPOINT": "a.com/", "SERVICE_NAME": "Other-1"})
    assert (where.endpoint, where.service) == ("https://a.com", "Other-1")


def test_service_is_that_of_this_function() -> None:
    """Both functions are in one."""
    assert deployment().service == "ChatGTP_Services"


def test_time_outs_leave_dingtalk_half_a_second() -> None:
    """DingTalk waits 2.5 s."""
    assert 0 < MODULE.INVOKE_SECONDS < 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AccessDenied", "AccessDenied"),
        ("HTTP 412", "HTTP 412"),
        ("a\nb\r\x00\x1b\x7f\x85\u2028b", "a b b"),
        ("错误", "错误"),
        ("x" * 1000, "x" * 64),
        (None, "None"),
        (17, "17"),
    ],
    ids=repr,
)
def test_text_from_outside_is_short_and_on_one_line_in_log(text: object, shown: str) -> None:
    """A code or a request id with a newline could forge a line."""
    assert MODULE.plain_words(text) == shown
