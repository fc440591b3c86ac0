"""Every outgoing request of both functions fails in every way, and the process lives on or dies right after it.

    step     request                                          made by
    invoke   take this message, Function Compute              Dingtalk_Conversation
    read     the end of the journal from OSS                  Dingtalk_ChatGPT_Reply
    recall   the words of the last turns                      "
    ask      ChatGPT                                          "
    keep     the words of this turn                           "
    append   their line to the journal: the commit point      "
    send     the reply to the session webhook                 "
    mark     "delivered" to the journal                       "

What must come of it is the table below: `Outcome()` where nobody notices, else an entry with its reason. The person
has said one thing before, so that a reply shows whether the bot remembers it. Every fault happens once;
`test_fault_that_stays_*` has those that outlive all tries.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote

import pytest

from tests.helpers import as_new, is_commit
from tests.stand_ins.dingtalk import numbered_person
from tests.stand_ins.function_compute import error_fault as error_of_fc
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.odd_answers import ODD_ANSWERS
from tests.stand_ins.openai_errors import ERRORS
from tests.stand_ins.oss import error_fault as error_of_oss
from tests.stand_ins.runtimes import EACH_RUNTIME
from tests.stand_ins.server import Fault, Received, StandIn

STEPS = ("invoke", "read", "recall", "ask", "keep", "append", "send", "mark")
INVOKE, READ, RECALL, ASK, KEEP, APPEND, SEND, MARK = STEPS
FAULTS = REFUSED, BEFORE, AFTER, ERROR_4XX, ERROR_5XX, ODD, SLOW = (
    "refused",  # the connection
    "dropped-before",  # the request was carried out
    "dropped-after",  # it was carried out
    "4xx",  # the service's own error
    "5xx",
    "odd",  # a 200 that is not what the API promises; nothing was carried out
    "slow",  # carried out, but answered after the time-out
)
CARRIED_OUT = (AFTER, SLOW)


@pytest.fixture
def cloud(cloud_of_each_runtime: LocalCloud) -> Iterator[LocalCloud]:
    """In this module every test runs on every runtime."""
    yield from as_new(cloud_of_each_runtime)


# --- what must come of it ---

QUESTION = "机密的问题"
ANSWER = rf"你说的是「{QUESTION}」。这是本次对话的第 2 个问题。"  # patterns of what the chat shows
WITHOUT_MEMORY = ANSWER.replace("2", "1")
NOT_READ = WITHOUT_MEMORY + r"\n\n（没能读取聊天记录，所以没有参考之前的对话。.*）"
PERHAPS_NOT_SAVED = ANSWER + r"\n\n（这次对话不一定存进了聊天记录。.*）"
NOT_SAVED = ANSWER + r"\n\n（这次对话没能存进聊天记录。.*）"
UNREACHABLE = r"连接不上函数计算。请部署者检查 .* ENDPOINT.*"
UNCONFIRMED = r"函数计算没有及时确认这条消息。如果一分钟后还没有回答，请再发一次。"


@dataclass(frozen=True)
class Outcome:
    """What came of one message; the defaults are those of a message that nothing happened to."""

    seen: tuple[str, ...] = (ANSWER,)  # a pattern for each bubble in the chat, in any order
    recorded: int = 1  # replies in the journal
    marks: int = 1  # delivery marks in the journal
    asked: int = 1  # how often ChatGPT was asked: what was paid
    log: str = ": answered in"  # is in the log


# Where two replies cannot be excluded on principle, and nowhere else: DingTalk took the reply, but that knowledge was
# lost before the mark was stored. Its answer did not arrive, or the process died (step, fault, process killed).
TWO_REPLIES = {
    *itertools.product([SEND], CARRIED_OUT, [False, True]),
    *itertools.product([MARK], set(FAULTS) - set(CARRIED_OUT), [True]),
}


def told(sentence: str, log: str) -> Outcome:
    """Dingtalk_Conversation tells why the message goes no further."""
    return Outcome((sentence,), recorded=0, marks=0, asked=0, log=log)


# The process lives on. What is not here is `Outcome()`, because the function tries again.
LIVES_ON = {
    # DingTalk waits 2.5 s: there is one try, and the person is told to try again.
    (INVOKE, REFUSED): told(UNREACHABLE, "unreachable: ConnectionError"),
    (INVOKE, BEFORE): told(UNCONFIRMED, "no answer: ConnectionError"),
    (INVOKE, ERROR_4XX): told(r"没有权限调用函数 .* fc:InvokeFunction。", "code AccessDenied, status 403"),
    (INVOKE, ERROR_5XX): told(r"函数计算暂时出错。请稍后再发一次。", "code InternalServerError, status 500"),
    (INVOKE, ODD): told(r".*请部署者检查 .* ENDPOINT.*", "not Function Compute's answer"),
    # Nobody can know that Function Compute has the message: the person is told so, and is answered all the same.
    (INVOKE, AFTER): Outcome((UNCONFIRMED, ANSWER), log="no answer: ConnectionError"),
    (INVOKE, SLOW): Outcome((UNCONFIRMED, ANSWER), log="no answer: "),
    # What cannot pass is not read again, for the answer does not hang on it.
    **{(READ, fault): Outcome((NOT_READ,), log="not read") for fault in (REFUSED, ERROR_4XX)},
    (RECALL, ERROR_4XX): Outcome((NOT_READ,), log="not read"),
    # A page of somebody else is a journal whose lines make no sense; the next turn is not lost among them.
    (READ, ODD): Outcome((WITHOUT_MEMORY,), log="lines make no sense"),
    (RECALL, ODD): Outcome((WITHOUT_MEMORY,)),
    # What cannot pass is not tried again, nor is what took all the time; its sentence is the reply to the message.
    (ASK, ERROR_4XX): Outcome(
        (r"ChatGPT 的 API 密钥无效。.*CHATGPT_API_KEY。\n（服务的原话：.*）",), asked=0, log="failed: key"
    ),
    (ASK, ODD): Outcome((r"ChatGPT 的回应无法识别。.*CHATGPT_BASE_URL.*",), asked=0, log="failed: strange"),
    (ASK, SLOW): Outcome((r"ChatGPT 没有在规定的时间内答完。.*TIMEOUT.*",), log="failed: timeout"),
    # The answer was on its way when the connection broke: only asking again can bring it.
    (ASK, AFTER): Outcome(asked=2),
    # Three tries in a row meet the same closed door, and a refusal is final: the person has the answer and is told.
    (KEEP, REFUSED): Outcome((NOT_SAVED,), recorded=0, log="not saved"),
    (KEEP, ERROR_4XX): Outcome((NOT_SAVED,), recorded=0, log="not saved"),
    (APPEND, ERROR_4XX): Outcome((NOT_SAVED,), recorded=0, log="not saved"),
    # The session is over: there is no way to this chat any more, not even for a sentence.
    (SEND, ERROR_4XX): Outcome((), marks=0, log="Undeliverable: DingTalk answers errcode 300001"),
    # The reply is out already: no need to tell the person, the log has it.
    (MARK, REFUSED): Outcome(marks=0, log="no delivery mark"),
    (MARK, ERROR_4XX): Outcome(marks=0, log="no delivery mark"),
}


def expected(step: str, fault: str, killed: bool) -> Outcome:
    """What must come of a message whose `step` meets `fault` once.

    The process killed: Function Compute runs the event again, and of Dingtalk_Conversation DingTalk gets no answer
    and repeats the message. The second run meets no fault, so that all ends well; it sends what is on record, and pays
    again only if the answer died with the process.
    """
    outcome = Outcome() if killed else LIVES_ON.get((step, fault), Outcome())
    carried_out = fault in CARRIED_OUT
    if killed and step == ASK:
        outcome = Outcome(asked=2 if carried_out else 1)
    if killed and step == KEEP:
        outcome = Outcome(asked=2)
    if killed and step == APPEND:
        outcome = Outcome(log=": answered again in") if carried_out else Outcome(asked=2)
    if killed and step == SEND:
        outcome = Outcome(log=": answered again in")
    if killed and step == MARK:
        outcome = Outcome(log=": duplicate in" if carried_out else ": answered again in")
    return replace(outcome, seen=outcome.seen * 2) if (step, fault, killed) in TWO_REPLIES else outcome


# --- one message, and what happens to it ---


def error_of_chatgpt(name: str) -> Fault:
    status, body = ERRORS[name]
    return Fault(status=status, body=json.dumps(body))


def errcode(code: int, message: str) -> Fault:
    """DingTalk's errors come in an HTTP 200."""
    return Fault(status=200, body=json.dumps({"errcode": code, "errmsg": message}))


