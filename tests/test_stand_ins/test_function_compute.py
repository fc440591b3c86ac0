"""The local Function Compute against the real aliyun-fc2 and requests, with small functions made for each test."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_string
from email.utils import formatdate
from pathlib import Path
from typing import Any

import fc2
import fc2.auth
import psutil
import pytest
import requests

from tests.helpers import deploy_source
from tests.stand_ins.function_compute import Credentials, Function, FunctionCompute, is_invoke, signature
from tests.stand_ins.instance import make_context
from tests.stand_ins.server import Fault

ROLE = Credentials("STS.example-id", "example-secret", "example-token")
USER = Credentials("LTAI-user", "user-secret")
WITH_ID = "x-fc-stateful-async-invocation-id"
ASYNC = {"x-fc-invocation-type": "Async"}
ECHO = """
    def handler(event, context):
        return event
"""
SLOW = """
    import os, pathlib, time
    def handler(event, context):
        pathlib.Path(os.environ["STARTED"]).touch()
        time.sleep(30)
"""
ONCE = """
    import os, pathlib
    def handler(event, context):
        mark = pathlib.Path(os.environ["MARK"])
        if not mark.exists():
            mark.touch()
            raise KeyError("first")
        return "second"
"""

SHOW = """
    from wsgiref.validate import validator
    @validator
    def handler(environ, start_response):
        kept = {key: str(value) for key, value in environ.items()}
        kept["body"] = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode("latin-1")
        kept["context"] = environ["fc.context"].request_id
        body = repr(kept).encode()
        start_response("201 Created", [("Content-Type", "text/plain"), ("X-Own", "1"), ("x-own", "2")])
        return [body]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionCompute]:
    """One stand-in for all tests, with two functions: `echo` and, with an HTTP trigger, `show`."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "echo.py").write_text(textwrap.dedent(ECHO))
    (folder / "show.py").write_text(textwrap.dedent(SHOW))
    with FunctionCompute(users=[USER], retry_seconds=0.02) as running:
        running.deploy("echo", Function(folder / "echo.py"))
        running.deploy("show", Function(folder / "show.py", http=True))
        yield running


@pytest.fixture
def fc(service: FunctionCompute, monkeypatch: pytest.MonkeyPatch) -> FunctionCompute:
    """The stand-in as new; only the warm instances of the shared functions stay."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service.reset()
    return service


Deploy = Callable[..., None]


@pytest.fixture
def deploy(fc: FunctionCompute, tmp_path: Path) -> Deploy:
    """deploy(source, **settings) makes the function `f`."""

    return functools.partial(deploy_source, fc, tmp_path)


def client(fc: FunctionCompute) -> Any:
    """The SDK as a function uses it."""
    return fc2.Client(
        endpoint=fc.url,
        accessKeyID=ROLE.access_key_id,
        accessKeySecret=ROLE.access_key_secret,
        securityToken=ROLE.security_token,
        Timeout=10,
    )


def call(fc: FunctionCompute, payload: bytes = b"", name: str = "f") -> bytes:
    """The result of a synchronous invocation."""
    data: bytes = client(fc).invoke_function(fc.service, name, payload=payload).data
    return data


def send(fc: FunctionCompute, payload: bytes = b"{}", name: str = "f", task_id: str | None = None) -> str:
    """The request id of an asynchronous invocation."""
    headers = {WITH_ID: task_id} if task_id else {}
    response = client(fc).invoke_function(fc.service, name, payload=payload, headers={**ASYNC, **headers})
    return str(response.headers["X-Fc-Request-Id"])


def wait_until(happened: Callable[[], object]) -> None:
    """Return as soon as it has happened."""
    end = time.monotonic() + 5
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    """There is no such process, or only its exit status is left."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# -- the invoke API: who may call, and what -----------------------------------------------------------------


def invoke(
    fc: FunctionCompute,
    *,
    key: Credentials = ROLE,
    path: str = "/2016-08-15/services/ChatGTP_Services/functions/echo/invocations",
    signed_path: str | None = None,
    age: float = 0,
    headers: dict[str, str] | None = None,
    spoil: dict[str, str | None] | None = None,  # after signing; None: leave it out
    body: bytes = b"{}",
) -> requests.Response:
    """An asynchronous invocation, valid unless something is spoiled, signed by the SDK's own code."""
    sent = {"date": formatdate(time.time() - age, usegmt=True), "content-type": "application/json", **ASYNC}
    if key.security_token:
        sent["x-fc-security-token"] = key.security_token
    sent.update(headers or {})
    signer = fc2.auth.Auth(key.access_key_id, key.access_key_secret)
    sent["authorization"] = signer.sign_request("POST", signed_path or path, sent)
    final = {**sent, **(spoil or {})}
    return requests.post(fc.url + path, body, headers={k: v for k, v in final.items() if v is not None}, timeout=10)


