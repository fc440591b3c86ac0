"""Dingtalk_Conversation hands a message over on Function Compute 3.0: its signature, its request, its credentials."""

from __future__ import annotations

import calendar
import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.connections import MAX_ANSWER_BYTES
from tests.conversation import EMPTY, FC_REQUEST, chat_shows
from tests.helpers import Conversation, as_new, http_event, role_context
from tests.stand_ins.dingtalk import signature
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud
from tests.stand_ins.runtimes import GENERATIONS
from tests.stand_ins.server import Fault, Received

KEYS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.example-id",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "example-secret",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "example-token",
}

pytestmark = [
    pytest.mark.usefixtures("no_secret_in_log"),
    # In this module every test runs on 3.0.
    pytest.mark.parametrize("cloud_of_each_generation", GENERATIONS[1:], ids=["3.0"], indirect=True),
]


@pytest.fixture
def cloud(cloud_of_each_generation: LocalCloud) -> Iterator[LocalCloud]:
    """With nothing in it from another test."""
    yield from as_new(cloud_of_each_generation)


def signed_headers(cloud: LocalCloud) -> dict[str, str]:
    """As DingTalk sends them."""
    timestamp = str(int(time.time() * 1000))
    return {"timestamp": timestamp, "sign": signature(timestamp, cloud.dingtalk.app_secret)}


def message_of(cloud: LocalCloud) -> bytes:
    return json.dumps(cloud.dingtalk.message()).encode()


# --- the signature ---


def test_signature_is_known_one(conversation: Conversation) -> None:
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


def test_signature_is_that_of_official_sdk(conversation: Conversation, cloud: LocalCloud) -> None:
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


def test_request_is_that_of_official_sdk(conversation: Conversation, cloud: LocalCloud) -> None:
    """The same address, body and headers, but for what says who made it."""
    conversation.post(body=message_of(cloud))
    (ours,) = cloud.function_compute.received
    theirs = invoke_with_the_sdk(cloud, ours.body, "m1")
    assert (ours.method, ours.path, ours.query_string) == (theirs.method, theirs.path, theirs.query_string)
    assert ours.body == theirs.body
    own = {"authorization", "x-acs-date", "x-acs-signature-nonce", "x-fc-async-task-id"}  # of each request
    about_the_client = {"accept", "accept-encoding", "connection", "user-agent", "x-acs-credentials-provider"}
    compared = [
        {name.lower(): value for name, value in request.headers.items() if name.lower() not in own | about_the_client}
        for request in (ours, theirs)
    ]
    assert compared[0] == compared[1]


def test_every_invocation_has_own_nonce_and_time(conversation: Conversation, cloud: LocalCloud) -> None:
    """Function Compute takes a repeated nonce for an attack."""
    for _ in range(3):
        assert json.loads(conversation.post().body) == EMPTY
    requests = cloud.function_compute.received
    assert len({request.headers["x-acs-signature-nonce"] for request in requests}) == 3
    signed_at = calendar.timegm(time.strptime(requests[-1].headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(time.time() - signed_at) < 60


@pytest.mark.parametrize("endpoint", ["http://localhost:{}", "http://LOCALHOST:{}"])
def test_signed_host_is_host_that_is_sent(conversation: Conversation, cloud: LocalCloud, endpoint: str) -> None:
    """However ENDPOINT writes it."""
    conversation.environment["ENDPOINT"] = endpoint.format(cloud.function_compute.url.rpartition(":")[2])
    assert json.loads(conversation.post().body) == EMPTY


# --- the request ---


def test_proxies_and_netrc_are_not_used(conversation: Conversation, cloud: LocalCloud, tmp_path: Path) -> None:
    """The environment of a function may have them for another purpose; .netrc would replace our signature."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    conversation.environment.update(
        HOME=str(tmp_path),
        NETRC=str(tmp_path / ".netrc"),
        HTTP_PROXY="http://127.0.0.1:1",
        ALL_PROXY="http://127.0.0.1:1",
    )
    assert json.loads(conversation.post().body) == EMPTY


def test_redirect_is_not_followed(conversation: Conversation, cloud: LocalCloud) -> None:
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
        (202, {}, True),  # the documents of 3.0 do not say whether it has a request id
        (200, {"X-Fc-Request-Id": "1-example"}, False),
        (204, {"X-Fc-Request-Id": "1-example"}, False),
    ],
)
def test_only_202_means_accepted(
    conversation: Conversation, cloud: LocalCloud, status: int, headers: dict[str, str], accepted: bool
) -> None:
    """Neither a web server that is content with everything nor a synchronous invocation took the message."""
    cloud.function_compute.plan(Fault(status=status, headers=tuple(headers.items())))
    answer = conversation.post()
    assert (json.loads(answer.body) == EMPTY) is accepted
    assert accepted or "ENDPOINT" in answer.chat_text


@pytest.mark.parametrize(
    ("code", "shown"), [("EntityTooLarge", "EntityTooLarge"), (None, "HTTP 400"), ("", "HTTP 400")]
)
def test_code_is_read_under_its_name(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, code: str | None, shown: str
) -> None:
    """3.0 calls the fields of an error Code, Message and RequestId."""
    body = json.dumps({"Code": code, "Message": "do-not-show", "RequestId": "another"})
    cloud.function_compute.plan(Fault(status=400, body=body, headers=(("X-Fc-Request-Id", FC_REQUEST),)))
    assert f"code {shown}, status 400, its request {FC_REQUEST}" in chat_shows(conversation.post(), caplog, shown)


def test_answer_without_end_is_not_read(conversation: Conversation, cloud: LocalCloud) -> None:
    """One of Function Compute has some hundred bytes."""
    said = json.dumps({"Code": "AccessDenied", "Message": "x" * MAX_ANSWER_BYTES})
    cloud.function_compute.plan(Fault(status=403, body=said))
    assert "ENDPOINT" in conversation.post().chat_text


# --- the role's credentials ---


def test_credentials_of_python3_12_are_read_from_environment(conversation: Conversation, cloud: LocalCloud) -> None:
    """Its context has neither credentials nor a service."""
    conversation.context = role_context(runtime="python3.12")
    assert not hasattr(conversation.context, "credentials") and not hasattr(conversation.context, "service")
    assert "函数没有角色" in conversation.post().chat_text
    conversation.environment.update(KEYS)
    assert json.loads(conversation.post().body) == EMPTY
    assert cloud.function_compute.received[0].headers["x-acs-security-token"] == "example-token"


def test_credentials_of_context_come_first(conversation: Conversation) -> None:
    """Every request brings new ones."""
    conversation.environment.update(dict.fromkeys(KEYS, "old"))
    assert json.loads(conversation.post().body) == EMPTY


@pytest.mark.parametrize("missing", list(KEYS)[:2])
def test_half_key_in_environment_counts_as_missing_role(conversation: Conversation, missing: str) -> None:
    """The other half is not tried."""
    conversation.context = role_context(runtime="python3.12")
    conversation.environment.update({**KEYS, missing: ""})
    assert "函数没有角色" in conversation.post().chat_text


# --- the packages ---


def test_message_is_handed_over_without_aliyun_fc2(cloud: LocalCloud, tmp_path: Path) -> None:
    """python3.12 does not have it: the function hands a message over with nothing but requests."""
    shutil.copy(ROOT / f"{CONVERSATION}.py", tmp_path)
    shutil.copytree(ROOT / "bot", tmp_path / "bot")
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
