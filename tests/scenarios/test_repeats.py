"""The same message again: DingTalk repeats a delivery, Function Compute an event. One reply, one turn, one payment."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.stand_ins.dingtalk import Message, numbered_person
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.oss import error_fault
from tests.stand_ins.server import Fault, Received

TIMES = range(1, 6)  # how often a message is delivered again


@pytest.fixture(scope="module")
def forgetful_cloud() -> Iterator[LocalCloud]:
    """Function Compute with task mode off: it takes every delivery for a new one."""
    with LocalCloud(max_instances=3) as cloud:
        cloud.deploy(stateful=False)
        yield cloud


@pytest.fixture(params=["task mode on", "task mode off"])
def any_cloud(request: pytest.FixtureRequest) -> LocalCloud:
    """With and without FC's stateful ids."""
    if request.param == "task mode on":
        cloud: LocalCloud = request.getfixturevalue("cloud")
    else:
        cloud = request.getfixturevalue("forgetful_cloud")
        cloud.reset()
    return cloud


people = map(numbered_person, itertools.count())


def push(cloud: LocalCloud, message: Message) -> None:
    """As DingTalk does: repeated until it is answered with a 200, which FC's limit of instances may put off."""
    while cloud.dingtalk.deliver(message, timeout=30).status != 200:
        time.sleep(0.02)


def runs_of(cloud: LocalCloud, message: Message) -> list[Any]:
    """Of Dingtalk_ChatGPT_Reply, in the order of their invocations."""
    made = [made for made in cloud.function_compute.invocations if message["msgId"].encode() in made.event]
    return [run for invocation in made if invocation.function == REPLY for run in invocation.runs]


def check_answered_once(cloud: LocalCloud, message: Message, most_asked: int = 1) -> None:
    """One reply, one turn, one mark; ChatGPT was asked at least once and not more often than it may be.

    On a busy machine Function Compute may confirm a message too late: what Dingtalk_Conversation then says is no reply.
    """
    cloud.function_compute.wait_idle(60)
    assert sum(not bubble.by_http_answer for bubble in cloud.dingtalk.shown(message)) == 1
    lines = [line for line in cloud.journal(message) if line["msgId"] == message["msgId"] and "sent" not in line]
    assert [("question" in line, "delivered" in line) for line in lines] == [(True, False), (False, True)]
    question = message["text"]["content"]
    assert 1 <= sum(body["messages"][-1]["content"] == question for body in cloud.openai_api.asked) <= most_asked


def sends(message: Message) -> Callable[[Received], bool]:
    """For Fault.where: the reply to this message."""
    session = message["sessionWebhook"].partition("session=")[2]
    return lambda received: session in received.query_string


def reads(received: Received) -> bool:
    return received.method == "GET"


# --- DingTalk delivers a message again ---


def test_message_delivered_again_and_again_is_answered_once(any_cloud: LocalCloud) -> None:
    """1 to 5 times right after each other, and once more when all is over."""
    messages = {times: any_cloud.dingtalk.message(f"第 {times} 题", person=next(people)) for times in TIMES}
    for times, message in messages.items():
        for _ in range(1 + times):
            push(any_cloud, message)
    for times, message in messages.items():
        check_answered_once(any_cloud, message, most_asked=1 if stateful(any_cloud) else 1 + times)
        push(any_cloud, message)
        check_answered_once(any_cloud, message, most_asked=1 if stateful(any_cloud) else 1 + times)


def test_message_delivered_many_times_at_the_same_instant_is_answered_once(any_cloud: LocalCloud) -> None:
    """1 to 5 further deliveries that do not wait for each other, of five people."""
    messages = {times: any_cloud.dingtalk.message(f"第 {times} 题", person=next(people)) for times in TIMES}
    deliveries = [message for times, message in messages.items() for _ in range(1 + times)]
    barrier = Barrier(len(deliveries))

    def deliver(message: Message) -> None:
        barrier.wait(10)
        push(any_cloud, message)

    with ThreadPoolExecutor(len(deliveries)) as pool:
        list(pool.map(deliver, deliveries))
    for times, message in messages.items():
        check_answered_once(any_cloud, message, most_asked=1 if stateful(any_cloud) else 1 + times)