def test_known_request_has_the_known_signature() -> None:
    """A literal request and the signature that aliyun-fc2 2.5.2 makes for it."""
    headers = message_from_string(
        """\
Content-Type: application/json
Date: Sun, 22 Nov 2026 08:00:00 GMT
X-Fc-Stateful-Async-Invocation-Id: m0123abc
X-Fc-Security-Token: example-token
X-Fc-Invocation-Type: Async
User-Agent: is not signed
"""
    )
    path = "/2016-08-15/services/ChatGTP_Services/functions/Dingtalk_ChatGPT_Reply/invocations"
    assert signature("POST", path, headers, "example-secret") == "0yab2Mq+4+YAQ4gZK62gL9++cJ7qwMksp9xdDdRXk3s="


@pytest.mark.parametrize("key", [ROLE, USER])
@pytest.mark.parametrize("age", [0, 895, -895])
def test_valid_invocation_is_accepted(fc: FunctionCompute, key: Credentials, age: float) -> None:
    """Role and registered user may call; the date may be nearly 15 minutes off."""
    response = invoke(fc, key=key, age=age)
    assert (response.status_code, response.content) == (202, b"")
    assert response.headers["X-Fc-Request-Id"] == fc.invocations[0].request_id


HERE = "/2016-08-15/services/ChatGTP_Services/functions/echo/invocations"


@pytest.mark.parametrize(
    ("spoiled", "status", "code"),
    [
        ({"spoil": {"authorization": None}}, 403, "AccessDenied"),
        ({"spoil": {"date": None}}, 400, "MissingRequiredHeader"),
        ({"headers": {"date": "now"}}, 400, "InvalidArgument"),
        ({"spoil": {"authorization": "Bearer STS.example-id:x"}}, 403, "InvalidAccessKeyID"),
        ({"key": Credentials("STS.other", "example-secret", "example-token")}, 403, "InvalidAccessKeyID"),
        ({"key": Credentials("STS.example-id", "other", "example-token")}, 403, "SignatureNotMatch"),
        ({"spoil": {"authorization": "FC STS.example-id:AAAA"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"date": formatdate(time.time() - 60, usegmt=True)}}, 403, "SignatureNotMatch"),
        ({"spoil": {"content-type": "text/plain"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-fc-added": "1"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-fc-invocation-type": "Sync"}}, 403, "SignatureNotMatch"),
        ({"spoil": {"x-fc-security-token": "other"}}, 403, "SignatureNotMatch"),
        ({"signed_path": HERE.replace("echo", "other")}, 403, "SignatureNotMatch"),
        ({"key": Credentials("STS.example-id", "example-secret", "other-token")}, 403, "AccessDenied"),
        ({"key": Credentials("STS.example-id", "example-secret")}, 403, "AccessDenied"),
        ({"age": 905}, 403, "AccessDenied"),
        ({"age": -905}, 403, "AccessDenied"),
        ({"path": HERE.replace("ChatGTP", "ChatGPT")}, 404, "ServiceNotFound"),
        ({"path": HERE.replace("echo", "other")}, 404, "FunctionNotFound"),
        ({"path": HERE.replace("_Services", "_Services.7")}, 404, "VersionNotFound"),
        ({"path": "/" + HERE}, 400, "PathNotSupported"),
        ({"path": HERE.replace("invocations", "invoke")}, 400, "PathNotSupported"),
        ({"headers": {"x-fc-invocation-type": "Later"}}, 400, "InvalidArgument"),
        ({"headers": {WITH_ID: "1digit-first"}}, 400, "InvalidArgument"),
        ({"headers": {WITH_ID: "m" * 129}}, 400, "InvalidArgument"),
        ({"headers": {WITH_ID: "msg=="}}, 400, "InvalidArgument"),
        ({"headers": {"x-fc-async-delay": "3601"}}, 400, "InvalidArgument"),
        ({"headers": {"x-fc-async-delay": "soon"}}, 400, "InvalidArgument"),
        ({"body": b"x" * (128 * 1024 + 1)}, 400, "EntityTooLarge"),
    ],
)
def test_one_spoiled_thing_is_refused(fc: FunctionCompute, spoiled: dict[str, Any], status: int, code: str) -> None:
    """Each check stands on its own, answers FC's error, and nothing is queued."""
    response = invoke(fc, **spoiled)
    assert (response.status_code, response.json()["ErrorCode"]) == (status, code)
    assert response.json()["ErrorMessage"]
    assert response.headers["X-Fc-Request-Id"]
    assert fc.invocations == []


