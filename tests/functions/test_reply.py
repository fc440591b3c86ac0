"""Dingtalk_ChatGPT_Reply in this process, with the real SDKs and the stand-ins: each situation by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from bot.sentences import zh
from tests.helpers import Clock, Reply, set_clock, write_turns
from tests.stand_ins.dingtalk import VISITOR, XIAODING, XIAOMING
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.oss import Access, Bucket, error_fault
from tests.stand_ins.server import Fault, Received


def is_get(received: Received) -> bool:
    return received.method == "GET"


def is_append(received: Received) -> bool:
    return received.method == "POST"


# --- the message ---


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


def test_outsider_has_a_history_by_sender_id(reply: Reply, cloud: LocalCloud) -> None:
    """People outside the organisation have no staff id."""
    reply.ask("我叫小明", person=VISITOR)
    assert reply.ask("我叫什么？", person=VISITOR) == "你叫小明。"
    assert quote(VISITOR.sender_id, safe="") in cloud.oss.keys()[0]


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".", "a/b", "%2e%2e", "a\nb", "😀" * 20, "长" * 400, "\\", "a?b#c", "/"]
)
def test_any_id_stays_in_its_place(reply: Reply, cloud: LocalCloud, name: str) -> None:
    """Whatever ids look like, the journal is one object two levels below chat-history/, and is found again."""
    for _ in range(2):
        message = cloud.dingtalk.message("1+1=?", conversationId=name, senderStaffId=name)
        assert reply.run(message)["result"] == "answered"
    (key,) = cloud.oss.keys()
    folder, conversation, person = key.split("/")
    assert folder == "chat-history"
    assert set(conversation + person) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%-_~=.")
    assert "." not in person.removesuffix(".jsonl") + conversation
    assert len(key.encode()) <= 1023
    assert len(cloud.openai_api.asked[1]["messages"]) == 3


# --- commands ---


def test_status_tells_model_turns_and_version(reply: Reply) -> None:
    """Commands are no turns."""
    reply.ask("我叫小明")
    reply.ask("\\help")
    text = reply.ask("/status")
    assert "gpt-6-luna" in text
    assert "1 轮（最多 10 轮）" in text
    assert reply.module.VERSION in text


def test_broken_journal_can_be_cleared(reply: Reply, cloud: LocalCloud) -> None:
    """Nobody is locked out by what stands in the object, not even by a kind of object that cannot be appended to."""
    reply.ask("你好")
    (key,) = cloud.oss.keys()
    cloud.oss.write(key, b"\xff\x00 no journal at all", appendable=False)
    assert "ObjectNotAppendable" in reply.ask("你好")
    assert "忘掉" in reply.ask("\\clear")
    assert "OSS" not in reply.ask("你好")


def test_clear_that_oss_refuses_says_so(reply: Reply, cloud: LocalCloud) -> None:
    """Nothing was forgotten, and the person is told."""
    reply.ask("我叫小明")
    rights = frozenset({"oss:GetObject", "oss:PutObject"})
    cloud.oss.access = {"STS.example-id": Access("example-secret", "example-token", rights)}
    assert "AccessDenied" in reply.ask("\\clear")
    assert reply.ask("我叫什么？") == "你叫小明。"


# --- the journal ---


@pytest.mark.parametrize(("length", "turns"), [("0", 0), ("1", 1), ("3", 3), (None, 10)])
def test_history_length_limits_what_the_model_sees(
    reply: Reply, cloud: LocalCloud, length: str | None, turns: int
) -> None:
    """The last turns, oldest first; 0 means none, not all."""
    reply.environment["HISTORY_LENGTH"] = length
    message = cloud.dingtalk.message("你好")
    write_turns(cloud, message, 20)
    reply.run(message)
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == [*[f"问题 {number}" for number in range(20 - turns, 20)], "你好"]


MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("minutes", "ages", "seen"),
    [
        (None, [900, 500, 1], ["0", "1", "2"]),
        ("30", [29, 20, 10], ["0", "1", "2"]),
        ("30", [60, 29, 10], ["1", "2"]),
        ("30", [90, 45, 31], []),
        ("30", [100, 5, 1], ["1", "2"]),
        ("30", [None, 40, 20], ["0", "1", "2"]),
        ("30", [100, None, 20], ["1", "2"]),
        ("30", [5, 10, -10], ["0", "1", "2"]),
    ],
)
def test_turns_before_a_pause_are_not_shown(
    reply: Reply, cloud: LocalCloud, minutes: str | None, ages: list[int | None], seen: list[str]
) -> None:
    """HISTORY_MINUTES: by the times of the turns; one without a time, or with one that makes no sense, is no pause."""
    reply.environment["HISTORY_MINUTES"] = minutes
    message = cloud.dingtalk.message("你好")
    now_ms = int(time.time() * 1000)
    turns = [{"msgId": f"m{n}", "run": "r", "question": str(n), "answer": "好"} for n in range(len(ages))]
    for turn, age in zip(turns, ages, strict=True):
        turn |= {} if age is None else {"at": now_ms - age * MINUTE_MS}  # type: ignore[dict-item]
    key = write_turns(cloud, message, 0)
    cloud.oss.write(key, "".join(json.dumps(turn) + "\n" for turn in turns))
    reply.run(message)
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == [*seen, "你好"]


def test_long_journal_costs_what_a_short_one_costs(reply: Reply, cloud: LocalCloud) -> None:
    """Only the last 128 KiB are read, and the partial line at their beginning is left out."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 3000, "很长的回答" * 10)
    before = cloud.oss.read(key) or b""
    reply.run(message)
    (read,) = [received for received in cloud.oss.received if is_get(received)]
    assert read.headers["Range"] == "bytes=-131072"
    assert len(cloud.openai_api.asked[0]["messages"]) == 21
    after = cloud.oss.read(key) or b""
    assert after.startswith(before)
    assert len(after.splitlines()) == 3002


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"msgId": 5, "delivered": true}',
        b'{"msgId": "m"}',
        b'{"msgId": "m", "at": "1", "run": "r", "answer": "x"}',
        b'{"msgId": "m", "at": 1, "run": "r", "answer": ["x"]}',
        b'{"msgId": "m", "at": 1, "run": "r", "answer": "x", "question": 1}',
        b'{"msgId": "m", "at": 1, "answer": "x"}',
    ],
)
def test_bad_line_in_the_journal_is_skipped(reply: Reply, cloud: LocalCloud, line: bytes) -> None:
    """It never locks a person out, and the turns around it count."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 1)
    good = cloud.oss.read(key) or b""
    cloud.oss.write(key, good + line + b"\n" + good.replace("问题 0".encode(), "问题 1".encode()))
    reply.run(message)
    questions = [part["content"] for part in cloud.openai_api.asked[0]["messages"] if part["role"] == "user"]
    assert questions == ["问题 0", "问题 1", "你好"]


def test_journal_without_final_newline_is_continued_on_a_new_line(reply: Reply, cloud: LocalCloud) -> None:
    """An object that somebody edited loses neither its last line nor the next one."""
    message = cloud.dingtalk.message("你好")
    key = write_turns(cloud, message, 1)
    cloud.oss.write(key, (cloud.oss.read(key) or b"").rstrip(b"\n"))
    reply.run(message)
    assert [line.get("question") for line in cloud.journal(message)] == ["问题 0", "你好", None]


def test_turn_of_another_run_in_between_is_kept(reply: Reply, cloud: LocalCloud) -> None:
    """Compare-and-swap: an append at a position that is no longer the end is done again at the new end."""
    message, other = cloud.dingtalk.message("1+1=?"), cloud.dingtalk.message("你好")
    cloud.openai_api.plan(Fault(then=lambda: write_turns(cloud, message, 2)))
    reply.run(message)
    assert [line.get("question") for line in cloud.journal(message)] == ["问题 0", "问题 1", "1+1=?", None]
    assert len(cloud.dingtalk.shown(message)) == 1
    assert not cloud.dingtalk.shown(other)


def test_message_recorded_by_another_run_meanwhile_is_not_sent(reply: Reply, cloud: LocalCloud) -> None:
    """Of two runs for one message only the one that recorded its answer sends it, even if the answers are the same."""
    message = cloud.dingtalk.message("\\help")
    now_ms = int(time.time() * 1000)
    line = {
        "msgId": message["msgId"],
        "at": now_ms,
        "run": "other",
        "until": now_ms + 5000,
        "answer": zh.HELP,
    }
    mark = {"msgId": message["msgId"], "at": now_ms, "delivered": True}
    key = write_turns(cloud, message, 0)
    del cloud.oss.buckets["example-bucket"].objects[key]
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, json.dumps(line) + "\n")))
    cloud.oss.plan(Fault(where=is_get))  # after the append that was refused
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, f"{json.dumps(line)}\n{json.dumps(mark)}\n")))
    assert reply.run(message)["result"] == "duplicate"
    assert not cloud.dingtalk.shown(message)


@pytest.mark.parametrize(
    "fault", [Fault(where=is_append, drop=True, carry_out=True), Fault(where=is_append, drop=True)]
)
def test_append_whose_response_got_lost_is_there_once(reply: Reply, cloud: LocalCloud, fault: Fault) -> None:
    """Whether OSS did it or not, the turn is recorded once and the reply is sent once."""
    cloud.oss.plan(fault)
    message = cloud.dingtalk.message("1+1=?")
    assert reply.run(message)["result"] == "answered"
    assert [line.get("question") for line in cloud.journal(message)] == ["1+1=?", None]
    assert len(cloud.dingtalk.shown(message)) == 1


def test_mark_whose_response_got_lost_is_there_once(reply: Reply, cloud: LocalCloud) -> None:
    """The second append of a run is as careful as the first."""
    cloud.dingtalk.plan(Fault(then=lambda: cloud.oss.plan(Fault(where=is_append, drop=True, carry_out=True))))
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    assert [line.get("delivered") for line in cloud.journal(message)] == [None, True]


def test_delivered_message_is_not_answered_again(reply: Reply, cloud: LocalCloud) -> None:
    """A repeated message costs one read and nothing else."""
    message = cloud.dingtalk.message("1+1=?")
    reply.run(message)
    assert reply.run(message)["result"] == "duplicate"
    assert len(cloud.dingtalk.shown(message)) == len(cloud.openai_api.asked) == 1


def test_silent_oss_is_given_up_before_the_function_is_killed(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """An append that takes all of its time is not tried again, and neither is the mark."""

    def later() -> None:
        clock.ahead += 7

    cloud.oss.plan(Fault(where=is_append, drop=True, then=later, times=9))
    assert "没能存进聊天记录" in reply.ask("1+1=?")
    assert sum(map(is_append, cloud.oss.received)) == 2


def test_second_run_of_an_undelivered_event_only_sends(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """FC runs the event again with the same request id: the stored answer goes out, ChatGPT is not asked."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message, request_id="same")
    assert reply.run(message, request_id="same")["result"] == "answered again"
    assert len(cloud.dingtalk.shown(message)) == len(cloud.openai_api.asked) == 1
    assert reply.run(message, request_id="same")["result"] == "duplicate"


