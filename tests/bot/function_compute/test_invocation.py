"""Dingtalk_Conversation hands a message over to Function Compute, on both generations; what comes of each answer.

On 2.0 the real aliyun-fc2 signs the invocation. What only one of them has is in test_invocation_2.py and
test_invocation_3.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conversation import (
    EMPTY,
    FC_REQUEST,
    MODULE,
    NO_ROLE,
    body_of,
    chat_shows,
    deployment,
    fc_error,
    log_line,
    log_lines,
    replies,
)
from tests.helpers import Conversation, as_new, role_context
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.server import Fault

pytestmark = pytest.mark.usefixtures("no_secret_in_log")

EXISTS = "StatefulAsyncInvocationAlreadyExists"


@pytest.fixture
def cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """In this module every test runs on both generations."""
    yield from as_new(cloud_of_each_generation)


# --- the invocation ---


def test_invocation_is_asynchronous_and_has_id_of_message(conversation: Conversation, cloud: LocalCloud) -> None:
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
def test_any_msg_id_makes_valid_invocation_id(conversation: Conversation, cloud: LocalCloud, msg_id: str) -> None:
    """Function Compute takes letters, digits, _ and - only, and at most 128 of them."""
    assert json.loads(conversation.post(body=body_of(msgId=msg_id)).body) == EMPTY
    (event,) = replies(cloud)
    assert event.task_id == "m" + hashlib.sha256(msg_id.encode("utf-8", "surrogatepass")).hexdigest()


def test_function_and_service_that_are_set_are_invoked(conversation: Conversation, cloud: LocalCloud) -> None:
    """The settings win over the context; 3.0 has no services."""
    conversation.environment.update(SERVICE_NAME="Other-1", CHATGPT_FUNCTION="_other")
    conversation.post()
    (request,) = cloud.function_compute.received
    path = {
        2: "/2016-08-15/services/Other-1/functions/_other/invocations",
        3: "/2023-03-30/functions/_other/invocations",
    }
    assert request.path == path[cloud.generation]


def test_key_without_token_signs_without_it(conversation: Conversation, cloud: LocalCloud) -> None:
    """The role of a RAM user has none."""
    conversation.context = role_context(security_token=None)
    assert conversation.post().chat_text  # refused: the role of the stand-in has a token
    (request,) = cloud.function_compute.received
    assert not {"x-fc-security-token", "x-acs-security-token"} & {name.lower() for name in request.headers}


# --- Function Compute has the message already ---


def test_repeated_message_is_handed_over_once(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Function Compute refuses the id: DingTalk is told that all is well, and nothing runs twice."""
    message = cloud.dingtalk.message()
    answers = [conversation.post(message), conversation.post(message, age_ms=10)]
    assert [(answer.status, json.loads(answer.body)) for answer in answers] == [(200, EMPTY)] * 2
    assert len(replies(cloud)) == 1
    assert [level for level, _ in log_lines(caplog)] == ["INFO", "INFO"]
    assert " already accepted in " in log_lines(caplog)[1][1]


def test_message_repeated_after_lost_answer_is_handed_over_once(conversation: Conversation, cloud: LocalCloud) -> None:
    """Function Compute took it, its answer got lost, DingTalk sends again."""
    cloud.function_compute.plan(Fault(where=is_invoke, drop=True, carry_out=True))
    message = cloud.dingtalk.message()
    assert conversation.post(message).chat_text
    assert json.loads(conversation.post(message).body) == EMPTY
    assert len(replies(cloud)) == 1


