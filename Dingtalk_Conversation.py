"""Takes a message from DingTalk, hands it to Dingtalk_ChatGPT_Reply, and answers DingTalk at once.

    DingTalk -> verify the signature -> check the message -> invoke Dingtalk_ChatGPT_Reply asynchronously -> answer

Handler: Dingtalk_Conversation.handler (HTTP function of Function Compute 2.0, python3.10, anonymous trigger)

    situation                                    HTTP answer                       log
    Function Compute took the message            200 {"msgtype": "empty"}          INFO
    it had taken this message before (409)       200 {"msgtype": "empty"}          INFO
    GET: a person opens the address              200 what is set, what is missing  -
    another method                               405                               INFO
    timestamp or sign missing, stale or wrong    403                               WARNING: which, and both clocks
    the body is too long                         413                               WARNING
    the body is no message                       400                               WARNING: the field
    a setting is missing or malformed            200 a text that the chat shows    ERROR
    Function Compute refused or is not there     200 a text that the chat shows    ERROR: its code and request id
    anything unforeseen                          500                               ERROR: where it happened

DingTalk waits 2.5 s and may then send the message again. So nothing here takes longer than 2 s, and every invocation
carries an id made of DingTalk's msgId, by which Function Compute refuses a message that it was already given.

https://open.dingtalk.com/document/development/receive-message   what DingTalk sends and how it signs
https://help.aliyun.com/document_detail/74756.html               WSGI handlers of Function Compute 2.0
https://help.aliyun.com/document_detail/52877.html               the API that aliyun-fc2 calls, its signature
"""

from __future__ import annotations

import base64
import concurrent.futures
import functools
import hashlib
import hmac
import json
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fc2
import requests

log = logging.getLogger("Dingtalk_Conversation")
T = TypeVar("T")

