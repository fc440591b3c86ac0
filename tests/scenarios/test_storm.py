"""A thousand messages while every service fails at random and instances die: one reply and one commit for each."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stand_ins.dingtalk import Message, numbered_person, session_of
from tests.stand_ins.local_cloud import REPLY, LocalCloud
from tests.stand_ins.server import Fault, Received, StandIn

PEOPLE = 20
INSTANCES = 6
PUSHES = 6  # at once

FAILING = (  # what a request meets, at equal odds
    Fault(drop=True),
    Fault(drop=True, carry_out=True),
    Fault(status=500, body="{}"),
    Fault(status=503, body="<html>busy</html>", headers=(("Content-Type", "text/html"),)),
    Fault(status=200, body="<html>hello</html>", headers=(("Content-Type", "text/html"),)),
    Fault(delay=0.2),
)


@pytest.fixture(scope="module")
def stormy_cloud() -> Iterator[LocalCloud]:
    """Task mode is off, so that only the journal stands between a repeated delivery and a second reply."""
    with LocalCloud(max_instances=INSTANCES) as cloud:
        # An event is run until it is done: when Function Compute gives one up, after nine runs at most, is chance.
        cloud.deploy(stateful=False, max_retries=10**6)
        yield cloud


def storm(service: StandIn, rate: float, odds: random.Random) -> None:
    """From now on so many of its requests fail, but for what DingTalk and the tests ask Function Compute."""
    lock = threading.Lock()
    for number, fault in enumerate(FAILING):
        share = rate / (len(FAILING) - number) / (1 - rate * number / len(FAILING))  # of those that got this far

        def hit(received: Received, share: float = share) -> bool:
            with lock:
                return odds.random() < share

        service.plan(Fault(**{**vars(fault), "where": hit, "times": 10**9}))


def push_until_taken(cloud: LocalCloud, message: Message, times: int) -> None:
    """As DingTalk does, and sometimes once more although it was taken."""
    while times:
        times -= cloud.dingtalk.deliver(message, timeout=30).taken
        time.sleep(0.02)


def may_show_again(cloud: LocalCloud, message: Message, log: str) -> int:
    """How many copies are nobody's fault: DingTalk took a reply, and that could not be learnt, or not be stored."""
    session = session_of(message)
    sent = [received for received in cloud.dingtalk.received if session in received.query_string]
    unlearnt = sum(
        received.carried_out and (received.status != 200 or b"errcode" not in received.answer) for received in sent
    )
    return unlearnt + sum(map(log.count, ("killed", "no delivery mark", "not saved")))


full = pytest.mark.full


@pytest.mark.parametrize(
    ("messages", "percent"), [(40, 6), pytest.param(1000, 6, marks=full), pytest.param(100, 30, marks=full)]
)
def test_storm_ends_with_one_reply_on_record_for_each_message(
    stormy_cloud: LocalCloud, messages: int, percent: int, record_property: Callable[[str, object], None]
) -> None:
    """20 people, redelivery, \\clear, 6 or 30 % of all requests failing, and busy instances killed now and then."""
    cloud, odds = stormy_cloud, random.Random(percent)
    cloud.reset()
    for service in (cloud.oss, cloud.openai_api, cloud.dingtalk):
        storm(service, percent / 100, odds)
    said = [
        cloud.dingtalk.message("\\clear" if n % 12 == 7 else f"第 {n} 题", person=numbered_person(n % PEOPLE))
        for n in range(messages)
    ]
    over = threading.Event()

    def kill_now_and_then() -> None:
        while not over.wait(odds.uniform(3, 6)):
            cloud.function_compute.kill(REPLY)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    with ThreadPoolExecutor(PUSHES) as pool:
        list(pool.map(lambda message: push_until_taken(cloud, message, odds.choice((1, 1, 2))), said))
    over.set()
    killer.join()
    cloud.function_compute.wait_idle(300)
    figures = Counter[str]()
    for message in said:
        check(cloud, message, figures)
    for name, value in figures.items():
        record_property(name, value)
    print(dict(figures))


def check(cloud: LocalCloud, message: Message, figures: Counter[str]) -> None:
    """One reply, but for copies that cannot be excluded; one commit, unless the person was told why there is none.

    None if \\clear took its words before the run after a killed one could send them.
    """
    runs = [
        run
        for made in cloud.function_compute.invocations
        if made.function == REPLY and message["msgId"].encode() in made.event
        for run in made.runs
    ]
    log = "".join(run.log + (f" {run.error}" if run.error else "") for run in runs)
    shown = [bubble.text for bubble in cloud.dingtalk.shown(message)]
    allowed = may_show_again(cloud, message, log)
    lines = [line for line in cloud.journal(message) if line["msgId"] == message["msgId"]]
    commits = sum("words" in line or "say" in line for line in lines)
    told_why_not = sum(
        any(words in text for words in ("没能存进", "不一定存进", "没有存下来", "没能忘掉")) for text in shown
    )
    forgotten = log.count(": forgotten in")
    figures.update(runs=len(runs), replies=len(shown), copies=max(0, len(shown) - 1), forgotten=forgotten)
    figures.update(commits=commits, sentences=told_why_not, clears="clear" in message["text"]["content"])
    assert bool(not forgotten) <= len(shown) <= 1 + allowed, (
        shown,
        allowed,
        json.dumps(lines, ensure_ascii=False),
        log,
    )
    assert commits == 1 or (commits == 0 and told_why_not), (shown, json.dumps(lines, ensure_ascii=False), log)