def stateful(cloud: LocalCloud) -> bool:
    """Whether Function Compute refused what it had before."""
    return any(received.status == 409 for received in cloud.function_compute.received if is_invoke(received))


def test_task_mode_is_what_the_two_clouds_differ_in(any_cloud: LocalCloud, request: pytest.FixtureRequest) -> None:
    """On: the second delivery does not reach the function. Off: it does, and ends as a duplicate."""
    message = any_cloud.dingtalk.message("你好", person=next(people))
    push(any_cloud, message)
    check_answered_once(any_cloud, message)
    push(any_cloud, message)
    check_answered_once(any_cloud, message)
    runs = runs_of(any_cloud, message)
    if "task mode on" in request.node.name:
        assert stateful(any_cloud)
        assert len(runs) == 1
    else:
        assert not stateful(any_cloud)
        assert [b'"duplicate"' in run.result for run in runs] == [False, True]


def test_delivery_while_the_reply_is_on_its_way_waits_for_the_mark(forgetful_cloud: LocalCloud) -> None:
    """The turn is on record but not marked: the second run neither sends nor ends before the first one is through."""
    cloud = forgetful_cloud
    cloud.reset()
    message = cloud.dingtalk.message("1+1=?", person=next(people))
    cloud.dingtalk.plan(Fault(where=sends(message), then=lambda: push(cloud, message), delay_answer=0.5))
    push(cloud, message)
    check_answered_once(cloud, message)
    first, second = runs_of(cloud, message)
    assert b'"duplicate"' in second.result
    assert second.started + second.seconds > first.started + first.seconds


@pytest.mark.full
def test_delivery_after_a_process_died_leaves_the_reply_to_its_next_run(forgetful_cloud: LocalCloud) -> None:
    """The run that FC repeats sends what is on record; that of another delivery waits for it."""
    cloud = forgetful_cloud
    cloud.reset()
    message = cloud.dingtalk.message("1+1=?", person=next(people))

    def die() -> None:
        cloud.function_compute.kill(REPLY)
        push(cloud, message)

    cloud.dingtalk.plan(Fault(where=sends(message), drop=True, then=die))
    push(cloud, message)
    check_answered_once(cloud, message)
    results = [run.result or b"" for run in runs_of(cloud, message)]
    assert sum(b'"answered again"' in result for result in results) == 1
    assert sum(b'"duplicate"' in result for result in results) == 1


# --- Function Compute runs an event again ---


def test_event_that_runs_twice_is_answered_once(any_cloud: LocalCloud) -> None:
    """FC promises at least once: the second run costs one read."""
    message = any_cloud.dingtalk.message("1+1=?", person=next(people))
    any_cloud.function_compute.run_twice(REPLY)
    push(any_cloud, message)
    check_answered_once(any_cloud, message)
    assert [b'"duplicate"' in run.result for run in runs_of(any_cloud, message)] == [False, True]
    assert sum(map(reads, any_cloud.oss.received)) == 2


def test_event_that_runs_twice_and_cannot_read_the_second_time_is_answered_once(cloud: LocalCloud) -> None:
    """Its append is refused, and then the journal tells that this very event was answered and delivered."""
    message = cloud.dingtalk.message("1+1=?", person=next(people))
    cloud.function_compute.run_twice(REPLY)
    cloud.oss.plan(Fault(where=reads))
    cloud.oss.plan(error_fault("InternalError", where=reads, times=2))
    push(cloud, message)
    check_answered_once(cloud, message, most_asked=2)
    assert [b'"duplicate"' in run.result for run in runs_of(cloud, message)] == [False, True]


def test_event_and_delivery_repeated_together_are_answered_once(any_cloud: LocalCloud) -> None:
    """Every event of three deliveries runs twice."""
    message = any_cloud.dingtalk.message("1+1=?", person=next(people))
    any_cloud.function_compute.run_twice(REPLY, 3)
    for _ in range(3):
        push(any_cloud, message)
    check_answered_once(any_cloud, message, most_asked=3)
    assert len(runs_of(any_cloud, message)) == (2 if stateful(any_cloud) else 6)
