"""Dingtalk_Conversation on Function Compute 3.0: the events that it takes, its signature, its credentials."""

from __future__ import annotations

import base64
import calendar
import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers import Conversation, Conversation3, as_new, http_event, role_context
from tests.stand_ins.dingtalk import signature
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud
from tests.stand_ins.runtimes import GENERATIONS
from tests.stand_ins.server import Fault, Received

EMPTY = {"msgtype": "empty"}
KEYS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.example-id",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "example-secret",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "example-token",
}


# In this module every test runs on 3.0.
pytestmark = pytest.mark.parametrize("cloud_of_each_generation", GENERATIONS[1:], ids=["3.0"], indirect=True)


@pytest.fixture
def cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """With nothing in it from another test."""
    yield from as_new(cloud_of_each_generation)


@pytest.fixture
def conversation(conversation: Conversation) -> Conversation3:
    """The one for events."""
    assert isinstance(conversation, Conversation3)
    return conversation


def signed_headers(cloud: LocalCloud) -> dict[str, str]:
    """As DingTalk sends them."""
    timestamp = str(int(time.time() * 1000))
    return {"timestamp": timestamp, "sign": signature(timestamp, cloud.dingtalk.app_secret)}


def message_of(cloud: LocalCloud) -> bytes:
    return json.dumps(cloud.dingtalk.message()).encode()


# -- the event of an HTTP trigger ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [str.lower, str.upper, str.title, str.swapcase])
def test_names_of_headers_are_taken_in_any_case(
    conversation: Conversation3, cloud: LocalCloud, write: Callable[[str], str]
) -> None:
    """In which case Function Compute writes them is not documented."""
    headers = {write(name): value for name, value in signed_headers(cloud).items()}
    answer = conversation.send(http_event(message_of(cloud), "POST", headers))
    assert (answer.status, json.loads(answer.body)) == (200, EMPTY)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_is_taken_as_text_or_base64_byte_for_byte(
    conversation: Conversation3, cloud: LocalCloud, encoded: bool
) -> None:
    """The event of Dingtalk_ChatGPT_Reply is what DingTalk sent."""
    body = json.dumps(cloud.dingtalk.message("你好 😀"), ensure_ascii=False, indent=3).encode()
    text = base64.b64encode(body).decode() if encoded else body.decode()
    event = http_event(body, "POST", signed_headers(cloud), body=text, isBase64Encoded=encoded)
    assert conversation.send(event).status == 200
    assert [invocation.event for invocation in cloud.function_compute.invocations] == [body]


@pytest.mark.parametrize("changes", [{"isBase64Encoded": ...}, {"unknown": [1]}, {"version": "v2"}, {"rawPath": ...}])
def test_fields_that_do_not_matter_may_be_missing_or_new(
    conversation: Conversation3, cloud: LocalCloud, changes: dict[str, Any]
) -> None:
    """Function Compute may add to the event."""
    assert conversation.send(http_event(message_of(cloud), "POST", signed_headers(cloud), **changes)).status == 200


@pytest.mark.parametrize("changes", [{"body": ...}, {"body": ""}, {"body": None}])
def test_a_post_without_a_body_is_refused(
    conversation: Conversation3, cloud: LocalCloud, changes: dict[str, Any]
) -> None:
    """A request it is, but no message."""
    answer = conversation.send(http_event(b"", "POST", signed_headers(cloud), **changes))
    assert (answer.status, answer.body) == (400, b"400 Bad Request")


def test_headers_that_came_twice_are_refused(conversation: Conversation3, cloud: LocalCloud) -> None:
    """Function Compute joins them with a comma, and DingTalk sends each once."""
    headers = {name: f"{value},{value}" for name, value in signed_headers(cloud).items()}
    assert conversation.send(http_event(message_of(cloud), "POST", headers)).status == 403