@pytest.mark.parametrize("status", [400, 403, 409, 429, 500])
def test_code_of_existing_id_means_already_accepted(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """Whatever the status: the code says that the message is in good hands."""
    cloud.function_compute.plan(fc_error(status, EXISTS))
    assert json.loads(conversation.post().body) == EMPTY
    level, text = log_line(caplog)
    assert (level, " already accepted in " in text) == ("INFO", True)


@pytest.mark.parametrize("code", [None, ""])
def test_conflict_without_code_means_already_accepted(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, code: str | None
) -> None:
    """The documents name no code for a repeated id."""
    cloud.function_compute.plan(fc_error(409, code))
    assert json.loads(conversation.post().body) == EMPTY
    assert " already accepted in " in log_line(caplog)[1]


@pytest.mark.parametrize("code", ["ConcurrentUpdateError", f"{EXISTS}Not", f"x{EXISTS}", EXISTS.lower()])
def test_other_conflict_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    """Function Compute did not take the message: it would be lost without a word."""
    cloud.function_compute.plan(fc_error(409, code))
    text = chat_shows(conversation.post(), caplog, "函数计算", "再发一次")
    assert f"code {code}, status 409, its request {FC_REQUEST}" in text


# --- Function Compute refuses ---


def throttle(conversation: Conversation) -> None:
    conversation.cloud.function_compute.throttle()


def deny(conversation: Conversation) -> None:
    conversation.cloud.function_compute.denied_actions.add("fc:InvokeFunction")


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
def test_refusal_is_told_in_chat(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Conversation], None],
    words: list[str],
    code: str,
) -> None:
    """One sentence per cause that the deployer can act on; the log has what Alibaba's support asks for."""
    spoil(conversation)
    text = chat_shows(conversation.post(), caplog, *words)
    assert re.search(rf"code {code}, status \d+, its request [0-9a-f-]{{36}}$", text)
    assert len(cloud.function_compute.received) == 1
    assert replies(cloud) == []


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", ["fc:InvokeFunction", "部署者"]),
        (403, "HTTP 403", ["fc:InvokeFunction"]),
        (403, "SignatureNotMatch", ["凭证"]),
        (400, "SignatureDoesNotMatch", ["凭证"]),  # of Alibaba's common gateway, as the next two
        (404, "InvalidAccessKeyId.NotFound", ["凭证"]),
        (400, "InvalidSecurityToken.Expired", ["凭证"]),
        (404, "FunctionNotFound", [REPLY, "CHATGPT_FUNCTION"]),
        (400, "EntityTooLarge", ["EntityTooLarge", "日志"]),
        (400, "InvalidTimeStamp.Expired", ["InvalidTimeStamp.Expired", "日志"]),
        (409, "ConcurrentUpdateError", ["暂时", "再发一次"]),
        (412, "HTTP 412", ["HTTP 412", "日志"]),
        (429, "ResourceExhausted", ["太多", "再发一次"]),
        (500, "InternalServerError", ["暂时", "再发一次"]),
        (502, "BadGateway", ["暂时", "再发一次"]),
        (503, "ResourceThrottled", ["暂时", "再发一次"]),
        (504, "HTTP 504", ["暂时", "再发一次"]),
    ],
)
def test_documented_error_has_sentence(generation: int, status: int, code: str, words: list[str]) -> None:
    """On 3.0 none of them speaks of services: the deployer has none to look for."""
    sentence = MODULE.refusal_sentence(status, code, "", deployment(generation=generation))
    for word in words:
        assert word in sentence
    assert ("服务" in sentence) is (generation == 2 and any(word in sentence for word in ("角色", "找不到")))


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("The resource doesn't belong to you", "ENDPOINT"),
        ("the service or function does not belong to you", "ENDPOINT"),
        ("FC service is not enabled for current user", "开通"),
        ("You have not activated the service", "开通"),
        ("no permission: fc:InvokeFunction", "fc:InvokeFunction"),
    ],
)
def test_words_of_a_refusal_tell_more_than_its_code(said: str, word: str) -> None:
    """All of these are AccessDenied, and only the last one is the role."""
    assert word in MODULE.refusal_sentence(403, "AccessDenied", said, deployment(generation=3))


@pytest.mark.parametrize("status", [403, 502])
@pytest.mark.parametrize("body", ["<html>do-not-show</html>", "", "[]", '["do-not-show"]', '"do-not-show"', "null"])
def test_error_that_is_no_json_object_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, status: int, body: str
) -> None:
    """A gateway in between, or another service at this address."""
    cloud.function_compute.plan(Fault(where=is_invoke, status=status, body=body))
    chat_shows(conversation.post(), caplog, "函数计算", "ENDPOINT")


@pytest.mark.parametrize("status", [200, 204, 302])
def test_success_of_other_server_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """ENDPOINT leads to a web server that is content with everything: the person must not wait in vain."""
    elsewhere = (("Content-Type", "text/html"), ("Location", f"{cloud.openai_api.url}/elsewhere"))
    cloud.function_compute.plan(Fault(where=is_invoke, status=status, headers=elsewhere))
    cloud.openai_api.plan(Fault(status=200, body="<html>do-not-show</html>"))
    chat_shows(conversation.post(), caplog, "函数计算", "ENDPOINT", "部署者")