OWN_ERRORS = {
    (INVOKE, ERROR_4XX): error_of_fc(403, "AccessDenied"),
    (INVOKE, ERROR_5XX): error_of_fc(500, "InternalServerError"),
    (ASK, ERROR_4XX): error_of_chatgpt("invalid_api_key"),
    (ASK, ERROR_5XX): error_of_chatgpt("server_error"),
    (SEND, ERROR_4XX): errcode(300001, "session 不存在"),
    (SEND, ERROR_5XX): errcode(-1, "系统繁忙"),
    **{(step, ERROR_4XX): error_of_oss("AccessDenied") for step in (READ, RECALL, KEEP, APPEND, MARK)},
    **{(step, ERROR_5XX): error_of_oss("InternalError") for step in (READ, RECALL, KEEP, APPEND, MARK)},
}
ANSWER_SECONDS = {INVOKE: 2, READ: 7, RECALL: 7, ASK: 8, KEEP: 7, APPEND: 7, SEND: 8, MARK: 7}  # past the time-outs


def misbehaviour(step: str, fault: str) -> Fault:
    """The fault as a stand-in plays it; REFUSED is none of these."""
    return {
        BEFORE: Fault(drop=True),
        AFTER: Fault(drop=True, carry_out=True),
        ODD: Fault(status=200, body=ODD_ANSWERS["html_page"][1], headers=(("Content-Type", "text/html"),)),
        SLOW: Fault(delay_answer=ANSWER_SECONDS[step]),
        **{kind: OWN_ERRORS[step, kind] for kind in (ERROR_4XX, ERROR_5XX)},
    }[fault]


