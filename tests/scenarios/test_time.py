"""Nobody waits for ever: what ends when, with services that do not answer or take their time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bot.sentences import zh
from tests.helpers import PNG, Conversation, Reply
from tests.stand_ins.dingtalk import Message, numbered_person
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.openai_api import OpenaiApi
from tests.stand_ins.server import Fault

TIMEOUT = 2  # seconds, of Dingtalk_ChatGPT_Reply
MARGIN = 3  # seconds, for a machine with other things to do; what does not end takes more than twice as long
NEVER = Fault(delay=30, drop=True)  # drop: nor is it carried out in the middle of another test


@pytest.fixture
def deaf_address() -> Iterator[str]:
    """Where connections are neither accepted nor refused: the queue of the socket is full."""
    with contextlib.ExitStack() as sockets:
        deaf = sockets.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        yield "http://127.0.0.1:{1}".format(*deaf.getsockname())


# --- ChatGPT, retries included: TIMEOUT ---


def never_answers(openai_api: OpenaiApi) -> None:
    openai_api.plan(NEVER)


def answers_a_byte_a_second(openai_api: OpenaiApi) -> None:
    openai_api.plan(Fault(byte_seconds=1))


def asks_for_ten_minutes(openai_api: OpenaiApi) -> None:
    openai_api.fail_next("rate_limit_exceeded", retry_after="600")


def never_answers_the_second_try(openai_api: OpenaiApi) -> None:
    openai_api.fail_next("overloaded")
    openai_api.plan(NEVER)


def fails_slowly(openai_api: OpenaiApi) -> None:
    openai_api.plan(Fault(status=503, body="{}", delay=0.8, times=3))


def has_a_long_conversation_and_then_never_answers(openai_api: OpenaiApi) -> None:
    openai_api.plan(Fault(status=500, body="{}"))
    openai_api.fail_next("context_length_exceeded")
    openai_api.plan(NEVER)


@pytest.mark.parametrize(
    ("behave", "cause"),
    [
        (never_answers, "timeout"),
        (answers_a_byte_a_second, "timeout"),
        (asks_for_ten_minutes, "busy"),
        pytest.param(never_answers_the_second_try, "timeout", marks=pytest.mark.full),
        pytest.param(fails_slowly, "down", marks=pytest.mark.full),
        pytest.param(has_a_long_conversation_and_then_never_answers, "timeout", marks=pytest.mark.full),
    ],
)
def test_slow_chatgpt_ends_within_timeout(
    reply: Reply, cloud: LocalCloud, behave: Callable[[OpenaiApi], None], cause: str
) -> None:
    """The person is told the cause in time, and the next question is answered."""
    reply.ask("你好")
    reply.environment["TIMEOUT"] = str(TIMEOUT)
    behave(cloud.openai_api)
    started = time.monotonic()
    assert reply.ask("1+1=?") == zh.FAILURES[cause]
    assert time.monotonic() - started < TIMEOUT + MARGIN
    cloud.openai_api.reset()
    assert reply.ask("1+1=?") == "1+1=2"


@pytest.mark.full
def test_chatgpt_that_takes_no_connection_ends_within_timeout(reply: Reply, deaf_address: str) -> None:
    """A firewall that swallows everything: it is the network, and that is clear after 5 s."""
    reply.environment.update(TIMEOUT="6", CHATGPT_BASE_URL=deaf_address)
    started = time.monotonic()
    assert reply.ask("1+1=?") == zh.FAILURES["network"]
    assert time.monotonic() - started < 6 + MARGIN


# --- DingTalk, which waits 2.5 s for Dingtalk_Conversation ---


def seconds_of(push: Callable[[], float]) -> float:
    """The best of three, for a machine with other things to do; one is enough if it is below 2 s."""
    seconds = push()
    for _ in range(2):
        if seconds < 2:
            break
        seconds = min(seconds, push())
    return seconds


def test_dingtalk_is_answered_in_time_when_function_compute_does_not_answer(cloud: LocalCloud) -> None:
    """A warm instance gives up and says so before DingTalk gives up."""
    cloud.dingtalk.ask("你好", timeout=30)
    cloud.function_compute.plan(Fault(where=is_invoke, delay=30, drop=True, times=3))

    def push() -> float:
        delivery = cloud.dingtalk.deliver(cloud.dingtalk.message("1+1=?"), timeout=10)
        assert "没有及时确认" in delivery.json["text"]["content"]
        return delivery.seconds

    assert seconds_of(push) < 2


@pytest.mark.parametrize("door", ["closed", "deaf"])
def test_dingtalk_is_answered_in_time_when_function_compute_takes_no_connection(
    conversation: Conversation, deaf_address: str, door: str
) -> None:
    """Whether it refuses one or does not answer at all."""
    conversation.environment["ENDPOINT"] = deaf_address if door == "deaf" else "http://127.0.0.1:1"

    def push() -> float:
        started = time.monotonic()
        assert "连接不上函数计算" in conversation.post().chat_text
        return time.monotonic() - started

    assert seconds_of(push) < 2


# --- what is late is not sent ---


@pytest.fixture
def slow_look_ups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The name localhost takes 6.5 s to look up; how many look-ups have begun and ended."""
    look_up, count = socket.getaddrinfo, Counter[str]()

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "localhost":
            return look_up(host, *args, **kwargs)
        count["begun"] += 1
        time.sleep(6.5)
        count["ended"] += 1
        return look_up("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield count


def wait_for_look_ups(look_ups: Counter[str]) -> None:
    """Until all have ended, and what would come after them has come."""
    while look_ups["ended"] < look_ups["begun"]:
        time.sleep(0.05)
    time.sleep(0.5)
    assert look_ups["begun"] > 0


@pytest.mark.parametrize(
    ("service", "outcome"),
    [
        pytest.param("OSS_ENDPOINT", "answered", marks=pytest.mark.full),
        pytest.param("CHATGPT_BASE_URL", "failed: timeout", marks=pytest.mark.full),
        ("WEBHOOK_HOSTS", "NotDelivered"),
    ],
)
def test_request_whose_connection_comes_late_is_not_sent(
    cold_reply: Reply, cloud: LocalCloud, slow_look_ups: Counter[str], service: str, outcome: str
) -> None:
    """A look-up of the name that ends after the deadline posts no reply, asks no question and appends no line."""
    stand_in = {"OSS_ENDPOINT": cloud.oss, "CHATGPT_BASE_URL": cloud.openai_api}.get(service, cloud.dingtalk)
    message = cloud.dingtalk.message("1+1=?")
    cold_reply.environment[service] = str(cold_reply.environment[service]).replace("127.0.0.1", "localhost")
    if service == "WEBHOOK_HOSTS":
        message["sessionWebhook"] = message["sessionWebhook"].replace("127.0.0.1", "localhost")
    started = time.monotonic()
    assert cold_reply.run_at_once((message, {"timeout": 8})) == [outcome]
    assert time.monotonic() - started < 8
    wait_for_look_ups(slow_look_ups)
    assert not stand_in.received


@pytest.mark.full
def test_call_of_the_api_whose_connection_comes_late_is_not_sent(
    cold_reply: Reply, cloud: LocalCloud, slow_look_ups: Counter[str]
) -> None:
    """The picture is given up, the words are answered; neither the AppSecret nor the emoji is sent after that."""
    cold_reply.environment.update({**cloud.application(), "THINKING": "on"})
    cold_reply.environment["DINGTALK_API"] = cloud.dingtalk.url.replace("127.0.0.1", "localhost")
    message = cloud.dingtalk.message(kind="rich_text", picture=PNG)
    started = time.monotonic()
    assert cold_reply.run_at_once((message, {"timeout": 8})) == ["answered"]
    assert time.monotonic() - started < 8
    wait_for_look_ups(slow_look_ups)
    assert {received.path for received in cloud.dingtalk.received} == {"/robot/sendBySession"}


@pytest.mark.full
def test_run_with_a_picture_ends_in_time_when_every_service_is_slow(reply: Reply, cloud: LocalCloud) -> None:
    """Each answer comes after 1.2 s, also that of the file; with the emoji on the message."""
    reply.environment.update({**cloud.application(), "THINKING": "on"})
    reply.module.api_tokens.clear()
    for stand_in in (cloud.dingtalk, cloud.oss, cloud.openai_api):
        stand_in.plan(Fault(times=99, delay=1.2))
    started = time.monotonic()
    reply.run_at_once((cloud.dingtalk.message(kind="rich_text", picture=[PNG] * 4), {"timeout": 12}))
    assert time.monotonic() - started < 12
    assert len(cloud.dingtalk.shown()) == 1


def test_message_whose_connection_comes_late_is_not_handed_over(
    conversation: Conversation, cloud: LocalCloud, slow_look_ups: Counter[str]
) -> None:
    """The person was told that it did not get through: nothing must come after that."""
    conversation.environment["ENDPOINT"] = str(conversation.environment["ENDPOINT"]).replace("127.0.0.1", "localhost")
    assert "函数计算" in conversation.post().chat_text
    wait_for_look_ups(slow_look_ups)
    assert not cloud.function_compute.received


# --- whatever is slow, alone or together: the run ends before the function's time-out ---

SILENCE = Fault(delay=200, drop=True, times=99)
TIME_OUTS = (20, 60, 120)


@pytest.mark.full
@pytest.mark.parametrize(
    ("silent", "outcome"),
    [
        (["oss"], "answered"),
        (["openai_api"], "failed: timeout"),
        (["dingtalk"], "NotDelivered"),
        (["oss", "openai_api", "dingtalk"], "NotDelivered"),
    ],
    ids=["OSS", "ChatGPT", "DingTalk", "all"],
)
def test_run_ends_before_the_time_out_of_the_function(cold_reply: Reply, silent: list[str], outcome: str) -> None:
    """FC would kill it in silence, bill it and run it again; the person is told wherever there is a way to them."""

    def seconds_of_run(message: Message, time_out: int) -> float:
        started = time.monotonic()
        assert cold_reply.run_at_once((message, {"timeout": time_out})) == [outcome]
        return time.monotonic() - started

    with LocalCloud() as cloud, ThreadPoolExecutor(len(TIME_OUTS)) as pool:
        cold_reply.environment = dict(cloud.environment(REPLY))
        for service in silent:
            getattr(cloud, service).plan(SILENCE)
        messages = [cloud.dingtalk.message("1+1=?", person=numbered_person(number)) for number in range(len(TIME_OUTS))]
        seconds = list(pool.map(seconds_of_run, messages, TIME_OUTS))
        assert [spent < time_out for spent, time_out in zip(seconds, TIME_OUTS, strict=True)] == [True] * 3, seconds
        told = [bool(cloud.dingtalk.shown(message)) for message in messages]
        assert told == [outcome != "NotDelivered"] * 3
