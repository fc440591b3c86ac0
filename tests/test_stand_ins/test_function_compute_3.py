"""What the local Function Compute has of 3.0, against the official SDK's signature and requests."""

from __future__ import annotations

import base64
import calendar
import functools
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from email import message_from_string
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fc2
import pytest
import requests

from tests.helpers import deploy_source
from tests.stand_ins import generation_3
from tests.stand_ins.function_compute import Credentials, Function, FunctionCompute, error_fault, is_invoke, is_trigger
from tests.stand_ins.instance import make_context
from tests.stand_ins.server import Received

ROLE = Credentials("STS.example-id", "example-secret", "example-token")
USER = Credentials("LTAI-user", "user-secret")
INVOKE = "/2023-03-30/functions/echo/invocations"
ECHO = "def handler(event, context): return event"
PARTS_OF_THE_CONTEXT = """
    import json, os
    def handler(event, context):
        def plain(value):
            return {k: plain(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value
        names = [name for name in os.environ if name.startswith(("FC_", "ALIBABA_"))]
        context.__dict__.pop("getLogger", None)
        return [plain(context), sorted(names)]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionCompute]:
    """One stand-in for all tests: `echo`, `http` which echoes and has an HTTP trigger, and `old`, which is of 2.0."""
    file = tmp_path_factory.mktemp("functions") / "echo.py"
    file.write_text(ECHO)
    with FunctionCompute(users=[USER], retry_seconds=0.02) as running:
        running.deploy("echo", Function(file, generation=3))
        running.deploy("http", Function(file, generation=3, http=True))
        running.deploy("old", Function(file))
        yield running


@pytest.fixture
def fc(service: FunctionCompute) -> FunctionCompute:
    """The stand-in as new; only the warm instances stay."""
    service.reset()
    return service


Deploy = Callable[..., None]


@pytest.fixture
def deploy(fc: FunctionCompute, tmp_path: Path) -> Deploy:
    """deploy(source, **settings) makes the function `f`, with an HTTP trigger."""

    return functools.partial(deploy_source, fc, tmp_path, generation=3, http=True)


# -- the invoke API ---------------------------------------------------------------------------------------------------


def invoke(
    fc: FunctionCompute,
    *,
    key: Credentials = ROLE,
    path: str = INVOKE,
    signed_path: str | None = None,
    query: dict[str, str] | None = None,
    age: float = 0,
    headers: dict[str, str | None] | None = None,  # None: leave it out
    unsigned: tuple[str, ...] = (),
    spoil: dict[str, str | None] | None = None,  # after signing
    body: bytes = b"{}",
    sent_body: bytes | None = None,
) -> requests.Response:
    """An asynchronous invocation, valid unless something is spoiled, signed by the SDK's own code."""
    from alibabacloud_tea_openapi.utils import Utils  # here, because it takes a second

    hashed = hashlib.sha256(body).hexdigest()
    given: dict[str, str | None] = {
        "content-type": "application/octet-stream",
        "host": fc.url.removeprefix("http://"),
        "x-acs-action": "InvokeFunction",
        "x-acs-content-sha256": hashed,
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age)),
        "x-acs-security-token": key.security_token or None,
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-version": "2023-03-30",
        "x-fc-invocation-type": "Async",
        **(headers or {}),
    }
    signed = {name: value for name, value in given.items() if value is not None and name not in unsigned}
    request = SimpleNamespace(method="POST", pathname=signed_path or path, query=query or {}, headers=signed)
    authorization = Utils.get_authorization(
        request, "ACS3-HMAC-SHA256", hashed, key.access_key_id, key.access_key_secret
    )
    final = {**given, "authorization": authorization, **(spoil or {})}
    return requests.post(
        fc.url + path,
        body if sent_body is None else sent_body,
        params=query,
        headers={name: value for name, value in final.items() if value is not None},
        timeout=60,
    )


def test_known_request_has_the_known_signature() -> None:
    """One literal signature, made by alibabacloud_tea_openapi 0.4.6 as test_handing_over_3.py tells."""
    headers = message_from_string(
        """\
Content-Type: application/octet-stream
Host: 1234567890123456.us-west-1.fc.aliyuncs.com
X-Acs-Accesskey-Id: example-id
X-Acs-Action: InvokeFunction
X-Acs-Content-Sha256: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
X-Acs-Date: 2026-11-22T08:00:00Z
X-Acs-Security-Token: example-token
X-Acs-Signature-Nonce: d410180a5abf7fe235dd9b74aca91fc0
X-Acs-Version: 2023-03-30
X-Fc-Async-Task-Id: m0123abc
X-Fc-Invocation-Type: Async
User-Agent: is not signed
"""
    )
    path = "/2023-03-30/functions/Dingtalk_ChatGPT_Reply/invocations"
    request = Received("POST", path, "", headers, b"{}", connection="", at=0)
    signed = sorted({name.lower() for name in headers} - {"user-agent"})
    assert generation_3.unsigned(request, signed) == []
    assert generation_3.signature(request, signed, "example-secret") == (
        "1f94feb1be32c21108b583be9b006bf599f853ee6d43eae84940e882a8957a04"
    )