class Case:
    """A person who asks one question, having said hello before, and what comes of it."""

    numbers = itertools.count()

    def __init__(self, cloud: LocalCloud) -> None:
        number = next(self.numbers)
        self.cloud = cloud
        self.person = numbered_person(number)
        self.question = f"{QUESTION} {number}"
        self.message = cloud.dingtalk.message(self.question, person=self.person)

    def say_hello(self) -> None:
        """Also makes the functions warm, which a busy machine may not do in the time that a message is given."""
        hello = self.cloud.dingtalk.message("你好", person=self.person)
        while not self.cloud.dingtalk.deliver(hello, timeout=30).taken:
            time.sleep(0.02)

    def ask(self) -> None:
        """As DingTalk does: repeated until it is answered with a 200."""
        while self.cloud.dingtalk.deliver(self.message, timeout=30).status != 200:
            time.sleep(0.02)

    def makes(self, step: str) -> Callable[[Received], bool]:
        """For Fault.where: this request for this message."""
        conversation = quote(quote(self.message["conversationId"], safe=""), safe="")
        session = self.message["sessionWebhook"].partition("session=")[2]
        msg_id = self.message["msgId"].encode()
        tests: dict[str, Callable[[Received], bool]] = {
            INVOKE: lambda received: is_invoke(received) and msg_id in received.body,
            READ: lambda received: received.method == "GET" and f"chat-journal%2F{conversation}" in received.path,
            RECALL: lambda received: received.method == "GET" and f"chat-history%2F{conversation}" in received.path,
            ASK: lambda received: asked_in(received.body) == self.question,
            KEEP: lambda received: msg_id in received.body and b'"answer"' in received.body,
            APPEND: lambda received: msg_id in received.body and is_commit(received),
            SEND: lambda received: session in received.query_string,
            MARK: lambda received: msg_id in received.body and b'"delivered"' in received.body,
        }
        return tests[step]

    def plan(self, step: str, fault: Fault) -> None:
        stand_in: StandIn = {
            INVOKE: self.cloud.function_compute,
            ASK: self.cloud.openai_api,
            SEND: self.cloud.dingtalk,
        }.get(step, self.cloud.oss)
        stand_in.plan(replace(fault, where=self.makes(step)))

    def outcome(self) -> Outcome:
        """What came of it; `log` is all that was logged about this message."""
        msg_id = self.message["msgId"]
        hello, *lines = self.cloud.journal(self.message)
        assert hello["question"] == "你好", "a turn got lost"
        mine = [line for line in lines if line["msgId"] == msg_id]
        runs = [
            run
            for made in self.cloud.function_compute.invocations
            for run in made.runs
            if msg_id.encode() in made.event
        ]
        return Outcome(
            seen=tuple(shown.text for shown in self.cloud.dingtalk.shown(self.message)),
            recorded=sum("answer" in line for line in mine),
            marks=sum("delivered" in line for line in mine),
            asked=sum(body["messages"][-1]["content"] == self.question for body in self.cloud.openai_api.asked),
            log="".join(run.log for run in runs),
        )

    def check(self, wanted: Outcome) -> None:
        """The four of them: what the person sees, what is on record, what was paid, what the log says and does not."""
        got = self.outcome()
        patterns = [pattern.replace(QUESTION, self.question) for pattern in wanted.seen]
        for text in got.seen:
            fitting = [pattern for pattern in patterns if re.fullmatch(pattern, text)]
            assert fitting, f"more than wanted: {got}"
            patterns.remove(fitting[0])
        assert not patterns, f"less than wanted: {got}"
        assert (got.recorded, got.marks, got.asked) == (wanted.recorded, wanted.marks, wanted.asked), got
        assert wanted.log in got.log
        session = self.message["sessionWebhook"].partition("session=")[2]
        secrets = ("example-app-secret", "sk-example", "example-secret", "example-token", "Signature=", "sendBySession")
        for secret in (*secrets, session, QUESTION, "你说的是", "你好"):
            assert secret not in got.log


