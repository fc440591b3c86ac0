"""Takes a message from DingTalk, hands it to Dingtalk_ChatGPT_Reply, and answers DingTalk at once.

    verify the signature -> check the message -> invoke Dingtalk_ChatGPT_Reply asynchronously -> answer DingTalk

Handler: Dingtalk_Conversation.handler (HTTP trigger without authentication, on Function Compute 2.0 or 3.0)

    situation                                    HTTP answer                       log
    Function Compute accepts the message         200 {"msgtype": "empty"}          INFO
    Function Compute has the message already     200 {"msgtype": "empty"}          INFO
    GET: a person opens the address              200 what is set, what is missing  -
    another method                               405                               INFO
    timestamp or sign missing, stale or wrong    403                               WARNING: which, and both clocks
    the body is too long                         413                               WARNING
    the body is encrypted, or is no message      400                               WARNING: the field, what to change
    3.0: the event is no HTTP request            400 what to do instead            WARNING
    a setting is missing or malformed            200 a text for the chat           ERROR
    Function Compute refuses or does not answer  200 a text for the chat           ERROR: its code and request id
    anything unforeseen                          500                               ERROR: where it happened

DingTalk waits 2.5 s and may then send the message again. So the function takes at most 2 s, and every invocation has
an id made of DingTalk's msgId: Function Compute refuses a message that it has already.

https://open.dingtalk.com/document/development/receive-message   what DingTalk sends and how it signs
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import functools
import hashlib
import hmac
import json
import logging
import math
import os
import re
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import requests

log = logging.getLogger("Dingtalk_Conversation")
T = TypeVar("T")

REQUIRED = object()
SECRET = r"(?!.*(\*\*\*|\.\.\.))[!-~]+"  # as the consoles show them, but not with signs in place of what they hide
FC_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,127}"  # aliyun-fc2 puts names into the path as they are
SETTINGS: tuple[tuple[str, Any, Any, str], ...] = (  # name, check (see read_value), default, meaning
    ("DINGTALK_APP_SECRET", SECRET, REQUIRED, "钉钉应用的 AppSecret"),
    ("CHATGPT_FUNCTION", FC_NAME, "Dingtalk_ChatGPT_Reply", "回答消息的函数的名称"),
    ("SERVICE_NAME", FC_NAME, None, "两个函数所在的服务的名称，只用于 2.0；不填就是本函数所在的服务"),
    ("ENDPOINT", lambda text: read_endpoint(text), None, "函数计算的 API 地址；不填就是本账号在本地域的地址"),
    ("VERBOSE", lambda text: read_level(text), logging.INFO, "日志级别，例如 INFO 或 DEBUG"),
)


def handler(environ_or_event: Any, start_response_or_context: Any) -> Any:
    """Answers one HTTP request; never raises. Function Compute 2.0 calls it as WSGI, 3.0 with an event."""
    if isinstance(environ_or_event, dict):
        return handle_wsgi(environ_or_event, start_response_or_context)
    return handle_event(environ_or_event, start_response_or_context)


# --- the two forms: WSGI and event ---
# https://help.aliyun.com/document_detail/74756.html                                       2.0: WSGI
# https://www.alibabacloud.com/help/en/functioncompute/fc/http-trigger-invoking-function   3.0: the event

MAX_BODY_BYTES = 64 * 1024  # Function Compute takes 128 KiB asynchronously; no documented message comes near


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


def handle_wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answers in the WSGI form, that of 2.0."""
    answer = respond(lambda: request_in_environ(environ), environ.get("fc.context"), generation=2)
    start_response(answer.status, [("Content-Type", answer.content_type), *answer.headers])
    return [answer.body]


def request_in_environ(environ: dict[str, Any]) -> Request:
    """The request in a WSGI environ; the body's length may be missing, empty or nonsense."""
    length = environ.get("CONTENT_LENGTH") or ""
    limit = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else MAX_BODY_BYTES + 1
    return Request(
        method=environ["REQUEST_METHOD"],
        timestamp=environ.get("HTTP_TIMESTAMP", ""),
        sign=environ.get("HTTP_SIGN", ""),
        body=environ["wsgi.input"].read(min(limit, MAX_BODY_BYTES + 1)),
    )