def test_the_answer_is_what_a_trigger_expects(conversation: Conversation3) -> None:
    """The four fields, the status as a number, and of the headers each one text."""
    answer = conversation.module.handler(http_event(b"", "PUT", {}), conversation.context)
    assert answer == {
        "statusCode": 405,
        "headers": {"Content-Type": "text/plain; charset=utf-8", "Allow": "GET, POST"},
        "isBase64Encoded": False,
        "body": "405 Method Not Allowed",
    }


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
def test_an_event_that_is_no_http_request_is_told_so(
    conversation: Conversation3, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, event: bytes
) -> None:
    """Whoever can send one is a deployer with the test button: the answer says what to do instead."""
    answer = conversation.send(event)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "不是 HTTP 请求" in answer.body.decode() and "is no HTTP request" in answer.body.decode()
    (record,) = [record for record in caplog.records if record.name == CONVERSATION]
    assert (record.levelname, "NotARequest" in record.getMessage()) == ("WARNING", True)
    assert not cloud.function_compute.received


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
def test_any_unsigned_event_is_refused(
    conversation: Conversation3, changes: dict[str, Any], headers: dict[str, Any], method: Any
) -> None:
    """Without DingTalk's signature nothing is handed over, and nothing is raised."""
    answer = conversation.send(http_event(b"{}", method, headers, **changes))
    assert answer.status in ((200,) if method == "GET" else (400, 403, 405))
    assert not conversation.cloud.function_compute.received


# -- the signature -------------------------------------------------------------------------------------------------


def test_the_signature_is_the_known_one(conversation: Conversation3) -> None:
    """One literal signature, by alibabacloud_tea_openapi 0.4.6:

    Utils.get_authorization(request, "ACS3-HMAC-SHA256", headers["x-acs-content-sha256"], "example-id",
    "example-secret"), where request has the method POST, the pathname, no query, and these headers.
    """
    headers = {
        "content-type": "application/octet-stream",
        "host": "1234567890123456.us-west-1.fc.aliyuncs.com",
        "x-acs-accesskey-id": "example-id",
        "x-acs-action": "InvokeFunction",
        "x-acs-content-sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",  # of {}
        "x-acs-date": "2026-11-22T08:00:00Z",
        "x-acs-security-token": "example-token",
        "x-acs-signature-nonce": "d410180a5abf7fe235dd9b74aca91fc0",
        "x-acs-version": "2023-03-30",
        "x-fc-async-task-id": "m0123abc",
        "x-fc-invocation-type": "Async",
    }
    path = f"/2023-03-30/functions/{REPLY}/invocations"
    assert conversation.module.authorization(path, headers, "example-id", "example-secret") == (
        "ACS3-HMAC-SHA256 Credential=example-id,SignedHeaders=content-type;host;x-acs-accesskey-id;x-acs-action;"
        "x-acs-content-sha256;x-acs-date;x-acs-security-token;x-acs-signature-nonce;x-acs-version;x-fc-async-task-id;"
        "x-fc-invocation-type,Signature=1f94feb1be32c21108b583be9b006bf599f853ee6d43eae84940e882a8957a04"
    )


def invoke_with_the_sdk(cloud: LocalCloud, event: bytes, task_id: str) -> Received:
    """The request by which the official SDK does what our function does; the stand-in accepts it."""
    from alibabacloud_fc20230330.client import Client  # here, because it takes a second
    from alibabacloud_fc20230330.models import InvokeFunctionHeaders, InvokeFunctionRequest
    from alibabacloud_tea_openapi.utils_models import Config
    from darabonba.runtime import RuntimeOptions

    client = Client(
        Config(
            access_key_id="STS.example-id",
            access_key_secret="example-secret",
            security_token="example-token",
            endpoint=cloud.function_compute.url.removeprefix("http://"),
            protocol="http",
            region_id="us-west-1",
        )
    )
    headers = InvokeFunctionHeaders(x_fc_async_task_id=task_id, x_fc_invocation_type="Async")
    answer = client.invoke_function_with_options(REPLY, InvokeFunctionRequest(body=event), headers, RuntimeOptions())
    assert answer.status_code == 202
    return cloud.function_compute.received[-1]