@pytest.mark.parametrize("key", [ROLE, USER])
@pytest.mark.parametrize("age", [0, 895, -895])
def test_valid_invocation_is_accepted(fc: FunctionCompute, key: Credentials, age: float) -> None:
    """Role and registered user may call; the date may be nearly 15 minutes off."""
    response = invoke(fc, key=key, age=age)
    assert (response.status_code, response.content) == (202, b"")
    assert response.headers["X-Fc-Request-Id"] == fc.invocations[0].request_id
    fc.wait_idle(5)
    assert [run.result for run in fc.invocations[0].runs] == [b"{}"]


NAMES = ("content-type", "host", "x-acs-action", "x-acs-date", "x-acs-security-token", "x-acs-version")


@pytest.mark.parametrize(
    ("spoiled", "status", "code"),
    [
        ({"spoil": {"authorization": None}}, 400, "MissingRequiredHeader"),
        *(
            ({"headers": {name: None}}, 400, "MissingRequiredHeader")
            for name in generation_3.SIGNED
            if name != "host"  # which the client adds by itself
        ),
        ({"headers": {"x-acs-date": "now"}}, 400, "InvalidArgument"),
        ({"spoil": {"authorization": "FC STS.example-id:x"}}, 403, "InvalidAccessKeyID"),
        ({"spoil": {"authorization": "ACS3-HMAC-SHA256 nothing"}}, 403, "InvalidAccessKeyID"),
        ({"key": Credentials("STS.other", "example-secret", "example-token")}, 403, "InvalidAccessKeyID"),
        ({"key": Credentials("STS.example-id", "other", "example-token")}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(0))}}, 403, "SignatureNotMatch"),
        ({"spoil": {"content-type": "text/plain"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"host": "elsewhere"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-fc-invocation-type": "Sync"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-acs-security-token": "other"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-acs-added": "1"}}, 403, "SignatureNotMatch"),
        ({"sent_body": b"{ }"}, 403, "SignatureNotMatch"),
        ({"headers": {"x-acs-content-sha256": "0" * 64}}, 403, "SignatureNotMatch"),
        ({"signed_path": INVOKE.replace("echo", "other")}, 403, "SignatureNotMatch"),
        *(({"unsigned": (name,)}, 403, "SignatureNotMatch") for name in NAMES),
        ({"key": Credentials("STS.example-id", "example-secret", "other-token")}, 403, "InvalidSecurityToken"),
        ({"key": Credentials("STS.example-id", "example-secret")}, 403, "InvalidSecurityToken"),
        ({"headers": {"x-acs-action": "CreateFunction"}}, 400, "InvalidArgument"),
        ({"headers": {"x-acs-version": "2021-04-06"}}, 400, "InvalidArgument"),
        ({"age": 905}, 400, "InvalidTimeStamp.Expired"),
        ({"age": -905}, 400, "InvalidTimeStamp.Expired"),
        ({"path": INVOKE.replace("echo", "other")}, 404, "FunctionNotFound"),
        ({"path": INVOKE.replace("echo", "old")}, 404, "FunctionNotFound"),
        ({"path": INVOKE.replace("echo", "ChatGTP_Services%24echo")}, 404, "FunctionNotFound"),
        ({"path": INVOKE.replace("echo", "Other%24old")}, 404, "ServiceNotFound"),
        ({"path": INVOKE.replace("invocations", "invoke")}, 400, "PathNotSupported"),
        ({"query": {"qualifier": "7"}}, 404, "VersionNotFound"),
        ({"headers": {"x-fc-invocation-type": "Later"}}, 400, "InvalidArgument"),
        ({"headers": {"x-fc-async-task-id": "1digit-first"}}, 400, "InvalidArgument"),
        ({"headers": {"x-fc-async-task-id": "m" * 129}}, 400, "InvalidArgument"),
        ({"body": b"x" * (128 * 1024 + 1)}, 400, "EntityTooLarge"),
    ],
)
def test_one_spoiled_thing_is_refused(fc: FunctionCompute, spoiled: dict[str, Any], status: int, code: str) -> None:
    """Each check stands on its own, answers in the form of 3.0, and nothing is queued."""
    response = invoke(fc, **spoiled)
    assert (response.status_code, response.json()["Code"]) == (status, code)
    assert response.json().keys() == {"Code", "Message", "RequestId"}
    assert response.json()["RequestId"] == response.headers["X-Fc-Request-Id"]
    assert fc.invocations == []


@pytest.mark.parametrize(
    "valid",
    [
        {"body": b"x" * (128 * 1024)},
        {"body": b""},
        {"headers": {"x-fc-async-task-id": "m" * 128}},
        {"headers": {"x-fc-unknown": "1"}, "unsigned": ("x-fc-unknown",)},
        {"query": {"qualifier": "LATEST"}},
    ],
)
def test_limit_itself_is_accepted(fc: FunctionCompute, valid: dict[str, Any]) -> None:
    """The refusals begin just beyond."""
    assert invoke(fc, **valid).status_code == 202


def test_nonce_is_taken_once(fc: FunctionCompute) -> None:
    """A request that somebody has seen and sends again is refused."""
    headers: dict[str, str | None] = {"x-acs-signature-nonce": uuid.uuid4().hex}
    assert invoke(fc, headers=headers).status_code == 202
    assert invoke(fc, headers=headers).json()["Code"] == "SignatureNonceUsed"


def test_repeated_task_id_is_refused(fc: FunctionCompute) -> None:
    """Task mode: the same id is taken once."""
    headers: dict[str, str | None] = {"x-fc-async-task-id": "m1"}
    assert [invoke(fc, headers=headers).status_code for _ in range(2)] == [202, 409]
    assert invoke(fc, headers={"x-fc-async-task-id": "m2"}).status_code == 202
    assert [invocation.task_id for invocation in fc.invocations] == ["m1", "m2"]


def test_denied_and_throttled_calls_are_refused_in_the_form_of_3(fc: FunctionCompute) -> None:
    """The switches work for both generations."""
    fc.denied_actions.add("fc:InvokeFunction")
    assert (invoke(fc).status_code, invoke(fc).json()["Code"]) == (403, "AccessDenied")
    fc.denied_actions.clear()
    fc.throttle()
    response = invoke(fc)
    assert (response.status_code, response.json()["Code"]) == (429, "ResourceExhausted")
    fc.plan(error_fault(503, "ResourceThrottled", times=2))
    assert [invoke(fc).json()["Code"] for _ in range(2)] == ["ResourceThrottled"] * 2
    assert invoke(fc).status_code == 202


def test_synchronous_invocation_returns_the_result(fc: FunctionCompute, deploy: Deploy) -> None:
    """Also of a function with an HTTP trigger: 3.0 has one kind of functions; and a failure is told."""
    sync: dict[str, str | None] = {"x-fc-invocation-type": "Sync"}
    assert invoke(fc, headers=sync, body=b"\x00\xff").content == b"\x00\xff"
    assert invoke(fc, headers=sync, path=INVOKE.replace("echo", "http")).content == b"{}"
    deploy("def handler(event, context): raise ValueError('no')")
    response = invoke(fc, headers=sync, path=INVOKE.replace("echo", "f"))
    assert (response.status_code, response.headers["X-Fc-Error-Type"]) == (200, "UnhandledInvocationError")
    assert response.json()["errorType"] == "ValueError"


@pytest.mark.parametrize("dollar", ["$", "%24"])
def test_function_of_2_is_reached_as_service_dollar_function(fc: FunctionCompute, dollar: str) -> None:
    """The API of 3.0 knows the functions of both generations."""
    path = INVOKE.replace("echo", f"ChatGTP_Services{dollar}old")
    response = invoke(fc, path=path, headers={"x-fc-invocation-type": "Sync"}, body=b"1")
    assert (response.status_code, response.content) == (200, b"1")


@pytest.mark.parametrize(("size", "accepted"), [(32 * 1024 * 1024 + 1, False), (1024 * 1024, True)])
def test_synchronous_invocation_takes_32_mb(fc: FunctionCompute, size: int, accepted: bool) -> None:
    """More than an asynchronous one; what is over the limit is refused before anything runs."""
    response = invoke(fc, headers={"x-fc-invocation-type": "Sync"}, body=b"x" * size)
    assert (response.status_code, len(response.content) == size) == ((200, True) if accepted else (400, False))
    assert accepted or response.json()["Code"] == "EntityTooLarge"


@pytest.mark.full
def test_synchronous_invocation_of_32_mb_is_carried_out(fc: FunctionCompute) -> None:
    """The limit itself."""
    size = 32 * 1024 * 1024
    assert len(invoke(fc, headers={"x-fc-invocation-type": "Sync"}, body=b"x" * size).content) == size


def test_body_in_chunks_reaches_the_function(fc: FunctionCompute) -> None:
    """A client that does not know the length beforehand."""
    response = requests.post(fc.trigger_url("http"), iter([b"1", b"22"]), timeout=10)
    assert response.json()["body"] == "122"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("timestamp", "Timestamp"),
        ("CONTENT-type", "Content-Type"),
        ("x-a1b_c", "X-A1b_c"),
        ("x--y", "X--Y"),
        ("no token", "no token"),
    ],
)
def test_name_of_a_header_is_written_as_go_writes_it(sent: str, seen: str) -> None:
    """Only a hyphen begins a new word, and what is no name is left alone."""
    assert generation_3.canonical(sent) == seen


