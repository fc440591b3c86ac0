"""The way of a message: every step that the stand-ins have on record, with its time, its request and its answer."""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterable
from http.client import responses
from typing import Any, NamedTuple
from urllib.parse import unquote

import psutil

from tests.stand_ins.dingtalk import PUSH_TIMEOUT_SECONDS, Message, session_of
from tests.stand_ins.dingtalk_api import DOWNLOAD_PATH, EMOTION_PATHS, FILE_PATH, TOKEN_PATH
from tests.stand_ins.function_compute import FunctionCompute, Run, is_invoke, is_trigger
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.server import Received

MAX_SHOWN_CHARACTERS = 20_000  # of one request or answer
PICTURE_DATA = re.compile(r"(data:image/[a-z]+;base64,[\w+/]{40})[\w+/=]+", re.ASCII)
SECRET_HEADER = re.compile(r"(?i)authorization|sign|.*(token|secret|api-key)")
MASK = "•••"
API_STEPS = {
    TOKEN_PATH: "api_token",
    DOWNLOAD_PATH: "api_download",
    **{path: f"api_{verb}" for path, verb in EMOTION_PATHS.items()},
}


class Step(NamedTuple):
    """One step of a message's way."""

    kind: str
    start: float  # time.monotonic()
    seconds: float | None  # None: not over yet
    received: Received | None = None  # the request, unless it is a wait or a run
    run: Run | None = None
    cold: bool = False
    outcome: str = ""  # a status, an errcode, an error
    problem: bool = False
    cause: str = ""  # what the function's log says of it, where there is no request on record

    @property
    def end(self) -> float:
        """When it was over."""
        return self.start + (self.seconds or 0)


def watch(cloud: LocalCloud) -> None:
    """From now on note for every request to OSS, ChatGPT and DingTalk which instance it comes from.

    Without it, the requests of several messages at once could not be told apart.
    """

    def note(received: Received) -> None:
        received.sender = sender_of(received, cloud.function_compute)

    cloud.oss.on_arrival = cloud.openai_api.on_arrival = cloud.dingtalk.on_arrival = note


def sender_of(received: Received, function_compute: FunctionCompute) -> str:
    """The id of the instance of Dingtalk_ChatGPT_Reply at the other end of the connection, '' if there is none."""
    busy = [instance for instance in function_compute.instances(REPLY) if instance.busy and instance.pid]
    if len(busy) == 1:
        return busy[0].id
    port = int(received.connection.rpartition(":")[2])
    for instance in busy:
        try:
            connections = psutil.Process(instance.pid).net_connections("tcp4")
        except psutil.Error:
            continue  # it has just ended
        if any(connection.laddr.port == port for connection in connections):
            return instance.id
    return ""


def way(cloud: LocalCloud, message: Message, real_model: bool) -> list[Step]:
    """All steps of a message, in the order in which they began."""
    fc, msg_id = cloud.function_compute, message["msgId"].encode()
    steps = []
    for received in list(fc.received):
        if msg_id in received.body and is_trigger(received):
            steps.append(request_step("push", received, cold=cold_push(fc, received)))
        elif msg_id in received.body and is_invoke(received):
            steps.append(request_step("invoke", received))
    for invocation in list(fc.invocations):
        if invocation.function == REPLY and msg_id in invocation.event:
            waits_from = invocation.accepted_at
            for run in list(invocation.runs):
                steps.append(Step("queue", waits_from, run.started - waits_from))
                failed = run.error or ""
                steps.append(Step("run", run.started, run.seconds, None, run, run.cold, failed, bool(failed)))
                steps += calls(cloud, run, real_model)
                waits_from = run.started + (run.seconds or 0)
            if not invocation.done and all(run.seconds is not None for run in invocation.runs):
                steps.append(Step("queue", waits_from, None))
    session = session_of(message)
    steps += [
        request_step("webhook", received)
        for received in list(cloud.dingtalk.received)
        if session in received.query_string
    ]
    return sorted(steps, key=lambda step: step.start)