@pytest.mark.parametrize(
    "valid",
    [
        {"body": b"x" * (128 * 1024)},
        {"headers": {WITH_ID: "m" * 128}},
        {"headers": {WITH_ID: "_-9Az"}},
        {"path": HERE.replace("_Services", "_Services.LATEST")},
    ],
)
def test_limit_itself_is_accepted(fc: FunctionCompute, valid: dict[str, Any]) -> None:
    """The refusals begin just beyond."""
    assert invoke(fc, **valid).status_code == 202


def test_denied_action_is_refused_as_the_sdk_reports_it(fc: FunctionCompute) -> None:
    """A role without the permission gets an FcError with the code and the request id."""
    fc.denied_actions.add("fc:InvokeFunction")
    with pytest.raises(fc2.FcError) as error:
        send(fc, name="echo")
    assert (error.value.status_code, error.value.err_code) == (403, "AccessDenied")
    assert error.value.request_id != "unknown"
    fc.reset()
    send(fc, name="echo")


def test_throttled_calls_are_refused_and_the_next_accepted(fc: FunctionCompute) -> None:
    """429 as often as asked for."""
    fc.throttle(2)
    assert [invoke(fc).status_code for _ in range(3)] == [429, 429, 202]
    fc.plan(Fault(where=is_invoke, status=503, body='{"ErrorCode": "ResourceThrottled", "ErrorMessage": ""}'))
    with pytest.raises(fc2.FcError, match="ResourceThrottled"):
        send(fc, name="echo")


def test_repeated_stateful_id_is_refused(fc: FunctionCompute) -> None:
    """Task mode: the same id is taken once, even after it is done; another id and no id are taken."""
    send(fc, name="echo", task_id="m1")
    fc.wait_idle(5)
    with pytest.raises(fc2.FcError) as error:
        send(fc, name="echo", task_id="m1")
    assert error.value.status_code == 409
    send(fc, name="echo", task_id="m2")
    send(fc, name="echo")
    send(fc, name="echo")
    assert [invocation.task_id for invocation in fc.invocations] == ["m1", "m2", None, None]


def test_accepted_id_is_in_the_answer(fc: FunctionCompute, deploy: Deploy) -> None:
    """Documented for task mode; whoever sees no id knows that task mode is off."""
    header = "X-Fc-Stateful-Async-Invocation-Id"
    assert invoke(fc, headers={WITH_ID: "m1"}).headers[header] == "m1"
    assert header not in invoke(fc).headers
    deploy(ECHO, stateful=False)
    assert header not in invoke(fc, path=HERE.replace("echo", "f"), headers={WITH_ID: "m1"}).headers


def test_same_stateful_id_at_once_is_accepted_once(fc: FunctionCompute) -> None:
    """Of ten simultaneous deliveries one wins."""
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: invoke(fc, headers={WITH_ID: "same"}).status_code, range(10)))
    assert sorted(answers) == [202] + [409] * 9


def test_stateful_id_without_task_mode_is_ignored(fc: FunctionCompute, deploy: Deploy) -> None:
    """A function for which nobody switched task mode on takes a repeated id."""
    deploy(ECHO, stateful=False)
    send(fc, task_id="m1")
    send(fc, task_id="m1")
    assert len(fc.invocations) == 2


# -- events ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"\x00\xff\r\n{}", "你好\n".encode(), bytes(range(256)) * 512])
def test_event_arrives_byte_for_byte(fc: FunctionCompute, payload: bytes) -> None:
    """Whatever the bytes are, synchronously and asynchronously."""
    assert call(fc, payload, "echo") == payload
    request_id = send(fc, payload, "echo")
    fc.wait_idle(5)
    invocation = fc.invocations[-1]
    assert (invocation.request_id, invocation.event, invocation.done) == (request_id, payload, True)
    assert [(run.result, run.error) for run in invocation.runs] == [(payload, None)]


@pytest.mark.parametrize(
    ("value", "result"), [("'你好'", "你好".encode()), ("{'a': [1]}", b'{"a": [1]}'), ("None", b"null")]
)
def test_returned_value_becomes_bytes(fc: FunctionCompute, deploy: Deploy, value: str, result: bytes) -> None:
    """Text as UTF-8, the rest as JSON."""
    deploy(f"def handler(event, context): return {value}")
    assert call(fc) == result