def handle_event(event: bytes, context: Any) -> dict[str, Any]:
    """Answers in the form that the HTTP triggers of 3.0 expect."""
    answer = respond(lambda: request_in_event(event), context, generation=3)
    return {
        "statusCode": int(answer.status[:3]),
        "headers": {"Content-Type": answer.content_type, **dict(answer.headers)},
        "isBase64Encoded": False,
        "body": answer.body.decode(),
    }


def request_in_event(event: bytes) -> Request:
    """The request in an event, or Refused; the documents do not say whether header names are in lower case."""
    try:
        fields = json.loads(event)
        headers = {name.lower(): value for name, value in fields["headers"].items()}
        method, body = fields["requestContext"]["http"]["method"], fields.get("body") or ""
        timestamp, sign = headers.get("timestamp", ""), headers.get("sign", "")
        data = base64.b64decode(body) if fields.get("isBase64Encoded") else body.encode()
        if not all(isinstance(text, str) for text in (method, timestamp, sign)):
            raise TypeError("not texts")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Refused("NotARequest", "the event is not one of an HTTP trigger") from error
    return Request(method, timestamp, sign, data[: MAX_BODY_BYTES + 1])


# --- deciding what becomes of a request ---

JSON, PLAIN = "application/json; charset=utf-8", "text/plain; charset=utf-8"
NOTHING_TO_SHOW = Answer("200 OK", JSON, b'{"msgtype": "empty"}')
USE_A_BROWSER = (
    "这个事件不是 HTTP 请求。请用浏览器打开本函数的 HTTP 触发器的地址，查看设置是否齐全。\n"
    "This event is no HTTP request. Open the address of the function's HTTP trigger in a browser instead.\n"
)


def only_status(status: str) -> Answer:
    """An answer that tells nothing else, so that it helps nobody who is not DingTalk."""
    return Answer(status, PLAIN, status.encode())


REFUSALS: dict[str, tuple[int, Answer]] = {  # what the log calls the situation: level in the log, answer
    "NotARequest": (logging.WARNING, Answer("400 Bad Request", PLAIN, USE_A_BROWSER.encode())),
    "WrongMethod": (logging.INFO, only_status("405 Method Not Allowed")._replace(headers=(("Allow", "GET, POST"),))),
    "NotFromDingtalk": (logging.WARNING, only_status("403 Forbidden")),
    "TooLarge": (logging.WARNING, only_status("413 Content Too Large")),
    "NotAMessage": (logging.WARNING, only_status("400 Bad Request")),
    "NotHandedOver": (logging.ERROR, NOTHING_TO_SHOW),  # plus the sentence that every cause has
}


class Refused(Exception):
    """The request goes no further. The sender gets the answer, the log gets the reason.

    `sentence`: what the answer makes the chat show, for the situation NotHandedOver.
    """

    def __init__(self, situation: str, reason: str, sentence: str = "") -> None:
        super().__init__(reason)
        self.situation = situation
        self.level, self.answer = REFUSALS[situation]
        if sentence:
            text = {"msgtype": "text", "text": {"content": sentence}}
            self.answer = Answer("200 OK", JSON, json.dumps(text, ensure_ascii=False).encode())


class Deployment(NamedTuple):
    """This function as it is deployed."""

    generation: int  # of Function Compute: 2 or 3
    context: Any
    settings: SimpleNamespace
    problems: list[str]  # a sentence for each setting that is missing or malformed
    credentials: Any  # of the role; None if there is no role

    @property
    def endpoint(self) -> str:
        """The address of Function Compute's API, the same for both generations."""
        return self.settings.endpoint or f"https://{self.context.account_id}.{self.context.region}.fc.aliyuncs.com"

    @property
    def service(self) -> str:
        """The service that both functions are in; 3.0 has no services."""
        return str(self.settings.service_name or self.context.service.name)

    @property
    def role_owner(self) -> str:
        """What the deployer gives the role to."""
        return "服务" if self.generation == 2 else "函数"


class Decision(NamedTuple):
    """What a good request leads to: an answer, after a message is handed over."""

    answer: Answer
    message: Message | None = None  # None: the answer is all


