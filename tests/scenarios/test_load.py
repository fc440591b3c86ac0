"""Many messages at once, through several instances: each is answered once, and no turn is lost, doubled or torn."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers import Reply, is_get, role_context, set_environment
from tests.stand_ins.dingtalk import Message, numbered_person
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.server import Fault

INSTANCES = 4  # of each function
AT_ONCE = INSTANCES  # deliveries under way; FC refuses more, and people who insist would take the processor from it


@pytest.fixture(scope="module")
def warm_cloud() -> Iterator[LocalCloud]:
    """Four instances of each function, as Function Compute starts them under load."""
    with LocalCloud(max_instances=INSTANCES) as cloud:
        yield cloud


@pytest.fixture
def busy_cloud(warm_cloud: LocalCloud) -> LocalCloud:
    """With nothing in it from another test."""
    warm_cloud.reset()
    return warm_cloud


def push(cloud: LocalCloud, message: Message) -> None:
    """As DingTalk does: repeated until it is answered with a 200. FC refuses what has no instance left with a 429."""
    while cloud.dingtalk.deliver(message, timeout=30).status != 200:
        time.sleep(0.02)


def push_all(cloud: LocalCloud, messages: list[Message]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for delivery in [pool.submit(push, cloud, message) for message in messages]:
            delivery.result()


def check_all(cloud: LocalCloud, messages: list[Message]) -> dict[str, int]:
    """Exactly one plain reply to each message, and exactly one turn and one mark of each in its journal."""
    shown = [cloud.dingtalk.shown(message) for message in messages]
    assert not [[bubble.text for bubble in bubbles] for bubbles in shown if len(bubbles) != 1]
    assert not [bubble.text for (bubble,) in shown if "没能" in bubble.text or "出错" in bubble.text]
    journals = {
        bubble.conversation_id: cloud.journal(message) for (bubble,), message in zip(shown, messages, strict=True)
    }
    lines = list(itertools.chain.from_iterable(journals.values()))
    ids = sorted(message["msgId"] for message in messages)
    assert sorted(line["msgId"] for line in lines if "question" in line) == ids
    assert sorted(line["msgId"] for line in lines if "delivered" in line) == ids
    assert len(lines) == 2 * len(messages)
    turns = {line["msgId"]: line for line in lines if "question" in line}
    for message, (bubble,) in zip(messages, shown, strict=True):
        turn = turns[message["msgId"]]
        assert (turn["question"], turn["answer"]) == (message["text"]["content"], bubble.text)
    return {"messages": len(messages), "replies": len(cloud.dingtalk.shown()), "turns": len(turns)}


def run_all(cloud: LocalCloud, messages: list[Message], record_property: Callable[[str, object], None]) -> None:
    started = time.monotonic()
    push_all(cloud, messages)
    cloud.function_compute.wait_idle(120)
    seconds = time.monotonic() - started
    runs = [run for made in cloud.function_compute.invocations if made.function == REPLY for run in made.runs]
    assert [run.error for run in runs] == [None] * len(messages)
    figures = check_all(cloud, messages)
    figures["instances"] = len({run.instance for run in runs})
    assert 1 < figures["instances"] <= INSTANCES
    for name, value in {**figures, "seconds": round(seconds, 1)}.items():
        record_property(name, value)


def test_twenty_messages_of_one_person_at_once_are_all_answered_and_kept(
    busy_cloud: LocalCloud, record_property: Callable[[str, object], None]
) -> None:
    """One journal, four writers."""
    busy_cloud.openai_api.plan(Fault(delay_answer=0.3, times=20))  # so that the answers are under way together
    messages = [busy_cloud.dingtalk.message(f"第 {number} 题") for number in range(20)]
    run_all(busy_cloud, messages, record_property)


@pytest.mark.full
def test_two_hundred_people_at_once_are_all_answered(
    busy_cloud: LocalCloud, record_property: Callable[[str, object], None]
) -> None:
    """200 journals, some of them written at the same instant."""
    messages = [busy_cloud.dingtalk.message(f"第 {number} 题", person=numbered_person(number)) for number in range(200)]
    run_all(busy_cloud, messages, record_property)


@pytest.mark.full
def test_twenty_runs_that_append_at_the_same_instant_lose_nothing(
    reply: Reply, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """The worst case for compare-and-swap: ChatGPT answers twenty questions of one person in the same instant."""
    together = threading.Barrier(20)
    cloud.openai_api.plan(Fault(then=lambda: together.wait(20), times=20))
    messages = [cloud.dingtalk.message(f"第 {number} 题") for number in range(20)]
    set_environment(monkeypatch, reply.environment)

    def run(message: Message) -> str:
        event = json.dumps(message).encode()
        answer = reply.module.handler(event, role_context(request_id=f"run of {message['msgId']}"))
        return str(json.loads(answer)["result"])

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(run, messages)) == ["answered"] * 20
    for name, value in check_all(cloud, messages).items():
        record_property(name, value)
    record_property("appends", sum(received.method == "POST" for received in cloud.oss.received))


# --- \clear while an answer is under way ---


def until(condition: Callable[[], object]) -> None:
    """Return when it is true; AssertionError after some seconds in which it should have become so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def begin_late_answer(cloud: LocalCloud) -> tuple[Message, threading.Event]:
    """A question after some history, whose answer comes when the event is set."""
    cloud.dingtalk.ask("我叫小明", timeout=30)
    cloud.function_compute.wait_idle(30)
    may_answer = threading.Event()
    cloud.openai_api.plan(Fault(then=lambda: may_answer.wait(30)))
    late = cloud.dingtalk.message("1+1=?")
    push(cloud, late)
    until(lambda: len(cloud.openai_api.asked) == 2)
    return late, may_answer