@pytest.mark.parametrize("code", ["A\r\n[ERROR] forged\x1b[31m", "A" * 5000, "错误", ["do", "not"], 17], ids=repr)
def test_strange_code_is_short_and_on_one_line(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, code: Any
) -> None:
    """In the log and in the chat: a code with a newline could forge a line."""
    cloud.function_compute.plan(fc_error(400, code))
    answer = conversation.post()
    text = chat_shows(answer, caplog, "函数计算拒绝了这条消息")
    assert re.fullmatch(rf"[^\n]*: code [^\n]{{1,64}}, status 400, its request {FC_REQUEST}", text)
    assert text.isprintable()
    assert re.search(r"（[^\n]{1,64}）", answer.chat_text)


def test_strange_request_id_is_short_and_on_one_line(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """A header can hold control characters, which move the cursor of a terminal."""
    request_id = (("X-Fc-Request-Id", "a\x1b[1A\x85forged" + "x" * 500),)
    cloud.function_compute.plan(Fault(where=is_invoke, status=500, body="{}", headers=request_id))
    text = chat_shows(conversation.post(), caplog, "暂时")
    assert re.search(r"its request a \[1A forgedx{1,60}$", text)


# --- no role ---


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
def test_missing_role_is_told_in_chat(
    conversation: Conversation,
    cloud: LocalCloud,
    caplog: pytest.LogCaptureFixture,
    credentials: dict[str, str | None],
) -> None:
    """The documents do not say what the context holds without a role: anything incomplete counts."""
    conversation.context = role_context(**credentials)
    owner = {2: "服务没有角色", 3: "函数没有角色"}[cloud.generation]
    assert "no role" in chat_shows(conversation.post(), caplog, owner, "fc:InvokeFunction", "部署者")
    assert cloud.function_compute.received == []


def test_context_without_credentials_is_told_in_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture
) -> None:
    """The field itself may be missing."""
    del conversation.context.credentials
    chat_shows(conversation.post(), caplog, "角色", "部署者")


# --- Function Compute does not answer ---


def unused_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_refused_connection_is_told_within_second(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    """The person is not to wait for nothing."""
    conversation.environment["ENDPOINT"] = f"http://{host}:{unused_port()}"
    started = time.monotonic()
    answer = conversation.post()
    assert time.monotonic() - started < 1
    assert "unreachable" in chat_shows(answer, caplog, "连接不上", "ENDPOINT", "部署者")


@pytest.mark.parametrize("endpoint", ["https://a..example", "http://127.0.0.1:99999"])
def test_address_that_leads_nowhere_is_told_in_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    """Malformed addresses that the settings let pass."""
    conversation.environment["ENDPOINT"] = endpoint
    chat_shows(conversation.post(), caplog, "ENDPOINT", "部署者")


def test_server_without_tls_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """https at a port that speaks http: nothing was sent."""
    conversation.environment["ENDPOINT"] = cloud.function_compute.url.replace("http:", "https:")
    chat_shows(conversation.post(), caplog, "连接不上", "ENDPOINT")


def test_address_that_never_connects_is_told_within_two_seconds(
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
    chat_shows(answer, caplog, "连接不上", "ENDPOINT")


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
def test_missing_answer_is_told_within_two_seconds(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """Function Compute may have taken the message: the person is asked to wait before writing it again."""
    cloud.function_compute.plan(fault)
    started = time.monotonic()
    answer = conversation.post()
    assert time.monotonic() - started < 2
    assert "no answer" in chat_shows(answer, caplog, "没有及时确认", "一分钟")
    assert len(cloud.function_compute.received) == 1  # and not sent again by itself


# --- after a failure ---


def test_failure_of_one_request_does_not_reach_next(conversation: Conversation, cloud: LocalCloud) -> None:
    """After every kind of failure the warm instance goes on."""
    for fault in (
        fc_error(500),
        Fault(where=is_invoke, status=403, body="<html>"),
        Fault(where=is_invoke, drop=True),
    ):
        cloud.function_compute.plan(fault)
        assert conversation.post().chat_text
    assert json.loads(conversation.post().body) == EMPTY


def test_root_logger_stays_as_it_is(conversation: Conversation, cloud: LocalCloud) -> None:
    """aliyun-fc2 logs what it signs through the root logger, and installs a handler there if there is none."""
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
