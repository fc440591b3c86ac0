"""The groups of rows. Every group starts what it measures, in processes of its own.

What is compared is measured in turns (A B A B ...), so that whatever else the machine does meets both alike; a ratio is
that of two neighbours.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from tests.benchmark.rows import TIMES, Row
from tests.benchmark.stage import Cost, LongTalk, Served, Stage, Talk
from tests.stand_ins.dingtalk import Delivery, Message, numbered_person
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud

KIB = 1024
INSTANCE_BYTES = 128 * KIB * KIB  # of memory, in the smallest instance

SHORT = Talk("怎样给自行车换内胎？" * 3, "先把车轮拆下来，" * 25)  # 1 KiB in the journal
# The ten turns that the model is shown fill the 128 KiB that are read: 13 KiB each.
LONG = Talk("请概括下面的文章。" * 120, "文章的大意如下，" * 400)
LONGEST = Talk(LONG.question, LONG.answer * 3)
WARM_UP = 12  # messages, after which the model is shown as many turns as ever

LIBRARIES = {"Conversation": ("fc2",), "Reply": ("openai", "oss2", "requests")}
FILES = {"Conversation": CONVERSATION, "Reply": REPLY}
IMPORT = """
import sys, time
folder, *modules = sys.argv[1:]
sys.path.insert(0, folder)
started = time.process_time()
for module in modules:
    __import__(module)
    peak_kib = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(time.process_time() - started, peak_kib)