def test_aliyun_fc2_does_not_reach_a_function_of_3(fc: FunctionCompute) -> None:
    """Each API has its own functions."""
    client = fc2.Client(
        endpoint=fc.url, accessKeyID=ROLE.access_key_id, accessKeySecret="example-secret", securityToken="example-token"
    )
    assert client.invoke_function(fc.service, "old", payload=b"1").data == b"1"
    with pytest.raises(fc2.FcError, match="FunctionNotFound"):
        client.invoke_function(fc.service, "echo", payload=b"1")


def test_test_button_returns_the_result(fc: FunctionCompute, deploy: Deploy) -> None:
    """Without the API, for functions of both generations; a failure raises."""
    assert [fc.test(name, b"1") for name in ("echo", "http", "old")] == [b"1"] * 3
    deploy("def handler(event, context): raise ValueError('no')")
    with pytest.raises(RuntimeError, match="ValueError"):
        fc.test("f", b"1")


# -- HTTP triggers --------------------------------------------------------------------------------------------------


def test_http_request_becomes_an_event(fc: FunctionCompute) -> None:
    """As documented; every part of the request arrives."""
    response = requests.post(
        fc.trigger_url("http") + "a%20b?q=1&q=%20&x=",
        "你好".encode(),
        headers={"timestamp": "123", "sign": "a+b=", "content-type": "text/x", "user-agent": "me"},
        timeout=10,
    )
    event = json.loads(response.content)
    context = event.pop("requestContext")
    assert {name: event["headers"].pop(name) for name in ("Timestamp", "Sign", "Content-Type")} == {
        "Timestamp": "123",
        "Sign": "a+b=",
        "Content-Type": "text/x",
    }
    del event["headers"]
    assert event == {
        "version": "v1",
        "rawPath": "/a%20b",
        "queryParameters": {"q": " ", "x": ""},
        "body": "你好",
        "isBase64Encoded": False,
    }
    assert context["http"] == {
        "method": "POST",
        "path": "/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "me",
    }
    assert (context["accountId"], context["requestId"]) == ("1234567890123456", response.headers["X-Fc-Request-Id"])
    made_at = calendar.timegm(time.strptime(context["time"], "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(made_at - time.time()) < 60 and abs(int(context["timeEpoch"]) / 1000 - time.time()) < 60
    assert context["domainName"].startswith(context["domainPrefix"])


def test_headers_that_come_twice_are_joined(fc: FunctionCompute) -> None:
    """By a comma, as documented."""
    headers = message_from_string("sign: a\nSign: b\n")
    received = Received("GET", "/", "", headers, b"", connection="127.0.0.1:1", at=0)
    event = json.loads(generation_3.http_event(received, "/", "f", "1", "r"))
    assert event["headers"] == {"Sign": "a,b"}


def test_binary_body_comes_as_base64(fc: FunctionCompute) -> None:
    """What is no text cannot be in JSON."""
    event = requests.post(fc.trigger_url("http"), b"\x00\xff", timeout=10).json()
    assert (event["isBase64Encoded"], base64.b64decode(event["body"])) == (True, b"\x00\xff")


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        ({"statusCode": 201, "headers": {"Content-Type": "text/x"}, "body": "好"}, 201, "text/x", "好".encode()),
        ({"statusCode": "404"}, 404, "application/json", b""),
        ({"statusCode": 200, "isBase64Encoded": True, "body": "AP8="}, 200, "application/json", b"\x00\xff"),
        ({"a": 1}, 200, "application/json", b'{"a": 1}'),
        ("text", 200, "application/json", b"text"),
        ([1], 200, "application/json", b"[1]"),
    ],
)
def test_result_becomes_the_http_response(
    fc: FunctionCompute, deploy: Deploy, result: object, status: int, content_type: str, body: bytes
) -> None:
    """With a statusCode it tells all parts of the response; without one it is the body."""
    deploy(f"def handler(event, context): return {result!r}")
    response = requests.get(fc.trigger_url("f"), timeout=10)
    assert (response.status_code, response.headers["Content-Type"], response.content) == (status, content_type, body)
    assert response.headers["Content-Disposition"] == "attachment"
    assert response.headers["X-Fc-Request-Id"] == fc.invocations[0].request_id


