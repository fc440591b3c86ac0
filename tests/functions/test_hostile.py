"""Whatever comes in, nothing unforeseen comes out: made-up bodies, headers, messages, journals and answers."""

from __future__ import annotations

import io
import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.helpers import JSON, TEXTS, Clock, Conversation, Reply, set_clock, write_turns
from tests.stand_ins.dingtalk import signature
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Fault

FIELDS = (
    "msgId",
    "conversationId",
    "conversationType",
    "senderStaffId",
    "senderId",
    "senderNick",
    "msgtype",
    "text",
    "content",
    "isInAtList",
    "atUsers",
    "chatbotUserId",
    "quoteMessage",
    "originalMsgId",
    "sessionWebhookExpiredTime",
    "createAt",
)
BODIES = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())


@given(
    body=BODIES,
    method=st.sampled_from(["GET", "POST", "PUT", ""]) | TEXTS,
    headers=st.dictionaries(st.sampled_from(["HTTP_TIMESTAMP", "HTTP_SIGN", "CONTENT_LENGTH", "CONTENT_TYPE"]), TEXTS),
)
@example(body=b"{}", method="POST", headers={"HTTP_TIMESTAMP": "9" * 400})
@example(body=b"{}", method="POST", headers={"CONTENT_LENGTH": "9" * 400, "HTTP_TIMESTAMP": "1"})
def test_any_unsigned_request_is_refused(
    conversation: Conversation, body: bytes, method: str, headers: dict[str, str]
) -> None:
    """Without DingTalk's signature nothing is handed over, and the sender learns nothing."""
    environ = {
        "REQUEST_METHOD": method,
        "wsgi.input": io.BytesIO(body),
        "fc.context": conversation.context,
        **headers,
    }
    conversation.set_environment()
    status: list[str] = []
    answer = b"".join(conversation.module.handler(environ, lambda line, headers: status.append(line)))
    if method == "GET":
        assert status == ["200 OK"]
    else:
        assert status[0][:3] == ("403" if method == "POST" else "405")
        assert len(answer) < 40
    assert not conversation.cloud.function_compute.invocations


@given(body=BODIES, length=st.sampled_from([None, "", "0", "-1", "soon", "1" * 30]))
@example(body=b"[" * 65_000, length=None)
@example(body=b'{"msgId": ' + b"1" * 65_000, length="")
def test_any_signed_body_is_survived(conversation: Conversation, body: bytes, length: str | None) -> None:
    """A signature does not vouch for the body, nor for its length."""
    environ = {} if length is None else {"CONTENT_LENGTH": length}
    timestamp = str(int(time.time() * 1000))
    status: list[str] = []
    request = {
        "REQUEST_METHOD": "POST",
        "HTTP_TIMESTAMP": timestamp,
        "HTTP_SIGN": signature(timestamp, conversation.cloud.dingtalk.app_secret),
        "wsgi.input": io.BytesIO(body),
        "fc.context": conversation.context,
        **environ,
    }
    conversation.set_environment()
    conversation.module.handler(request, lambda line, headers: status.append(line))
    assert status[0][:3] in ("400", "413")


@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5))
@example(changes={"text": {"content": "\ud83d"}, "senderStaffId": "../../x"})
@example(changes={"sessionWebhookExpiredTime": float("nan")})
@example(changes={"conversationId": "x" * 1000, "senderStaffId": "😀" * 250})
def test_any_message_is_answered_or_ignored(reply: Reply, cloud: LocalCloud, changes: dict[str, Any]) -> None:
    """Wherever a field is not what is documented, the function returns, and writes only to its two objects."""
    message = {**cloud.dingtalk.message("你好"), **changes}
    reply.run(json.dumps(message).encode())
    keys = cloud.oss.keys()
    assert all(re.fullmatch(r"chat-(journal/[^/]+/[^/]+|history/[^/]+/[^/]+/0).jsonl", key) for key in keys)
    assert ".." not in "".join(keys)


@given(event=BODIES)
def test_any_event_returns(reply: Reply, event: bytes) -> None:
    """What is no message runs the self-check."""
    assert reply.run(event)["result"] == "self-check"


LINES = st.fixed_dictionaries(
    {},
    optional={
        "msgId": JSON | st.just("m"),
        "at": JSON | st.just(1),
        "run": JSON | st.just("r"),
        "until": JSON | st.just(1),
        "words": JSON | st.lists(st.integers(), min_size=3, max_size=3),
        "say": JSON | TEXTS,
        "epoch": JSON | st.integers(),
        "sent": JSON | st.just(1),
        "turn": JSON | st.just(True),
        "delivered": JSON,
    },
)
WORDS = st.fixed_dictionaries({}, optional={"msgId": st.just("m0"), "question": JSON | TEXTS, "answer": JSON | TEXTS})


@given(
    lines=st.lists(st.binary(max_size=60) | (JSON | LINES).map(lambda value: json.dumps(value).encode()), max_size=5)
)
def test_any_line_in_the_journal_is_survived(reply: Reply, cloud: LocalCloud, lines: list[bytes]) -> None:
    """The question is answered and the turn recorded, whatever stands in the object before."""
    message = cloud.dingtalk.message("1+1=?")
    key = write_turns(cloud, message, 0)
    cloud.oss.write(key, b"\n".join(lines))
    assert reply.run(message)["result"] == "answered"
    assert json.loads((cloud.oss.read(key) or b"").splitlines()[-2])["turn"] is True
    assert cloud.dingtalk.shown(message)[0].text.startswith("1+1=2")


@given(words=st.binary(max_size=60) | (JSON | WORDS).map(lambda value: json.dumps(value).encode() + b"\n"))
def test_any_words_are_survived(reply: Reply, cloud: LocalCloud, words: bytes) -> None:
    """What stands where the words of a turn should be is shown to the model, or not; the next turn is recorded."""
    message = cloud.dingtalk.message("1+1=?")
    write_turns(cloud, message, 1)
    (key, _) = cloud.oss.keys()
    cloud.oss.write(key, words)
    assert reply.run(message)["result"] == "answered"
    assert cloud.dingtalk.shown(message)[0].text.startswith("1+1=2")
    cloud.oss.reset()


@given(answer=JSON | st.fixed_dictionaries({"errcode": JSON}), status=st.sampled_from([200, 301, 500]))
def test_any_answer_of_the_webhook_is_survived(
    reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, answer: Any, status: int
) -> None:
    """Only the exception that makes FC run the event again leaves the handler."""
    set_clock(monkeypatch, reply.module, Clock())
    cloud.dingtalk.reset()  # an example may have left faults over
    cloud.dingtalk.plan(Fault(status=status, body=json.dumps(answer), times=3))
    message = cloud.dingtalk.message("你好")
    try:
        assert reply.run(message)["result"] in ("answered", "Undeliverable")
    except reply.module.NotDelivered:
        pass
