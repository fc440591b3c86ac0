"""Dingtalk_Conversation hands a message over on Function Compute 2.0: what only the API behind aliyun-fc2 has."""

from __future__ import annotations

import logging
from typing import Any

import fc2
import pytest

from tests.conversation import FC_REQUEST, chat_shows, fc_error
from tests.helpers import Conversation
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud

pytestmark = pytest.mark.usefixtures("no_secret_in_log")


def test_request_is_that_of_aliyun_fc2(
    conversation: Conversation, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same address, body and headers, but for what says who made it and when."""
    message = cloud.dingtalk.message()
    conversation.post(message)
    (ours,) = cloud.function_compute.received
    monkeypatch.setattr(fc2.client, "logging", logging.Logger("silent", logging.CRITICAL + 1))
    key = conversation.context.credentials
    client = fc2.Client(
        endpoint=cloud.function_compute.url,
        accessKeyID=key.access_key_id,
        accessKeySecret=key.access_key_secret,
        securityToken=key.security_token,
    )
    task = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": "m1"}
    client.invoke_function("ChatGTP_Services", REPLY, payload=ours.body, headers=task)
    theirs = cloud.function_compute.received[-1]
    assert (ours.method, ours.path, ours.query_string, ours.body) == (
        theirs.method,
        theirs.path,
        theirs.query_string,
        theirs.body,
    )
    own = {"authorization", "date", "x-fc-stateful-async-invocation-id"}  # of each request
    about_the_client = {"accept", "accept-encoding", "connection", "user-agent"}
    compared = [
        {name.lower(): value for name, value in request.headers.items() if name.lower() not in own | about_the_client}
        for request in (ours, theirs)
    ]
    assert compared[0] == compared[1]


@pytest.mark.parametrize(
    ("name", "value", "words", "code"),
    [
        ("SERVICE_NAME", "other", ["other", "SERVICE_NAME", "部署者"], "ServiceNotFound"),
        ("CHATGPT_FUNCTION", CONVERSATION, ["InvalidArgument", "部署者", "日志"], "InvalidArgument"),
    ],
)
def test_wrong_service_or_kind_of_function_is_told_in_chat(
    conversation: Conversation, caplog: pytest.LogCaptureFixture, name: str, value: str, words: list[str], code: str
) -> None:
    """Only 2.0 has services, and HTTP functions that cannot be invoked."""
    conversation.environment[name] = value
    assert code in chat_shows(conversation.post(), caplog, *words)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"ErrorCode": "EntityTooLarge"}, "EntityTooLarge"),
        ({"errorCode": "EntityTooLarge"}, "EntityTooLarge"),
        ({"ErrorCode": None, "errorCode": "EntityTooLarge"}, "EntityTooLarge"),
        ({}, "HTTP 400"),
    ],
    ids=repr,
)
def test_code_is_read_under_either_name(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, body: dict[str, Any], code: str
) -> None:
    """aliyun-fc2 reads ErrorCode, the documents print errorCode."""
    cloud.function_compute.plan(fc_error(400, **body))
    assert f"code {code}, status 400, its request {FC_REQUEST}" in chat_shows(conversation.post(), caplog, code)


def test_error_of_runtime_is_told_in_chat(
    conversation: Conversation, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    """A 202 with x-fc-error-type is no success."""
    kind = ("X-Fc-Error-Type", "UnhandledInvocationError")
    cloud.function_compute.plan(fc_error(202, headers=(kind,), errorMessage="do-not-show", errorType="X"))
    assert FC_REQUEST in chat_shows(conversation.post(), caplog, "函数计算")