def test_failing_function_answers_502(fc: FunctionCompute, deploy: Deploy) -> None:
    """The caller sees type and trace."""
    deploy("def handler(event, context): raise RuntimeError('secret?')")
    response = requests.get(fc.trigger_url("f"), timeout=10)
    assert (response.status_code, response.json()["errorType"]) == (502, "RuntimeError")


def test_trigger_that_does_not_let_through_is_told(fc: FunctionCompute, deploy: Deploy) -> None:
    """No trigger, another generation's function, a method that it lacks: FC refuses by itself."""
    deploy(ECHO, methods=frozenset({"GET"}))
    refused = {
        "echo": (404, "TriggerNotFound"),
        "old": (404, "FunctionNotFound"),
        "nothing": (404, "FunctionNotFound"),
        "f": (403, "AccessDenied"),
    }
    for name, answer in refused.items():
        response = requests.post(f"{fc.url}/{name}.fcapp.run/", timeout=10)
        assert (response.status_code, response.json()["Code"]) == answer
        assert response.headers["X-Fc-Error-Type"] == "FcCommonError"
    assert not fc.invocations


def test_requests_of_both_generations_are_told_apart_from_others(fc: FunctionCompute) -> None:
    """For faults: what invokes, and what comes through a trigger."""
    invoke(fc)
    requests.get(fc.trigger_url("http"), timeout=10)
    requests.get(fc.trigger_url("old"), timeout=10)
    requests.get(fc.url + "/elsewhere", timeout=10)
    assert [(is_invoke(request), is_trigger(request)) for request in fc.received] == [
        (True, False),
        (False, True),
        (False, True),
        (False, False),
    ]


