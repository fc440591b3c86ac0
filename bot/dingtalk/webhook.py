"""Posts to the sessionWebhook, and reads what DingTalk says to it."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import requests

from bot.connections import FreshConnections, post
from bot.deadline import call_until, now_ms, pause
from bot.dingtalk.message import Message
from bot.errors import NotDelivered
from bot.logs import log, plain_words
from bot.masking import without_parts


class Undeliverable(Exception):
    """The reply can never be shown in this chat; only the log can say why."""


class Withheld(Undeliverable):
    """DingTalk shows other texts in this chat, but not this one; the person sees WITHHELD."""


# The one path that messages come with: by another one, such as /robot/send, whoever replays what DingTalk once signed
# could have a person's history answered into a group of his own.
WEBHOOK = re.compile(
    r"(https?)://((?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63})(?::([0-9]{1,5}))?/robot/sendBySession(?:\?[!-\[\]-~]*)?"
)
SEND_SECONDS = 6  # for one request to the webhook, all in all
SEND_PAUSES_SECONDS = (1, 2)  # between the three tries


def check_webhook(message: Message, hosts: tuple[str, ...]) -> None:
    """Undeliverable unless answers may go to this address: DingTalk's signature does not cover the message.

    Allowed is https at and below the hosts; and http at a loopback address that is itself among them, to try things.
    """
    address = WEBHOOK.fullmatch(message.webhook)
    if address is None or int(address[3] or 1) not in range(1, 65536):
        raise Undeliverable("its sessionWebhook is not the address of a session")
    scheme, host = address[1], address[2].lower()
    if scheme == "https":
        allowed = any(f".{host}".endswith(f".{name}") for name in hosts)
    else:
        allowed = host in hosts and host in ("localhost", "127.0.0.1")
    if not allowed:
        raise Undeliverable("its sessionWebhook is not https at one of WEBHOOK_HOSTS")
    if message.webhook_expires_ms is not None and message.webhook_expires_ms < now_ms():
        raise Undeliverable("its sessionWebhook is expired")


def send_part(
    message: Message, body: dict[str, Any], number: int, seconds_left: Callable[[int], float], deadline: float
) -> None:
    """Post one part after three tries at most; NotDelivered if trying later may help, Undeliverable if not.

    The clock is looked at before each try. An answer of the webhook that got lost may have been good: then the chat
    shows a part twice, which is better than not at all.
    """
    data = json.dumps(body, ensure_ascii=False).encode()
    pauses_seconds = iter(SEND_PAUSES_SECONDS)
    while problem := post_to_webhook(message.webhook, data, min(SEND_SECONDS, seconds_left(number))):
        pause_seconds = next(pauses_seconds, None)
        if pause_seconds is None:
            raise NotDelivered(problem, number) from None  # FC logs it: no cause, for that may quote the address
        pause(pause_seconds, deadline)


# What DingTalk answers in `errcode` when it shows nothing. For a code that is not listed the words of `errmsg` decide;
# where they say nothing, it is taken for one that passes.
FINAL = {  # nothing is shown in this chat any more
    "300001": "the session is over",
    "310000": "the robot's security settings do not allow it",
    "400013": "the group was dissolved",
    "400101": "the token does not exist",
    "400102": "the robot was stopped",
    "400106": "the robot is no longer in the group",
}
REFUSED_TEXT = {  # other texts are shown, this one is not
    "101002": "too long",
    "460101": "over 20,000 bytes",
    "34016": "too long",
    "430101": "an unsafe link",
    "430102": "an unsafe text",
    "430103": "an unsafe picture",
    "430104": "unsafe",
    "34014": "malformed",
    "40035": "a parameter is missing",
    "400105": "an unknown kind of message",
    "400402": "a parameter is missing or malformed",
    "43004": "an unknown kind of body",
}
TRANSIENT = ("-1", "130101", "410100", "500100", "660026")  # busy, and several codes for: too fast
GONE = "(robot|机器人).{0,20}(not exist|不存在)"
FAMILIES = (  # of the words of an errmsg, in this order
    ("passes", r"too (fast|many|frequent)|\brate|qps|frequen|busy|later|频率|频繁|太快|限流|繁忙|系统异常|稍后"),
    ("final", r"session|token|expired|dissol|disband|会话|过期|解散|停用|不在群|群不存在|" + GONE),
    ("text", r"too (long|large|big)|exceed|length|size|超长|过长|超过|长度|大小"),
    ("text", r"sensitive|unsafe|illegal|violat|forbidden (word|content)|敏感|违规|违禁|不合规|不合法|审核|安全"),
    ("text", r"param|missing|malformed|invalid (json|msg|message|content)|unsupported|参数|缺少|缺失|格式|不支持"),
)


def post_to_webhook(url: str, body: bytes, seconds: float) -> str:
    """Why DingTalk did not show the reply this time, '' if it did; Undeliverable if it never will."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    send = functools.partial(post, webhook_connections(), url, body, headers, (min(3, seconds), seconds))
    try:
        response, data = call_until(time.monotonic() + seconds, send)
        answer = json.loads(data) if response.ok else None
    except (requests.RequestException, concurrent.futures.TimeoutError, ValueError, RecursionError) as error:
        return f"no answer from the sessionWebhook: {type(error).__name__}"
    if response.status_code >= 300 or not isinstance(answer, dict) or "errcode" not in answer:
        return f"the sessionWebhook answers HTTP {response.status_code}"
    errcode = plain_words(answer["errcode"], 20)
    if errcode == "0":
        return ""
    errmsg = plain_words(answer.get("errmsg", ""), 80)
    problem = without_parts(f"DingTalk answers errcode {errcode}: {errmsg}", body.decode())  # it may quote the reply
    log.warning("%s (%s)", problem, FINAL.get(errcode) or REFUSED_TEXT.get(errcode) or "not in the tables")
    family = family_of(errcode, errmsg)
    if family == "text":
        raise Withheld(errcode)
    if family == "final":
        raise Undeliverable(problem)
    return problem


def family_of(errcode: str, errmsg: str) -> str:
    """Whether an error of DingTalk is 'final', about this 'text', or 'passes'."""
    if errcode in FINAL:
        return "final"
    if errcode in REFUSED_TEXT:
        return "text"
    if errcode in TRANSIENT:
        return "passes"
    return next((family for family, words in FAMILIES if re.search(words, errmsg, re.IGNORECASE)), "passes")


@functools.lru_cache(maxsize=1)
def webhook_connections() -> FreshConnections:
    """The connections to DingTalk, kept between messages."""
    return FreshConnections()