def marked(cloud: LocalCloud, message: Message) -> bool:
    return any(line["msgId"] == message["msgId"] and "delivered" in line for line in cloud.journal(message))


def test_clear_while_an_answer_is_under_way_forgets_all_before_it(busy_cloud: LocalCloud) -> None:
    """The late answer is shown, comes after the command's own lines, in the new epoch, and is no turn."""
    late, may_answer = begin_late_answer(busy_cloud)
    clear = busy_cloud.dingtalk.message("\\clear")
    push(busy_cloud, clear)
    until(lambda: marked(busy_cloud, clear))
    assert "history" not in "".join(busy_cloud.oss.keys())
    may_answer.set()
    busy_cloud.function_compute.wait_idle(30)
    assert [len(busy_cloud.dingtalk.shown(message)) for message in (late, clear)] == [1, 1]
    lines = busy_cloud.journal(late)[2:]
    assert [line["msgId"] for line in lines] == [clear["msgId"]] * 2 + [late["msgId"]] * 2
    assert [line.get("question") for line in lines] == [None] * 4
    assert "1+1=?" not in busy_cloud.dingtalk.ask("我刚才说了什么？")
    assert "不知道" in busy_cloud.dingtalk.ask("我叫什么？")


def test_answer_recorded_in_the_middle_of_clear_is_forgotten(busy_cloud: LocalCloud) -> None:
    """Before the command's own line, and after it read the journal: it was said before, and goes with the rest."""
    late, may_answer = begin_late_answer(busy_cloud)

    def let_it_answer() -> None:
        may_answer.set()
        until(lambda: marked(busy_cloud, late))

    busy_cloud.oss.plan(Fault(where=is_get, then=let_it_answer))
    clear = busy_cloud.dingtalk.message("\\clear")
    push(busy_cloud, clear)
    busy_cloud.function_compute.wait_idle(30)
    assert [len(busy_cloud.dingtalk.shown(message)) for message in (late, clear)] == [1, 1]
    assert [line["msgId"] for line in busy_cloud.journal(late)[2:]] == [late["msgId"]] * 2 + [clear["msgId"]] * 2
    assert "history" not in "".join(busy_cloud.oss.keys())
    assert "1+1=?" not in busy_cloud.dingtalk.ask("我刚才说了什么？")
    assert "不知道" in busy_cloud.dingtalk.ask("我叫什么？")