def asked_in(body: bytes) -> str:
    """The question that a request to ChatGPT ends with."""
    return str(json.loads(body)["messages"][-1]["content"]) if body else ""


# --- many at once: what takes its time, and what stays ---


@pytest.fixture(scope="module", params=EACH_RUNTIME)
def wide_cloud(request: pytest.FixtureRequest) -> Iterator[LocalCloud]:
    """Enough instances for the slow ones at about the same instant."""
    with LocalCloud(reply={"TIMEOUT": "6"}, max_instances=len(STEPS), **request.param.settings()) as cloud:
        yield cloud


def greet_and_ask(cloud: LocalCloud, cases: list[Case], plan: Callable[[], None]) -> None:
    """All say hello, then all ask."""
    for case in cases:
        case.say_hello()
    cloud.function_compute.wait_idle(60)
    plan()
    for case in cases:
        case.ask()
    cloud.function_compute.wait_idle(60)


@pytest.mark.full
def test_slow_answers_have_their_outcomes(wide_cloud: LocalCloud) -> None:
    """The matrix' cells with an answer that comes after the time-out, all at the same instant."""
    wide_cloud.reset()
    cases = {step: Case(wide_cloud) for step in STEPS}

    def plan() -> None:
        for step, case in cases.items():
            case.plan(step, misbehaviour(step, SLOW))

    greet_and_ask(wide_cloud, list(cases.values()), plan)
    for step, case in cases.items():
        case.check(expected(step, SLOW, killed=False))


NETWORK = r"连接不上 ChatGPT。.*"
NO_ANSWER = (BEFORE, AFTER, ERROR_5XX)
# The fault meets all tries: three, of the read two. FC repeats an event whose reply is not delivered, and only that.
STAYS = {
    **{(step, fault): Outcome((NOT_READ,), log="not read") for step in (READ, RECALL) for fault in NO_ANSWER},
    (ASK, BEFORE): Outcome((NETWORK,), asked=0, log="failed: network"),
    (ASK, AFTER): Outcome((NETWORK,), asked=3, log="failed: network"),
    (ASK, ERROR_5XX): Outcome(
        (r"ChatGPT 暂时出错了。请稍后再问；.*\n（服务的原话：.*）",), asked=0, log="failed: down"
    ),
    **{(KEEP, fault): Outcome((NOT_SAVED,), recorded=0, log="not saved") for fault in (BEFORE, ERROR_5XX, ODD)},
    # Whether it was done is not known, so it is done at last before anything is sent; the sentence was made before.
    **{(APPEND, fault): Outcome((PERHAPS_NOT_SAVED,), log="not saved") for fault in (BEFORE, ERROR_5XX, ODD)},
    **{(SEND, fault): Outcome(log=": answered again in") for fault in (BEFORE, ERROR_5XX, ODD)},
    **{(MARK, fault): Outcome(marks=0, log="no delivery mark") for fault in (BEFORE, ERROR_5XX, ODD)},
}


