"""Dingtalk_Conversation: every row of its table of situations, on both generations of Function Compute.

On 2.0 it is called as WSGI and invokes through the real aliyun-fc2, on 3.0 with an event and through requests. What
only 3.0 has is in test_conversation_3.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import Conversation, HttpAnswer, as_new, role_context, set_environment
from tests.stand_ins.dingtalk import signature
from tests.stand_ins.function_compute import Invocation, is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.runtimes import GENERATIONS
from tests.stand_ins.server import Fault, Received

SECOND_MS = 1000
HOUR_MS = 60 * 60 * SECOND_MS
FIVE_MINUTES_MS = 5 * 60 * SECOND_MS
NOW_MS = 1_795_334_400_000
KIB_64 = 64 * 1024
EMPTY = {"msgtype": "empty"}
FC_REQUEST = "fc-request-0001"

# What a test puts somewhere and must find in no log and in no answer; the last is the shape of every signature.
SECRETS = re.compile(
    "example-app-secret|another-secret|example-secret|example-token|do-not-show|FC STS|sendBySession|session=|你好"
    "|ACS3-HMAC|Signature=|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}="
)
on_2_only = pytest.mark.parametrize("cloud_of_each_generation", GENERATIONS[:1], ids=["2.0"], indirect=True)
on_3_only = pytest.mark.parametrize("cloud_of_each_generation", GENERATIONS[1:], ids=["3.0"], indirect=True)


@pytest.fixture
def cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """In this module every test runs on both generations."""
    yield from as_new(cloud_of_each_generation)


@pytest.fixture(autouse=True)
def nothing_secret_in_the_log(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """In every test everything is logged, and none of it may be a secret or come from aliyun-fc2."""
    caplog.set_level(logging.DEBUG)
    conversation.environment["VERBOSE"] = "DEBUG"
    yield
    records = caplog.get_records("call")
    assert not SECRETS.findall("\n".join(logging.Formatter().format(record) for record in records))
    assert "root" not in {record.name for record in records}  # where aliyun-fc2 logs its headers


def log_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what the function itself logged."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == CONVERSATION]


def log_line(caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """The same for the one line that an outcome has."""
    (line,) = log_lines(caplog)
    return line


def replies(cloud: LocalCloud) -> list[Invocation]:
    """The events that Function Compute took for Dingtalk_ChatGPT_Reply."""
    return [invocation for invocation in cloud.function_compute.invocations if invocation.function == REPLY]


def body_of(cloud: LocalCloud, **changes: Any) -> bytes:
    """A valid body; `changes` replace fields, ... removes one."""
    message = {**cloud.dingtalk.message(), **changes}
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusal(status: int, body: object, *headers: tuple[str, str]) -> Fault:
    """Function Compute answers this to the next invocation; text goes out as it is, the rest as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    given = (("Content-Type", "application/json"), ("X-Fc-Request-Id", FC_REQUEST), *headers)
    return Fault(where=is_invoke, status=status, body=text, headers=given)


def call_unchecked(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, body: bytes, **environ: Any
) -> HttpAnswer:
    """A signed POST without wsgiref's validator, which refuses nonsense itself; None removes from the environ."""
    timestamp = str(int(time.time() * 1000))
    request: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "HTTP_TIMESTAMP": timestamp,
        "HTTP_SIGN": signature(timestamp, "example-app-secret"),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "fc.context": conversation.context,
        **environ,
    }
    heads: list[tuple[str, list[tuple[str, str]]]] = []
    set_environment(monkeypatch, conversation.environment)
    chunks = conversation.module.handler(
        {name: value for name, value in request.items() if value is not None}, lambda *head: heads.append(head)
    )
    ((status, headers),) = heads
    return HttpAnswer(int(status[:3]), dict(headers), b"".join(chunks))


# -- accepted -----------------------------------------------------------------------------------------------