def calls(cloud: LocalCloud, run: Run, real_model: bool) -> list[Step]:
    """The requests that one run made to OSS, ChatGPT and DingTalk's API."""
    end = run.started + run.seconds if run.seconds is not None else float("inf")
    received = [
        (each, kind_of)
        for stand_in, kind_of in ((cloud.oss, oss_kind), (cloud.openai_api, chatgpt_kind), (cloud.dingtalk, api_kind))
        for each in list(stand_in.received)
        if each.sender == run.instance and run.started <= each.at <= end
    ]
    received.sort(key=lambda pair: pair[0].at)
    steps, holds_lease = [], False
    for each, kind_of in received:
        kind = kind_of(each)
        if kind == "oss_lease":
            kind = "oss_renew" if holds_lease else "oss_take_over"
        if kind in (*COMMITS, "oss_take_over") and (each.status or 200) < 400:
            holds_lease = True
        if kind:
            steps.append(request_step(kind, each))
    return [*steps, *elsewhere(steps, run)] if real_model else steps


NOT_ANSWERED = re.compile(r"^(\S+Z) .*\bChatGPT did not answer: (\S+ \((?:(HTTP \d+)|[^)]*).*)$", re.MULTILINE)


def elsewhere(steps: list[Step], run: Run) -> list[Step]:
    """The real model is not on our record: its time lies between reading and appending, its error is in the log."""
    append = next((step for step in steps if step.kind in ("oss_words", *COMMITS)), None)
    before = [step for step in steps if step.seconds is not None and (append is None or step.start < append.start)]
    if not before:
        return []
    asked_at = max(step.end for step in before)
    failed = NOT_ANSWERED.search(run.log)
    if failed:
        until = append.start if append else run.started + (run.seconds or 0)
        return [
            Step("chatgpt", asked_at, max(until - asked_at, 0), None, None, False, failed[3] or "", True, failed[2])
        ]
    if append:
        return [Step("chatgpt", asked_at, append.start - asked_at, None, None, False, "HTTP 200")]
    return [Step("chatgpt", asked_at, None)] if run.seconds is None else []


def cold_push(function_compute: FunctionCompute, received: Received) -> bool:
    """Whether the run behind this request had to start an instance."""
    runs = [
        run
        for invocation in list(function_compute.invocations)
        if invocation.function == CONVERSATION and invocation.event == received.body
        for run in list(invocation.runs)
        if run.started >= received.at and (received.seconds is None or run.started <= received.at + received.seconds)
    ]
    return any(run.cold for run in runs)


COMMITS = ("oss_turn", "oss_say", "oss_forget")  # lines with which a run gets the lease to send a reply


def oss_kind(received: Received) -> str:
    """What a request to OSS is good for, by the object and by the line that is appended to it."""
    if "chat-usage" in received.path:
        return "oss_count"
    if "chat-settings" in received.path:
        return "oss_settings"
    if received.method in ("GET", "HEAD"):
        return "oss_journal" if "chat-journal" in received.path else "oss_read"
    return "oss_clear" if received.method == "DELETE" else line_kind(received.body)


def line_kind(data: bytes) -> str:
    """What a line says that is appended to the journal, or to the words: see bot/oss/journal.py."""
    try:
        line = json.loads(data)
    except ValueError:
        line = {}
    if line.get("delivered"):
        return "oss_mark"
    if "run" not in line:
        return "oss_words"
    if line.get("clear"):
        return "oss_forget"
    if "words" in line or "question" in line:
        return "oss_turn"
    if "say" in line or "answer" in line:
        return "oss_say"
    return "oss_lease" if "until" in line else "oss_give_back"


def chatgpt_kind(received: Received) -> str:
    return "chatgpt"


def api_kind(received: Received) -> str:
    """What a call of DingTalk's API is good for; '' for a reply to the session webhook."""
    return "api_file" if received.path.startswith(FILE_PATH) else API_STEPS.get(received.path, "")


NO_PROBLEM = (  # there is nothing yet; the message was accepted before
    *(("oss_read", 404), ("oss_journal", 404), ("oss_settings", 404), ("oss_count", 404), ("oss_clear", 404)),
    ("invoke", 409),
)