"""
IMPORTS = 15  # of each function
STARTS = 3  # of each function

NUMBERS = (10, 100, 1_000, 10_000)
COUNTED = 2  # messages, for each costs the same
TIMED = 31
HANDED = 60

PEOPLE = (1, 10, 50)  # at once
REPLY_INSTANCES = 10  # at most: more are too much for a small machine; Function Compute starts up to 300
THINKING_SECONDS = 1.0
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(5 * KIB * KIB - 8)
PICTURES = 4  # of one message
PICTURE_MESSAGES = 5  # until an instance takes no more memory for them
PAIRS = 11
ROUNDS = 3
ROUND_SECONDS = 120.0  # after which a round is given up


# --- cold ---


class Imported(NamedTuple):
    """What a new process has used after an import."""

    cpu_seconds: float
    peak_kib: int


def cold(stage: Stage) -> list[Row]:
    """Importing a function against importing its libraries alone, its first message, its memory."""
    row = functools.partial(Row, "cold")
    rows = []
    for function, libraries in LIBRARIES.items():
        packages = ", ".join(libraries)
        import_function(stage, function)  # so that there is bytecode, and all files are in memory
        pairs = [import_function(stage, function) for _ in range(IMPORTS)]
        libraries_ms = [1000 * alone.cpu_seconds for alone, _ in pairs]
        cpu_ratios = [ours.cpu_seconds / alone.cpu_seconds for alone, ours in pairs]
        memory_ratios = [ours.peak_kib / alone.peak_kib for alone, ours in pairs]
        starts = [start(stage, function) for _ in range(STARTS)]
        first_ratios = [1000 * first.cpu_seconds / statistics.median(libraries_ms) for first, _ in starts]
        peak_ratios = [largest.peak_bytes / INSTANCE_BYTES for _, largest in starts]
        rows += [
            row(f"CPU of import {packages}", "ms", libraries_ms),
            row(f"CPU of importing {function} / of import {packages}", TIMES, cpu_ratios),
            row(f"memory of importing {function} / of import {packages}", TIMES, memory_ratios),
            row(f"CPU of the first message of {function} / of import {packages}", TIMES, first_ratios),
            row(f"peak memory while serving / 128 MiB, {function}", TIMES, peak_ratios),
        ]
    return rows


def import_function(stage: Stage, function: str) -> tuple[Imported, Imported]:
    """What a new process has used when a function's libraries are imported, and then when the function is too.

    In one process, because imports differ by more than ten percent from one process to the next.
    """
    modules = (*LIBRARIES[function], FILES[function])
    command = [stage.python, "-I", "-X", "utf8", "-c", IMPORT, str(stage.folder), *modules]
    told = subprocess.run(command, env={}, capture_output=True, check=True, timeout=60).stdout.split()
    used = [Imported(float(cpu), int(peak)) for cpu, peak in zip(told[::2], told[1::2], strict=True)]
    return used[-2], used[-1]


def start(stage: Stage, function: str) -> tuple[Cost, Cost]:
    """What the first message costs a new instance, and its last one after some that are as large as they get."""
    if function == "Conversation":
        with stage.conversation() as conversation:
            costs = [stage.hand_over(conversation)[0] for _ in range(WARM_UP)]
    else:
        with stage.reply() as reply:
            costs = [stage.ask(reply, talk)[0] for talk in (SHORT, *[LONGEST] * WARM_UP)]
    return costs[0], costs[-1]


# --- warm ---


def counts(stage: Stage) -> list[Row]:
    """What can be counted, so that it is the same on every machine: requests, connections, bytes."""
    row = functools.partial(Row, "counts")
    with stage.conversation() as conversation, stage.reply() as reply:
        warm_up(stage, reply)
        asked = [stage.ask(reply, SHORT)[0] for _ in range(COUNTED)]
        handed = [stage.hand_over(conversation)[0] for _ in range(COUNTED)]
        return [
            row("requests per answered message, Reply", "", [cost.requests for cost in asked]),
            row("new connections per message, warm, Reply", "", [cost.connections for cost in asked]),
            row("bytes per message, Reply", "KiB", [cost.moved_bytes / KIB for cost in asked]),
            row("requests per message, Conversation", "", [cost.requests for cost in handed]),
            row("new connections per message, Conversation", "", [cost.connections for cost in handed]),
            row("bytes per message, Conversation", "KiB", [cost.moved_bytes / KIB for cost in handed]),
            *grown(stage, reply, row, "bytes", "KiB", COUNTED, lambda cost: cost.moved_bytes / KIB),
        ]


def growth(stage: Stage) -> list[Row]:
    """Whether a message of a long conversation takes more CPU than one of a short one."""
    with stage.reply() as reply:
        warm_up(stage, reply)
        row = functools.partial(Row, "growth")
        return grown(stage, reply, row, "CPU", "ms", TIMED, lambda cost: 1000 * cost.cpu_seconds)


def grown(
    stage: Stage,
    reply: Served,
    row: Callable[..., Row],
    what: str,
    unit: str,
    times: int,
    measure: Callable[[Cost], float],
) -> list[Row]:
    """The cost of later messages / of message 10, in a conversation of long turns and in one of short ones."""
    rows = []
    for kind, talk in (("long turns", LONG), ("short turns", SHORT)):
        conversations = [LongTalk(stage, reply, number, talk) for number in NUMBERS]
        costs = [[measure(conversation.ask()) for conversation in conversations] for _ in range(times)]
        rows.append(row(f"{what}, message {NUMBERS[0]}, {kind}", unit, [cost[0] for cost in costs]))
        for column, number in list(enumerate(NUMBERS))[1:]:
            name = f"{what}, message {number:,} / message {NUMBERS[0]}, {kind}"
            rows.append(row(name, TIMES, [cost[column] / cost[0] for cost in costs], f"{what}, {kind}", number))
    return rows


def warm(stage: Stage) -> list[Row]:
    """CPU of a message on a warm instance, and how long DingTalk waits."""
    row = functools.partial(Row, "warm")
    with stage.conversation() as conversation, stage.reply() as reply:
        warm_up(stage, reply)
        stage.hand_over(conversation)
        triples = [(stage.ask(reply, SHORT)[0], *stage.hand_over(conversation)) for _ in range(HANDED)]
    beyond = [1000 * (handed.seconds - accepting_seconds) for _, handed, accepting_seconds in triples]
    return [
        row("CPU per message, Reply", "ms", [1000 * asked.cpu_seconds for asked, _, _ in triples]),
        row("CPU per message, Conversation", "ms", [1000 * handed.cpu_seconds for _, handed, _ in triples]),
        row("time to answer DingTalk beyond FC's own, Conversation", "ms", beyond),
    ]


def network(stage: Stage) -> list[Row]:
    """What keeping connections saves, over the network of the stage."""
    row = functools.partial(Row, "network")
    pairs = []
    with stage.reply() as reply:
        warm_up(stage, reply)
        for _ in range(TIMED):
            stage.hang_up()
            new = stage.ask(reply, SHORT)[0]
            pairs.append((stage.ask(reply, SHORT)[0], new))
    return [
        row("time of a message, connections kept", "ms", [1000 * kept.seconds for kept, _ in pairs]),
        row("time of a message, new connections", "ms", [1000 * new.seconds for _, new in pairs]),
        row("time of a message, kept / new", TIMES, [kept.seconds / new.seconds for kept, new in pairs]),
        row("CPU of a message, kept / new", TIMES, [kept.cpu_seconds / new.cpu_seconds for kept, new in pairs]),
    ]


def warm_up(stage: Stage, reply: Served) -> None:
    """So many messages that the model is shown as many turns as ever from then on."""
    for _ in range(WARM_UP):
        stage.ask(reply, SHORT)


# --- pictures ---


def pictures(stage: Stage) -> list[Row]:
    """The memory that large pictures take, and what the emoji on a message does to the time until its answer."""
    row = functools.partial(Row, "pictures")
    application = stage.cloud.application()
    peaks = []
    for _ in range(STARTS):
        with stage.reply(**application) as seeing:
            kind: dict[str, Any] = {"kind": "rich_text", "picture": [PICTURE] * PICTURES}
            costs = [stage.ask(seeing, SHORT, **kind)[0] for _ in range(PICTURE_MESSAGES)]
        peaks.append(costs[-1].peak_bytes / INSTANCE_BYTES)
    stage.cloud.openai_api.think_seconds = THINKING_SECONDS
    with stage.reply() as without, stage.reply(**application, THINKING="on") as thinking:
        for reply in (without, thinking):
            until_answer(stage, reply)
        pairs = [(until_answer(stage, thinking), until_answer(stage, without)) for _ in range(PAIRS)]
    return [
        row("peak memory with four pictures of 5 MB / 128 MiB, Reply", TIMES, peaks),
        row("time to the answer, THINKING=on / off", TIMES, [on / off for on, off in pairs]),
    ]


def until_answer(stage: Stage, reply: Served) -> float:
    """Seconds until the chat shows the answer; what the run does afterwards does not count."""
    started = time.monotonic()
    stage.ask(reply, SHORT)
    return stage.cloud.dingtalk.shown()[-1].at - started


# --- text ---


def text(stage: Stage) -> list[Row]:
    """What it takes to make an answer ready that is as bad as can be: the worst of many kinds, in each of some runs."""
    command = [stage.python, "-X", "utf8", "-m", "tests.benchmark.hostile"]
    runs = []
    for _ in range(STARTS):
        told = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, check=True, timeout=300).stdout
        runs.append(json.loads(told))
    return [
        Row("text", "CPU of formatting and splitting a hostile answer of 200 KB", "s", [max(run)[0] for run in runs]),
        Row(
            "text",
            "memory of formatting and splitting it / its size",
            TIMES,
            [max(times for _, times in run) for run in runs],
        ),
    ]


# --- load ---


class Round(NamedTuple):
    """What came of one message from each of some people, all sent at once."""

    seconds: float  # until all was done
    acknowledged_ms: list[float]  # until DingTalk was answered, in order
    lost: int  # messages to which the chat does not show exactly one reply
    instances: int  # of Reply


def load(stage: Stage) -> list[Row]:
    """More and more people write at once, and ChatGPT takes a second; without wires, all on this machine."""
    cloud = stage.cloud
    for name, instances in ((CONVERSATION, max(PEOPLE)), (REPLY, REPLY_INSTANCES)):
        function = replace(cloud.function(name), python=stage.python, max_instances=instances)
        cloud.function_compute.deploy(name, function)
    cloud.openai_api.think_seconds = THINKING_SECONDS
    write_at_once(cloud, max(PEOPLE))  # starts the instances; its reset lets Function Compute invoke Reply
    rounds = [[write_at_once(cloud, people) for people in PEOPLE] for _ in range(ROUNDS)]
    row = functools.partial(Row, "load")
    rows = []
    for column, people in enumerate(PEOPLE):
        own = [made[column] for made in rounds]
        rates = [people / one.seconds for one in own]
        ratios = [rate * made[0].seconds for rate, made in zip(rates, rounds, strict=True)]  # made[0] is of one person
        waits = {percent: [percentile(one.acknowledged_ms, percent) for one in own] for percent in (50, 99)}
        rows += [
            row(f"messages per second, {people} at once", "/s", rates),
            row(f"messages per second, {people} at once / 1 at once", TIMES, ratios, "messages per second", people),
            row(f"time to answer DingTalk, p50, {people} at once", "ms", waits[50], "p50", people),
            row(f"time to answer DingTalk, p99, {people} at once", "ms", waits[99], "p99", people),
            row(f"instances of Reply, {people} at once", "", [one.instances for one in own]),
        ]
    return [*rows, row("replies lost", "", [one.lost for made in rounds for one in made])]


def write_at_once(cloud: LocalCloud, people: int) -> Round:
    """One message from everybody."""
    cloud.reset()
    cloud.openai_api.answer_next(*[SHORT.answer] * people)
    messages = [cloud.dingtalk.message(SHORT.question, person=numbered_person(number)) for number in range(people)]

    def push(message: Message) -> Delivery:
        return cloud.dingtalk.deliver(message, timeout=ROUND_SECONDS)

    started = time.monotonic()
    with ThreadPoolExecutor(people) as pool:
        deliveries = list(pool.map(push, messages))
    cloud.function_compute.wait_idle(ROUND_SECONDS)
    seconds = time.monotonic() - started
    runs = [run for made in cloud.function_compute.invocations if made.function == REPLY for run in made.runs]
    return Round(
        seconds,
        acknowledged_ms=sorted(1000 * delivery.seconds for delivery in deliveries),
        lost=sum(len(cloud.dingtalk.shown(message)) != 1 for message in messages),
        instances=len({run.instance for run in runs}),
    )


def percentile(ordered: list[float], percent: int) -> float:
    """The value that so many percent do not exceed: of four values, 50 -> the second."""
    return ordered[math.ceil(percent / 100 * len(ordered)) - 1]


GROUPS: dict[str, Callable[[Stage], list[Row]]] = {
    "cold": cold,
    "counts": counts,
    "warm": warm,
    "growth": growth,
    "text": text,
    "load": load,
    "pictures": pictures,
    "network": network,
}