def test_fault_that_stays_has_its_one_outcome(wide_cloud: LocalCloud) -> None:
    """When all tries fail: a sentence, or the reply by the next run; all of these at the same instant."""
    wide_cloud.reset()
    cases = {cell: Case(wide_cloud) for cell in STAYS}

    def plan() -> None:
        for (step, fault), case in cases.items():
            case.plan(step, replace(misbehaviour(step, fault), times=3))

    greet_and_ask(wide_cloud, list(cases.values()), plan)
    for cell, case in cases.items():
        case.check(STAYS[cell])


# --- the matrix: every step, every fault, the process lives on or dies ---


# A process that is killed before the answer cannot tell these apart, nor can anybody else: nothing was carried out, or
# all was. Each costs a cold start, so they are run as one; all 112 run if this is empty.
SAME_WHEN_KILLED = {ERROR_4XX: BEFORE, ERROR_5XX: BEFORE, ODD: BEFORE, SLOW: AFTER}

CELLS = [
    *((step, fault, False) for step in STEPS for fault in FAULTS if fault != SLOW),  # see test_slow_answers_*
    *((step, fault, True) for step in STEPS for fault in FAULTS if fault not in SAME_WHEN_KILLED),
]
# The second of two requests in a row goes over the connection of the first, so it is not refused alone.
CELLS = [cell for cell in CELLS if cell[:2] not in ((RECALL, REFUSED), (APPEND, REFUSED))]


def marks(step: str, fault: str, killed: bool) -> list[pytest.MarkDecorator]:
    """By default a process dies once at each step, for each costs cold starts.

    Of those where the next run waits until the lease of the dead one has ended, 11 s, one will do.
    """
    waits = step in (APPEND, MARK)
    return [pytest.mark.full] if killed and (fault != BEFORE or waits) else []


@pytest.mark.parametrize(
    ("step", "fault", "killed"),
    [pytest.param(*cell, marks=marks(*cell)) for cell in CELLS],
    ids=["-".join((step, fault, "killed" if killed else "lives-on")) for step, fault, killed in CELLS],
)
def test_message_whose_request_fails_has_its_one_outcome(
    cloud: LocalCloud, step: str, fault: str, killed: bool
) -> None:
    """One reply or one sentence, the turn on record once, no payment without need, and a log that tells why."""
    case = Case(cloud)
    case.say_hello()
    cloud.function_compute.wait_idle(30)
    if fault != REFUSED:
        function = CONVERSATION if step == INVOKE else REPLY
        planned = misbehaviour(step, fault)
        if killed:
            planned = replace(planned, delay_answer=0, then=lambda: cloud.function_compute.kill(function))
        case.plan(step, planned)
        case.ask()
    elif step == INVOKE:
        refuse_invocation(case, killed)
    else:
        plan_refusal(case, step, killed)
        case.ask()
    cloud.function_compute.wait_idle(60)
    case.check(expected(step, fault, killed))