def signed_part(request: Received) -> dict[str, str]:
    """The headers that the request's signature covers."""
    names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    return {name: request.headers[name] for name in names.split(";")}


def test_the_signature_is_that_of_the_official_sdk(conversation: Conversation3, cloud: LocalCloud) -> None:
    """For a request of the SDK ours is the same; and for a request of ours the SDK's is."""
    from alibabacloud_tea_openapi.utils import Utils

    request = invoke_with_the_sdk(cloud, message_of(cloud), "m1")
    ours = conversation.module.authorization(request.path, signed_part(request), "STS.example-id", "example-secret")
    assert ours == request.headers["authorization"]

    assert conversation.post().status == 200
    request = cloud.function_compute.received[-1]
    same = SimpleNamespace(method="POST", pathname=request.path, query={}, headers=signed_part(request))
    hashed = request.headers["x-acs-content-sha256"]
    theirs = Utils.get_authorization(same, "ACS3-HMAC-SHA256", hashed, "STS.example-id", "example-secret")
    assert theirs == request.headers["authorization"]


def test_the_request_is_that_of_the_official_sdk(conversation: Conversation3, cloud: LocalCloud) -> None:
    """The same address, body and headers, but for what says who made it."""
    conversation.post(body=message_of(cloud))
    (ours,) = cloud.function_compute.received
    theirs = invoke_with_the_sdk(cloud, ours.body, "m1")
    assert (ours.method, ours.path, ours.query_string) == (theirs.method, theirs.path, theirs.query_string)
    assert ours.body == theirs.body
    own = {"authorization", "x-acs-date", "x-acs-signature-nonce", "x-fc-async-task-id"}  # of each request
    about_the_client = {"accept", "accept-encoding", "connection", "user-agent", "x-acs-credentials-provider"}
    compared = [
        {name.lower(): value for name, value in request.headers if name.lower() not in own | about_the_client}
        for request in (ours, theirs)
    ]
    assert compared[0] == compared[1]