def respond(read_request: Callable[[], Request], context: Any, generation: int) -> Answer:
    """The answer to a request; writes one line to the log, none for a GET."""
    started = time.monotonic()
    request_id = printable(getattr(context, "request_id", None))
    settings, problems = read_settings(os.environ)
    log.setLevel(settings.verbose)
    deployment = Deployment(generation, context, settings, problems, role_credentials(context, os.environ))
    try:
        answer, message = decide(read_request(), deployment, now_ms=time.time_ns() // 1_000_000)
        if message:
            result = hand_over(message, deployment)
            milliseconds = round(1000 * (time.monotonic() - started))
            log.info("request %s: message %.99r %s in %d ms", request_id, message.id, result, milliseconds)
        return answer
    except Refused as refused:
        log.log(refused.level, "request %s: %s: %s", request_id, refused.situation, refused)
        return refused.answer
    except Exception as error:
        log.error("request %s: unforeseen: %s", request_id, trace(error))
        return only_status("500 Internal Server Error")


def decide(request: Request, deployment: Deployment, now_ms: int) -> Decision:
    """The answer, and the message to hand over if there is one; or Refused. Pure: no clock, environment or network."""
    if request.method == "GET":
        return Decision(Answer("200 OK", PLAIN, self_check_page(deployment).encode()))
    if request.method != "POST":
        raise Refused("WrongMethod", printable(request.method, 20))
    secret = deployment.settings.dingtalk_app_secret
    if secret:  # without it no request can be verified, and every sender is told so just below
        problem = signature_problem(request.timestamp, request.sign, secret.encode(), now_ms)
        if problem:
            raise Refused("NotFromDingtalk", problem)
    if deployment.problems:
        problems = deployment.problems
        sentence = f"机器人还没有设置好。请部署者检查 Dingtalk_Conversation 的环境变量：{'；'.join(problems)}。"
        raise Refused("NotHandedOver", "; ".join(problems), sentence)
    if len(request.body) > MAX_BODY_BYTES:
        raise Refused("TooLarge", f"the body is longer than {MAX_BODY_BYTES} bytes")
    return Decision(NOTHING_TO_SHOW, parse_message(request.body))


def printable(text: object, limit: int = 64) -> str:
    """A text from outside, as the log may hold it: 'a\\nb' -> 'a?b'. A request id has 36 characters or a few more."""
    return re.sub(r"[^ -~]", "?", str(text)[:limit])


# --- the signature ---

MAX_AGE_MS = 60 * 60 * 1000  # DingTalk asks receivers to refuse a timestamp that is more than one hour off
MAX_AHEAD_MS = 5 * 60 * 1000  # clocks differ a little, but an hour ahead would double the life of a stolen signature


def signature_problem(timestamp: str, sign: str, secret: bytes, now_ms: int) -> str | None:
    """Why DingTalk cannot have sent these two headers, for the log; None if it can have.

    sign = base64(HMAC-SHA256(secret, timestamp + newline + secret)). It does not cover the body: whoever saw one
    request can send other bodies with its headers for an hour. So the body stays untrusted.
    """
    if not re.fullmatch(r"[0-9]{1,15}", timestamp):
        return "the header timestamp is missing or not a number"
    if not -MAX_AHEAD_MS <= now_ms - int(timestamp) <= MAX_AGE_MS:
        return f"the header timestamp is {timestamp}, our clock {now_ms}: too old or too far ahead"
    if not sign:
        return "the header sign is missing"
    wanted = base64.b64encode(hmac.digest(secret, timestamp.encode() + b"\n" + secret, "sha256"))
    if not hmac.compare_digest(wanted, sign.encode("utf-8", "replace")):
        return "the header sign is wrong: is DINGTALK_APP_SECRET the AppSecret of this robot's application?"
    return None


# --- the message ---

NEEDED_FIELDS = ("msgId", "sessionWebhook", "conversationId")


class Message(NamedTuple):
    """A message from DingTalk."""

    id: str  # DingTalk's msgId
    body: bytes  # exactly as received: the event of Dingtalk_ChatGPT_Reply


def parse_message(body: bytes) -> Message:
    """The message, if the body is a JSON object with all NEEDED_FIELDS; else Refused, with the name of the field."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused("NotAMessage", "the body is not JSON") from error
    if not isinstance(fields, dict):
        raise Refused("NotAMessage", "the body is not a JSON object")
    if fields.keys() == {"encrypt"}:
        raise Refused("NotAMessage", "the message is encrypted: switch message encryption off at the robot in DingTalk")
    for name in NEEDED_FIELDS:
        if not (isinstance(fields.get(name), str) and fields[name].strip()):
            raise Refused("NotAMessage", f"the field {name} is missing or not a text")
    return Message(fields["msgId"], body)


# --- handing the message over ---

CONNECT_SECONDS, READ_SECONDS = 0.7, 1.0  # to connect to one address, and for each read
INVOKE_SECONDS = 1.5  # for handing over, all in all
MAX_ANSWER_BYTES = 64 * 1024  # of Function Compute's answer; an error takes 200
ALREADY_EXISTS = "StatefulAsyncInvocationAlreadyExists"  # Function Compute's code for an id that it has already
NOT_JSON_ERRORS = (requests.JSONDecodeError, json.JSONDecodeError, UnicodeDecodeError, TypeError, RecursionError)
NO_ANSWER_ERRORS = (requests.RequestException, concurrent.futures.TimeoutError, ValueError)


class FcAnswer(NamedTuple):
    """Function Compute's answer to an invocation."""

    status: int
    request_id: str | None
    error: str | None = None  # its code, "" if it has none; None if the answer is no error


def hand_over(message: Message, deployment: Deployment) -> str:
    """Invoke Dingtalk_ChatGPT_Reply with the message: 'accepted' or 'already accepted', else Refused."""
    owner = deployment.role_owner
    if not deployment.credentials:
        todo = f"请部署者在函数计算控制台给{owner}配置角色（权限 fc:InvokeFunction）。"
        raise Refused("NotHandedOver", "no credentials: there is no role", f"{owner}没有角色，不能调用别的函数。{todo}")
    digest = hashlib.sha256(message.id.encode("utf-8", "surrogatepass")).hexdigest()
    invoke = invoke_2 if deployment.generation == 2 else invoke_3
    try:
        answer = invoke(message.body, f"m{digest}", deployment)  # an id must begin with a letter or _
    except NOT_JSON_ERRORS as error:
        reason = f"not Function Compute's answer: {type(error).__name__}"
        raise Refused("NotHandedOver", reason, NOT_FUNCTION_COMPUTE) from error
    except NO_ANSWER_ERRORS as error:
        if may_have_arrived(error):
            raise Refused("NotHandedOver", f"no answer: {type(error).__name__}", NOT_CONFIRMED) from error
        raise Refused("NotHandedOver", f"unreachable: {type(error).__name__}", NOT_REACHED) from error
    if answer.error == ALREADY_EXISTS or (answer.status == 409 and not answer.error):
        return "already accepted"
    if answer.error is not None:
        code = printable(answer.error or f"HTTP {answer.status}")
        reason = f"code {code}, status {answer.status}, its request {printable(answer.request_id)}"
        raise Refused("NotHandedOver", reason, refusal_sentence(answer.status, code, deployment))
    if answer.status != 202:
        reason = f"status {answer.status}: not Function Compute's answer to an invocation"
        raise Refused("NotHandedOver", reason, NOT_FUNCTION_COMPUTE)
    return "accepted"


# --- handing over on 2.0 ---
# https://help.aliyun.com/document_detail/52877.html   the API that aliyun-fc2 calls, its signature


def invoke_2(event: bytes, task_id: str, deployment: Deployment) -> FcAnswer:
    """Invoke by the API of 2.0: through aliyun-fc2, made to try once, to give up in time and to log nothing."""
    import fc2  # here, because python3.12, which only 3.0 has, comes without it

    # By itself aliyun-fc2 2.5.2 sleeps 30 s between 5 tries of a refused connection, and logs the headers of every
    # failed request, authorization and security token among them, through the root logger.
    fc2.client.retries = 0
    fc2.client.HTTPAdapter = VerifiedConnections  # it makes new connections for every message
    fc2.client.logging = fc2.auth.logging = logging.Logger("silent", logging.CRITICAL + 1)
    client = fc2.Client(
        endpoint=deployment.endpoint,
        accessKeyID=deployment.credentials.access_key_id,
        accessKeySecret=deployment.credentials.access_key_secret,
        securityToken=deployment.credentials.security_token or "",
        Timeout=(CONNECT_SECONDS, READ_SECONDS),
    )
    headers = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": task_id}
    function = deployment.settings.chatgpt_function
    invoke = functools.partial(client.invoke_function, deployment.service, function, payload=event, headers=headers)
    try:
        answer = call_until(time.monotonic() + INVOKE_SECONDS, invoke)
    except fc2.FcError as error:
        # The documents print errorCode, which aliyun-fc2 does not read.
        code = error.err_code or json.loads(error.message).get("errorCode") or ""
        return FcAnswer(error.status_code, error.request_id, str(code))
    request_id = answer.headers.get("x-fc-request-id")
    return FcAnswer(202 if request_id else 200, request_id)  # aliyun-fc2 does not tell the status


# --- handing over on 3.0 ---
# https://www.alibabacloud.com/help/en/functioncompute/fc/developer-reference/api-fc-2023-03-30-invokefunction
# https://help.aliyun.com/en/functioncompute/fc/developer-reference/signature-mechanism


def invoke_3(event: bytes, task_id: str, deployment: Deployment) -> FcAnswer:
    """Invoke by the API of 3.0, with requests alone: aliyun-fc2 does not know it, and no runtime has its own SDK."""
    key, path = deployment.credentials, f"/2023-03-30/functions/{deployment.settings.chatgpt_function}/invocations"
    headers = {
        "content-type": "application/octet-stream",
        "host": urlsplit(deployment.endpoint).netloc,
        "x-acs-action": "InvokeFunction",
        "x-acs-content-sha256": hashlib.sha256(event).hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": os.urandom(16).hex(),
        "x-acs-version": "2023-03-30",
        "x-fc-async-task-id": task_id,
        "x-fc-invocation-type": "Async",
    }
    if key.security_token:
        headers.update({"x-acs-accesskey-id": key.access_key_id, "x-acs-security-token": key.security_token})
    headers["authorization"] = authorization(path, headers, key.access_key_id, key.access_key_secret)
    with contextlib.closing(VerifiedConnections()) as connections:
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        call = functools.partial(post, connections, deployment.endpoint + path, event, headers, timeout)
        answer, body = call_until(time.monotonic() + INVOKE_SECONDS, call)
    request_id = answer.headers.get("x-fc-request-id") or answer.headers.get("x-acs-request-id")  # which one is assumed
    if answer.status_code < 400:
        return FcAnswer(answer.status_code, request_id)
    error = json.loads(body)
    if not isinstance(error, dict):
        raise TypeError("no JSON object")
    return FcAnswer(answer.status_code, request_id, str(error.get("Code") or ""))


def authorization(path: str, headers: Mapping[str, str], key_id: str, key_secret: str) -> str:
    """The header of that name for a POST: ACS3-HMAC-SHA256 over all these headers, whose names are in lower case."""
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(("POST", path, "", lines, names, headers["x-acs-content-sha256"]))
    text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key_secret.encode(), text.encode(), "sha256").hex()
    return f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={names},Signature={signature}"