def test_synchronous_failure_is_reported_to_the_caller(fc: FunctionCompute, deploy: Deploy) -> None:
    """200 with x-fc-error-type, which the SDK turns into an FcError; no retry."""
    deploy("def handler(event, context): raise ValueError('no')")
    with pytest.raises(fc2.FcError) as error:
        call(fc)
    report = json.loads(error.value.message)
    assert error.value.status_code == 200
    assert (report["errorType"], report["errorMessage"]) == ("ValueError", "no")
    assert report["stackTrace"][0][1:] == [
        "line 1",
        "in handler",
        "def handler(event, context): raise ValueError('no')",
    ]
    assert [run.error for run in fc.invocations[0].runs] == ["ValueError"]


def test_failed_event_is_run_again(fc: FunctionCompute, deploy: Deploy, tmp_path: Path) -> None:
    """The same event, with the same request id, until a run succeeds."""
    deploy(ONCE, environment={"MARK": str(tmp_path / "mark")})
    send(fc)
    fc.wait_idle(5)
    first, second = fc.invocations[0].runs
    assert (first.error, second.error, second.result) == ("KeyError", None, b"second")
    assert second.started - first.started >= fc.retry_seconds
    assert "KeyError: 'first'" in first.log
    assert second.log == ""


def test_event_with_a_delay_is_run_after_it(fc: FunctionCompute) -> None:
    """An hour at most; it counts as an event that waits."""
    assert invoke(fc, headers={**ASYNC, "x-fc-async-delay": "3600"}).status_code == 202
    assert invoke(fc, headers={**ASYNC, "x-fc-async-delay": "1"}).status_code == 202
    wait_until(lambda: fc.invocations[1].done)
    assert fc.invocations[1].runs[0].started - fc.invocations[1].accepted_at >= 1
    assert not fc.invocations[0].runs


def test_event_that_always_fails_is_given_up(fc: FunctionCompute, deploy: Deploy) -> None:
    """One run and max_retries more."""
    deploy("def handler(event, context): 1 / 0", max_retries=3)
    send(fc)
    fc.wait_idle(5)
    assert [run.error for run in fc.invocations[0].runs] == ["ZeroDivisionError"] * 4


def test_import_error_is_a_failed_run_from_a_cold_start(fc: FunctionCompute, deploy: Deploy) -> None:
    """An instance whose file cannot be imported is not kept."""
    deploy("import no_such_module", max_retries=1)
    send(fc)
    fc.wait_idle(5)
    assert [(run.error, run.cold) for run in fc.invocations[0].runs] == [("ModuleNotFoundError", True)] * 2
    assert "no_such_module" in fc.invocations[0].runs[0].log
    assert fc.instances("f") == []


def test_old_event_vanishes(fc: FunctionCompute, deploy: Deploy) -> None:
    """An event that waited longer than max_event_age is not run."""
    deploy("import time\ndef handler(event, context): time.sleep(0.15)", max_instances=1, max_event_age=0.1)
    send(fc)
    send(fc)
    fc.wait_idle(5)
    assert [(len(invocation.runs), invocation.done) for invocation in fc.invocations] == [(1, True), (0, True)]


def test_run_over_its_timeout_is_killed(fc: FunctionCompute, deploy: Deploy, tmp_path: Path) -> None:
    """The process is gone, and the next run is a cold start."""
    deploy(SLOW, timeout=0.8, max_retries=1, environment={"STARTED": str(tmp_path / "started")})
    send(fc)
    wait_until((tmp_path / "started").exists)
    pid = fc.instances("f")[0].pid
    fc.wait_idle(30)
    assert [(run.error, run.cold) for run in fc.invocations[0].runs] == [("timeout", True)] * 2
    assert all(0.8 <= (run.seconds or 0) < 5 for run in fc.invocations[0].runs)
    assert gone(pid)


def test_event_for_run_twice_is_delivered_twice(fc: FunctionCompute) -> None:
    """At least once: the next event has two successful runs, the one after it one."""
    fc.run_twice("echo")
    send(fc, b"1", "echo")
    send(fc, b"2", "echo")
    fc.wait_idle(5)
    assert [[run.result for run in invocation.runs] for invocation in fc.invocations] == [[b"1", b"1"], [b"2"]]


