"""Whom the functions talk to must prove who it is; and the list of authorities for that is read once per instance."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
import trustme

from tests.benchmark.wire import NO_DISTANCE, Wire
from tests.helpers import Clock, Conversation, Reply, set_clock
from tests.stand_ins.dingtalk import Message
from tests.stand_ins.server import StandIn

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)

Https = Callable[..., str]

impostors = pytest.mark.parametrize("certificate", ["of an unknown authority", "for another host", "expired"])


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The list of authorities that requests trusts."""
    path = tmp_path / "authorities.pem"
    for module in (requests.utils, requests.adapters):
        monkeypatch.setattr(module, "DEFAULT_CA_BUNDLE_PATH", str(path))
    return path


@pytest.fixture
def https(authorities: Path) -> Iterator[Https]:
    """Gives a service an https address, with a certificate that is good or has one thing wrong."""
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(authorities))
    with contextlib.ExitStack() as stack:

        def url(service: StandIn, certificate: str = "good") -> str:
            authority = trustme.CA() if certificate == "of an unknown authority" else trusted
            host = "example.com" if certificate == "for another host" else "localhost"
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host, not_after=YESTERDAY if certificate == "expired" else None).configure_cert(tls)
            return stack.enter_context(Wire(service.url, tls, NO_DISTANCE)).url.replace("127.0.0.1", "localhost")

        yield url


def question(reply: Reply, https_dingtalk: str) -> Message:
    """A new message, whose answer is to come to an https address."""
    reply.environment["WEBHOOK_HOSTS"] = "localhost"
    message = reply.cloud.dingtalk.message("1+1=?")
    message["sessionWebhook"] = message["sessionWebhook"].replace(reply.cloud.dingtalk.url, https_dingtalk)
    return message


# --- Dingtalk_Conversation ---


def test_message_is_handed_over_to_function_compute_that_proves_itself(
    cold_conversation: Conversation, https: Https
) -> None:
    """The default: https, a certificate for the host in the address, an authority on the list."""
    cold_conversation.environment["ENDPOINT"] = https(cold_conversation.cloud.function_compute)
    assert cold_conversation.post().body == b'{"msgtype": "empty"}'
    assert len(cold_conversation.cloud.function_compute.received) == 1


@impostors
def test_message_is_not_handed_over_to_an_impostor(
    cold_conversation: Conversation, https: Https, certificate: str
) -> None:
    """Neither the message nor the role's token leaves the function."""
    cold_conversation.environment["ENDPOINT"] = https(cold_conversation.cloud.function_compute, certificate)
    assert "连接不上函数计算" in cold_conversation.post().chat_text
    assert cold_conversation.cloud.function_compute.received == []


def test_conversation_reads_the_authorities_once(
    cold_conversation: Conversation, https: Https, authorities: Path
) -> None:
    """It takes a new connection for every message, and reading the list takes longer than all the rest together."""
    cold_conversation.environment["ENDPOINT"] = https(cold_conversation.cloud.function_compute)
    cold_conversation.post()
    authorities.unlink()
    assert cold_conversation.post().body == b'{"msgtype": "empty"}'
    assert len(cold_conversation.cloud.function_compute.connections()) == 2


# --- Dingtalk_ChatGPT_Reply ---


def test_reply_goes_through_services_that_prove_themselves(cold_reply: Reply, https: Https, authorities: Path) -> None:
    """All three over TLS; new connections, too, do without reading the list of authorities again."""
    cloud = cold_reply.cloud
    cold_reply.environment.update(OSS_ENDPOINT=https(cloud.oss), CHATGPT_BASE_URL=https(cloud.openai_api))
    dingtalk = https(cloud.dingtalk)
    for _ in range(2):
        message = question(cold_reply, dingtalk)
        assert cold_reply.run(message)["result"] == "answered"
        assert [bubble.text for bubble in cloud.dingtalk.shown(message)] == ["1+1=2"]
        authorities.unlink(missing_ok=True)
        for service in (cloud.oss, cloud.openai_api, cloud.dingtalk):
            service.stop()
            service.start()
    assert [len(service.connections()) for service in (cloud.oss, cloud.openai_api, cloud.dingtalk)] == [2, 2, 2]


@impostors
def test_history_is_not_shown_to_an_impostor(cold_reply: Reply, https: Https, certificate: str) -> None:
    """Somebody who pretends to be OSS gets neither a question nor the role's token; the person is answered."""
    cloud = cold_reply.cloud
    cold_reply.environment["OSS_ENDPOINT"] = https(cloud.oss, certificate)
    assert "连接不上 OSS" in cold_reply.ask("1+1=?")
    assert cloud.oss.received == []


@impostors
def test_question_is_not_shown_to_an_impostor(
    cold_reply: Reply, https: Https, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who pretends to be ChatGPT gets neither the question nor the key."""
    cloud = cold_reply.cloud
    set_clock(monkeypatch, cold_reply.module, Clock())
    cold_reply.environment["CHATGPT_BASE_URL"] = https(cloud.openai_api, certificate)
    assert "连接不上 ChatGPT" in cold_reply.ask("1+1=?")
    assert cloud.openai_api.received == []


@impostors
def test_answer_is_not_shown_to_an_impostor(
    cold_reply: Reply, https: Https, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who pretends to be DingTalk gets no answer; Function Compute runs the event again."""
    cloud = cold_reply.cloud
    set_clock(monkeypatch, cold_reply.module, Clock())
    message = question(cold_reply, https(cloud.dingtalk, certificate))
    with pytest.raises(cold_reply.module.NotDelivered, match="SSLError"):
        cold_reply.run(message)
    assert cloud.dingtalk.received == []
