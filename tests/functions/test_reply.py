"""Dingtalk_ChatGPT_Reply in this process, with the real SDKs and the stand-ins: each situation by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import Clock, Reply, deny, is_commit, is_get, set_clock, write_turns
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import Access, error_fault
from tests.stand_ins.server import Fault


def test_question_is_answered_and_recorded(reply: Reply, cloud: LocalCloud) -> None:
    """The chat shows the answer; the journal has the turn and the mark, in this order."""
    message = cloud.dingtalk.message("1+1=?")
    result = reply.run(message)
    (shown,) = cloud.dingtalk.shown(message)
    assert (result["result"], result["msgId"]) == ("answered", message["msgId"])
    turn, mark = cloud.journal(message)
    assert (turn["question"], turn["answer"], turn["msgId"]) == ("1+1=?", shown.text, message["msgId"])
    assert (mark["msgId"], mark["delivered"]) == (message["msgId"], True)
    assert abs(turn["at"] - time.time() * 1000) < 60_000


def test_status_tells_model_turns_and_version(reply: Reply) -> None:
    """Commands are no turns."""
    reply.ask("我叫小明")
    reply.ask("\\help")
    text = reply.ask("/status")
    assert "gpt-6-luna" in text
    assert "1 轮（最多 10 轮）" in text
    assert reply.module.VERSION in text


def test_clear_whose_words_oss_does_not_delete_says_so(reply: Reply, cloud: LocalCloud) -> None:
    """The model sees them no more, but they are there: the next \\clear deletes them."""
    reply.ask("我叫小明")
    deny(cloud, "DeleteObject")
    text = reply.ask("\\clear")
    assert "AccessDenied" in text and "没能从 OSS 里删掉" in text
    assert "不知道" in reply.ask("我叫什么？")
    deny(cloud)
    assert "忘掉" in reply.ask("\\clear")
    assert "history" not in "".join(cloud.oss.keys())


def test_clear_that_is_not_recorded_says_so(reply: Reply, cloud: LocalCloud) -> None:
    """Nothing is forgotten."""
    reply.ask("我叫小明")
    cloud.oss.plan(error_fault("AccessDenied", where=is_commit))
    assert "没能忘掉" in reply.ask("\\clear")
    assert reply.ask("我叫什么？") == "你叫小明。"


def test_connections_are_kept_between_messages(cold_reply: Reply, cloud: LocalCloud, monkeypatch: Any) -> None:
    """On a warm instance a message opens none, but none is used again after 30 s without use."""
    clock = Clock()
    set_clock(monkeypatch, cold_reply.module, clock)
    stand_ins = (cloud.oss, cloud.openai_api, cloud.dingtalk)
    for _ in range(3):
        cold_reply.ask("1+1=?")
    assert [len(stand_in.connections()) for stand_in in stand_ins] == [1, 1, 1]
    clock.ahead = cold_reply.module.MAX_IDLE_SECONDS + 1
    cold_reply.ask("1+1=?")
    assert [len(stand_in.connections()) for stand_in in (cloud.oss, cloud.dingtalk)] == [2, 2]


def test_bad_settings_are_told_in_the_chat(reply: Reply, cloud: LocalCloud) -> None:
    """All of them at once, by name, never by value, before anything is paid for."""
    reply.environment.update(CHATGPT_API_KEY=None, OSS_BUCKET_NAME="My_Bucket", TIMEOUT="soon")
    text = reply.ask("你好")
    assert all(name in text for name in ("CHATGPT_API_KEY", "OSS_BUCKET_NAME", "TIMEOUT"))
    assert "My_Bucket" not in text
    assert not cloud.openai_api.received
    assert not cloud.oss.received


@pytest.mark.parametrize(
    "event", [b"", b"{}", b"null", b"[]", b'{"key": "value"}', b"\xff", b"[" * 60_000, b'{"msgId": "only"}']
)
def test_event_that_is_no_message_runs_the_self_check(reply: Reply, cloud: LocalCloud, event: bytes) -> None:
    """Every part is ok, nothing is sent and nothing is left behind."""
    report = reply.run(event)
    assert {value for name, value in report.items() if name != "result"} == {"ok"}
    assert len(report) == 5
    assert not cloud.dingtalk.received
    assert cloud.oss.keys() == []


@pytest.mark.parametrize(
    ("spoil", "part", "hint"),
    [
        ({"CHATGPT_API_KEY": None}, "ChatGPT", "CHATGPT_API_KEY"),
        ({"CHATGPT_API_KEY": "sk-wrong"}, "ChatGPT", "CHATGPT_API_KEY"),
        ({"CHATGPT_MODEL": "gpt-3.5-turbo"}, "ChatGPT", "CHATGPT_MODEL"),
        ({"CHATGPT_BASE_URL": "http://127.0.0.1:1"}, "ChatGPT", "CHATGPT_BASE_URL"),
        ({"OSS_BUCKET_NAME": None}, "OSS", "OSS_BUCKET_NAME"),
        ({"OSS_ENDPOINT": "http://127.0.0.1:1"}, "OSS", "OSS_ENDPOINT"),
        ({"TIMEOUT": "110"}, "time-out 执行超时时间", "140"),
        ({"HISTORY_LENGTH": "-1"}, "settings 环境变量", "HISTORY_LENGTH"),
        ({"ACCESS_KEY_ID": "x"}, "settings 环境变量", "ACCESS_KEY_SECRET"),
    ],
)
def test_self_check_names_what_to_change(reply: Reply, spoil: dict[str, str | None], part: str, hint: str) -> None:
    """Each mistake of a deployer is reported at its part, by the name of what to change."""
    reply.environment.update(spoil)
    assert hint in reply.run(b"{}")[part]


@pytest.mark.parametrize("action", ["GetObject", "PutObject", "DeleteObject"])
def test_self_check_finds_each_missing_permission(reply: Reply, cloud: LocalCloud, action: str) -> None:
    """The probe object is appended to, read and deleted."""
    deny(cloud, action)
    assert f"oss:{action}" in reply.run(b"{}")["OSS"]


def test_self_check_finds_a_role_without_the_usage_folder(reply: Reply, cloud: LocalCloud) -> None:
    """With DAILY_LIMIT the function writes to a third folder."""
    everything, folders = Access("").actions, ("chat-history/", "chat-journal/")
    cloud.oss.access = {"STS.example-id": Access("example-secret", "example-token", everything, folders)}
    assert reply.run(b"{}")["OSS"] == "ok"
    reply.environment["DAILY_LIMIT"] = "5"
    assert "chat-usage/*" in reply.run(b"{}")["OSS"]


@pytest.mark.parametrize("appendable", [False, True])
def test_self_check_finds_a_versioned_bucket(reply: Reply, cloud: LocalCloud, appendable: bool) -> None:
    """What \\clear deletes stays there as a version; whether the object can be begun anew, the documents contradict."""
    bucket = cloud.oss.buckets["example-bucket"]
    bucket.versioned, bucket.appendable_delete_markers = True, appendable
    assert "版本控制" in reply.run(b"{}")["OSS"]


def test_oss2_that_cannot_sign_with_v4_is_told(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pasted into the console without a newer oss2, the function runs on the preinstalled 2.16.0."""
    monkeypatch.delattr("oss2.AuthV4")
    text = reply.ask("1+1=?")
    assert "oss2" in text
    assert "2.18.4" in text
    report = reply.run(b"{}")
    assert "2.18.4" in report["settings 环境变量"]
    assert "oss2" in report["OSS"]


