"""Whom the functions talk to must prove who it is; and the list of authorities for that is read once per instance."""

from __future__ import annotations

import contextlib
import gzip
import json
import select
import socket
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import requests
import trustme

from bot import connections
from tests.benchmark.wire import NO_DISTANCE, Wire
from tests.helpers import Clock, Conversation, Reply, is_get, set_clock
from tests.stand_ins.dingtalk import Message
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import LocalCloud
from tests.stand_ins.server import Answer, Fault, Received, StandIn, json_answer

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


# --- nothing follows where a service points, waits beyond its deadline, or reads without end ---


class Elsewhere(StandIn):
    """Another host, which takes whatever comes."""

    def respond(self, received: Received) -> Answer:
        return json_answer({"errcode": 0})


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Where redirects lead."""
    with Elsewhere() as host:
        yield host


def pointing(host: StandIn) -> Fault:
    """What a service answers that sends its callers elsewhere."""
    return Fault(status=307, headers=(("Location", host.url + "/x"),), times=99)


@pytest.mark.parametrize("service", ["oss", "openai_api", "dingtalk"])
def test_redirect_of_a_service_is_not_followed(
    reply: Reply, cloud: LocalCloud, clock: Clock, elsewhere: Elsewhere, service: str
) -> None:
    """The question, its history, the key and the role's token are for nobody else."""
    reply.ask("我叫小明")
    getattr(cloud, service).plan(pointing(elsewhere))
    with contextlib.suppress(reply.module.NotDelivered):
        reply.run(cloud.dingtalk.message("我叫什么？"))
    assert elsewhere.received == []


def test_redirect_of_function_compute_is_not_followed(conversation: Conversation, elsewhere: Elsewhere) -> None:
    """Nor on 2.0, where the client is not ours."""
    conversation.cloud.function_compute.plan(replace(pointing(elsewhere), where=is_invoke))
    assert "ENDPOINT" in conversation.post().chat_text
    assert elsewhere.received == []


def test_endless_answer_of_function_compute_is_given_up(conversation: Conversation) -> None:
    """What is so long does not come from there."""
    body = json.dumps({"ErrorCode": "x" * 1024 * 1024})
    conversation.cloud.function_compute.plan(Fault(where=is_invoke, status=500, body=body))
    assert "ENDPOINT" in conversation.post().chat_text


def test_long_body_of_oss_is_given_up(reply: Reply, cloud: LocalCloud) -> None:
    """No range that is asked for is so long."""
    cloud.oss.plan(Fault(where=is_get, status=200, body=b"x" * 1024 * 1024))
    assert "没能读取聊天记录" in reply.ask("1+1=?")


@pytest.mark.parametrize("service", ["oss", "openai_api", "dingtalk"])
def test_dripping_service_leaves_neither_thread_nor_connection(
    cold_reply: Reply, cloud: LocalCloud, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps every read alive; when the call is given up, its connection ends."""
    rooms = cold_reply.module.rooms
    monkeypatch.setattr(rooms["bot.dingtalk.webhook"], "SEND_SECONDS", 0.5)
    monkeypatch.setattr(rooms["bot.dingtalk.webhook"], "SEND_PAUSES_SECONDS", (0, 0))
    monkeypatch.setattr(rooms["bot.oss.journal"], "LOAD_SHARE", (0.5, 1))
    cold_reply.environment["TIMEOUT"] = "1"
    cold_reply.ask("你好")
    getattr(cloud, service).plan(Fault(byte_seconds=0.1, times=3))
    before = set(threading.enumerate())
    with contextlib.suppress(cold_reply.module.NotDelivered):
        cold_reply.run(cloud.dingtalk.message("1+1=?"), timeout=8)
    calls = [thread for thread in threading.enumerate() if thread not in before and "run" in thread.name]
    for thread in calls:
        thread.join(5)
    assert not [thread for thread in calls if thread.is_alive()]


class Mute:
    """Between a client and a service: passes on what comes, until it is told to receive nothing more."""

    def __init__(self, service: StandIn) -> None:
        self._address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = "http://127.0.0.1:{1}".format(*self._listener.getsockname())
        self.accepted: list[socket.socket] = []
        self.deaf: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted.append(client)
                service = socket.create_connection(self._address)
                for pair in ((client, service), (service, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while select.select([source], [], []) and source not in self.deaf and (data := source.recv(65536)):
                sink.sendall(data)

    def close(self) -> None:
        """End all connections."""
        for each in (self._listener, *self.accepted):
            each.close()


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux gives up a connection whose other side receives nothing"
)
def test_dead_connection_to_the_model_costs_a_new_try_and_no_second_payment(
    cold_reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was kept, and receives nothing any more: that is no model that thinks, and a new connection works."""
    monkeypatch.setattr(cold_reply.module.rooms["bot.connections"], "UNRECEIVED_MS", 500)
    relay = Mute(cloud.openai_api)
    with contextlib.closing(relay):
        cold_reply.environment["CHATGPT_BASE_URL"] = relay.url
        cold_reply.ask("你好")
        relay.deaf.update(relay.accepted)
        started = time.monotonic()
        assert "你说的是" in cold_reply.ask("长" * 15_000)
        assert time.monotonic() - started < 30
        assert len(relay.accepted) == 2
        assert len(cloud.openai_api.asked) == 2


# --- an exchange ---


def test_request_is_not_sent_when_time_is_up(elsewhere: Elsewhere) -> None:
    """No request begins after its own deadline."""
    with pytest.raises(connections.NO_ANSWER):
        connections.exchange(requests.Request("POST", elsewhere.url), time.monotonic() - 1)
    assert elsewhere.received == []


@pytest.mark.parametrize(("size", "is_read"), [(-1, True), (0, True), (1, False)])
def test_body_is_read_up_to_its_limit(elsewhere: Elsewhere, size: int, is_read: bool) -> None:
    """What is longer is given up."""
    body = b" " * (connections.MAX_ANSWER_BYTES + size)
    elsewhere.plan(Fault(status=200, body=body))
    with contextlib.nullcontext() if is_read else pytest.raises(connections.TooLarge):
        answer = connections.exchange(requests.Request("POST", elsewhere.url), time.monotonic() + 5)
        assert answer.content == body


def test_connection_is_kept_for_the_next_request(elsewhere: Elsewhere) -> None:
    """To the same host."""
    for _ in range(3):
        assert connections.exchange(requests.Request("POST", elsewhere.url), time.monotonic() + 5).ok
    assert len(elsewhere.connections()) == 1


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"x" * 100), zlib.compress(b"x" * 100), zlib.compress(b"x" * 100)[2:-4], b"x" * 100],
    ids=["gzip", "zlib", "deflate", "as it is"],
)
def test_packed_body_is_read_up_to_its_limit(packed: bytes) -> None:
    """By what it unpacks to; what is not packed, whatever its header says, stays as it is."""
    assert connections.unpacked(packed, 100) == b"x" * 100
    if len(packed) < 100:
        with pytest.raises(connections.TooLarge):
            connections.unpacked(packed, 99)