# --- what the chat shows if Function Compute did not take the message ---

NOT_FUNCTION_COMPUTE = (
    "收到的回应不像是函数计算发来的。请稍后再发一次；"
    "如果一直这样，请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT。"
)
NOT_CONFIRMED = "函数计算没有及时确认这条消息。如果一分钟后还没有回答，请再发一次。"
NOT_REACHED = "连接不上函数计算。请部署者检查 Dingtalk_Conversation 的环境变量 ENDPOINT（一般不用填）。"


def refusal_sentence(status: int, code: str, deployment: Deployment) -> str:
    """What an error answer of Function Compute means, and who can do what about it."""
    owner, function = deployment.role_owner, deployment.settings.chatgpt_function
    if re.match("Signature|InvalidAccessKey|InvalidSecurityToken", code):
        return f"函数计算不接受{owner}角色的临时凭证。请部署者检查{owner}的角色，再重新部署函数。"
    if status == 403:
        return f"没有权限调用函数 {function}。请部署者给{owner}的角色加上权限 fc:InvokeFunction。"
    if status == 404 and deployment.generation == 2:
        place = f"服务 {deployment.service} 中的函数 {function}"
        return f"找不到{place}。请部署者检查环境变量 SERVICE_NAME 和 CHATGPT_FUNCTION。"
    if status == 404:
        return f"找不到函数 {function}。请部署者检查环境变量 CHATGPT_FUNCTION。"
    if status == 429:
        return "现在提问的人太多，函数计算限流了。请稍后再发一次。"
    if status >= 500 or status == 409:  # a conflict, such as ConcurrentUpdateError, passes by itself
        return "函数计算暂时出错。请稍后再发一次。"
    return f"函数计算拒绝了这条消息（{code}）。请部署者查看 Dingtalk_Conversation 的日志。"