def request_step(kind: str, received: Received, cold: bool = False) -> Step:
    """The step that is one HTTP request."""
    outcome = str(received.status or "")
    problem = received.status is not None and received.status >= 400
    if (kind, received.status) in NO_PROBLEM:
        problem = False
    if kind == "webhook" and received.answer:
        errcode = json.loads(received.answer).get("errcode")
        outcome, problem = f"errcode {errcode}", str(errcode) != "0"
    return Step(kind, received.at, received.seconds, received, None, cold, outcome, problem)


def summary(steps: list[Step]) -> list[dict[str, Any]]:
    """What the page shows of every step at once, in milliseconds from the delivery that it belongs to."""
    rows: list[dict[str, Any]] = []
    start, attempt = 0.0, 0
    for step in steps:
        if step.kind == "push" or not rows:
            start, attempt = step.start, attempt + 1
        rows.append(
            {
                "kind": step.kind,
                "attempt": attempt,
                "start": round(1000 * (step.start - start), 1),
                "ms": None if step.seconds is None else round(1000 * step.seconds, 1),
                "cold": step.cold,
                "outcome": step.outcome,
                "problem": step.problem,
                "cause": step.cause,
                "slow": step.kind == "push" and (step.seconds or 0) > PUSH_TIMEOUT_SECONDS,
            }
        )
    return rows


def detail(step: Step, secrets: Iterable[str]) -> dict[str, str]:
    """What a step can be opened to, by name; secrets are masked."""
    parts = {}
    if step.received:
        received = step.received
        line = f"{received.method} {unquote(received.path)}" + (
            f"?{received.query_string}" * bool(received.query_string)
        )
        parts["request"] = http_text(line, received.headers.items(), received.body)
        if received.status:
            reason = responses.get(received.status, "")
            parts["answer"] = http_text(f"{received.status} {reason}", received.answer_headers, received.answer)
    if step.cause:
        parts["cause"] = step.cause
    if step.run:
        parts["result"] = (step.run.result or b"").decode() or step.run.error or ""
        parts["log"] = local_times(once_per_line(step.run.log))
    return {name: masked(text, secrets) for name, text in parts.items() if text}


def once_per_line(log: str) -> str:
    """The log with each request id once per line: Function Compute puts it before what the function logs."""
    return re.sub(r"(?m)^(\S+Z) (\S+) (\[\w+\]) (?=.*\b\2\b)", r"\1 \3 ", log)


def local_times(log: str) -> str:
    """The log with the time of this machine, which the chat shows too, in the place of UTC."""

    def local(found: re.Match[str]) -> str:
        seconds = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + found[2]

    return re.sub(r"(?m)^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)Z", local, log)


def http_text(line: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """A request or an answer as text; a body of JSON is laid out, and the bytes of pictures are left out."""
    shown = [f"{name}: {MASK if SECRET_HEADER.fullmatch(name) else value}" for name, value in headers]
    text = body.decode(errors="replace") if b"\0" not in body else f"({len(body)} B)"
    try:
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except ValueError:
        pass  # lines of JSON, XML, or nothing
    text = PICTURE_DATA.sub(r"\1…", text)
    return "\n".join([line, *shown, "", text[:MAX_SHOWN_CHARACTERS]]).strip()


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text without secrets and without the parts of addresses that let anybody write to a chat or get a file."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return re.sub(r"(session=|Signature=)\w+", rf"\1{MASK}", text)


def secrets_of(cloud: LocalCloud, names: set[str]) -> list[str]:
    """The values of the secret settings, which have these names, of the role's credentials and of DingTalk's tokens."""
    role = cloud.function_compute.role
    credentials = [role.access_key_id, role.access_key_secret, role.security_token] if role else []
    settings = [
        value
        for function in (CONVERSATION, REPLY)
        for name, value in cloud.environment(function).items()
        if name in names
    ]
    return sorted(
        {secret for secret in (*settings, *credentials, *list(cloud.dingtalk.api.tokens)) if secret},
        key=len,
        reverse=True,
    )