def leave_a_lease(reply: Reply, cloud: LocalCloud, message: dict[str, Any], **line: Any) -> None:
    """Another run has recorded its reply and has the lease to send it; `line` changes that."""
    now_ms = reply.module.now_ms()
    key = write_turns(cloud, message, 0)
    recorded = {"msgId": message["msgId"], "at": now_ms, "run": "other", "until": now_ms + 8000, "answer": "二", **line}
    cloud.oss.write(key, json.dumps(recorded) + "\n")


def test_other_run_waits_while_the_lease_lasts(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """A reply that another run recorded a moment ago is sent by this one only when that run must be dead."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    assert reply.run(message)["result"] == "answered again"
    assert 8 <= sum(clock.slept) <= 11
    assert [shown.text for shown in cloud.dingtalk.shown(message)] == ["二"]
    assert not cloud.openai_api.asked


def test_other_run_stops_waiting_when_the_reply_is_out(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """As soon as the mark of the other run is there, there is nothing to do."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    (key,) = cloud.oss.keys()
    mark = json.dumps({"msgId": message["msgId"], "at": 1, "delivered": True}).encode()
    cloud.oss.plan(Fault(where=is_get))
    cloud.oss.plan(Fault(where=is_get, then=lambda: cloud.oss.write(key, (cloud.oss.read(key) or b"") + mark + b"\n")))
    assert reply.run(message)["result"] == "duplicate"
    assert len(clock.slept) == 2
    assert not cloud.dingtalk.shown(message)


def test_run_that_had_to_stop_leaves_the_rest_to_the_next_at_once(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """A line releases the lease: another delivery need not wait, and goes on with the part that failed."""
    message = cloud.dingtalk.message("长回答")
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 150] * 5))
    cloud.dingtalk.plan(Fault())
    cloud.dingtalk.refuse_next(-1, "系统繁忙", times=3)
    with pytest.raises(reply.module.NotDelivered):
        reply.run(message)
    clock.slept.clear()
    assert reply.run(message)["result"] == "answered again"
    assert not clock.slept
    texts = [shown.text for shown in cloud.dingtalk.shown(message)]
    assert [text.partition("）")[0] for text in texts] == [f"（{n}/{len(texts)}" for n in range(1, len(texts) + 1)]


