"""Official clients that the functions do not use, and the stand-ins: each reads what the other sends.

Each is installed beside our own packages, not into them, which takes uv about a second: alibabacloud-oss-v2 brings
crcmod-plus, which overwrites the crcmod of oss2. alibabacloud_fc20230330 is in requirements.txt, and its tests are in
test_function_compute_3.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stand_ins.dingtalk import VISITOR, Dingtalk, Message
from tests.stand_ins.local_cloud import REPLY, ROOT, load
from tests.stand_ins.odd_answers import ANSWER
from tests.stand_ins.openai_api import OpenaiApi, error_fault
from tests.stand_ins.oss import Oss, crc64
from tests.stand_ins.runtimes import with_packages

CLIENTS = Path(__file__).parent / "clients"
OSS_V2 = ("alibabacloud-oss-v2==1.4.1",)
STREAM = ("dingtalk-stream==0.24.3",)
AGENT = ("pydantic-ai-slim[openai]==2.68.0",)
CLIENT_SECONDS = 60

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="with_packages locks files as Windows does not")


def run(script: str, packages: tuple[str, ...], *arguments: str, stdin: str = "") -> Any:
    """What a script in clients/ prints."""
    command = [with_packages(sys.executable, packages), str(CLIENTS / script), *arguments]
    environment = {"NO_PROXY": "127.0.0.1"}
    client = subprocess.run(
        command, env=environment, input=stdin, capture_output=True, text=True, timeout=CLIENT_SECONDS
    )
    assert client.returncode == 0, client.stderr
    return json.loads(client.stdout)


# -- the Responses API ------------------------------------------------------------------------------------------------

OUTCOMES = {
    "response_messages": f"我先算一算。{ANSWER}",
    "response_sources": ANSWER,
    "response_long": "前半句",
    "response_refusal": "ContentFilterError",
    "response_filtered": "ContentFilterError",
    "response_failed": "ModelServerError",
}


@not_on_windows
@pytest.mark.full
def test_an_agent_reads_every_outcome_of_a_response() -> None:
    """Whose cassettes the stand-in was compared with; it keeps the history itself and sends items back."""
    with OpenaiApi() as api:
        for name in OUTCOMES:
            api.plan(error_fault(name, where=lambda received: b"1+1" in received.body))
        seen = run("responses_agent.py", AGENT, api.base_url, *OUTCOMES)
    assert seen.pop("parts") == ["ThinkingPart", "NativeToolCallPart", "NativeToolReturnPart", "TextPart"]
    assert "https://docs.python.org/" in seen.pop("found")
    said = {"first": "你好，小明！", "second": "你叫小明。", "instructions": "我的设定是：「你是一名中医。」"}
    assert seen == {**said, **OUTCOMES}


# -- OSS --------------------------------------------------------------------------------------------------------------


@not_on_windows
@pytest.mark.full
def test_the_newer_sdk_of_oss_reads_all_answers() -> None:
    """Append, tail, head, put, delete, and each refusal with its number: the next generation after oss2."""
    with Oss() as oss:
        seen = run("oss_v2.py", OSS_V2, oss.url)
    text = "abc好"
    assert seen == {
        "appended": [3, 6, str(crc64(text.encode()))],
        "tail": [206, "bytes 2-5/6", "c好"],
        "whole": [200, None, text],
        "head": [6, "Appendable", 6],
        "wrong position": [409, "PositionNotEqualToLength", "0026-00000016", True],
        "not appendable": [409, "ObjectNotAppendable", "0026-00000017", True],
        "missing": [404, "NoSuchKey", "0026-00000001", True],
        "missing, head": [404, "NoSuchKey", "0026-00000001", True],
        "wrong secret": [403, "SignatureDoesNotMatch", "0002-00000040", True],
        "wrong secret, no bucket": [404, "NoSuchBucket", "0015-00000101", True],
        "unknown header": [501, "NotImplemented", "0000-00000000", True],
        "deleted": [204, 204],
    }


# -- DingTalk ---------------------------------------------------------------------------------------------------------

KINDS = ("text", "text_group", "text_group_quote", "picture", "rich_text", "audio", "video", "file", "unknown")
# What dingtalk-stream's ChatbotMessage reads of every message, in a private chat and, with the last ones, in a group
ALWAYS = {
    *("msgId", "msgtype", "conversationId", "conversationType", "chatbotCorpId", "chatbotUserId", "robotCode"),
    *("senderId", "senderNick", "senderStaffId", "senderCorpId", "isAdmin", "createAt"),
    *("sessionWebhook", "sessionWebhookExpiredTime"),
}
IN_GROUPS = {"conversationTitle", "isInAtList", "atUsers"}
NOT_READ = {"senderPlatform"}  # documented, and unknown to it


@pytest.fixture(scope="module")
def messages() -> Iterator[list[Message]]:
    """One of each kind, and one of somebody from outside."""
    with Dingtalk() as dingtalk:
        yield [*(dingtalk.message(kind=kind) for kind in KINDS), dingtalk.message("你好", person=VISITOR)]


def test_message_has_every_field_that_the_official_parser_reads(messages: list[Message]) -> None:
    """As a list, so that it is looked at without the parser too."""
    for message in messages:
        wanted = ALWAYS | (IN_GROUPS if message["conversationType"] == "2" else set())
        assert wanted <= message.keys(), message["msgtype"]
        assert message.keys() <= ALWAYS | IN_GROUPS | NOT_READ | {"text", "content"}, message["msgtype"]


@not_on_windows
@pytest.mark.full
def test_the_official_parser_reads_every_message(messages: list[Message]) -> None:
    """Nothing that it needs is missing, and of what it does not know there is only what the documents have."""
    reports = run("stream_parser.py", STREAM, stdin=json.dumps(messages))
    for message, report in zip(messages, reports, strict=True):
        assert set(report["unknown"]) <= NOT_READ | {"text", "content"}, message["msgtype"]
        assert {name: report["written"][name] for name in ALWAYS} == {name: message[name] for name in ALWAYS}
    by_kind = dict(zip(KINDS, reports, strict=False))
    assert by_kind["text_group_quote"]["texts"] == [" 这句话是什么意思"]
    assert by_kind["picture"]["pictures"] == [json_of("picture")["content"]["downloadCode"]]
    assert by_kind["rich_text"]["texts"] == ["这个问题示例图如下：", "请解释"]
    assert len(by_kind["rich_text"]["pictures"]) == 1


@not_on_windows
@pytest.mark.full
def test_the_official_client_uploads_a_picture() -> None:
    """With the token of the newer API; its type stands in the form."""
    with Dingtalk() as dingtalk:
        media_id = run("stream_upload.py", STREAM, dingtalk.url, dingtalk.api.app_key, dingtalk.app_secret)
    assert dingtalk.api.media == {media_id: b"GIF89a\r\n--"}


@not_on_windows
@pytest.mark.full
def test_our_parser_reads_what_the_official_one_writes(messages: list[Message]) -> None:
    """Message by message the same question, from the same person, to the same webhook."""
    reports = run("stream_parser.py", STREAM, stdin=json.dumps(messages))
    parse = load(ROOT / f"{REPLY}.py").parse_message
    for message, report in zip(messages, reports, strict=True):
        ours, theirs = parse(json.dumps(message).encode()), parse(json.dumps(report["written"]).encode())
        assert theirs.text == ours.text, message["msgtype"]
        assert theirs.quotation == ours.quotation, message["msgtype"]
        assert (theirs.id, theirs.person, theirs.webhook) == (ours.id, ours.person, ours.webhook)
        assert theirs.webhook_expires_ms == ours.webhook_expires_ms


def json_of(kind: str) -> Any:
    return json.loads((ROOT / f"tests/data/{kind}.json").read_text(encoding="utf-8"))