def test_a_message_is_accepted_and_shows_nothing(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """The answer to DingTalk is the empty message, and one INFO line says what became of it."""
    message = conversation.cloud.dingtalk.message()
    answer = conversation.post(message)
    assert (answer.status, json.loads(answer.body)) == (200, EMPTY)
    assert answer.headers["Content-Type"].startswith("application/json")
    level, text = log_line(caplog)
    assert level == "INFO"
    assert re.fullmatch(
        rf"request {conversation.context.request_id}: message '{re.escape(message['msgId'])}' accepted in \d+ ms", text
    )


def test_the_event_is_the_body_byte_for_byte(conversation: Conversation, cloud: LocalCloud) -> None:
    """Nothing is renamed, reordered, unescaped or dropped on the way."""
    message = cloud.dingtalk.message()
    fields = json.dumps(message, ensure_ascii=True, indent=3)[1:]
    body = f' {{ "unknown":\t[1.50, null, "\\u00e9é\\/"],{fields}\r\n'.encode()
    assert conversation.post(body=body).status == 200
    (event,) = replies(cloud)
    assert event.event == body


def test_the_invocation_is_asynchronous_and_carries_the_id_of_the_message(
    conversation: Conversation, cloud: LocalCloud
) -> None:
    """By the id, an allowed text made of any msgId, Function Compute itself refuses a repetition."""
    path, id_header, token_header = {
        2: (
            f"/2016-08-15/services/ChatGTP_Services/functions/{REPLY}/invocations",
            "x-fc-stateful-async-invocation-id",
            "x-fc-security-token",
        ),
        3: (f"/2023-03-30/functions/{REPLY}/invocations", "x-fc-async-task-id", "x-acs-security-token"),
    }[cloud.generation]
    message = cloud.dingtalk.message()
    conversation.post(message)
    wanted = "m" + hashlib.sha256(message["msgId"].encode()).hexdigest()
    (request,) = cloud.function_compute.received
    assert (request.method, request.path) == ("POST", path)
    assert request.headers["x-fc-invocation-type"] == "Async"
    assert request.headers[id_header] == wanted
    assert request.headers[token_header] == "example-token"
    (event,) = replies(cloud)
    assert event.task_id == wanted


@pytest.mark.parametrize("msg_id", ["x", "消息", "../../x y\n", "m" * 5000, "\ud800"])
def test_any_msg_id_makes_a_valid_invocation_id(conversation: Conversation, cloud: LocalCloud, msg_id: str) -> None:
    """Function Compute takes letters, digits, _ and - only, and at most 128 of them."""
    assert json.loads(conversation.post(body=body_of(cloud, msgId=msg_id)).body) == EMPTY
    (event,) = replies(cloud)
    assert event.task_id == "m" + hashlib.sha256(msg_id.encode("utf-8", "surrogatepass")).hexdigest()


def test_a_repeated_message_is_accepted_but_not_handed_over_again(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Function Compute refuses the id (409): DingTalk is told that all is well, and nothing runs twice."""
    message = cloud.dingtalk.message()
    answers = [conversation.post(message), conversation.post(message, age_ms=10)]
    assert [(answer.status, json.loads(answer.body)) for answer in answers] == [(200, EMPTY)] * 2
    assert len(replies(cloud)) == 1
    assert [level for level, _ in log_lines(caplog)] == ["INFO", "INFO"]
    assert " already accepted in " in log_lines(caplog)[1][1]


def test_a_replay_with_another_body_passes_as_that_body(conversation: Conversation, cloud: LocalCloud) -> None:
    """DingTalk's signature does not cover the body: what goes on is what came, and it stays untrusted."""
    timestamp = str(int(time.time() * 1000))
    headers: dict[str, Any] = {"timestamp": timestamp, "sign": signature(timestamp, cloud.dingtalk.app_secret)}
    bodies = [body_of(cloud), body_of(cloud, text={"content": "another"})]
    for body in bodies:
        assert conversation.post(body=body, **headers).status == 200
    assert [event.event for event in replies(cloud)] == bodies


def test_a_warm_run_of_the_whole_cloud_answers_the_person(cloud: LocalCloud) -> None:
    """The file works behind the trigger as well, in a process of its own."""
    delivery = cloud.dingtalk.say("hello")
    assert (delivery.status, delivery.json) == (200, EMPTY)
    assert len(cloud.dingtalk.wait_shown(1, delivery.message)) == 1


# -- GET: a person opens the address --------------------------------------------------------------------------


def test_opening_the_address_of_a_complete_function_tells_the_next_step(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Chinese and English, plain text, without a value, without an outgoing request and without a log line."""
    answer = conversation.call(method="GET")
    page = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "已部署" in page and "is deployed" in page
    assert "设置齐全" in page and "All settings are there" in page
    assert "example" not in page and "127.0.0.1" not in page
    assert cloud.function_compute.received == []
    assert log_lines(caplog) == []


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
def test_opening_the_address_names_a_missing_or_malformed_setting(
    conversation: Conversation, name: str, value: str | None
) -> None:
    """The name, never the value, which may be a key that was pasted into the wrong field."""
    conversation.environment[name] = value
    answer = conversation.call(method="GET")
    page = answer.body.decode()
    assert answer.status == 200
    assert (
        [line for line in page.splitlines() if line.startswith("  - ")]
        == [line for line in page.splitlines() if line.startswith(f"  - {name} ")]
        != []
    )
    assert "do-not-show" not in page and "${" not in page
    assert "设置齐全" not in page and "All settings are there" not in page


NO_ROLE = {"access_key_id": None, "access_key_secret": None, "security_token": None}


def test_opening_the_address_tells_that_the_role_is_missing(conversation: Conversation, cloud: LocalCloud) -> None:
    """Without a role the settings alone are not enough."""
    conversation.context = role_context(**NO_ROLE)
    page = conversation.call(method="GET").body.decode()
    assert {2: "服务没有角色", 3: "函数没有角色"}[cloud.generation] in page and "no role" in page
    assert "设置齐全" not in page


def test_opening_the_address_lists_all_that_is_missing_at_once(conversation: Conversation) -> None:
    """Nobody likes to correct one thing after the other."""
    conversation.environment = {"ENDPOINT": "ftp://do-not-show"}
    conversation.context = role_context(**NO_ROLE)
    page = conversation.call(method="GET").body.decode()
    assert "DINGTALK_APP_SECRET 没有设置" in page and "ENDPOINT 格式不对" in page and "没有角色" in page


# -- other methods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_another_method_is_refused_with_what_is_allowed(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """The method comes before everything else, a good signature included."""
    answer = conversation.post(method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
    level, text = log_line(caplog)
    assert level == "INFO"
    assert method in text
    assert cloud.function_compute.received == []


def test_a_long_method_does_not_fill_the_log(conversation: Conversation) -> None:
    """It is the sender who writes it."""
    module = conversation.module
    with pytest.raises(module.WrongMethod) as refused:
        module.accept(module.Request("X" * 100_000, "", "", b""), *module.read_settings({}), now_ms=NOW_MS)
    assert len(str(refused.value)) <= 100


# -- the signature --------------------------------------------------------------------------------------------


def is_refused_without_detail(answer: HttpAnswer, caplog: pytest.LogCaptureFixture) -> str:
    """Asserts the 403; returns the line in the log."""
    assert (answer.status, answer.body) == (403, b"403 Forbidden")
    level, text = log_line(caplog)
    assert level == "WARNING"
    return text


@pytest.mark.parametrize(
    "timestamp",
    [
        None,
        "",
        "soon",
        "１７９５３３４４００",
        "-1",
        "+1",
        "1e3",
        "1.5",
        "0x10",
        "17 95",
        "1" * 16,
        "000" + str(NOW_MS),
        "9" * 9999,
    ],
)
def test_a_timestamp_that_is_no_number_is_refused(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, timestamp: str | None
) -> None:
    """However well it is signed."""
    text = is_refused_without_detail(conversation.post(timestamp=timestamp), caplog)
    assert "timestamp is missing or not a number" in text
    assert cloud.function_compute.received == []


@pytest.mark.parametrize("age_ms", [HOUR_MS + 10 * SECOND_MS, -FIVE_MINUTES_MS - 10 * SECOND_MS, NOW_MS // 2])
def test_a_timestamp_out_of_the_window_is_refused(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, age_ms: int
) -> None:
    """The log has both clocks, so that a wrong one is found."""
    before_ms = int(time.time() * 1000)
    text = is_refused_without_detail(conversation.post(age_ms=age_ms), caplog)
    clocks = re.search(r"timestamp is (\d+), our clock (\d+)", text)
    assert clocks
    assert before_ms <= int(clocks[2]) <= time.time() * 1000
    assert 0 <= int(clocks[1]) - (before_ms - age_ms) < 60 * SECOND_MS


@pytest.mark.parametrize("age_ms", [HOUR_MS - 10 * SECOND_MS, -FIVE_MINUTES_MS + 10 * SECOND_MS])
def test_a_timestamp_in_the_window_is_accepted(conversation: Conversation, age_ms: int) -> None:
    """DingTalk repeats a message for a while, and clocks differ a little."""
    assert json.loads(conversation.post(age_ms=age_ms).body) == EMPTY


def accept(conversation: Conversation, age_ms: int = 0, **spoiled: Any) -> Any:
    """The pure core, for a valid request of that age."""
    module = conversation.module
    timestamp = str(NOW_MS - age_ms)
    request = module.Request("POST", timestamp, signature(timestamp, "s"), body_of(conversation.cloud))
    settings, problems = module.read_settings({"DINGTALK_APP_SECRET": "s"})
    return module.accept(request._replace(**spoiled), settings, problems, now_ms=NOW_MS)


@pytest.mark.parametrize("age_ms", [HOUR_MS - 1, HOUR_MS, 1 - FIVE_MINUTES_MS, -FIVE_MINUTES_MS, 0])
def test_the_window_holds_up_to_its_limits(conversation: Conversation, age_ms: int) -> None:
    """One hour old and five minutes ahead are still in time."""
    assert accept(conversation, age_ms).body.startswith(b"{")


@pytest.mark.parametrize("age_ms", [HOUR_MS + 1, -FIVE_MINUTES_MS - 1])
def test_the_window_ends_a_millisecond_past_its_limits(conversation: Conversation, age_ms: int) -> None:
    """And not with the next second."""
    with pytest.raises(conversation.module.NotFromDingtalk, match=rf"{NOW_MS - age_ms}.*{NOW_MS}"):
        accept(conversation, age_ms)


@pytest.mark.parametrize("sign", [None, ""])
def test_a_missing_sign_is_refused(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, sign: str | None
) -> None:
    """The log says that it is missing, not that the secret might be wrong."""
    assert "sign is missing" in is_refused_without_detail(conversation.post(sign=sign), caplog)


@pytest.mark.parametrize(
    "spoil",
    [
        {"sign": "x"},
        {"sign": "A" * 44},
        {"sign": "签名"},
        {"sign": "\xe9" * 44},
        {"sign": "\ud800"},
        {"sign": "A" * 7000},
        {"secret": "another-secret"},
    ],
    ids=["short", "well-formed", "not latin-1", "not ASCII", "half a surrogate pair", "long", "another secret"],
)
def test_a_wrong_sign_is_refused(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, spoil: dict[str, Any]
) -> None:
    """The log names the setting that is most likely wrong."""
    text = is_refused_without_detail(conversation.post(**spoil), caplog)
    assert "sign is wrong" in text and "DINGTALK_APP_SECRET" in text
    assert cloud.function_compute.received == []


@pytest.mark.parametrize("spoil", [str.lower, lambda sign: sign[:-1], lambda sign: sign + "="])
def test_a_sign_that_is_nearly_right_is_refused(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, spoil: Callable[[str], str]
) -> None:
    """All of it counts."""
    timestamp = str(int(time.time() * 1000))
    sign = spoil(signature(timestamp, "example-app-secret"))
    is_refused_without_detail(conversation.post(timestamp=timestamp, sign=sign), caplog)


def test_a_sign_of_another_timestamp_is_refused(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody makes an old signature young."""
    now_ms = int(time.time() * 1000)
    old = signature(str(now_ms - 1), "example-app-secret")
    is_refused_without_detail(conversation.post(timestamp=str(now_ms), sign=old), caplog)


def test_a_blank_at_the_end_of_the_secret_does_no_harm(conversation: Conversation) -> None:
    """It comes along when a secret is pasted into the console."""
    conversation.environment["DINGTALK_APP_SECRET"] = " example-app-secret\n"
    assert json.loads(conversation.post().body) == EMPTY


def test_the_signature_is_the_documented_one(conversation: Conversation) -> None:
    """One literal signature, made by no code of this project."""
    module, timestamp = conversation.module, 1577262236757
    request = module.Request("POST", str(timestamp), "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA=", b"")
    assert module.signature_problem(request, b"this is a secret", now_ms=timestamp) is None
    assert module.signature_problem(request, b"this is a secreT", now_ms=timestamp) is not None


def test_the_signature_comes_before_the_body(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """Who is not DingTalk learns nothing about what a body must be like."""
    is_refused_without_detail(conversation.post(secret="another-secret", body=b"[" * (KIB_64 + 1)), caplog)


# -- the body -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [KIB_64 - 1, KIB_64])
def test_a_body_of_64_kib_is_accepted(conversation: Conversation, cloud: LocalCloud, size: int) -> None:
    """To its last byte."""
    body = body_of(cloud).ljust(size)
    assert json.loads(conversation.post(body=body).body) == EMPTY
    assert replies(cloud)[0].event == body


@on_3_only
@pytest.mark.parametrize("size", [KIB_64 + 1, 10 * KIB_64])
@pytest.mark.parametrize("filler", [b" ", b"\xff"], ids=["as text", "as base64"])
def test_a_longer_body_in_an_event_is_refused(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, size: int, filler: bytes
) -> None:
    """However the event holds it."""
    assert conversation.post(body=filler * size).status == 413
    level, text = log_line(caplog)
    assert (level, str(KIB_64) in text) == ("WARNING", True)


@on_2_only
@pytest.mark.parametrize("size", [KIB_64 + 1, 10 * KIB_64])
@pytest.mark.parametrize("length", ["", None, "as it is"])
def test_a_longer_body_is_refused(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, size: int, length: str | None
) -> None:
    """Whatever its length claims to be."""
    claimed = str(size) if length == "as it is" else length
    assert conversation.post(body=body_of(cloud).ljust(size), CONTENT_LENGTH=claimed).status == 413
    level, text = log_line(caplog)
    assert (level, str(KIB_64) in text) == ("WARNING", True)
    assert cloud.function_compute.received == []


@on_2_only
@pytest.mark.parametrize("length", [None, "", "many", "１２", "-5", "1e3", "12 ", "9" * 18, "9" * 5000])
def test_a_length_that_makes_no_sense_is_ignored(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, length: str | None
) -> None:
    """The body is read all the same, up to the first byte that is too much."""
    body = body_of(cloud)
    answer = call_unchecked(conversation, monkeypatch, body, CONTENT_LENGTH=length)
    assert (answer.status, json.loads(answer.body)) == (200, EMPTY)
    assert replies(cloud)[0].event == body


@on_2_only
@pytest.mark.parametrize("length", ["", "65537", "9" * 18, "9" * 30])
def test_no_more_is_read_than_is_needed(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    """Nobody fills the memory of the instance."""

    class Endless(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None and size >= 0
            self.asked += size
            return b" " * size

    body = Endless()
    answer = call_unchecked(conversation, monkeypatch, b"", CONTENT_LENGTH=length, **{"wsgi.input": body})
    assert (answer.status, body.asked) == (413, KIB_64 + 1)


@on_2_only
def test_nothing_past_the_length_is_read(
    conversation: Conversation, monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud
) -> None:
    """A server may not tell where the body ends, so that reading on would wait for ever."""
    body = body_of(cloud)
    rest = {"wsgi.input": io.BytesIO(body + b"the next request")}
    assert call_unchecked(conversation, monkeypatch, body, **rest).status == 200
    assert replies(cloud)[0].event == body


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
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_body_that_is_no_message_is_refused(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, body: bytes, reason: str
) -> None:
    """The sender sees the status, the log what is wrong."""
    answer = conversation.post(body=body)
    assert (answer.status, answer.body) == (400, b"400 Bad Request")
    level, text = log_line(caplog)
    assert (level, reason in text) == ("WARNING", True)
    assert cloud.function_compute.received == []


@pytest.mark.parametrize("name", ["msgId", "sessionWebhook", "conversationId"])
@pytest.mark.parametrize("value", [..., "", " \n", None, 17, True, ["x"], {"x": "y"}], ids=repr)
def test_a_message_without_a_needed_field_is_refused(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    """The log names the field and does not quote it."""
    assert conversation.post(body=body_of(cloud, **{name: value})).status == 400
    level, text = log_line(caplog)
    assert (level, f"field {name} is missing" in text) == ("WARNING", True)
    assert cloud.function_compute.received == []


def test_a_message_of_an_unknown_kind_goes_on(conversation: Conversation, cloud: LocalCloud) -> None:
    """What the words are is the other function's business."""
    message = cloud.dingtalk.message(msgtype="hologram", text=None)
    assert json.loads(conversation.post(message).body) == EMPTY


# -- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", " ", "${env(DINGTALK_APP_SECRET)}", "do-not-show 密钥"])
def test_a_missing_secret_is_told_in_the_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, value: str | None
) -> None:
    """Nobody can be verified, so everybody is told which setting it is; nothing is handed over."""
    conversation.environment["DINGTALK_APP_SECRET"] = value
    answer = conversation.post()
    assert answer.status == 200
    assert "DINGTALK_APP_SECRET" in answer.chat_text and "部署者" in answer.chat_text
    assert "do-not-show" not in answer.chat_text and "${" not in answer.chat_text
    level, text = log_line(caplog)
    assert (level, "DINGTALK_APP_SECRET" in text) == ("ERROR", True)
    assert cloud.function_compute.received == []


def test_a_malformed_setting_is_told_to_dingtalk_only(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as there is a secret, the signature comes first."""
    conversation.environment["ENDPOINT"] = "ftp://do-not-show"
    is_refused_without_detail(conversation.post(secret="another-secret"), caplog)


@pytest.mark.parametrize("name", ["CHATGPT_FUNCTION", "SERVICE_NAME", "ENDPOINT", "VERBOSE"])
def test_a_leftover_of_s_deploy_counts_as_unset(conversation: Conversation, name: str) -> None:
    """`s deploy` writes ${env(X)} for a variable that was not there: the default holds."""
    conversation.environment[name] = f"${{env({name})}}"
    assert "All settings are there" in conversation.call(method="GET").body.decode()


def test_a_setting_can_be_corrected_while_the_instance_is_warm(conversation: Conversation) -> None:
    """Nothing of the environment is kept between messages."""
    conversation.environment["DINGTALK_APP_SECRET"] = None
    assert conversation.post().chat_text
    conversation.environment["DINGTALK_APP_SECRET"] = "example-app-secret"
    assert json.loads(conversation.post().body) == EMPTY


# -- Function Compute does not take the message ------------------------------------------------------------------


def is_told_in_the_chat(answer: HttpAnswer, caplog: pytest.LogCaptureFixture, *words: str) -> str:
    """Asserts one sentence for the person with these words, and an ERROR; returns its line in the log."""
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert not SECRETS.findall(answer.chat_text)
    assert not re.search("Traceback|[{}<>]", answer.chat_text)
    for word in words:
        assert word in answer.chat_text
    level, text = log_line(caplog)
    assert level == "ERROR"
    return text


def deny(conversation: Conversation) -> None:
    conversation.cloud.function_compute.denied_actions.add("fc:InvokeFunction")


def throttle(conversation: Conversation) -> None:
    conversation.cloud.function_compute.throttle()


def setting(name: str, value: str) -> Callable[[Conversation], None]:
    def spoil(conversation: Conversation) -> None:
        conversation.environment[name] = value

    return spoil


def role(**changes: str) -> Callable[[Conversation], None]:
    def spoil(conversation: Conversation) -> None:
        conversation.context = role_context(**changes)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words", "code"),
    [
        (deny, [REPLY, "fc:InvokeFunction", "部署者"], "AccessDenied"),
        (setting("CHATGPT_FUNCTION", "other"), ["other", "CHATGPT_FUNCTION", "部署者"], "FunctionNotFound"),
        (throttle, ["太多", "再发一次"], "ResourceExhausted"),
        (role(access_key_secret="wrong"), ["角色", "凭证", "部署者"], "SignatureNotMatch"),
        (role(access_key_id="STS.wrong"), ["角色", "凭证", "部署者"], "InvalidAccessKeyID"),
    ],
    ids=["permission", "function", "throttled", "key secret", "key id"],
)
def test_a_refusal_of_function_compute_is_told_in_the_chat(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Conversation], None],
    words: list[str],
    code: str,
) -> None:
    """One sentence per cause that the deployer can act on; the log has what Alibaba's support asks for."""
    spoil(conversation)
    text = is_told_in_the_chat(conversation.post(), caplog, *words)
    assert re.search(rf"{code}.*request [0-9a-f-]{{36}}", text)
    assert len(cloud.function_compute.received) == 1
    assert replies(cloud) == []


@on_2_only
@pytest.mark.parametrize(
    ("name", "value", "words", "code"),
    [
        ("SERVICE_NAME", "other", ["other", "SERVICE_NAME", "部署者"], "ServiceNotFound"),
        ("CHATGPT_FUNCTION", CONVERSATION, ["InvalidArgument", "部署者", "日志"], "InvalidArgument"),
    ],
)
def test_a_wrong_service_or_kind_of_function_is_told_in_the_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, name: str, value: str, words: list[str], code: str
) -> None:
    """Only 2.0 has services, and HTTP functions that cannot be invoked."""
    conversation.environment[name] = value
    assert code in is_told_in_the_chat(conversation.post(), caplog, *words)


@on_3_only
def test_the_sentences_on_3_do_not_speak_of_services(conversation: Conversation) -> None:
    """The role is the function's, and a service is not what the deployer has to look for."""
    told = []
    for spoil in (deny, setting("CHATGPT_FUNCTION", "other"), role(access_key_id="STS.wrong"), role(access_key_id="")):
        spoil(conversation)
        told.append(conversation.post().chat_text)
        conversation.cloud.function_compute.denied_actions.clear()
    assert not re.search("服务|SERVICE_NAME", "".join(told))
    assert ["函数" in sentence for sentence in told] == [True] * 4


@on_2_only
@pytest.mark.parametrize(
    ("status", "body", "words", "code"),
    [
        (403, {"errorCode": "AccessDenied"}, ["fc:InvokeFunction"], "AccessDenied"),
        (403, {"errorCode": "SignatureNotMatch"}, ["凭证"], "SignatureNotMatch"),
        (403, {}, ["fc:InvokeFunction"], "403"),
        (404, {"errorCode": "FunctionNotFound"}, ["CHATGPT_FUNCTION"], "FunctionNotFound"),
        (400, {"ErrorCode": "EntityTooLarge", "ErrorMessage": "do-not-show"}, ["EntityTooLarge"], "EntityTooLarge"),
        (412, {}, ["日志"], "412"),
        (500, {"ErrorCode": "InternalServerError"}, ["暂时", "再发一次"], "InternalServerError"),
        (502, {"ErrorCode": "BadGateway"}, ["暂时", "再发一次"], "BadGateway"),
        (503, {"ErrorCode": "ResourceThrottled"}, ["再发一次"], "ResourceThrottled"),
        (504, {}, ["暂时", "再发一次"], "504"),
    ],
)
def test_a_documented_error_of_function_compute_is_told_in_the_chat(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: dict[str, str],
    words: list[str],
    code: str,
) -> None:
    """With ErrorCode as aliyun-fc2 reads it, with errorCode as the documents print it, or with neither."""
    cloud.function_compute.plan(refusal(status, body))
    text = is_told_in_the_chat(conversation.post(), caplog, *words)
    assert code in text and FC_REQUEST in text
    assert len(cloud.function_compute.received) == 1


@on_3_only
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", ["fc:InvokeFunction"]),
        (403, "SignatureNotMatch", ["凭证"]),
        (400, "SignatureDoesNotMatch", ["凭证"]),  # of Alibaba's common gateway, as the next two
        (404, "InvalidAccessKeyId.NotFound", ["凭证"]),
        (400, "InvalidSecurityToken.Expired", ["凭证"]),
        (403, None, ["fc:InvokeFunction"]),
        (404, "FunctionNotFound", ["CHATGPT_FUNCTION"]),
        (400, "EntityTooLarge", ["EntityTooLarge"]),
        (400, "InvalidTimeStamp.Expired", ["InvalidTimeStamp.Expired", "日志"]),
        (412, None, ["HTTP 412", "日志"]),
        (429, "ResourceExhausted", ["太多"]),
        (500, "InternalServerError", ["暂时", "再发一次"]),
        (503, "ResourceThrottled", ["再发一次"]),
    ],
)
def test_a_documented_error_of_3_is_told_in_the_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, status: int, code: str | None, words: list[str]
) -> None:
    """With the names that 3.0 gives to the fields of an error."""
    body = {"Code": code, "Message": "do-not-show", "RequestId": FC_REQUEST}
    conversation.cloud.function_compute.plan(refusal(status, body))
    text = is_told_in_the_chat(conversation.post(), caplog, *words)
    assert (code or f"HTTP {status}") in text and FC_REQUEST in text


@pytest.mark.parametrize("status", [403, 502])
@pytest.mark.parametrize("body", ["<html>do-not-show</html>", "", "[]", '["do-not-show"]', '"do-not-show"', "null"])
def test_an_error_that_is_no_json_object_is_told_in_the_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, status: int, body: str
) -> None:
    """A gateway in between, or another service at this address."""
    cloud.function_compute.plan(refusal(status, body))
    is_told_in_the_chat(conversation.post(), caplog, "函数计算")


@on_2_only
def test_an_error_of_the_runtime_is_told_in_the_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """A good status with x-fc-error-type is none."""
    body = {"errorMessage": "do-not-show", "errorType": "X"}
    cloud.function_compute.plan(refusal(202, body, ("X-Fc-Error-Type", "UnhandledInvocationError")))
    assert FC_REQUEST in is_told_in_the_chat(conversation.post(), caplog, "函数计算")


@pytest.mark.parametrize("status", [200, 204, 302])
def test_a_yes_of_something_else_is_not_taken_for_accepted(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """ENDPOINT leads to a web server that is content with everything: the person must not wait in vain."""
    elsewhere = (("Content-Type", "text/html"), ("Location", f"{cloud.openai_api.url}/elsewhere"))
    cloud.function_compute.plan(Fault(where=is_invoke, status=status, headers=elsewhere))
    cloud.openai_api.plan(Fault(status=200, body="<html>do-not-show</html>"))
    is_told_in_the_chat(conversation.post(), caplog, "函数计算", "ENDPOINT", "部署者")


@pytest.mark.parametrize(
    "credentials",
    [
        NO_ROLE,
        {"access_key_id": "", "access_key_secret": "", "security_token": ""},
        {"access_key_id": None},
        {"access_key_secret": ""},
    ],
    ids=["None", "empty", "no id", "no secret"],
)
def test_a_service_without_a_role_is_told_in_the_chat(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    credentials: dict[str, str | None],
) -> None:
    """What the context holds without a role is not documented: anything incomplete counts."""
    conversation.context = role_context(**credentials)
    text = is_told_in_the_chat(conversation.post(), caplog, "角色", "fc:InvokeFunction", "部署者")
    assert "no role" in text
    assert cloud.function_compute.received == []


def test_a_context_without_credentials_is_told_in_the_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """The field itself may be missing."""
    del conversation.context.credentials
    is_told_in_the_chat(conversation.post(), caplog, "角色", "部署者")


def test_a_key_without_token_signs_without_it(conversation: Conversation, cloud: LocalCloud) -> None:
    """aliyun-fc2 fails on a token that is None."""
    conversation.context = role_context(security_token=None)
    assert conversation.post().chat_text  # refused: the role of the stand-in has a token
    (request,) = cloud.function_compute.received
    assert not {"x-fc-security-token", "x-acs-security-token"} & {name.lower() for name in request.headers}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_is_told_within_a_second(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    """aliyun-fc2 by itself sleeps 30 s between its tries."""
    conversation.environment["ENDPOINT"] = f"http://{host}:{unused_port()}"
    started = time.monotonic()
    answer = conversation.post()
    assert time.monotonic() - started < 1
    assert "unreachable" in is_told_in_the_chat(answer, caplog, "连接不上", "ENDPOINT", "部署者")


@pytest.mark.parametrize("endpoint", ["https://a..example", "http://127.0.0.1:99999"])
def test_an_address_that_leads_nowhere_is_told_in_the_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    """A malformed one that the settings let pass."""
    conversation.environment["ENDPOINT"] = endpoint
    is_told_in_the_chat(conversation.post(), caplog, "ENDPOINT", "部署者")


def test_a_server_without_tls_is_told_in_the_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """https at a port that speaks http: nothing was sent."""
    conversation.environment["ENDPOINT"] = cloud.function_compute.url.replace("http:", "https:")
    is_told_in_the_chat(conversation.post(), caplog, "连接不上", "ENDPOINT")


def test_an_address_that_never_connects_is_told_within_two_seconds(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """DingTalk waits no longer than 2.5 s."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)  # and nobody accepts: once the queue is full, further attempts are left without an answer
        for client in (first, second):
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        conversation.environment["ENDPOINT"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        answer = conversation.post()
    assert time.monotonic() - started < 2
    is_told_in_the_chat(answer, caplog, "连接不上", "ENDPOINT")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(where=is_invoke, delay=1.5, drop=True),
        Fault(where=is_invoke, drop=True),
        Fault(where=is_invoke, drop=True, carry_out=True),
        Fault(where=is_invoke, status=202, body="zz\r\n", headers=(("Transfer-Encoding", "chunked"),)),
        Fault(where=is_invoke, status=202, body="x" * 40, byte_seconds=0.1),
    ],
    ids=["late", "dropped", "dropped after acceptance", "broken off", "dripping"],
)
def test_a_missing_answer_is_told_within_two_seconds(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """Function Compute may have taken the message: the person is asked to wait before writing it again."""
    cloud.function_compute.plan(fault)
    started = time.monotonic()
    answer = conversation.post()
    assert time.monotonic() - started < 2
    text = is_told_in_the_chat(answer, caplog, "没有及时确认", "一分钟")
    assert "no answer" in text
    assert len(cloud.function_compute.received) == 1  # and not sent again by itself


def test_a_repetition_after_a_lost_answer_is_not_handed_over_twice(
    conversation: Conversation, cloud: LocalCloud
) -> None:
    """Function Compute took it, its answer got lost, DingTalk sends again."""
    cloud.function_compute.plan(Fault(where=is_invoke, drop=True, carry_out=True))
    message = cloud.dingtalk.message()
    assert conversation.post(message).chat_text
    assert json.loads(conversation.post(message).body) == EMPTY
    assert len(replies(cloud)) == 1


def test_the_root_logger_stays_as_it_is(conversation: Conversation, cloud: LocalCloud) -> None:
    """aliyun-fc2 logs through the root, and installs a handler there if there is none."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        root.handlers.clear()
        cloud.function_compute.throttle()
        assert conversation.post().chat_text
        assert root.handlers == []
    finally:
        root.handlers[:] = handlers
    assert root.level == logging.DEBUG


def test_the_request_goes_to_the_own_account_and_region(conversation: Conversation) -> None:
    """Without ENDPOINT the context says where, and the time-outs leave DingTalk half a second."""
    module = conversation.module
    settings, _ = module.read_settings({"DINGTALK_APP_SECRET": "s"})
    run = module.Run(conversation.cloud.generation, role_context(region="cn-hangzhou"), settings, credentials=None)
    assert run.endpoint == "https://1234567890123456.cn-hangzhou.fc.aliyuncs.com"
    assert 0 < module.CONNECT_SECONDS + module.READ_SECONDS < 2


@on_3_only
def test_another_function_is_invoked_on_3_as_set(conversation: Conversation, cloud: LocalCloud) -> None:
    """SERVICE_NAME changes nothing there."""
    conversation.environment.update(SERVICE_NAME="Other-1", CHATGPT_FUNCTION="_other")
    conversation.post()
    (request,) = cloud.function_compute.received
    assert request.path == "/2023-03-30/functions/_other/invocations"


@on_2_only
def test_another_service_and_function_are_invoked_as_set(conversation: Conversation, cloud: LocalCloud) -> None:
    """The settings win over the context."""
    conversation.environment.update(SERVICE_NAME="Other-1", CHATGPT_FUNCTION="_other")
    conversation.post()
    (request,) = cloud.function_compute.received
    assert request.path == "/2016-08-15/services/Other-1/functions/_other/invocations"


def test_another_bug_in_one_request_does_not_reach_the_next(conversation: Conversation, cloud: LocalCloud) -> None:
    """After every kind of failure the warm instance goes on."""
    for fault in (refusal(500, {}), refusal(403, "<html>"), Fault(where=is_invoke, drop=True)):
        cloud.function_compute.plan(fault)
        assert conversation.post().chat_text
    assert json.loads(conversation.post().body) == EMPTY


# -- anything unforeseen ----------------------------------------------------------------------------------------


def is_internal(answer: HttpAnswer, caplog: pytest.LogCaptureFixture) -> str:
    """Asserts the 500 without a detail; returns the line in the log."""
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error")
    level, text = log_line(caplog)
    assert level == "ERROR"
    return text


def test_an_unforeseen_error_answers_500_and_logs_its_place(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """The place, on one line, but not the error's text, which may quote a key."""
    del conversation.context.credentials.security_token
    text = is_internal(conversation.post(), caplog)
    assert conversation.context.request_id in text
    assert re.search(r"AttributeError at invoke_[23]:\d+ < hand_over:\d+ < respond:\d+", text)


class BrokenInput(io.BytesIO):
    """The body of a client that hung up."""

    def read(self, size: int | None = -1) -> bytes:
        raise OSError("do-not-show")


@on_2_only
def test_a_body_that_cannot_be_read_answers_500(conversation: Conversation, caplog: pytest.LogCaptureFixture) -> None:
    """What leaves the handler reaches the sender as a stack trace."""
    broken: dict[str, Any] = {"wsgi.input": BrokenInput()}
    answer = conversation.post(**broken)
    assert "OSError" in is_internal(answer, caplog)


def test_a_request_without_context_is_told_in_the_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of Function Compute's is taken for granted."""
    conversation.context = None
    is_told_in_the_chat(conversation.post(), caplog, "角色", "部署者")


def test_a_context_without_request_id_does_not_cost_the_message(conversation: Conversation) -> None:
    """The line in the log is not worth it."""
    del conversation.context.request_id
    assert json.loads(conversation.post().body) == EMPTY
    assert conversation.call(method="PUT").status == 405


# -- what arrived at Function Compute -------------------------------------------------------------------------------


def test_an_accepted_message_costs_one_request(conversation: Conversation, cloud: LocalCloud) -> None:
    """One request, one connection; nothing is asked beforehand."""
    conversation.post()
    requests_made: list[Received] = cloud.function_compute.received
    assert [request.status for request in requests_made] == [202]


@pytest.mark.parametrize("level", ["DEBUG", "1", "INFO", "25", "ERROR", None])
def test_the_level_of_the_log_holds_for_our_own_logger_only(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, level: str | None
) -> None:
    """VERBOSE=25, a number of the tutorial's successor, silences the INFO line; the root keeps its level."""
    conversation.environment["VERBOSE"] = level
    conversation.post()
    assert len(log_lines(caplog)) == (0 if level in ("25", "ERROR") else 1)
    assert logging.getLogger().level == logging.DEBUG