def test_lease_of_a_wrong_clock_does_not_count(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """No lease lasts for years: a wrong clock elsewhere cannot make a run wait for ever."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=10**15)
    assert reply.run(message)["result"] == "answered again"
    assert not clock.slept


# --- OSS fails ---


def deny(cloud: LocalCloud, *actions: str) -> None:
    """The role loses these permissions."""
    everything = Access("").actions
    rights = everything - {f"oss:{action}" for action in actions}
    cloud.oss.access = {"STS.example-id": Access("example-secret", "example-token", rights)}


def test_answer_is_given_when_the_history_cannot_be_read(reply: Reply, cloud: LocalCloud) -> None:
    """The person is answered, told why nothing was remembered, and the turn is kept at the right place."""
    reply.ask("我叫小明")
    deny(cloud, "GetObject")
    message = cloud.dingtalk.message("我叫什么？")
    reply.run(message)
    text = cloud.dingtalk.shown(message)[0].text
    assert text.startswith("我还不知道")
    assert "没能读取聊天记录" in text
    assert "AccessDenied" in text
    assert "oss:GetObject" in text
    questions = [line.get("question") for line in cloud.journal(message)]
    assert questions == ["我叫小明", None, "我叫什么？", None]


def test_read_that_fails_once_costs_nothing(reply: Reply, cloud: LocalCloud) -> None:
    """It is tried again at once, however long the service asks to wait: the person is waiting too."""
    reply.ask("我叫小明")
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_get, headers={"Retry-After": "60"}))
    assert reply.ask("我叫什么？") == "你叫小明。"


def test_missing_journal_that_looks_forbidden_is_nothing_to_report(reply: Reply, cloud: LocalCloud) -> None:
    """Without permission to list, OSS may answer 403 for a missing object; the append at 0 shows which it was."""
    deny(cloud, "ListObjects")
    cloud.oss.hide_missing_keys = True
    assert reply.ask("1+1=?") == "1+1=2"
    assert reply.ask("你好") == "你好！有什么可以帮你？"


def test_answer_is_given_when_the_turn_cannot_be_saved(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """The person is told that it is not saved, with OSS's code and request id; the log has the same."""
    deny(cloud, "PutObject")
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2\n\n（")
    assert "没能存进聊天记录" in text
    assert "AccessDenied" in text
    request_id = text.partition("请求 ")[2].partition("：")[0]
    assert request_id
    assert request_id in caplog.text


def test_oss_out_of_order_costs_three_tries(reply: Reply, cloud: LocalCloud) -> None:
    """A server error may pass: an append is tried three times, not for ever."""
    cloud.oss.plan(error_fault("ServiceUnavailable", where=is_append, times=3))
    assert "ServiceUnavailable" in reply.ask("1+1=?")
    assert sum(map(is_append, cloud.oss.received)) == 4  # the mark, too


def test_unreachable_oss_does_not_keep_the_answer_back(reply: Reply, cloud: LocalCloud) -> None:
    """Neither read nor saved: one sentence, after the answer."""
    cloud.oss.stop()
    text = reply.ask("1+1=?")
    assert text.startswith("1+1=2\n\n（")
    assert "OSS_ENDPOINT" in text
    assert text.count("（") - text.count("（Request") == 1


def test_journal_under_constant_change_is_given_up(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Even losing every race has an end, and the answer is not lost."""
    cloud.oss.plan(
        error_fault(
            "PositionNotEqualToLength", where=is_append, times=10**6, headers={"x-oss-next-append-position": "5"}
        )
    )
    assert "同时" in reply.ask("1+1=?")


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
    bucket = reply.module.open_bucket(settings, SimpleNamespace(region="us-west-1"))
    assert (bucket.endpoint, bucket.region) == (wanted_endpoint, wanted_region)


# --- the webhook ---


@pytest.mark.parametrize(
    ("webhook", "hosts", "allowed"),
    [
        ("https://oapi.dingtalk.com/robot/sendBySession?session=1", None, True),
        ("https://dingtalk.com/x", None, True),
        ("https://oapi.dingtalk.com:443/x", None, True),
        ("https://OAPI.DingTalk.com/x", None, True),
        ("https://oapi.example.com/x", "example.com,dingtalk.com", True),
        ("http://127.0.0.1:8000/x", "127.0.0.1", True),
        ("http://oapi.dingtalk.com/x", None, False),
        ("http://127.0.0.1/x", None, False),
        ("http://10.0.0.1/x", "10.0.0.1", False),
        ("https://127.0.0.1/x", None, False),
        ("https://dingtalk.com.example.com/x", None, False),
        ("https://evildingtalk.com/x", None, False),
        ("https://example.com/dingtalk.com", None, False),
        ("https://user@oapi.dingtalk.com/x", None, False),
        ("https://user:password@oapi.dingtalk.com/x", None, False),
        ("https://example.com\\@oapi.dingtalk.com/x", None, False),
        ("https://example.com#@oapi.dingtalk.com/x", None, False),
        ("https://oapi.dingtalk.com/x\r\nHost: example.com", None, False),
        ("https://oapi.dingtalk.com /x", None, False),
        ("https://oapi.dingtalk.com/中", None, False),
        ("https://[::1]/x", None, False),
        ("ftp://oapi.dingtalk.com/x", None, False),
        ("oapi.dingtalk.com/x", None, False),
        ("https://", None, False),
    ],
)
def test_webhook_host_is_checked(reply: Reply, webhook: str, hosts: str | None, allowed: bool) -> None:
    """Answers go to https at and below WEBHOOK_HOSTS, and to a loopback address only if it is listed."""
    reply.environment = {"CHATGPT_API_KEY": "x", "OSS_BUCKET_NAME": "bucket", "WEBHOOK_HOSTS": hosts}
    settings, _ = reply.module.read_settings(
        reply.module.ReplySettings, {k: v for k, v in reply.environment.items() if v}
    )
    message = SimpleNamespace(webhook=webhook, webhook_expires_ms=None)
    if allowed:
        reply.module.check_webhook(message, settings.webhook_hosts)
    else:
        with pytest.raises(reply.module.Undeliverable):
            reply.module.check_webhook(message, settings.webhook_hosts)


def test_forbidden_webhook_costs_nothing(reply: Reply, cloud: LocalCloud, caplog: Any) -> None:
    """ChatGPT is not asked for an answer that cannot be sent; the log names the setting, not the address."""
    message = cloud.dingtalk.message("你好", sessionWebhook="https://example.com/hook")
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received
    assert "WEBHOOK_HOSTS" in caplog.text
    assert "example.com/hook" not in caplog.text


def test_expired_webhook_costs_nothing(reply: Reply, cloud: LocalCloud) -> None:
    """An event that waited too long is not answered, and not tried again."""
    message = cloud.dingtalk.message("你好", sessionWebhookExpiredTime=int(time.time() * 1000) - 1)
    assert reply.run(message)["result"] == "Undeliverable"
    assert not cloud.openai_api.received


def test_undelivered_reply_leaves_as_an_exception_without_cause(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """FC logs what leaves the handler: not the exception of requests, which quotes the address."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.dingtalk.plan(Fault(drop=True, times=3))
    with pytest.raises(reply.module.NotDelivered) as raised:
        reply.run(message)
    assert raised.value.__suppress_context__
    assert "session=" not in str(raised.value)


def test_slow_webhook_is_given_up_in_time(reply: Reply, cloud: LocalCloud, clock: Clock, monkeypatch: Any) -> None:
    """A byte now and then does not keep the function waiting."""
    monkeypatch.setattr(reply.module.rooms["bot.dingtalk.webhook"], "SEND_SECONDS", 0.3)
    cloud.dingtalk.plan(Fault(byte_seconds=0.1, times=3))
    with pytest.raises(reply.module.NotDelivered):
        reply.run(cloud.dingtalk.message("1+1=?"))


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


# --- settings, self-check, the unforeseen ---


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
    """With DAILY_LIMIT the function writes to a second folder."""
    everything = Access("").actions
    cloud.oss.access = {"STS.example-id": Access("example-secret", "example-token", everything, ("chat-history/",))}
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


def test_two_people_with_one_name_have_two_histories(reply: Reply) -> None:
    """The nick is nobody's identity."""
    reply.ask("我叫小明", person=XIAODING)
    namesake = XIAOMING.__class__(XIAODING.nick, XIAOMING.staff_id, XIAOMING.sender_id)
    assert "不知道" in reply.ask("我叫什么？", person=namesake)


# --- the lease in all its cases ---


def lease_line(message: dict[str, Any], run: str, until_ms: int) -> bytes:
    """Another run has taken the lease of this message."""
    line = {"msgId": message["msgId"], "at": 1, "run": run, "until": until_ms, "sent": 0}
    return json.dumps(line).encode() + b"\n"


def test_lease_that_cannot_be_stored_leaves_the_reply_to_the_next_run(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """Sending without it could show the reply twice: Function Compute runs the event again."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=0)
    cloud.oss.plan(error_fault("InternalError", where=is_append, times=3))
    with pytest.raises(reply.module.NotDelivered, match="no lease"):
        reply.run(message)
    assert reply.run(message)["result"] == "answered again"
    assert len(cloud.dingtalk.shown(message)) == 1


def test_lease_that_another_waiting_run_took_is_waited_for(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """Of two runs that waited for a dead one, one takes its lease; the other goes on waiting."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message, until=0)
    (key,) = cloud.oss.keys()

    def third_run_takes_it() -> None:
        line = lease_line(message, "third", reply.module.now_ms() + 5000)
        cloud.oss.write(key, (cloud.oss.read(key) or b"") + line)

    cloud.oss.plan(Fault(where=is_get, then=third_run_takes_it))
    assert reply.run(message)["result"] == "answered again"
    assert 5 <= sum(clock.slept) <= 8


def test_lease_that_outlasts_this_run_leaves_the_reply_to_the_next_one(
    reply: Reply, cloud: LocalCloud, clock: Clock
) -> None:
    """The other run is still sending when this one has to end."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    with pytest.raises(reply.module.NotDelivered, match="still sending"):
        reply.run(message, timeout=8)
    assert not cloud.dingtalk.shown(message)


def test_journal_that_cannot_be_read_while_waiting_is_read_again(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """What was read before still holds."""
    message = cloud.dingtalk.message("1+1=?")
    leave_a_lease(reply, cloud, message)
    cloud.oss.plan(Fault(where=is_get))
    cloud.oss.plan(error_fault("AccessDenied", where=is_get))
    assert reply.run(message)["result"] == "answered again"


def slow_first_part(reply: Reply, cloud: LocalCloud, clock: Clock, then: Callable[[], None]) -> dict[str, Any]:
    """A message with an answer of two parts, the first of which takes most of the lease."""
    message = cloud.dingtalk.message("请讲讲")
    cloud.openai_api.answer_next("\n\n".join(["一二三四五六七八九十" * 300] * 2))

    def after_the_first_part() -> None:
        clock.ahead += 5.5  # more than half of a lease, and less than a request may take
        then()

    cloud.dingtalk.plan(Fault(then=after_the_first_part))
    return message


def test_run_whose_lease_was_taken_stops(reply: Reply, cloud: LocalCloud, clock: Clock) -> None:
    """It was too slow: the other run sends the rest."""

    def other_run_takes_it() -> None:
        (key,) = cloud.oss.keys()
        line = lease_line(message, "other", reply.module.now_ms() + 5000)
        cloud.oss.write(key, (cloud.oss.read(key) or b"") + line)

    message = slow_first_part(reply, cloud, clock, other_run_takes_it)
    assert reply.run(message)["result"] == "duplicate"
    assert len(cloud.dingtalk.shown(message)) == 1


def test_lease_that_cannot_be_renewed_is_used_up(reply: Reply, cloud: LocalCloud, clock: Clock, caplog: Any) -> None:
    """The second part fits what is left of it."""
    message = slow_first_part(
        reply, cloud, clock, lambda: cloud.oss.plan(error_fault("InternalError", where=is_append, times=3))
    )
    assert reply.run(message)["result"] == "answered"
    assert "the lease is not renewed" in caplog.text
    assert len(cloud.dingtalk.shown(message)) == 2


def test_sentence_for_which_there_is_no_time_is_left_to_the_next_run(reply: Reply, cloud: LocalCloud) -> None:
    """A function with a time-out of 2 s."""
    reply.environment["CHATGPT_API_KEY"] = None
    with pytest.raises(reply.module.NotDelivered, match="time is up"):
        reply.run(cloud.dingtalk.message("1+1=?"), timeout=2)


def test_line_that_only_mentions_a_message_is_not_about_it(reply: Reply, cloud: LocalCloud) -> None:
    """An id that is also the name of a field stands in every line."""
    reply.ask("1+1=?")
    assert reply.run(cloud.dingtalk.message("1+2=?", msgId="answer"))["result"] == "answered"


def test_of_two_replies_on_record_the_first_counts(reply: Reply, cloud: LocalCloud) -> None:
    """Two runs that could not read the journal recorded one each."""
    message = cloud.dingtalk.message("1+1=?")
    key = write_turns(cloud, message, 0)
    lines = [{"msgId": message["msgId"], "at": 1, "run": run, "until": 0, "answer": run} for run in ("一", "二")]
    cloud.oss.write(key, "".join(json.dumps(line) + "\n" for line in lines))
    assert reply.run(message)["result"] == "answered again"
    assert [shown.text for shown in cloud.dingtalk.shown(message)] == ["一"]


def test_count_that_loses_every_race_does_not_keep_the_answer_back(
    reply: Reply, cloud: LocalCloud, caplog: Any
) -> None:
    """A limit is no reason for silence: the question is answered and not counted."""
    reply.environment["DAILY_LIMIT"] = "1"
    in_usage = Fault(
        where=lambda received: is_append(received) and "chat-usage" in received.path,
        times=100,
        status=409,
        body=b"<Error><Code>PositionNotEqualToLength</Code></Error>",
        headers=(("x-oss-next-append-position", "5"),),
    )
    cloud.oss.plan(in_usage)
    assert reply.ask("1+1=?") == "1+1=2"
    assert "not counted" in caplog.text


def test_append_of_which_nothing_can_be_learnt_is_given_up(reply: Reply, cloud: LocalCloud) -> None:
    """It may have been carried out: appended again without a look at the journal, the turn could be there twice."""
    message = cloud.dingtalk.message("1+1=?")
    cloud.oss.plan(Fault(where=is_get))
    cloud.oss.plan(Fault(where=is_append, drop=True, carry_out=True))
    cloud.oss.plan(error_fault("InternalError", where=is_get, times=4))
    assert reply.run(message)["result"] == "answered"
    assert "没能存进聊天记录" in cloud.dingtalk.shown(message)[0].text
    assert sum("question" in line for line in cloud.journal(message)) == 1