def test_killed_instance_loses_its_run_and_the_event_is_run_again(
    fc: FunctionCompute, deploy: Deploy, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a run; an idle function has nothing to kill."""
    deploy(SLOW, max_retries=1, environment={"STARTED": str(tmp_path / "started")})
    assert fc.kill("f") == 0
    send(fc)
    for _ in range(2):
        wait_until((tmp_path / "started").exists)
        (tmp_path / "started").unlink()
        assert fc.kill("f") == 1
    fc.wait_idle(5)
    first, second = fc.invocations[0].runs
    assert (first.error, second.error) == ("killed", "killed")
    assert first.instance != second.instance


def test_process_that_exits_is_a_failed_run(fc: FunctionCompute, deploy: Deploy) -> None:
    """The caller gets FC's message."""
    deploy("import os\ndef handler(event, context): os._exit(1)")
    with pytest.raises(fc2.FcError, match="Process exited unexpectedly before completing request"):
        call(fc)
    assert [run.error for run in fc.invocations[0].runs] == ["killed"]


def test_instance_that_died_idle_is_replaced(fc: FunctionCompute, deploy: Deploy) -> None:
    """Nobody notices but for the cold start."""
    deploy(ECHO)
    call(fc)
    os.kill(fc.instances("f")[0].pid, 9)
    wait_until(lambda: not fc.instances("f"))
    assert call(fc, b"again") == b"again"
    assert fc.invocations[-1].runs[0].cold


def test_waiting_for_a_busy_function_says_what_runs(fc: FunctionCompute, deploy: Deploy, tmp_path: Path) -> None:
    """A test that hangs tells why; reset ends what runs, and the event is not run again."""
    deploy(SLOW, max_instances=1, environment={"STARTED": str(tmp_path / "started")})
    request_ids = send(fc), send(fc)
    wait_until((tmp_path / "started").exists)
    with pytest.raises(TimeoutError, match=f"f {request_ids[0]} .running.*; f {request_ids[1]} .queued"):
        fc.wait_idle(0.05)
    fc.reset()
    fc.wait_idle(0)
    assert (fc.invocations, fc.instances("f")) == ([], [])


# -- instances ---------------------------------------------------------------------------------------------


def test_next_request_finds_a_warm_instance(fc: FunctionCompute, deploy: Deploy) -> None:
    """One process, imported once, also after a reset; a deployment starts anew."""
    source = """
        import os
        calls = []
        def handler(event, context):
            calls.append(event)
            return {"pid": os.getpid(), "calls": len(calls)}
    """
    deploy(source)
    first, second = json.loads(call(fc)), json.loads(call(fc))
    assert first == {"pid": second["pid"], "calls": 1}
    assert second["calls"] == 2
    assert [invocation.runs[0].cold for invocation in fc.invocations] == [True, False]
    assert [(instance.pid, instance.busy, instance.runs) for instance in fc.instances("f")] == [
        (first["pid"], False, 2)
    ]
    fc.reset()
    assert json.loads(call(fc))["calls"] == 3
    deploy(source)
    assert gone(first["pid"])
    assert json.loads(call(fc))["calls"] == 1


def test_load_starts_instances_that_serve_one_request_at_a_time(fc: FunctionCompute, deploy: Deploy) -> None:
    """Nine events on at most three instances: never two at once in one of them."""
    deploy(
        """
        import os, time
        def handler(event, context):
            begin = time.monotonic()
            time.sleep(0.1)
            return [os.getpid(), begin, time.monotonic()]
        """,
        max_instances=3,
    )
    for _ in range(9):
        send(fc)
    fc.wait_idle(5)
    runs = sorted(json.loads(invocation.runs[0].result or b"") for invocation in fc.invocations)
    assert len({pid for pid, _, _ in runs}) == 3
    for (pid, _, end), (next_pid, next_begin, _) in itertools.pairwise(runs):
        assert pid != next_pid or end <= next_begin
    assert max(end for _, _, end in runs) - min(begin for _, begin, _ in runs) < 0.9, "they did not run side by side"


@pytest.mark.full
def test_two_hundred_events_at_once_are_all_run(fc: FunctionCompute) -> None:
    """None is lost or repeated."""
    payloads = [str(number).encode() for number in range(200)]
    with ThreadPoolExecutor(50) as threads:
        assert {response.status_code for response in threads.map(lambda body: invoke(fc, body=body), payloads)} == {202}
    fc.wait_idle(30)
    assert sorted(run.result or b"" for item in fc.invocations for run in item.runs) == sorted(payloads)
    assert len(fc.instances("echo")) <= 4


def test_function_sees_only_its_own_environment(
    fc: FunctionCompute, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither our variables nor our modules; its own folder is current and importable, and its file alone is in it."""
    monkeypatch.setenv("SECRET_OF_THE_TEST", "1")
    deploy(
        """
        import os, sys
        def handler(event, context):
            return [dict(os.environ), os.getcwd(), sys.path, os.listdir(), __name__, __file__, sys.stdin.read()]
        """,
        environment={"NAME": "值"},
    )
    environment, folder, path, files, name, file, stdin = json.loads(call(fc))
    assert environment.pop("FC_INSTANCE_ID") == fc.invocations[0].runs[0].instance
    assert environment == {
        "NAME": "值",
        "FC_ACCOUNT_ID": "1234567890123456",
        "FC_REGION": "us-west-1",
        "FC_SERVICE_NAME": "ChatGTP_Services",
        "FC_FUNCTION_NAME": "f",
        "ALIBABA_CLOUD_ACCESS_KEY_ID": ROLE.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ROLE.access_key_secret,
        "ALIBABA_CLOUD_SECURITY_TOKEN": ROLE.security_token,
    }
    assert path[0] == folder
    assert not any(str(Path(__file__).parent) in entry for entry in path)
    assert [item for item in files if item != "__pycache__"] == ["f.py"]
    assert (name, file, stdin) == ("f", str(Path(folder, "f.py")), "")


@pytest.mark.parametrize(
    "environment",
    [{"FC_X": ""}, {"accessKeyID": ""}, {"topic": ""}, {"1A": ""}, {"A-B": ""}, {"_A": ""}, {"A": "x" * 4096}],
)
def test_environment_that_fc_refuses_is_not_deployed(deploy: Deploy, environment: dict[str, str]) -> None:
    """Reserved and invalid names, and more than 4 KB in all; the message has no value."""
    with pytest.raises(ValueError, match="environment") as error:
        deploy(ECHO, environment=environment)
    assert "xxx" not in str(error.value)


def test_environment_of_4_kb_is_deployed(deploy: Deploy) -> None:
    """The limit itself."""
    deploy(ECHO, environment={"A": "x" * 4095})


CONTEXT = """
    import json
    def handler(event, context):
        def plain(value):
            return {k: plain(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value
        return plain(context)
"""


def test_context_holds_what_is_documented(fc: FunctionCompute, deploy: Deploy) -> None:
    """The fields of the python3.10 runtime, and the same that make_context gives in-process."""
    deploy(CONTEXT, memory=128, timeout=7)
    context = json.loads(call(fc))
    assert context.pop("tracing")
    assert context == {
        "request_id": fc.invocations[0].request_id,
        "credentials": {
            "access_key_id": ROLE.access_key_id,
            "access_key_secret": ROLE.access_key_secret,
            "security_token": ROLE.security_token,
        },
        "function": {"name": "f", "handler": "f.handler", "memory": 128, "timeout": 7},
        "service": {
            "name": "ChatGTP_Services",
            "log_project": "",
            "log_store": "",
            "qualifier": "LATEST",
            "version_id": "",
        },
        "region": "us-west-1",
        "account_id": "1234567890123456",
    }
    assert vars(make_context()).keys() == {*context, "tracing"}


def test_service_without_a_role_has_no_credentials(tmp_path: Path) -> None:
    """None in the context, nothing in the environment, and the API knows nobody but its users."""
    (tmp_path / "f.py").write_text(
        "import os\n"
        "def handler(event, context):\n"
        "    return [vars(context.credentials), [name for name in os.environ if name.startswith('ALIBABA')]]\n"
    )
    with FunctionCompute(role=None, users=[USER]) as fc:
        fc.deploy("echo", Function(tmp_path / "f.py"))
        assert invoke(fc, key=ROLE).status_code == 403
        answer = invoke(fc, key=USER, headers={"x-fc-invocation-type": "Sync"}).json()
    assert answer == [{"access_key_id": None, "access_key_secret": None, "security_token": None}, []]


def test_log_of_each_run_is_its_own(fc: FunctionCompute, deploy: Deploy) -> None:
    """Prints and records at INFO, with the request id; the cold start belongs to the first run."""
    deploy(
        """
        import logging, os, sys
        print("cold")
        def handler(event, context):
            print("print", event.decode())
            print("错误", file=sys.stderr)
            os.write(1, b"raw\\n")
            logging.getLogger().info("record %s", event.decode())
            logging.getLogger().debug("never")
        """
    )
    call(fc, b"1")
    call(fc, b"2")
    first, second = (invocation.runs[0].log.splitlines() for invocation in fc.invocations)
    assert first[:4] == ["cold", "print 1", "错误", "raw"]
    assert second[:3] == ["print 2", "错误", "raw"]
    time_text, request_id, level, words = second[3].split(" ", 3)
    assert (len(time_text), time_text[-1]) == (24, "Z")
    assert (request_id, level, words) == (fc.invocations[1].request_id, "[INFO]", "record 2")
    assert fc.logs("f").splitlines() == first + second
    deploy(ECHO)
    assert fc.logs("f").splitlines() == first + second, "logs of ended instances are kept"
    fc.reset()
    assert fc.logs() == ""


def test_frozen_instance_does_nothing_between_runs(tmp_path: Path) -> None:
    """With freeze=True a thread that the function left behind stands still, and the instance can still be ended."""
    (tmp_path / "f.py").write_text(
        "import threading, time\n"
        "ticks = 0\n"
        "def tick():\n"
        "    global ticks\n"
        "    while True:\n"
        "        time.sleep(0.005)\n"
        "        ticks += 1\n"
        "threading.Thread(target=tick, daemon=True).start()\n"
        "def handler(event, context): return ticks\n"
    )
    with FunctionCompute(freeze=True) as fc:
        fc.deploy("f", Function(tmp_path / "f.py"))
        before = int(call(fc))
        time.sleep(0.2)
        assert int(call(fc)) - before < 10
        pid = fc.instances("f")[0].pid
    assert gone(pid)


def test_stop_leaves_no_process_and_start_serves_again(tmp_path: Path) -> None:
    """Busy, idle and queued: all ends at once; the functions stay deployed."""
    (tmp_path / "f.py").write_text(
        "import time\ndef handler(event, context):\n    if event == b'slow': time.sleep(30)\n    return event\n"
    )
    fc = FunctionCompute()
    with fc:
        fc.deploy("f", Function(tmp_path / "f.py", max_instances=2))
        call(fc)
        for _ in range(5):
            send(fc, b"slow")
        wait_until(lambda: sum(instance.busy and instance.pid > 0 for instance in fc.instances("f")) == 2)
        pids = [instance.pid for instance in fc.instances("f")]
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    assert all(gone(pid) for pid in pids)
    assert all(invocation.done for invocation in fc.invocations)
    with fc:
        assert call(fc, b"again") == b"again"


def test_death_of_the_stand_in_ends_a_busy_instance(tmp_path: Path) -> None:
    """Nothing is left even if the process that runs the stand-in is killed."""
    (tmp_path / "f.py").write_text(
        "import os, pathlib, time\n"
        "def handler(event, context):\n"
        "    pathlib.Path(os.environ['PID']).write_text(f'{os.getpid()}.')\n"
        "    time.sleep(30)\n"
    )
    program = f"""
import requests
from tests.stand_ins.function_compute import *
fc = FunctionCompute()
fc.start()
fc.deploy("f", Function(Path({str(tmp_path / "f.py")!r}), http=True, environment={{"PID": {str(tmp_path / "pid")!r}}}))
requests.get(fc.trigger_url("f"))
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "NO_PROXY": "*", "TMPDIR": str(tmp_path)}  # a killed process cannot clean up
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, env=environment) as process:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("."))
        process.kill()
    wait_until(lambda: gone(int((tmp_path / "pid").read_text()[:-1])))


# -- HTTP triggers -----------------------------------------------------------------------------------------


def test_http_request_becomes_a_valid_wsgi_environ(fc: FunctionCompute) -> None:
    """wsgiref's validator runs in the function; every part of the request arrives."""
    response = requests.post(
        fc.trigger_url("show") + "a%20b//%E4%BD%A0?q=1&q=%20",
        b"\x00body\xff",
        headers={"timestamp": "123", "sign": "a+b=", "Content-Type": "text/x", "Cookie": "c=1"},
        timeout=10,
    )
    assert response.status_code == 201
    environ = ast.literal_eval(response.content.decode())
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b//" + "你".encode().decode("latin-1"),
        "QUERY_STRING": "q=1&q=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "6",
        "HTTP_TIMESTAMP": "123",
        "HTTP_SIGN": "a+b=",
        "HTTP_COOKIE": "c=1",
        "body": "\x00body\xff",
        "fc.request_uri": "/2016-08-15/proxy/ChatGTP_Services/show/a%20b//%E4%BD%A0?q=1&q=%20",
        "context": response.headers["X-Fc-Request-Id"],
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)
    assert response.headers["X-Own"] == "1, 2"
    assert response.headers["Content-Disposition"] == "attachment"
    assert (fc.invocations[0].event, fc.invocations[0].runs[0].error) == (b"\x00body\xff", None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_reaches_the_function(fc: FunctionCompute, method: str) -> None:
    """The function decides; no body means an empty CONTENT_LENGTH or 0."""
    response = requests.request(method, fc.trigger_url("show"), timeout=10)
    assert response.status_code == 201
    assert (f"'REQUEST_METHOD': '{method}'" in response.text) == (method != "HEAD")


def test_method_that_the_trigger_lacks_is_refused(fc: FunctionCompute, deploy: Deploy) -> None:
    """403 from FC; the function is not run."""
    deploy(SHOW, http=True, methods=frozenset({"GET", "POST"}))
    assert requests.put(fc.trigger_url("f"), timeout=10).status_code == 403
    assert requests.get(fc.trigger_url("f"), timeout=10).status_code == 201


def test_forbidden_response_headers_are_dropped(fc: FunctionCompute, deploy: Deploy) -> None:
    """What FC sets itself cannot be set; no default content type is added."""
    deploy(
        """
        def handler(environ, start_response):
            start_response("200 OK", [("Server", "mine"), ("X-Fc-Own", "1"), ("Keep-Alive", "1"), ("Allow", "GET"),
                                      ("Connection", "close"), ("Content-Disposition", "inline")])
            yield b"a"
            yield b"b"
        """,
        http=True,
    )
    response = requests.get(fc.trigger_url("f"), timeout=10)
    assert response.content == b"ab"
    names = {"Server", "Date", "Allow", "Content-Disposition", "X-Fc-Request-Id", "Content-Length"}
    assert set(response.headers) == names
    assert (response.headers["Content-Disposition"], response.headers["Server"] == "mine") == ("attachment", False)


@pytest.mark.parametrize(
    ("source", "error_type"),
    [
        ("raise RuntimeError('secret?')", "RuntimeError"),
        ("return [b'']", "RuntimeError"),
        ("start_response('OK', []); return []", "RuntimeError"),
        ("start_response('200 OK', [('A', 'b\\nC: d')]); return []", "RuntimeError"),
        ("start_response('200 OK', []); return ['text']", "TypeError"),
    ],
)
def test_failing_http_function_answers_502(fc: FunctionCompute, deploy: Deploy, source: str, error_type: str) -> None:
    """The caller sees type and trace: a function had better catch everything. The next request is warm."""
    deploy(f"def handler(environ, start_response): {source}", http=True)
    for cold in (True, False):
        response = requests.get(fc.trigger_url("f"), timeout=10)
        assert response.status_code == 502
        assert response.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
        assert (response.json()["errorType"], response.json().keys() >= {"errorMessage", "stackTrace"}) == (
            error_type,
            True,
        )
        assert [(run.error, run.cold) for run in fc.invocations[-1].runs] == [(error_type, cold)]


def test_slow_http_function_is_killed(fc: FunctionCompute, deploy: Deploy) -> None:
    """502 after the time-out."""
    deploy("import time\ndef handler(environ, start_response): time.sleep(30)", http=True, timeout=0.2)
    response = requests.get(fc.trigger_url("f"), timeout=10)
    assert (response.status_code, "timed out after 0.2 seconds" in response.text) == (502, True)
    assert fc.invocations[0].runs[0].error == "timeout"


def test_request_beyond_the_instances_is_refused_at_once(fc: FunctionCompute, deploy: Deploy) -> None:
    """Two instances, three simultaneous requests: one 429; afterwards there is room again."""
    deploy(
        """
        import time
        def handler(environ, start_response):
            time.sleep(0.3)
            start_response("200 OK", [])
            return []
        """,
        http=True,
        max_instances=2,
    )
    url = fc.trigger_url("f")
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: requests.get(url, timeout=10), range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    assert "ResourceExhausted" in max(answers, key=lambda answer: answer.status_code).text
    assert requests.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("path", "header", "status"),
    [("", 7000, 201), ("", 8193, 400), ("a" * (4096 - 40), 0, 201), ("a" * (4097 - 40), 0, 400)],
)
def test_limits_of_an_http_request(fc: FunctionCompute, path: str, header: int, status: int) -> None:
    """8 KB of headers, 4 KB of path, of which /2016-08-15/proxy/ChatGTP_Services/show/ are 40."""
    response = requests.get(fc.trigger_url("show") + path, headers={"X-Long": "x" * header}, timeout=10)
    assert response.status_code == status
    assert (response.headers.get("X-Fc-Error-Type") == "FcCommonError") == (status == 400)


@pytest.mark.parametrize(("length", "status"), [(8192 - 6, 200), (8192 - 5, 502)])
def test_limit_of_response_headers(fc: FunctionCompute, deploy: Deploy, length: int, status: int) -> None:
    """8 KB of names and values."""
    deploy(
        f"def handler(e, start_response):\n  start_response('200 OK', [('X-Long', 'x' * {length})])\n  return []",
        http=True,
    )
    assert requests.get(fc.trigger_url("f"), timeout=10).status_code == status


def test_address_without_a_trigger_is_not_found(fc: FunctionCompute) -> None:
    """Event functions have no address, HTTP functions no invocation."""
    assert requests.get(fc.trigger_url("echo"), timeout=10).status_code == 404
    assert requests.get(fc.trigger_url("nothing"), timeout=10).status_code == 404
    with pytest.raises(fc2.FcError, match="InvalidArgument"):
        call(fc, name="show")