def test_unforeseen_error_is_told_with_the_request_id(
    reply: Reply, cloud: LocalCloud, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that lacks what FC promises: the person is told, the log says where, without the words."""
    set_context: Callable[..., Any] = reply.module.handler
    message = cloud.dingtalk.message("机密的问题")
    reply.run(cloud.dingtalk.message("你好"))
    context = SimpleNamespace(request_id="request-9", function=SimpleNamespace(timeout=60), credentials=None)
    monkeypatch.delenv("OSS_REGION", raising=False)
    set_context(json.dumps(message).encode(), context)
    assert "request-9" in cloud.dingtalk.shown(message)[0].text
    assert "AttributeError at open_bucket" in caplog.text
    assert "机密" not in caplog.text


def test_sentence_for_which_there_is_no_time_is_left_to_the_next_run(reply: Reply, cloud: LocalCloud) -> None:
    """A function with a time-out of 2 s."""
    reply.environment["CHATGPT_API_KEY"] = None
    with pytest.raises(reply.module.NotDelivered, match="time is up"):
        reply.run(cloud.dingtalk.message("1+1=?"), timeout=2)


def test_unforeseen_error_while_sending_is_told_and_not_run_again(
    reply: Reply, cloud: LocalCloud, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours would be made again by every run, and the person would see nothing: it is told, once."""
    monkeypatch.setattr(reply.module.rooms["bot.dingtalk.parts"], "MARKDOWN", None)
    message = cloud.dingtalk.message("机密的问题")
    assert reply.run(message)["result"] == "failed: unforeseen"
    (shown,) = cloud.dingtalk.shown(message)
    assert "request-1" in shown.text
    assert "AttributeError at webhook_bodies" in caplog.text and "机密" not in caplog.text
    assert reply.run(message)["result"] == "duplicate"


def test_unforeseen_error_of_runs_at_once_is_told_once(
    reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence belongs to the message, and is on record."""
    monkeypatch.setattr(reply.module.rooms["bot.chatgpt.asking"], "messages_for", None)
    message = cloud.dingtalk.message("1+1=?")
    outcomes = reply.run_at_once(*[(message, {})] * 3)
    assert sorted(outcomes) == ["duplicate", "duplicate", "failed: unforeseen"]
    assert len(cloud.dingtalk.shown(message)) == 1


def test_unforeseen_error_of_a_run_that_another_overtook_is_not_told(
    reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one has recorded a reply meanwhile, and sends it."""
    monkeypatch.setattr(reply.module.rooms["bot.chatgpt.asking"], "messages_for", None)
    message = cloud.dingtalk.message("1+1=?")
    key = write_turns(cloud, message, 0)
    line = json.dumps({"msgId": message["msgId"], "at": 1, "run": "other", "until": 1, "say": "二", "epoch": 0})
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, line + "\n")))
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)


def test_unforeseen_error_that_nobody_can_record_is_told(
    reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better twice than never."""
    monkeypatch.setattr(reply.module.rooms["bot.oss.commit"], "line_of", None)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "failed: unforeseen"
    assert "request-1" in cloud.dingtalk.shown(message)[0].text


@pytest.mark.parametrize("webhook", [None, 5, ["https://oapi.dingtalk.com"], ""])
def test_message_whose_webhook_is_no_text_is_no_self_check(reply: Reply, cloud: LocalCloud, webhook: Any) -> None:
    """The model is not asked, and nothing is sent."""
    message = cloud.dingtalk.message("你好", sessionWebhook=webhook)
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received and not cloud.oss.received
