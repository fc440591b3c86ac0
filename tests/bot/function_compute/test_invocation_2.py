"""Dingtalk_Conversation hands a message over on Function Compute 2.0: what only the API behind aliyun-fc2 has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversation import FC_REQUEST, chat_shows, fc_error
from tests.helpers import Conversation
from tests.stand_ins.local_cloud import CONVERSATION, LocalCloud

pytestmark = pytest.mark.usefixtures("no_secret_in_log")


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