def may_have_arrived(error: Exception) -> bool:
    """Whether Function Compute may have taken the message although no answer came: only if there was a connection."""
    cut_off = (concurrent.futures.TimeoutError, requests.ReadTimeout, requests.exceptions.ChunkedEncodingError)
    if isinstance(error, cut_off):
        return True
    cause = error.args[0] if error.args else None
    return type(error) is requests.ConnectionError and not hasattr(
        cause, "reason"
    )  # urllib3 gives one if it never sent


# --- self-check: the page for a person who opens the address ---


def self_check_page(deployment: Deployment) -> str:
    """What is missing and what to do next, in Chinese and English: names of settings, never values."""
    owner, problems = deployment.role_owner, deployment.problems
    if not deployment.credentials:
        problems = [*problems, f"{owner}没有角色，不能调用别的函数 / no role: it cannot invoke the other function"]
    if problems:
        todo = "\n".join(
            (
                f"请部署者改正下面各项（函数的环境变量、{owner}的角色），再打开本页：",
                "Correct these (the function's environment variables, its role), then open this page again:",
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
    return f"Dingtalk_Conversation 已部署。\nDingtalk_Conversation is deployed.\n\n{todo}\n"


# --- the same in both files, from here: settings, role, log, limits, connections ---


INVISIBLE = "\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"  # zero-width blanks
BLANKS = INVISIBLE + "".join(filter(str.isspace, map(chr, range(0x3001))))  # what comes along when a value is pasted
QUOTES = "\"'`“”‘’「」『』《》＂＇"  # what people put around a value
NOTHING = ("无", "空", "没有", "不填", "none", "null", "nil", "undefined", "n/a")  # how people write: no value


class Malformed(ValueError):
    """A setting is not what its check asks for; the deployer sees the message, which never repeats the value."""


def read_settings(environ: Mapping[str, str]) -> tuple[SimpleNamespace, list[str]]:
    """The values of SETTINGS, as attributes in lower case, and a sentence for each bad one: never its value.

    A bad setting has its default, a bad or missing required one is None.
    """
    values, problems = SimpleNamespace(), []
    for name, check, default, meaning in SETTINGS:
        text = environ.get(name, "").strip(BLANKS)
        value = None if default is REQUIRED else default
        if text and not re.fullmatch(r"\$\{env\(.*\)\}", text):  # what `s deploy` writes for a variable not set there
            try:
                value = read_value(text, check, name, default is not REQUIRED)
            except (ValueError, RecursionError) as error:  # only Malformed is sure not to quote a key pasted here
                why = f"，{error}" if isinstance(error, Malformed) else ""
                problems.append(f"{name} 格式不对{why}（{meaning}）")
        elif default is REQUIRED:
            problems.append(f"{name} 没有设置（{meaning}）")
        setattr(values, name.lower(), value)
    return values, problems


def read_value(text: str, check: Any, name: str, optional: bool) -> Any:
    """The value, by its check: a reader, a range of whole numbers, or the pattern of the whole text."""
    if optional and text.lower() in NOTHING:
        raise Malformed("不需要时请留空")
    if callable(check):
        return check(text)
    if isinstance(check, range):
        number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text) else None
        if number not in check:
            raise Malformed(f"应该是 {check[0]} 到 {check[-1]} 的整数")
        return number
    slip = slip_in(text, name)
    if slip or not re.fullmatch(check, text):
        raise Malformed(slip) if slip else ValueError("no match")
    return text


def slip_in(text: str, name: str) -> str:
    """What went wrong when a name or a key was pasted, '' if nothing of it did."""
    slips = (
        (text[0] in QUOTES or text[-1] in QUOTES, "不要加引号"),
        (text.startswith((f"{name}=", "export ")), "只填等号后面的内容"),
        (re.match(r"(authorization|bearer)\b[: ]", text, re.IGNORECASE), "不要带 Bearer"),
        (re.search(r"\$\{.*\}", text), "里面的变量没有被替换"),
        ("://" in text or ".aliyuncs.com" in text, "这里不填网址"),
        ("***" in text or "..." in text, "要填完整的值，不能带星号或省略号"),
        (re.search(r"\s", text), "中间不能有空白或换行"),
        (not (text.isascii() and text.isprintable()), "不能有中文、全角或看不见的字符"),
    )
    return next((advice for found, advice in slips if found), "")


def read_level(text: str) -> int:
    """A log level by name or number: 'debug' -> 10, '25' -> 25."""
    level = int(text) if text.isdecimal() else logging.getLevelName(text.upper())
    if not isinstance(level, int) or level > 1000:
        raise Malformed("例如 INFO、DEBUG，或者 0 到 1000 的数字")
    return level


def read_address(text: str) -> str:
    """A web address, https unless it says http, without a trailing slash: 'a.com/' -> 'https://a.com'."""
    parts = urlsplit(text if "://" in text else "https://" + text)
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Malformed("网址不要带 ? 或 #")
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", parts.netloc):
        raise Malformed("应该是 https:// 开头的网址")
    if parts.netloc in ("http", "https") or parts.port == 0 or not re.fullmatch(r"[!-~]*", parts.path):
        raise Malformed("应该是 https:// 开头的网址")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def read_endpoint(text: str) -> str:
    """A web address without a path: the SDKs add their own."""
    address = read_address(text)
    if address.count("/") > 2:
        raise Malformed("网址不要带路径")
    return address


def role_credentials(context: Any, environ: Mapping[str, str]) -> Any:
    """The temporary credentials of the role, None without a role; from python3.12 on the context does not hold them."""
    in_environment = SimpleNamespace(
        access_key_id=environ.get("ALIBABA_CLOUD_ACCESS_KEY_ID"),
        access_key_secret=environ.get("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        security_token=environ.get("ALIBABA_CLOUD_SECURITY_TOKEN"),
    )
    for credentials in (getattr(context, "credentials", None), in_environment):
        if credentials and credentials.access_key_id and credentials.access_key_secret:
            return credentials
    return None


def trace(error: BaseException) -> str:
    """What kind of error and where, on one line; not its message, which may quote a key, an address or a question."""
    frames: Iterable[traceback.FrameSummary] = reversed(traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} at " + " < ".join(f"{frame.name}:{frame.lineno}" for frame in frames)


def call_until(deadline: float, call: Callable[[], T]) -> T:
    """What call() returns or raises; concurrent.futures.TimeoutError at the deadline (time.monotonic).

    The time-outs of requests, and of openai, are per read: a byte a second keeps them waiting for ever; and none is for
    looking up a name. The thread that is left behind sends nothing any more, see refuse_if_late.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        current.deadline = deadline
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=max(deadline - time.monotonic(), 0))


current = threading.local()  # .deadline: of the call that a thread carries out


def refuse_if_late() -> None:
    """TimeoutError if the deadline of the call is past: called when a connection is made, before anything is sent."""
    if time.monotonic() > getattr(current, "deadline", math.inf):
        raise TimeoutError("connected after the deadline")


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Trusts the CAs that requests trusts, not the image's own, which may be old; made once, as it takes 30 ms."""
    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)


def punctual(pool_class: Any) -> Any:
    """The same kind of connection pool, whose connections are of no use if they are made after the deadline."""

    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            refuse_if_late()

    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": Connection})


class VerifiedConnections(requests.adapters.HTTPAdapter):
    """Verifies certificates as requests does, without reading the CA bundle for every new connection."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As in the base class."""
        super().init_poolmanager(*args, ssl_context=tls_context(), **kwargs)
        pools = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: punctual(pools[scheme]) for scheme in pools}

    def cert_verify(self, connections: Any, *args: Any) -> None:
        """That they be verified, but not against what bundle: the base class would have it read again."""
        connections.cert_reqs = "CERT_REQUIRED"


def post(
    connections: requests.adapters.HTTPAdapter,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: tuple[float, float],
) -> tuple[requests.Response, bytes]:
    """The answer and its body; ValueError if that is over MAX_ANSWER_BYTES. `timeout`: to connect, and for each read.

    By the adapter, without a session: no redirects, cookies, proxies or .netrc.
    """
    request = requests.Request("POST", url, headers=headers, data=body).prepare()
    with connections.send(request, timeout=timeout, stream=True) as answer:
        return answer, read_up_to(MAX_ANSWER_BYTES, answer.iter_content(8192))


def read_up_to(limit_bytes: int, chunks: Iterable[bytes]) -> bytes:
    """The chunks together; ValueError if they are more than the limit."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit_bytes:
            raise ValueError(f"more than {limit_bytes} bytes")
    return bytes(data)


# --- the same in both files, to here ---