REQUIRED = object()
SETTINGS: tuple[tuple[str, str, Any, str], ...] = (  # name, kind (see READERS), default, meaning
    ("DINGTALK_APP_SECRET", "secret", REQUIRED, "钉钉应用的 AppSecret"),
    ("CHATGPT_FUNCTION", "fc_name", "Dingtalk_ChatGPT_Reply", "回答消息的函数的名称"),
    ("SERVICE_NAME", "fc_name", None, "两个函数所在的服务的名称；不填就是本函数所在的服务"),
    ("ENDPOINT", "endpoint", None, "函数计算的 API 地址；不填就是本账号在本地域的地址"),
    ("VERBOSE", "level", logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)

MAX_AGE_MS = 60 * 60 * 1000  # DingTalk asks receivers to refuse a timestamp that is more than one hour off
MAX_AHEAD_MS = 5 * 60 * 1000  # clocks differ a little, but an hour ahead would double the life of a stolen signature
MAX_BODY_BYTES = 64 * 1024  # Function Compute takes 128 KiB asynchronously; no documented message comes near
CONNECT_SECONDS, READ_SECONDS = 0.7, 1.0  # to connect to one address, and for each read
INVOKE_SECONDS = 1.5  # for handing over, all in all
NEEDED_FIELDS = ("msgId", "sessionWebhook", "conversationId")

STRANGER = (
    "收到的回应不像是函数计算发来的。请稍后再发一次；"
    "如果一直这样，请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT。"
)
JSON, PLAIN = "application/json; charset=utf-8", "text/plain; charset=utf-8"


class Request(NamedTuple):
    """An HTTP request from DingTalk, or from somebody who pretends to be DingTalk."""

    method: str
    timestamp: str  # header: ms since 1970
    sign: str  # header: base64
    body: bytes  # its first MAX_BODY_BYTES + 1 bytes


class Answer(NamedTuple):
    """An HTTP answer."""

    status: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Message(NamedTuple):
    """A verified message."""

    id: str  # DingTalk's msgId
    body: bytes  # exactly as received: the event of Dingtalk_ChatGPT_Reply


class Refused(Exception):
    """The request goes no further: its sender sees the status, the log the reason."""

    http_status = "400 Bad Request"
    level = logging.WARNING

    def answer(self) -> Answer:
        """The HTTP answer, without a detail that could help somebody who is not DingTalk."""
        return Answer(self.http_status, PLAIN, self.http_status.encode())


class NotAMessage(Refused):
    """Only the log sees it: DingTalk's messages are JSON objects with NEEDED_FIELDS."""


class WrongMethod(Refused):
    """Programs that try addresses see it: DingTalk posts, and a browser gets."""

    http_status = "405 Method Not Allowed"
    level = logging.INFO

    def answer(self) -> Answer:
        return super().answer()._replace(headers=(("Allow", "GET, POST"),))


class NotFromDingtalk(Refused):
    """The sender learns nothing, the log which check failed."""

    http_status = "403 Forbidden"


class TooLarge(Refused):
    """Only the log sees it: DingTalk never sends this much."""

    http_status = "413 Content Too Large"


class NotHandedOver(Refused):
    """The person who wrote sees the sentence in the chat, the log the cause behind it."""

    http_status = "200 OK"
    level = logging.ERROR

    def __init__(self, sentence: str, cause: str) -> None:
        super().__init__(cause)
        self.sentence = sentence

    def answer(self) -> Answer:
        text = {"msgtype": "text", "text": {"content": self.sentence}}
        return Answer(self.http_status, JSON, json.dumps(text, ensure_ascii=False).encode())


def handler(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answers one HTTP request, in the WSGI form of Function Compute 2.0; never raises."""
    context = environ.get("fc.context")
    request_id = getattr(context, "request_id", None)
    try:
        request = Request(
            method=environ["REQUEST_METHOD"],
            timestamp=environ.get("HTTP_TIMESTAMP", ""),
            sign=environ.get("HTTP_SIGN", ""),
            body=read_body(environ),
        )
        answer = respond(request, context, request_id)
    except Exception as error:
        log.error("request %s: unforeseen: %s", request_id, trace(error))
        answer = Answer("500 Internal Server Error", PLAIN, b"500 Internal Server Error")
    start_response(answer.status, [("Content-Type", answer.content_type), *answer.headers])
    return [answer.body]


def read_body(environ: dict[str, Any]) -> bytes:
    """The body up to the first byte that is too much; its length may be missing, empty or nonsense."""
    length = environ.get("CONTENT_LENGTH") or ""
    limit = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else MAX_BODY_BYTES + 1
    body: bytes = environ["wsgi.input"].read(min(limit, MAX_BODY_BYTES + 1))
    return body


def respond(request: Request, context: Any, request_id: str | None) -> Answer:
    """The answer to a request, with one line in the log."""
    started = time.monotonic()
    settings, problems = read_settings(os.environ)
    log.setLevel(settings.verbose)
    try:
        if request.method == "GET":
            return self_check(problems, context)
        message = accept(request, settings, problems, now_ms=time.time_ns() // 1_000_000)
        result = hand_over(message, settings, context)
    except Refused as refused:
        log.log(refused.level, "request %s: %s: %s", request_id, type(refused).__name__, refused)
        return refused.answer()
    milliseconds = round(1000 * (time.monotonic() - started))
    log.info("request %s: message %.99r %s in %d ms", request_id, message.id, result, milliseconds)
    return Answer("200 OK", JSON, b'{"msgtype": "empty"}')


def self_check(problems: list[str], context: Any) -> Answer:
    """The page for a person who opens the address: names of settings, never values, and no outgoing request."""
    if not role_credentials(context):
        problems = [*problems, "服务没有角色，不能调用别的函数 / the service has no role"]
    if problems:
        todo = "\n".join(
            (
                "请部署者改正下面各项（函数的环境变量、服务的角色），再打开本页：",
                "Correct these (the function's environment variables, the service's role), then open this page again:",
                *(f"  - {problem}" for problem in problems),
            )
        )
    else:
        todo = (
            "设置齐全。下一步：在钉钉开发者后台把本页的地址填为机器人的消息接收地址（HTTP 模式），\n"
            "然后对机器人说“你好”。\n"
            "All settings are there. Next: in DingTalk's developer console, enter this page's address as the robot's\n"
            "message-receiving address (HTTP mode), then say hello to the robot."
        )
    page = f"Dingtalk_Conversation 已部署。\nDingtalk_Conversation is deployed.\n\n{todo}\n"
    return Answer("200 OK", PLAIN, page.encode())


def accept(request: Request, settings: SimpleNamespace, problems: list[str], now_ms: int) -> Message:
    """The message that the request brings, or Refused. Pure: what it is given is all that it knows."""
    if request.method != "POST":
        raise WrongMethod(f"{request.method:.20}")
    if settings.dingtalk_app_secret:  # without it nobody can be verified, and everybody is told so just below
        problem = signature_problem(request, settings.dingtalk_app_secret.encode(), now_ms)
        if problem:
            raise NotFromDingtalk(problem)
    if problems:
        sentence = f"机器人还没有设置好。请部署者检查 Dingtalk_Conversation 的环境变量：{'；'.join(problems)}。"
        raise NotHandedOver(sentence, "; ".join(problems))
    if len(request.body) > MAX_BODY_BYTES:
        raise TooLarge(f"the body is longer than {MAX_BODY_BYTES} bytes")
    return Message(message_id(request.body), request.body)


def signature_problem(request: Request, secret: bytes, now_ms: int) -> str | None:
    """Why DingTalk cannot have sent this, for the log; None if it can have.

    sign = base64(HMAC-SHA256(secret, timestamp + newline + secret)). It does not cover the body: whoever saw one
    request can send other bodies with its headers for an hour, so the body stays untrusted.
    """
    timestamp = request.timestamp
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        return "the header timestamp is missing or not a number"
    if not -MAX_AHEAD_MS <= now_ms - int(timestamp) <= MAX_AGE_MS:
        return f"the header timestamp is {timestamp}, our clock {now_ms}: too old or too far ahead"
    if not request.sign:
        return "the header sign is missing"
    wanted = base64.b64encode(hmac.digest(secret, timestamp.encode() + b"\n" + secret, "sha256"))
    if not hmac.compare_digest(wanted, request.sign.encode("utf-8", "replace")):
        return "the header sign is wrong: is DINGTALK_APP_SECRET the AppSecret of this robot's application?"
    return None


def message_id(body: bytes) -> str:
    """The msgId of a message that has all NEEDED_FIELDS, or NotAMessage naming the field."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAMessage("the body is not JSON") from error
    if not isinstance(message, dict):
        raise NotAMessage("the body is not a JSON object")
    for name in NEEDED_FIELDS:
        if not (isinstance(message.get(name), str) and message[name].strip()):
            raise NotAMessage(f"the field {name} is missing or not a text")
    return str(message["msgId"])


def hand_over(message: Message, settings: SimpleNamespace, context: Any) -> str:
    """Ask Function Compute to run Dingtalk_ChatGPT_Reply with the message; 'accepted' or 'already accepted'.

    NotHandedOver says why it was not taken, in words that the deployer can act on.
    """
    service, function = settings.service_name or context.service.name, settings.chatgpt_function
    digest = hashlib.sha256(message.id.encode("utf-8", "surrogatepass")).hexdigest()
    headers = {
        "x-fc-invocation-type": "Async",
        "x-fc-stateful-async-invocation-id": f"m{digest}",  # an id must begin with a letter or _
    }
    try:
        client = fc_client(settings, context)
        invoke = functools.partial(client.invoke_function, service, function, payload=message.body, headers=headers)
        answer = within(INVOKE_SECONDS, invoke)
    except fc2.FcError as error:
        if error.status_code == 409:
            return "already accepted"
        raise refusal(error, service, function) from error
    except (
        requests.JSONDecodeError,
        TypeError,
        RecursionError,
    ) as error:  # aliyun-fc2 expects a JSON object with 4xx, 5xx
        raise NotHandedOver(STRANGER, "an error without a JSON object: not Function Compute's") from error
    except (requests.RequestException, concurrent.futures.TimeoutError, ValueError) as error:
        raise unanswered(error) from error
    if "x-fc-request-id" not in answer.headers:
        raise NotHandedOver(STRANGER, "an answer without X-Fc-Request-Id: not Function Compute's")
    return "accepted"


def fc_client(settings: SimpleNamespace, context: Any) -> fc2.Client:
    """A client of Function Compute that tries once, gives up in time and logs nothing."""
    credentials = role_credentials(context)
    if not credentials:
        sentence = "服务没有角色，不能调用别的函数。请部署者在函数计算控制台给服务配置角色（权限 fc:InvokeFunction）。"
        raise NotHandedOver(sentence, "no credentials: the service has no role")
    # By itself aliyun-fc2 2.5.2 sleeps 30 s between 5 tries of a refused connection, and logs the headers of every
    # failed request, authorization and security token among them, through the module `logging`, that is to the root.
    fc2.client.retries = 0
    fc2.client.logging = fc2.auth.logging = logging.Logger("silent", logging.CRITICAL + 1)
    return fc2.Client(
        endpoint=settings.endpoint or f"https://{context.account_id}.{context.region}.fc.aliyuncs.com",
        accessKeyID=credentials.access_key_id,
        accessKeySecret=credentials.access_key_secret,
        securityToken=credentials.security_token or "",
        Timeout=(CONNECT_SECONDS, READ_SECONDS),
    )


def role_credentials(context: Any) -> Any:
    """The temporary credentials of the service's role; None if there is no role."""
    credentials = getattr(context, "credentials", None)
    complete = credentials and credentials.access_key_id and credentials.access_key_secret
    return credentials if complete else None


def refusal(error: fc2.FcError, service: str, function: str) -> NotHandedOver:
    """What an error answer of Function Compute means for the people concerned."""
    # The documents print errorCode, which aliyun-fc2 does not read.
    code = error.err_code or json.loads(error.message).get("errorCode") or f"HTTP {error.status_code}"
    if code in ("SignatureNotMatch", "InvalidAccessKeyID"):
        sentence = "函数计算不接受服务角色的临时凭证。请部署者检查服务的角色，再重新部署函数。"
    elif error.status_code == 403:
        sentence = f"没有权限调用函数 {function}。请部署者给服务的角色加上权限 fc:InvokeFunction。"
    elif error.status_code == 404:
        sentence = f"找不到服务 {service} 中的函数 {function}。请部署者检查环境变量 SERVICE_NAME 和 CHATGPT_FUNCTION。"
    elif error.status_code == 429:
        sentence = "现在提问的人太多，函数计算限流了。请稍后再发一次。"
    elif error.status_code >= 500:
        sentence = "函数计算暂时出错。请稍后再发一次。"
    else:
        sentence = f"函数计算拒绝了这条消息（{code}）。请部署者查看 Dingtalk_Conversation 的日志。"
    return NotHandedOver(sentence, f"code {code}, status {error.status_code}, its request {error.request_id}")


def unanswered(error: Exception) -> NotHandedOver:
    """What the lack of an answer means: only if a connection was made can the message have been taken all the same."""
    cause = error.args[0] if error.args else None
    cut_off = (concurrent.futures.TimeoutError, requests.ReadTimeout, requests.exceptions.ChunkedEncodingError)
    sent = isinstance(error, cut_off) or (
        type(error) is requests.ConnectionError and not hasattr(cause, "reason")  # urllib3 gives one if it never sent
    )
    if sent:
        sentence = "函数计算没有及时确认这条消息。如果一分钟后还没有回答，请再发一次。"
    else:
        sentence = "连接不上函数计算。请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT（一般不用填）。"
    return NotHandedOver(sentence, f"{'no answer' if sent else 'unreachable'}: {type(error).__name__}")


# --- the same in both files, from here: settings, log, time limit ---


def read_settings(environ: Mapping[str, str]) -> tuple[SimpleNamespace, list[str]]:
    """The values of SETTINGS, as attributes in lower case, and a sentence for each bad one: never its value.

    A bad setting has its default, a bad or missing required one is None.
    """
    values, problems = SimpleNamespace(), []
    for name, kind, default, meaning in SETTINGS:
        text = environ.get(name, "").strip()
        value = None if default is REQUIRED else default
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                value = READERS[kind](text)
            except (ValueError, RecursionError):  # its message may quote a key pasted into the wrong field
                problems.append(f"{name} 格式不对（{meaning}）")
        elif default is REQUIRED:
            problems.append(f"{name} 没有设置（{meaning}）")
        setattr(values, name.lower(), value)
    return values, problems


def matching(pattern: str) -> Callable[[str], str]:
    """A reader of texts that match the whole pattern."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError("no match")
        return text

    return read


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int):
        raise ValueError("no level")
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    parts = urlsplit(text if "://" in text else "https://" + text)
    plain = re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc) and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not plain:
        raise ValueError("no web address")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise ValueError("a path")
    return address


def trace(error: BaseException) -> str:
    """What kind of error and where, on one line; not its message, which may quote a key, an address or a question."""
    frames: Iterable[traceback.FrameSummary] = reversed(traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames)


def within(seconds: float, call: Callable[[], T]) -> T:
    """What call() returns or raises; concurrent.futures.TimeoutError after so many seconds in all.

    The time-outs of requests, and of openai, are per read: a byte a second keeps them waiting for ever. The thread
    that is left behind ends when its connection does.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=max(seconds, 0))


# --- the same in both files, to here ---

READERS: dict[str, Callable[[str], Any]] = {
    "secret": matching(r"[!-~]+"),  # as the consoles show them: visible ASCII without blanks
    "fc_name": matching(r"[A-Za-z_][A-Za-z0-9_-]{0,127}"),  # aliyun-fc2 puts names into the path as they are
    "endpoint": read_endpoint,
    "level": read_level,
}
