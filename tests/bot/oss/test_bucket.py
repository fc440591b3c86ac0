"""The bucket: how it is reached, and what its errors say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import Reply, is_append
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import Access, Bucket
from tests.stand_ins.server import Fault


def test_unreachable_oss_does_not_keep_the_answer_back(reply: Reply, cloud: LocalCloud) -> None:
    """Neither read nor saved: one sentence, after the answer."""
    cloud.oss.stop()
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2\n\n（")
    assert "OSS_ENDPOINT" in text
    assert text.count("（") - text.count("（Request") == 1


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        ({"OSS_BUCKET_NAME": "another-bucket"}, "OSS_BUCKET_NAME"),
        ({"ACCESS_KEY_ID": "LTAI-wrong", "ACCESS_KEY_SECRET": "x"}, "ACCESS_KEY_ID"),
        ({"ACCESS_KEY_ID": "LTAI-key", "ACCESS_KEY_SECRET": "wrong"}, "ACCESS_KEY_SECRET"),
        ({"OSS_REGION": "cn-hangzhou"}, "OSS_REGION"),
    ],
)
def test_wrong_oss_setting_is_named(reply: Reply, cloud: LocalCloud, spoil: dict[str, str], hint: str) -> None:
    """Every mistake with OSS says which variable to change, in the chat and in the self-check."""
    cloud.oss.access["LTAI-key"] = Access("example-secret")
    reply.environment.update(spoil)
    assert hint in reply.ask("1+1=?")
    assert hint in reply.run(b"{}")["OSS"]


@pytest.mark.parametrize(
    ("status", "code", "words", "hint"),
    [
        (403, "UserDisable", "UserDisable", "欠费"),
        (403, "InDebt", "Current user is indebted", "欠费"),
        (403, "InDebtOverdue", "Current user is indebted Overdue", "欠费"),
        (403, "BucketDisable", "BucketDisable", "停用"),
        (403, "AccessDenied", "The bucket you access does not belong to you.", "OSS_BUCKET_NAME"),
        (403, "BucketNotBelongTo", "The bucket you access does not belong to you.", "OSS_BUCKET_NAME"),
        (400, "InvalidBucketName", "The specified bucket is not valid.", "OSS_BUCKET_NAME"),
        (403, "AccessDenied", "The bucket must be addressed using the specified endpoint.", "OSS_REGION"),
        (403, "AccessDenied", "Transfer acceleration is not enabled for this bucket.", "OSS_ENDPOINT"),
        (403, "AccessDenied", "You have no right to access this object because of bucket acl.", "oss:PutObject"),
        (403, "RequestTimeTooSkewed", "The difference between the times is too large.", "时钟"),
        (403, "SecurityTokenExpired", "The security token you provided has expired.", "角色"),
        (403, "InvalidAccessKeyId", "The Access Key ID is disabled.", "ACCESS_KEY_ID"),
        (503, "TotalQpsLimitExceeded", "Please reduce your request rate.", "限流"),
        (418, "Strange\x07Code\n2", "?", "OSS 错误 Strange Code 2，"),
    ],
)
def test_error_of_oss_says_who_can_do_what(
    reply: Reply, cloud: LocalCloud, caplog: Any, status: int, code: str, words: str, hint: str
) -> None:
    """By the words of its code and message; what reaches the log holds no sign of control."""
    body = f"<Error><Code>{code}</Code><Message>{words}</Message><RequestId>1</RequestId></Error>".replace(
        "\x07", "&#x85;"
    )
    cloud.oss.plan(Fault(status=status, body=body, times=9))
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2") and hint in text
    assert "\x85" not in caplog.text


def test_access_key_of_a_user_works_as_well(reply: Reply, cloud: LocalCloud) -> None:
    """ACCESS_KEY_ID and ACCESS_KEY_SECRET are used instead of the role."""
    cloud.oss.access = {"LTAI-key": Access("key-secret")}
    reply.environment.update(ACCESS_KEY_ID="LTAI-key", ACCESS_KEY_SECRET="key-secret")
    assert reply.ask("1+1=?") == "1+1=2"
    assert "LTAI-key" in cloud.oss.received[0].headers["Authorization"]


def test_role_of_python3_12_is_found_in_the_environment(reply: Reply, cloud: LocalCloud) -> None:
    """On Function Compute 3.0 with python3.12 the context has neither credentials nor a service."""
    reply.context_changes.update(runtime="python3.12")
    reply.environment.update(
        ALIBABA_CLOUD_ACCESS_KEY_ID="STS.example-id",
        ALIBABA_CLOUD_ACCESS_KEY_SECRET="example-secret",
        ALIBABA_CLOUD_SECURITY_TOKEN="example-token",
    )
    assert reply.ask("1+1=?") == "1+1=2"
    assert {request.headers["x-oss-security-token"] for request in cloud.oss.received} == {"example-token"}
    assert reply.run(b"{}")["OSS"] == "ok"


@pytest.mark.parametrize("runtime", ["python3.10", "python3.12"])
def test_service_without_role_is_told(reply: Reply, runtime: str) -> None:
    """Without any credentials the person is answered and the deployer knows what is missing."""
    reply.context_changes.update(runtime=runtime, access_key_id=None, access_key_secret=None, security_token=None)
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2")
    assert "角色" in text


def test_bucket_of_another_region_is_told(reply: Reply, cloud: LocalCloud) -> None:
    """OSS says AccessDenied for it, but permissions are not what must be changed."""
    cloud.oss.buckets["example-bucket"] = Bucket("cn-hangzhou")
    assert "OSS_ENDPOINT" in reply.ask("1+1=?")


@pytest.mark.parametrize(
    ("endpoint", "region", "wanted_endpoint", "wanted_region"),
    [
        (None, None, "https://oss-us-west-1-internal.aliyuncs.com", "us-west-1"),
        ("oss-cn-hangzhou.aliyuncs.com", None, "https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("oss-cn-beijing-internal.aliyuncs.com", None, "https://oss-cn-beijing-internal.aliyuncs.com", "cn-beijing"),
        ("https://b-1.oss-cn-beijing.aliyuncs.com", None, "https://oss-cn-beijing.aliyuncs.com", "cn-beijing"),
        ("https://oss.example.com", "us-east-1", "https://oss.example.com", "us-east-1"),
        ("https://oss.example.com", None, "https://oss.example.com", "us-west-1"),
        ("https://oss-accelerate.aliyuncs.com", None, "https://oss-accelerate.aliyuncs.com", "us-west-1"),
        ("oss-accelerate-overseas.aliyuncs.com", None, "https://oss-accelerate-overseas.aliyuncs.com", "us-west-1"),
        ("https://oss-accelerate.aliyuncs.com", "eu-west-1", "https://oss-accelerate.aliyuncs.com", "eu-west-1"),
    ],
)  # fmt: skip
def test_bucket_has_the_endpoint_and_region_of_the_settings(
    reply: Reply, endpoint: str | None, region: str | None, wanted_endpoint: str, wanted_region: str
) -> None:
    """OSS_REGION, else what OSS_ENDPOINT says, else where the function is."""
    settings = SimpleNamespace(
        access_key_id="a", access_key_secret="b", oss_bucket_name="b-1", oss_endpoint=None, oss_region=region
    )
    if endpoint:
        settings.oss_endpoint = reply.module.read_endpoint(endpoint)
    bucket = reply.module.open_bucket(settings, SimpleNamespace(region="us-west-1"), None)
    assert (bucket.endpoint, bucket.region) == (wanted_endpoint, wanted_region)


def test_append_that_something_else_answered_is_told(reply: Reply, cloud: LocalCloud) -> None:
    """A 200 without the position that OSS names: a proxy, a captive page."""
    cloud.oss.plan(Fault(where=is_append, status=200, body="<html>", times=9))
    assert "OSS" in reply.ask("1+1=?")