# -- what the function finds ----------------------------------------------------------------------------------------


def context_of(fc: FunctionCompute) -> tuple[dict[str, Any], list[str]]:
    context, names = json.loads(fc.test("f", b""))
    assert context.pop("request_id") == fc.invocations[-1].request_id
    return context, names


VARIABLES = [
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "FC_ACCOUNT_ID",
    "FC_FUNCTION_NAME",
    "FC_INSTANCE_ID",
    "FC_REGION",
]


def test_context_of_python3_10_holds_the_credentials(fc: FunctionCompute, deploy: Deploy) -> None:
    """As on 2.0, but for the service, which has no name."""
    deploy(PARTS_OF_THE_CONTEXT)
    context, names = context_of(fc)
    assert context["credentials"]["security_token"] == "example-token"
    assert context["service"]["name"] == ""
    assert context.keys() == vars(make_context()).keys() - {"request_id"}
    assert names == VARIABLES


def test_context_of_python3_12_holds_no_credentials(fc: FunctionCompute, deploy: Deploy) -> None:
    """They are in the environment only; what was the service's is the function's or the context's."""
    deploy(PARTS_OF_THE_CONTEXT, runtime="python3.12", memory=128, timeout=7)
    context, names = context_of(fc)
    function = {"name": "f", "handler": "f.handler", "memory": 128, "timeout": 7}
    assert context == {
        "function": {**function, "qualifier": "LATEST", "version_id": ""},
        "region": "us-west-1",
        "account_id": "1234567890123456",
        "log_project": "",
        "log_store": "",
        "logger": None,
    }
    assert names == VARIABLES
    assert make_context(runtime="python3.12").getLogger().name == "root"


def test_runtime_that_a_generation_lacks_is_not_deployed(deploy: Deploy) -> None:
    """2.0 ends with python3.10."""
    with pytest.raises(ValueError, match=r"no runtime python3\.12"):
        deploy(ECHO, generation=2, runtime="python3.12")
    with pytest.raises(ValueError, match=r"no runtime python3\.9"):
        deploy(ECHO, runtime="python3.9")