def test_every_invocation_has_a_nonce_and_a_time_of_its_own(conversation: Conversation3, cloud: LocalCloud) -> None:
    """Function Compute takes a repeated nonce for an attack."""
    for _ in range(3):
        assert json.loads(conversation.post().body) == EMPTY
    requests = cloud.function_compute.received
    assert len({request.headers["x-acs-signature-nonce"] for request in requests}) == 3
    signed_at = calendar.timegm(time.strptime(requests[-1].headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(time.time() - signed_at) < 60


@pytest.mark.parametrize("endpoint", ["http://localhost:{}", "http://LOCALHOST:{}"])
def test_the_host_that_is_signed_is_the_one_that_is_sent(
    conversation: Conversation3, cloud: LocalCloud, endpoint: str
) -> None:
    """However ENDPOINT writes it."""
    conversation.environment["ENDPOINT"] = endpoint.format(cloud.function_compute.url.rpartition(":")[2])
    assert json.loads(conversation.post().body) == EMPTY


# -- the request ---------------------------------------------------------------------------------------------------


def test_neither_proxies_nor_netrc_are_used(conversation: Conversation3, cloud: LocalCloud, tmp_path: Path) -> None:
    """The environment of a function may have them for another purpose; .netrc would replace our signature."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    conversation.environment.update(
        HOME=str(tmp_path),
        NETRC=str(tmp_path / ".netrc"),
        HTTP_PROXY="http://127.0.0.1:1",
        ALL_PROXY="http://127.0.0.1:1",
    )
    assert json.loads(conversation.post().body) == EMPTY


def test_a_redirect_is_not_followed(conversation: Conversation3, cloud: LocalCloud) -> None:
    """The signed request and the token go to no other address."""
    elsewhere = (("Location", f"{cloud.openai_api.url}/elsewhere"), ("X-Fc-Request-Id", "x"))
    cloud.function_compute.plan(Fault(status=307, headers=elsewhere))
    assert "ENDPOINT" in conversation.post().chat_text
    assert not cloud.openai_api.received


@pytest.mark.parametrize(
    ("status", "headers", "accepted"),
    [
        (202, {"X-Fc-Request-Id": "1-example"}, True),
        (202, {"x-acs-request-id": "1-example"}, True),
        (202, {}, True),  # that it has a request id is not documented for 3.0
        (200, {"X-Fc-Request-Id": "1-example"}, False),
        (204, {"X-Fc-Request-Id": "1-example"}, False),
    ],
)
def test_only_a_202_of_function_compute_means_accepted(
    conversation: Conversation3, cloud: LocalCloud, status: int, headers: dict[str, str], accepted: bool
) -> None:
    """A web server that is content with everything took no message, nor did an invocation that was synchronous."""
    cloud.function_compute.plan(Fault(status=status, headers=tuple(headers.items())))
    answer = conversation.post()
    assert (json.loads(answer.body) == EMPTY) is accepted
    assert accepted or "ENDPOINT" in answer.chat_text


def test_an_answer_without_end_is_not_read(conversation: Conversation3, cloud: LocalCloud) -> None:
    """Function Compute's own has some hundred bytes."""
    cloud.function_compute.plan(Fault(status=500, body=b" " * (conversation.module.MAX_ANSWER_BYTES + 1)))
    assert "ENDPOINT" in conversation.post().chat_text


# -- the role's credentials ------------------------------------------------------------------------------------------


def test_python3_12_has_the_credentials_in_the_environment(conversation: Conversation3, cloud: LocalCloud) -> None:
    """Its context has neither credentials nor a service."""
    conversation.context = role_context(runtime="python3.12")
    assert not hasattr(conversation.context, "credentials") and not hasattr(conversation.context, "service")
    assert "函数没有角色" in conversation.post().chat_text
    conversation.environment.update(KEYS)
    assert json.loads(conversation.post().body) == EMPTY
    assert cloud.function_compute.received[0].headers["x-acs-security-token"] == "example-token"


def test_the_credentials_of_the_context_come_first(conversation: Conversation3) -> None:
    """Those of each request are the fresher ones."""
    conversation.environment.update(dict.fromkeys(KEYS, "old"))
    assert json.loads(conversation.post().body) == EMPTY


@pytest.mark.parametrize("missing", list(KEYS)[:2])
def test_half_a_key_in_the_environment_is_none(conversation: Conversation3, missing: str) -> None:
    """What is left of it is not tried."""
    conversation.context = role_context(runtime="python3.12")
    conversation.environment.update({**KEYS, missing: ""})
    assert "函数没有角色" in conversation.post().chat_text


# -- the packages --------------------------------------------------------------------------------------------------


def test_aliyun_fc2_is_not_needed(cloud: LocalCloud, tmp_path: Path) -> None:
    """python3.12 does not have it: pasted alone, the file hands a message over with nothing but requests."""
    shutil.copy(ROOT / f"{CONVERSATION}.py", tmp_path)
    event = http_event(message_of(cloud), "POST", signed_headers(cloud))
    code = f"""
        import sys, types
        sys.modules["fc2"] = None  # so that its import fails
        sys.path.insert(0, {str(tmp_path)!r})
        import {CONVERSATION} as function
        print(function.handler({event!r}, types.SimpleNamespace(request_id="r"))["body"])
        print(sorted({{"fc2", "oss2", "openai", "requests"}} & {{name for name in sys.modules if sys.modules[name]}}))
    """
    environment = {**KEYS, **cloud.environment(CONVERSATION)}
    run = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    answer, imported = run.stdout.splitlines()
    assert json.loads(answer) == EMPTY
    assert imported == "['requests']"
