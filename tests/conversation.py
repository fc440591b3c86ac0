"""For the tests of Dingtalk_Conversation: its pure core by plain calls, and what it logs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.helpers import HttpAnswer, role_context
from tests.stand_ins.dingtalk import example, signature
from tests.stand_ins.function_compute import Invocation, is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud, load
from tests.stand_ins.server import Fault

MODULE = load(ROOT / f"{CONVERSATION}.py")
SECOND_MS = 1000
HOUR_MS = 60 * 60 * SECOND_MS
FIVE_MINUTES_MS = 5 * 60 * SECOND_MS
NOW_MS = 1_795_334_400_000
KIB_64 = 64 * 1024
EMPTY = {"msgtype": "empty"}
NO_ROLE: dict[str, Any] = {"access_key_id": None, "access_key_secret": None, "security_token": None}
SECRET = "example-app-secret"
FC_REQUEST = "fc-request-0001"

# What no log and no answer may hold; the last is the shape of every signature.
SECRETS = re.compile(
    "example-app-secret|another-secret|example-secret|example-token|do-not-show|FC STS|sendBySession|session=|你好"
    "|ACS3-HMAC|Signature=|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}="
)


class Outcome(NamedTuple):
    """What the pure core makes of a request."""

    answer: HttpAnswer
    message: Any = None  # to hand over
    situation: str = ""  # of a request that goes no further
    reason: str = ""
    level: int = 0


def body_of(**changes: Any) -> bytes:
    """The body of a valid message; `changes` replace fields, ... removes one."""
    message = {**json.loads(example("text_private")), **changes}
    return json.dumps({name: value for name, value in message.items() if value is not ...}).encode()


def deployment(
    environ: Mapping[str, str | None] | None = None, generation: int = 2, context: Any = None, **role: Any
) -> Any:
    """The function with a secret and a role; `environ` adds to the environment, None removes from it."""
    variables = {"DINGTALK_APP_SECRET": SECRET, **(environ or {})}
    environment = {name: value for name, value in variables.items() if value is not None}
    settings, problems = MODULE.read_settings(MODULE.ConversationSettings, environment)
    context = context or role_context(**role)
    return MODULE.Deployment(generation, context, settings, problems, MODULE.role_credentials(context, {}), environment)


def decide(where: Any = None, **spoiled: Any) -> Outcome:
    """What becomes of a valid request; `spoiled`: age_ms, secret, or fields of the request."""
    timestamp = spoiled.get("timestamp", str(NOW_MS - spoiled.pop("age_ms", 0)))
    valid = {
        "method": "POST",
        "timestamp": timestamp,
        "sign": signature(timestamp, spoiled.pop("secret", SECRET)),
        "body": body_of(),
    }
    request = MODULE.Request(**{**valid, **spoiled})
    try:
        answer, message = MODULE.decide(request, where or deployment(), NOW_MS)
    except MODULE.Refused as refused:
        return Outcome(http(refused.answer), None, refused.situation, str(refused), refused.level)
    return Outcome(http(answer), message)


def http(answer: Any) -> HttpAnswer:
    """The same as whoever sent the request gets it."""
    return HttpAnswer(
        int(answer.status[:3]), {"Content-Type": answer.content_type, **dict(answer.headers)}, answer.body
    )


def log_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what the function itself logged."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "bot"]


def log_line(caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """The same for the one line that an outcome has."""
    (line,) = log_lines(caplog)
    return line


def chat_shows(answer: HttpAnswer, caplog: pytest.LogCaptureFixture, *words: str) -> str:
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


def replies(cloud: LocalCloud) -> list[Invocation]:
    """The events that Function Compute took for Dingtalk_ChatGPT_Reply."""
    return [invocation for invocation in cloud.function_compute.invocations if invocation.function == REPLY]


def fc_error(status: int, code: Any = None, headers: tuple[tuple[str, str], ...] = (), **fields: Any) -> Fault:
    """Function Compute answers this to the next invocation; the code stands under its name on either generation."""
    body = {"Message": "do-not-show", **({} if code is None else {"ErrorCode": code, "Code": code}), **fields}
    given = (("Content-Type", "application/json"), ("X-Fc-Request-Id", FC_REQUEST), *headers)
    return Fault(where=is_invoke, status=status, body=json.dumps(body), headers=given)