def plan_refusal(case: Case, step: str, killed: bool) -> None:
    """The service of this step is gone when it is asked, and there again for the next step or the next run.

    A refused connection leaves nothing at a service by which one could tell "right after": the process is killed in
    the pause before the next try, or when the next request arrives and before it has an effect.
    """
    oss = case.cloud.oss

    def come_back() -> None:
        if killed:
            case.cloud.function_compute.kill(REPLY)
        oss.start()

    next_step = Fault(drop=killed, then=come_back)
    if step == READ:
        oss.stop()
        case.plan(ASK, next_step)
    elif step == ASK:
        case.plan(RECALL, Fault(then=lambda: leave_for_a_moment(case.cloud, case.cloud.openai_api, killed)))
    elif step == KEEP:
        case.plan(ASK, Fault(then=oss.stop))
        case.plan(SEND, next_step)
    elif step == SEND:
        case.plan(APPEND, Fault(then=lambda: leave_for_a_moment(case.cloud, case.cloud.dingtalk, killed)))
    elif killed:  # the last step of all: there is no next one
        case.plan(SEND, Fault(then=lambda: case.cloud.function_compute.kill(REPLY)))
    else:
        case.plan(SEND, Fault(then=oss.stop))


def leave_for_a_moment(cloud: LocalCloud, stand_in: StandIn, killed: bool) -> None:
    """Gone for less than the pause between two tries."""
    stand_in.stop()

    def come_back() -> None:
        if killed:
            cloud.function_compute.kill(REPLY)
        stand_in.start()

    threading.Timer(0.25, come_back).start()


def refuse_invocation(case: Case, killed: bool) -> None:
    """The same for Function Compute's API, whose stand-in is DingTalk's counterpart too and cannot leave."""
    if killed:
        kill_at_work(case.cloud, CONVERSATION, case.ask)
        return
    with endpoint_that_refuses(case.cloud):
        case.ask()


@contextmanager
def endpoint_that_refuses(cloud: LocalCloud) -> Iterator[None]:
    """Dingtalk_Conversation deployed with an ENDPOINT where nobody listens."""

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))  # and no listen(): it refuses, and nobody else gets the port
        cloud.redeploy(CONVERSATION, ENDPOINT="http://127.0.0.1:{1}".format(*door.getsockname()))
        yield
    cloud.redeploy(CONVERSATION)


def kill_at_work(cloud: LocalCloud, function: str, work: Callable[[], None]) -> None:
    """Kill the warm instance that takes the work, before it can do anything."""
    pids = [instance.pid for instance in cloud.function_compute.instances(function)]
    with ThreadPoolExecutor(1) as pool:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        working = pool.submit(work)
        while not cloud.function_compute.kill(function):
            time.sleep(0.005)
        for instance in cloud.function_compute.instances(function):
            if instance.pid in pids:
                os.kill(instance.pid, signal.SIGCONT)
        working.result()


def test_two_replies_are_possible_only_where_nobody_can_know() -> None:
    """The table itself: more than one reply nowhere else, never more than two; and what runs as one is one."""
    replies = {cell: expected(*cell).seen.count(ANSWER) for cell in itertools.product(STEPS, FAULTS, [False, True])}
    assert len(replies) == 112
    assert {cell for cell, count in replies.items() if count > 1} == TWO_REPLIES
    assert max(replies.values()) == 2
    for (fault, same), step in itertools.product(SAME_WHEN_KILLED.items(), STEPS):
        assert expected(step, fault, killed=True) == expected(step, same, killed=True)


# --- a service that is gone for longer ---


def test_chatgpt_that_is_gone_is_told_in_one_sentence(cloud: LocalCloud) -> None:
    """Three refused connections: nothing is paid, and the sentence is the reply on record."""
    case = Case(cloud)
    case.say_hello()
    cloud.function_compute.wait_idle(30)
    cloud.openai_api.stop()
    case.ask()
    cloud.function_compute.wait_idle(60)
    case.check(STAYS[ASK, BEFORE])


def test_dingtalk_that_is_gone_for_a_whole_run_has_the_reply_from_the_next(cloud: LocalCloud) -> None:
    """Three refused connections: Function Compute runs the event again, and ChatGPT is not asked again."""
    case = Case(cloud)
    case.say_hello()
    cloud.function_compute.wait_idle(30)
    case.plan(APPEND, Fault(then=cloud.dingtalk.stop))
    case.plan(READ, Fault())  # of the first run
    case.plan(READ, Fault(then=cloud.dingtalk.start))  # of the second
    case.ask()
    cloud.function_compute.wait_idle(60)
    case.check(STAYS[SEND, BEFORE])
